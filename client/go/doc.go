// Package datastore is a client of datastore servers, both nodes and proxies.
//
//	client, err := datastore.Connect("127.0.0.1:7420")
//	if err != nil { ... }
//	defer client.Close()
//
//	_, err = client.Put(ctx, "/Airport:LSZS", map[string]any{"name": "Samedan", "country": "CH", "elevation": 5600})
//	query := datastore.NewQuery("/Airport").Filter("country", "=", "CH").Order("-elevation").Limit(5)
//	for entry, err := range client.Query(ctx, query).All() {
//		...
//	}
//
// Values are nil, bool, int64, float64, string, []byte, time.Time, Key, []any and map[string]any; that is how they
// are read. Other integer and float types, other slices, maps with names that are strings, and types that are defined
// as one of these are also accepted when writing. Times must have whole microseconds. What a server could not store is
// refused before anything is sent.
//
// Every call takes a context. Without a deadline, a call has 10 s for all of its attempts and waits, and a query or
// an aggregate one hour; a watch has no limit. Errors are an *Error with a Reason, to be tested with errors.Is,
// except for a canceled context, whose error they wrap.
package datastore

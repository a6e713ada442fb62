package datastore_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	datastore "github.com/datastore/datastore-grpc/client/go"
)

func Example() {
	ctx := context.Background()
	client, err := datastore.Connect("127.0.0.1:7420")
	if err != nil {
		return
	}
	defer func() { _ = client.Close() }()

	airport := map[string]any{"name": "Samedan", "country": "CH", "elevation": 5600}
	if _, err := client.Put(ctx, "/Airport:LSZS", airport); err != nil {
		return
	}
	query := datastore.NewQuery("/Airport").Filter("country", "=", "CH").Order("-elevation").Limit(5)
	for entry, err := range client.Query(ctx, query).All() {
		if err != nil {
			return
		}
		fmt.Println(entry.Key, entry.Value)
	}
}

func ExampleQuery_Where() {
	high := datastore.Compare("elevation", ">", 5000)
	coded := datastore.Compare("iata", datastore.Exists, true)
	query := datastore.NewQuery("/Airport").Where(datastore.Or(high, datastore.Not(coded)))
	_ = query
}

func ExampleClient_Put() {
	ctx, client := context.Background(), new(datastore.Client)
	_, err := client.Put(ctx, "/lock", "me", datastore.IfAbsent(), datastore.ExpiresIn(time.Minute))
	if errors.Is(err, datastore.ErrConditionFailed) {
		fmt.Println("someone else has it")
	}
}

func ExampleClient_Update() {
	ctx, client := context.Background(), new(datastore.Client)
	_, _ = client.Update(ctx, "/visits", func(value any) (any, error) {
		visits, _ := value.(int64) // nil if there is none
		return visits + 1, nil
	})
}

func ExampleKey() {
	key, err := datastore.ParseKey("Airport//LSZS/")
	fmt.Println(key, err, key.Collection())
	_, err = datastore.ParseKey("/a\x00")
	fmt.Println(errors.Is(err, datastore.ErrInvalidKey))
	// Output:
	// /Airport/LSZS <nil> /Airport
	// true
}

package datastore

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	pb "github.com/datastore/datastore-grpc/client/go/gen/datastorev1"
)

// FieldPathBytes is the length of the longest path of a field, in bytes of UTF-8.
const FieldPathBytes = 1024

// Fields that are not members of the value, for filters and orders.
const (
	KeyField        = "__key__"
	ValueField      = "__value__"
	VersionField    = "__version__"
	CreateTimeField = "__create_time__"
	UpdateTimeField = "__update_time__"
)

// Query says which entries to read, and in which order. It is built by methods that return a changed copy:
//
//	datastore.NewQuery("/Airport").Filter("country", "=", "CH").Order("-elevation").Limit(5)
//
// Whatever is wrong with it, e.g. an empty field or a negative limit, is reported by the call that gets it.
type Query struct {
	key          Key
	recursive    bool
	filters      []Filter
	orders       []string
	startAfter   *Entry
	offset       int64
	limit        *int64
	fields       []string
	keysOnly     bool
	metadata     bool
	allowPartial bool
	explain      bool
}

// NewQuery returns a query for the entries of the collection of a key: for "/a" they include "/a/b", "/a:b" and
// "/a:b:c", but not "/a" and "/a/b/c".
func NewQuery(key Key) Query { return Query{key: key} }

// Recursive selects everything below the key, not only its collection.
func (q Query) Recursive() Query {
	q.recursive = true
	return q
}

// Filter adds a comparison that entries must match.
func (q Query) Filter(field string, operator Operator, value any) Query {
	return q.Where(Compare(field, operator, value))
}

// Where adds filters that entries must match, all of them.
func (q Query) Where(filters ...Filter) Query {
	q.filters = append(slices.Clip(q.filters), filters...)
	return q
}

// Order sorts by fields, ascending, or descending after a minus: Order("country", "-elevation"). Ties, and results
// without orders, are sorted by key.
func (q Query) Order(orders ...string) Query {
	q.orders = append(slices.Clip(q.orders), orders...)
	return q
}

// StartAfter leaves out all entries up to the place of this one in the order of the query. The entry needs what the
// orders read: its value, its metadata, or its key alone. It need not exist any more.
func (q Query) StartAfter(entry Entry) Query {
	q.startAfter = &entry
	return q
}

// Offset skips so many matching entries.
func (q Query) Offset(count int64) Query {
	q.offset = count
	return q
}

// Limit ends the results after so many entries.
func (q Query) Limit(count int64) Query {
	q.limit = &count
	return q
}

// Fields returns only these fields of each value, as maps: of {"name": "Bern", "geo": {"lat": 46.9, "lon": 7.5}} the
// field "geo.lat" leaves {"geo": {"lat": 46.9}}.
func (q Query) Fields(paths ...string) Query {
	q.fields = append(slices.Clip(q.fields), paths...)
	return q
}

// KeysOnly returns entries without their values.
func (q Query) KeysOnly() Query {
	q.keysOnly = true
	return q
}

// WithMetadata returns entries with their metadata.
func (q Query) WithMetadata() Query {
	q.metadata = true
	return q
}

// AllowPartial completes without the shards that cannot be reached, and lists them in the summary. Without it an
// unreachable shard fails the query.
func (q Query) AllowPartial() Query {
	q.allowPartial = true
	return q
}

// Explain has the summary say how the query was evaluated.
func (q Query) Explain() Query {
	q.explain = true
	return q
}

// encode returns the message of the query.
func (q Query) encode() (*pb.Query, error) {
	key, err := ParseKey(string(q.key))
	if err != nil {
		return nil, err
	}
	message := &pb.Query{
		Key:             &pb.Key{Text: string(key)},
		Scope:           pb.QueryScope_QUERY_SCOPE_COLLECTION,
		View:            pb.QueryView_QUERY_VIEW_ENTRIES,
		Limit:           q.limit,
		Offset:          q.offset,
		FieldPaths:      q.fields,
		IncludeMetadata: q.metadata,
	}
	if q.recursive {
		message.Scope = pb.QueryScope_QUERY_SCOPE_RECURSIVE
	}
	if q.keysOnly {
		message.View = pb.QueryView_QUERY_VIEW_KEYS_ONLY
	}
	if err := q.checkCounts(); err != nil {
		return nil, err
	}
	if message.Filters, err = encodeFilters(q.filters, "query.filters", 0); err != nil {
		return nil, err
	}
	if message.Orders, err = encodeOrders(q.orders, "query.orders"); err != nil {
		return nil, err
	}
	if q.startAfter != nil {
		message.StartAfter, err = q.position(*q.startAfter, message.Orders)
	}
	return message, err
}

func (q Query) checkCounts() error {
	switch {
	case q.limit != nil && *q.limit < 0:
		return invalidQuery("query.limit", "a limit must not be negative, got %d", *q.limit)
	case q.offset < 0:
		return invalidQuery("query.offset", "an offset must not be negative, got %d", q.offset)
	case q.keysOnly && len(q.fields) > 0:
		return invalidQuery("query.field_paths", "a query for keys only has no fields to return")
	}
	for place, path := range q.fields {
		if err := checkField(path, fmt.Sprintf("query.field_paths[%d]", place)); err != nil {
			return err
		}
	}
	return nil
}

func encodeOrders(orders []string, where string) ([]*pb.Order, error) {
	messages := make([]*pb.Order, len(orders))
	for place, order := range orders {
		message := &pb.Order{FieldPath: strings.TrimPrefix(order, "+"), Direction: pb.Order_DIRECTION_ASCENDING}
		if path, descending := strings.CutPrefix(order, "-"); descending {
			message.FieldPath, message.Direction = path, pb.Order_DIRECTION_DESCENDING
		}
		if err := checkField(message.FieldPath, fmt.Sprintf("%s[%d].field_path", where, place)); err != nil {
			return nil, err
		}
		messages[place] = message
	}
	return messages, nil
}

func checkField(path, where string) error {
	if fault := fieldFault(path); fault != "" {
		return invalidQuery(where, "%s", fault)
	}
	return nil
}

// fieldFault says what is wrong with the path of a field; "" if nothing is.
func fieldFault(path string) string {
	switch {
	case path == "":
		return "the path of a field is empty; name a field, e.g. \"age\" or \"geo.lat\""
	case len(path) > FieldPathBytes:
		return fmt.Sprintf("the path of a field has at most %d bytes, and this one has %d", FieldPathBytes, len(path))
	case !utf8.ValidString(path):
		return fmt.Sprintf("the path of a field is not valid UTF-8: %q", path)
	}
	return ""
}

func invalidQuery(field, format string, arguments ...any) error {
	return &Error{Reason: ErrInvalidQuery, Message: fmt.Sprintf(format, arguments...), Field: field}
}

package datastore

import (
	"encoding/hex"
	"errors"
	"reflect"
	"strings"
	"testing"

	pb "github.com/datastore/datastore-grpc/client/go/gen/datastorev1"
)

func TestSortKeysAreInTheTotalOrder(t *testing.T) {
	type vector struct {
		Value                 any
		Ascending, Descending string
	}
	for _, tied := range vectors[[][]vector](t, "sort_keys") {
		for _, vector := range tied {
			value := plain(t, vector.Value)
			for _, each := range []struct {
				descending bool
				want       string
			}{{false, vector.Ascending}, {true, vector.Descending}} {
				if got, err := SortKey(value, each.descending); err != nil || hex.EncodeToString(got) != each.want {
					t.Errorf("the sort key of %#v is %x, %v; want %s", value, got, err, each.want)
				}
			}
		}
	}
}

func TestQueriesAreSentAsTheirMessages(t *testing.T) {
	type vector struct {
		Query map[string]any
		Wire  string
	}
	for _, vector := range vectors[[]vector](t, "wire_queries") {
		want := unmarshaled(t, vector.Wire, new(pb.Query))
		if _, started := vector.Query["start_after"]; started {
			// Its sort key is of an entry that the vector does not have; see the next test.
			want.StartAfter = nil
		}
		got, err := EncodeQuery(queryOf(t, vector.Query))
		if err != nil {
			t.Fatal(err)
		}
		equalMessages(t, got, want)
	}
}

// queryOf returns the query of a vector.
func queryOf(t *testing.T, written map[string]any) Query {
	t.Helper()
	query := NewQuery(Key(written["key"].(string)))
	for name, apply := range map[string]func(Query) Query{
		"recursive": Query.Recursive, "keys_only": Query.KeysOnly, "metadata": Query.WithMetadata,
	} {
		if written[name] == true {
			query = apply(query)
		}
	}
	if limit, limited := written["limit"]; limited {
		query = query.Limit(plain(t, limit).(int64))
	}
	if offset, has := written["offset"]; has {
		query = query.Offset(plain(t, offset).(int64))
	}
	for _, part := range list(written["filter"]) {
		query = query.Where(filterOf(t, part))
	}
	for _, order := range list(written["order"]) {
		query = query.Order(order.(string))
	}
	for _, field := range list(written["fields"]) {
		query = query.Fields(field.(string))
	}
	return query
}

func list(value any) []any {
	elements, _ := value.([]any)
	return elements
}

func filterOf(t *testing.T, written any) Filter {
	t.Helper()
	if joined, isTree := written.(map[string]any); isTree {
		if part, isNot := joined["not"]; isNot {
			return Not(filterOf(t, part))
		}
		join, parts := And, joined["and"]
		if parts == nil {
			join, parts = Or, joined["or"]
		}
		var filters []Filter
		for _, part := range list(parts) {
			filters = append(filters, filterOf(t, part))
		}
		return join(filters...)
	}
	parts := list(written)
	operator := strings.ReplaceAll(parts[1].(string), " ", "_")
	return Compare(parts[0].(string), Operator(operator), plain(t, parts[2]))
}

func TestAQueryStartsAfterAnEntry(t *testing.T) {
	airport := Entry{Key: "/Airport:LSZS", Value: map[string]any{"country": "CH", "elevation": 5600}}
	for _, each := range []struct {
		orders []string
		entry  Entry
		want   string
	}{
		{nil, Entry{Key: "/a"}, ""},
		{[]string{KeyField}, Entry{Key: "/a"}, "072f610001"},
		{[]string{"country", "-elevation"}, airport, "0543480001fc3f4a1fffffffffff7fff"},
		{[]string{"name"}, airport, "01"},
		{[]string{VersionField}, Entry{Key: "/a", Metadata: &Metadata{Version: 1}}, "03bff00000000000008000"},
	} {
		message, err := EncodeQuery(NewQuery("/Airport").Order(each.orders...).StartAfter(each.entry))
		if err != nil || hex.EncodeToString(message.GetStartAfter().GetSortKey()) != each.want {
			t.Errorf("%v: the sort key is %x, %v; want %s", each.orders, message.GetStartAfter().GetSortKey(), err, each.want)
		}
	}
	long := Entry{Key: "/a", Value: map[string]any{"text": strings.Repeat("x", sortKeyBytes)}}
	message := must(EncodeQuery(NewQuery("/").Order("text").StartAfter(long)))
	if position := message.GetStartAfter(); len(position.GetSortKey()) != 0 || position.GetValue() == nil {
		t.Error("a sort key over 64 KiB was sent")
	}
	for _, unknown := range []Query{
		NewQuery("/").Order("a").StartAfter(Entry{Key: "/a"}),
		NewQuery("/").Order(VersionField).StartAfter(airport),
		NewQuery("/").Order("elevation").Fields("country").StartAfter(airport),
	} {
		if _, err := EncodeQuery(unknown); !errors.Is(err, ErrInvalidQuery) {
			t.Errorf("%v, want ErrInvalidQuery", err)
		}
	}
}

func TestQueriesShareNothing(t *testing.T) {
	base := NewQuery("/a").Filter("a", Equal, 1).Order("a").Fields("a")
	one := must(EncodeQuery(base.Filter("b", Equal, 1).Order("b").Fields("b")))
	_ = base.Filter("c", Equal, 1).Order("c").Fields("c")
	filter, order, field := one.GetFilters()[1].GetField(), one.GetOrders()[1], one.GetFieldPaths()[1]
	if filter.GetFieldPath() != "b" || order.GetFieldPath() != "b" || field != "b" {
		t.Errorf("a query was changed by another: %v", one)
	}
}

func TestValuesAreCutToFields(t *testing.T) {
	type vector struct {
		Value  any
		Fields []string
		Cut    any
	}
	type file struct{ Projections []vector }
	for _, vector := range vectors[file](t, "filters").Projections {
		message := must(EncodeValue(plain(t, vector.Value)))
		if got := must(DecodeValue(cut(message, vector.Fields))); !reflect.DeepEqual(got, plain(t, vector.Cut)) {
			t.Errorf("%v cut to %v is %v, want %v", vector.Value, vector.Fields, got, vector.Cut)
		}
	}
}

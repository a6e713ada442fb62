package datastore

import (
	"slices"
	"strings"

	pb "github.com/datastore/datastore-grpc/client/go/gen/datastorev1"
)

// sortKeyBytes is the length of the longest sort key that is sent; in place of a longer one its value is.
const sortKeyBytes = 64 * 1024

// position returns the place of an entry in the results of the query.
func (q Query) position(entry Entry, orders []*pb.Order) (*pb.Position, error) {
	key, err := ParseKey(string(entry.Key))
	if err != nil {
		return nil, err
	}
	value, err := toValue(entry.Value)
	if err != nil {
		return nil, err
	}
	position := &pb.Position{Key: &pb.Key{Text: string(key)}}
	readsMetadata := false
	for _, order := range orders {
		field, err := q.orderedField(entry, key, value, order.GetFieldPath())
		if err != nil {
			return nil, err
		}
		readsMetadata = readsMetadata || isMetadata(order.GetFieldPath())
		descending := order.GetDirection() == pb.Order_DIRECTION_DESCENDING
		position.SortKey = appendSortKey(position.SortKey, field, descending)
	}
	if len(position.SortKey) > sortKeyBytes {
		position.SortKey, position.Value = nil, value
		if readsMetadata {
			position.Metadata = entry.Metadata.encode()
		}
	}
	return position, nil
}

// orderedField returns the field of an entry that an order reads; nil if it is missing.
func (q Query) orderedField(entry Entry, key Key, value *pb.Value, path string) (*pb.Value, error) {
	if path == KeyField {
		return &pb.Value{Kind: &pb.Value_KeyValue{KeyValue: &pb.Key{Text: string(key)}}}, nil
	}
	if isMetadata(path) {
		if entry.Metadata == nil {
			return nil, invalidQuery("query.start_after", "the position of %s in these orders is not known without its"+
				" metadata", key)
		}
		return entry.Metadata.field(path), nil
	}
	if len(q.fields) > 0 && !slices.Contains(q.fields, path) {
		return nil, invalidQuery("query.start_after", "the position of %s in these orders is not known without %q; add"+
			" it to the fields", key, path)
	}
	if entry.Value == nil {
		return nil, invalidQuery("query.start_after", "the position of %s in these orders is not known without its"+
			" value", key)
	}
	if path == ValueField {
		return value, nil
	}
	return fieldOf(value.GetMapValue().GetFields(), path), nil
}

func isMetadata(path string) bool {
	return path == VersionField || path == CreateTimeField || path == UpdateTimeField
}

// fieldOf returns the member at a path of a map; nil if it is missing. A name that is the whole path comes first,
// dots included, then the map named before the first dot.
func fieldOf(fields map[string]*pb.Value, path string) *pb.Value {
	for {
		if value, found := fields[path]; found {
			return value
		}
		head, rest, dotted := strings.Cut(path, ".")
		if !dotted {
			return nil
		}
		fields, path = fields[head].GetMapValue().GetFields(), rest
	}
}

// cut returns the map of only those fields of a value that it has, nested as in the value; an empty one of a value
// that is not a map.
func cut(value *pb.Value, paths []string) *pb.Value {
	fields := value.GetMapValue().GetFields()
	kept := map[string]*pb.Value{}
	within := map[string][]string{}
	for _, path := range paths {
		if member, found := fields[path]; found {
			kept[path] = member
		} else if head, rest, dotted := strings.Cut(path, "."); dotted {
			within[head] = append(within[head], rest)
		}
	}
	for name, rests := range within {
		if _, whole := kept[name]; whole {
			continue
		}
		if inner := cut(fields[name], rests); len(inner.GetMapValue().GetFields()) > 0 {
			kept[name] = inner
		}
	}
	return &pb.Value{Kind: &pb.Value_MapValue{MapValue: &pb.MapValue{Fields: kept}}}
}

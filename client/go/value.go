package datastore

import (
	"fmt"
	"math"
	"reflect"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/datastore/datastore-grpc/client/go/gen/datastorev1"
)

const (
	// ValueDepth is how deep lists and maps of a value may be nested.
	ValueDepth = 32
	// nameShown is how many characters of a long name a path shows.
	nameShown = 60
	// The seconds of the years 1 to 9999.
	firstSecond, lastSecond = -62135596800, 253402300799
)

// toValue returns the message of a value. Its error names the part that cannot be sent, as value['a'][3].
func toValue(value any) (*pb.Value, error) {
	message, fault := encode(value, 0)
	if fault != nil {
		path := "value" + fault.path
		return nil, &Error{Reason: fault.reason, Message: path + " " + fault.problem, Path: path}
	}
	return message, nil
}

// fault is why a part of a value cannot be sent, and where that part is.
type fault struct {
	reason  Reason
	problem string
	path    string
}

func invalid(problem string, arguments ...any) *fault {
	return &fault{reason: ErrInvalidValue, problem: fmt.Sprintf(problem, arguments...)}
}

// within returns the fault of a value that contains the faulty one at this place.
func (f *fault) within(place string) *fault {
	f.path = "[" + place + "]" + f.path
	return f
}

func encode(value any, depth int) (*pb.Value, *fault) {
	switch value := value.(type) {
	case nil:
		return &pb.Value{Kind: &pb.Value_NullValue{NullValue: structpb.NullValue_NULL_VALUE}}, nil
	case bool:
		return &pb.Value{Kind: &pb.Value_BoolValue{BoolValue: value}}, nil
	case int:
		return int64Value(int64(value)), nil
	case int64:
		return int64Value(value), nil
	case float64:
		return &pb.Value{Kind: &pb.Value_DoubleValue{DoubleValue: value}}, nil
	case string:
		if !utf8.ValidString(value) {
			return nil, invalid("is a string that is not valid UTF-8; []byte takes any bytes")
		}
		return &pb.Value{Kind: &pb.Value_StringValue{StringValue: value}}, nil
	case []byte:
		return &pb.Value{Kind: &pb.Value_BytesValue{BytesValue: value}}, nil
	case time.Time:
		return encodeTime(value)
	case Key:
		key, err := ParseKey(string(value))
		if err != nil {
			return nil, invalid("is a key that is not valid: %v", err.(*Error).Message)
		}
		return &pb.Value{Kind: &pb.Value_KeyValue{KeyValue: &pb.Key{Text: string(key)}}}, nil
	case []any:
		return encodeList(len(value), func(place int) any { return value[place] }, depth)
	case map[string]any:
		return encodeMap(value, depth)
	default:
		return encodeOther(reflect.ValueOf(value), depth)
	}
}

func int64Value(value int64) *pb.Value {
	return &pb.Value{Kind: &pb.Value_Int64Value{Int64Value: value}}
}

func encodeTime(value time.Time) (*pb.Value, *fault) {
	if value.Nanosecond()%1000 != 0 {
		return nil, invalid("is a time with nanoseconds: timestamps have whole microseconds; truncate it, with" +
			" Truncate(time.Microsecond)")
	}
	if seconds := value.Unix(); seconds < firstSecond || seconds > lastSecond {
		return nil, invalid("is a time outside the years 1 to 9999 of UTC")
	}
	return &pb.Value{Kind: &pb.Value_TimestampValue{TimestampValue: timestamppb.New(value)}}, nil
}

func encodeList(length int, element func(int) any, depth int) (*pb.Value, *fault) {
	if depth >= ValueDepth {
		return nil, invalid("is nested more than %d deep", ValueDepth)
	}
	values := make([]*pb.Value, length)
	for place := range values {
		message, fault := encode(element(place), depth+1)
		if fault != nil {
			return nil, fault.within(fmt.Sprint(place))
		}
		values[place] = message
	}
	return &pb.Value{Kind: &pb.Value_ListValue{ListValue: &pb.ListValue{Values: values}}}, nil
}

func encodeMap(value map[string]any, depth int) (*pb.Value, *fault) {
	if depth >= ValueDepth {
		return nil, invalid("is nested more than %d deep", ValueDepth)
	}
	fields := make(map[string]*pb.Value, len(value))
	for name, member := range value {
		if !utf8.ValidString(name) {
			return nil, invalid("has a name that is not valid UTF-8: %q", name)
		}
		message, fault := encode(member, depth+1)
		if fault != nil {
			return nil, fault.within(quoted(name))
		}
		fields[name] = message
	}
	return &pb.Value{Kind: &pb.Value_MapValue{MapValue: &pb.MapValue{Fields: fields}}}, nil
}

// encodeOther encodes the other numbers, slices and maps, and types that are defined as one of those.
func encodeOther(value reflect.Value, depth int) (*pb.Value, *fault) {
	switch value.Kind() {
	case reflect.Bool:
		return encode(value.Bool(), depth)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return int64Value(value.Int()), nil
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		if value.Uint() > math.MaxInt64 {
			return nil, invalid("is the integer %d, which does not fit in 64 bits with a sign", value.Uint())
		}
		return int64Value(int64(value.Uint())), nil
	case reflect.Float32, reflect.Float64:
		return encode(value.Float(), depth)
	case reflect.String:
		return encode(value.String(), depth)
	case reflect.Slice, reflect.Array:
		if value.Kind() == reflect.Slice && value.Type().Elem().Kind() == reflect.Uint8 {
			return encode(value.Bytes(), depth)
		}
		return encodeList(value.Len(), func(place int) any { return value.Index(place).Interface() }, depth)
	case reflect.Map:
		if value.Type().Key().Kind() != reflect.String {
			break
		}
		members := make(map[string]any, value.Len())
		for pair := value.MapRange(); pair.Next(); {
			members[pair.Key().String()] = pair.Value().Interface()
		}
		return encodeMap(members, depth)
	}
	return nil, &fault{reason: ErrUnsupportedType, problem: fmt.Sprintf("is of type %s, which cannot be sent; values"+
		" are nil, bool, integers, floats, string, []byte, time.Time, Key, and slices and maps of these", value.Type())}
}

// quoted returns a name as paths show it: value['name'].
func quoted(name string) string {
	if utf8.RuneCountInString(name) > nameShown {
		name = string([]rune(name)[:nameShown]) + "..."
	}
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`, "\n", `\n`, "\r", `\r`, "\t", `\t`).Replace(name) + "'"
}

// fromValue returns the value of a message that a server has sent.
func fromValue(message *pb.Value) (any, error) {
	value, fault := decode(message, 0)
	if fault != nil {
		path := "value" + fault.path
		return nil, &Error{Reason: ErrCorruptData, Message: path + " " + fault.problem, Path: path}
	}
	return value, nil
}

func decode(message *pb.Value, depth int) (any, *fault) {
	switch kind := message.GetKind().(type) {
	case *pb.Value_NullValue:
		return nil, nil
	case *pb.Value_BoolValue:
		return kind.BoolValue, nil
	case *pb.Value_Int64Value:
		return kind.Int64Value, nil
	case *pb.Value_DoubleValue:
		return kind.DoubleValue, nil
	case *pb.Value_StringValue:
		return kind.StringValue, nil
	case *pb.Value_BytesValue:
		return kind.BytesValue, nil
	case *pb.Value_TimestampValue:
		instant, fault := decodeTime(kind.TimestampValue)
		return instant, fault
	case *pb.Value_KeyValue:
		key := Key(kind.KeyValue.GetText()).canonical()
		if err := key.check(); err != nil {
			return nil, invalid("is a key that is not valid: %v", err.(*Error).Message)
		}
		return key, nil
	case *pb.Value_ListValue:
		return decodeList(kind.ListValue.GetValues(), depth)
	case *pb.Value_MapValue:
		return decodeMap(kind.MapValue.GetFields(), depth)
	}
	return nil, invalid("has no kind that this client knows")
}

func decodeTime(stamp *timestamppb.Timestamp) (time.Time, *fault) {
	seconds, nanos := stamp.GetSeconds(), stamp.GetNanos()
	switch {
	case seconds < firstSecond || seconds > lastSecond:
		return time.Time{}, invalid("is a timestamp outside the years 1 to 9999")
	case nanos < 0 || nanos > 999_999_000 || nanos%1000 != 0:
		return time.Time{}, invalid("is a timestamp that is not of whole microseconds")
	}
	return stamp.AsTime(), nil
}

func decodeList(values []*pb.Value, depth int) (any, *fault) {
	if depth >= ValueDepth {
		return nil, invalid("is nested more than %d deep", ValueDepth)
	}
	list := make([]any, len(values))
	for place, message := range values {
		element, fault := decode(message, depth+1)
		if fault != nil {
			return nil, fault.within(fmt.Sprint(place))
		}
		list[place] = element
	}
	return list, nil
}

func decodeMap(fields map[string]*pb.Value, depth int) (any, *fault) {
	if depth >= ValueDepth {
		return nil, invalid("is nested more than %d deep", ValueDepth)
	}
	members := make(map[string]any, len(fields))
	for name, message := range fields {
		member, fault := decode(message, depth+1)
		if fault != nil {
			return nil, fault.within(quoted(name))
		}
		members[name] = member
	}
	return members, nil
}

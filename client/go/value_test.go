package datastore

import (
	"encoding/hex"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	pb "github.com/datastore/datastore-grpc/client/go/gen/datastorev1"
)

func TestValuesAreConvertedBothWays(t *testing.T) {
	type vector struct {
		Value any
		Wire  string
	}
	for _, vector := range vectors[[]vector](t, "values") {
		value, message := plain(t, vector.Value), unmarshaled(t, vector.Wire, new(pb.Value))
		encoded, err := EncodeValue(value)
		if err != nil {
			t.Fatal(err)
		}
		equalMessages(t, encoded, message)
		decoded, err := UnmarshalValue(must(hex.DecodeString(vector.Wire)))
		if double, isDouble := value.(float64); isDouble && math.IsNaN(double) {
			decoded, value = math.IsNaN(decoded.(float64)), true
		}
		if err != nil || !reflect.DeepEqual(decoded, value) {
			t.Errorf("%s is %#v, %v; want %#v", vector.Wire, decoded, err, value)
		}
	}
}

func TestBytesThatAreNotValuesAreNamed(t *testing.T) {
	type vector struct{ Why, Wire, Path string }
	for _, vector := range vectors[[]vector](t, "wire_refused") {
		value, err := UnmarshalValue(must(hex.DecodeString(vector.Wire)))
		if vector.Why == "a null after another kind" || strings.HasPrefix(vector.Why, "a key") {
			continue // Only servers refuse these: a reader takes the last kind, and makes keys canonical.
		}
		var failure *Error
		if !errors.As(err, &failure) || failure.Reason != ErrCorruptData {
			t.Errorf("%s: %s is %v, %v; want ErrCorruptData", vector.Why, vector.Wire, value, err)
		} else if failure.Path != "" && failure.Path != vector.Path {
			t.Errorf("%s: the path is %s, want %s", vector.Why, failure.Path, vector.Path)
		}
	}
}

func TestOtherTypesOfGoAreSentAsTheKindsTheyAre(t *testing.T) {
	type country string
	type tags []string
	for _, each := range []struct{ given, want any }{
		{int8(-1), int64(-1)},
		{uint64(math.MaxInt64), int64(math.MaxInt64)},
		{float32(0.5), 0.5},
		{country("CH"), "CH"},
		{tags{"a", "b"}, []any{"a", "b"}},
		{[2]bool{true, false}, []any{true, false}},
		{map[country]int{"CH": 1}, map[string]any{"CH": int64(1)}},
		{[]map[string]any{{"a": nil}}, []any{map[string]any{"a": nil}}},
		{[]any(nil), []any{}},
		{time.Date(2026, 1, 1, 1, 0, 0, 0, time.FixedZone("", 3600)), time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)},
		{Key("a//b"), Key("/a/b")},
	} {
		message, err := EncodeValue(each.given)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := DecodeValue(message); err != nil || !reflect.DeepEqual(got, each.want) {
			t.Errorf("%#v is read as %#v, %v; want %#v", each.given, got, err, each.want)
		}
	}
}

func TestValuesThatCannotBeSentAreNamed(t *testing.T) {
	endless := []any{nil}
	endless[0] = endless
	for _, each := range []struct {
		value  any
		reason Reason
		path   string
	}{
		{complex(1, 2), ErrUnsupportedType, "value"},
		{map[string]any{"a": []any{1, 2, 3, struct{}{}}}, ErrUnsupportedType, "value['a'][3]"},
		{map[int]any{}, ErrUnsupportedType, "value"},
		{new(int), ErrUnsupportedType, "value"},
		{[]any{uint64(math.MaxInt64 + 1)}, ErrInvalidValue, "value[0]"},
		{map[string]any{"it's": "\xff"}, ErrInvalidValue, `value['it\'s']`},
		{map[string]any{"\xff": 1}, ErrInvalidValue, "value"},
		{time.Unix(0, 1), ErrInvalidValue, "value"},
		{time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC), ErrInvalidValue, "value"},
		{time.Time{}.Add(-time.Second), ErrInvalidValue, "value"},
		{Key("/\x00"), ErrInvalidValue, "value"},
		{endless, ErrInvalidValue, "value" + strings.Repeat("[0]", ValueDepth)},
	} {
		_, err := EncodeValue(each.value)
		var failure *Error
		if !errors.As(err, &failure) || failure.Reason != each.reason || failure.Path != each.path {
			t.Errorf("%v: want %s at %s", err, each.reason, each.path)
		}
	}
}

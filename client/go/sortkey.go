package datastore

import (
	"bytes"
	"encoding/binary"
	"maps"
	"math"
	"slices"

	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/datastore/datastore-grpc/client/go/gen/datastorev1"
)

// The first bytes of sort keys: the kinds in the total order.
const (
	rankNull byte = iota + 1
	rankBool
	rankNumber
	rankTimestamp
	rankString
	rankBytes
	rankKey
	rankList
	rankMap
)

// zeroRemainder is the remainder of a number that is a double.
const zeroRemainder = 0x8000

// appendSortKey appends the order-preserving encoding of a value: bytes that compare as the values do in the total
// order of docs/protocol.md. A value without a kind is null.
func appendSortKey(to []byte, value *pb.Value, descending bool) []byte {
	start := len(to)
	to = appendAscending(to, value)
	if descending {
		for place := start; place < len(to); place++ {
			to[place] ^= 0xff
		}
	}
	return to
}

func appendAscending(to []byte, value *pb.Value) []byte {
	switch kind := value.GetKind().(type) {
	case *pb.Value_BoolValue:
		if kind.BoolValue {
			return append(to, rankBool, 1)
		}
		return append(to, rankBool, 0)
	case *pb.Value_Int64Value:
		double := float64(kind.Int64Value)
		return appendNumber(to, double, remainder(kind.Int64Value, double))
	case *pb.Value_DoubleValue:
		return appendNumber(to, kind.DoubleValue, 0)
	case *pb.Value_TimestampValue:
		return binary.BigEndian.AppendUint64(append(to, rankTimestamp), uint64(micros(kind.TimestampValue))^1<<63)
	case *pb.Value_StringValue:
		return appendEscaped(append(to, rankString), []byte(kind.StringValue))
	case *pb.Value_BytesValue:
		return appendEscaped(append(to, rankBytes), kind.BytesValue)
	case *pb.Value_KeyValue:
		return appendEscaped(append(to, rankKey), []byte(kind.KeyValue.GetText()))
	case *pb.Value_ListValue:
		to = append(to, rankList)
		for _, element := range kind.ListValue.GetValues() {
			to = appendAscending(to, element)
		}
		return append(to, 0)
	case *pb.Value_MapValue:
		to = append(to, rankMap)
		fields := kind.MapValue.GetFields()
		for _, name := range slices.Sorted(maps.Keys(fields)) {
			to = appendEscaped(append(to, rankString), []byte(name))
			to = appendAscending(to, fields[name])
		}
		return append(to, 0)
	}
	return append(to, rankNull)
}

// appendNumber appends a number, given as the nearest double and the rest.
func appendNumber(to []byte, double float64, rest int64) []byte {
	to = append(to, rankNumber)
	if math.IsNaN(double) {
		return append(to, make([]byte, 10)...)
	}
	bits := math.Float64bits(double + 0) // -0.0 + 0 is 0.0.
	if double < 0 {
		bits = ^bits
	} else {
		bits |= 1 << 63
	}
	to = binary.BigEndian.AppendUint64(to, bits)
	return binary.BigEndian.AppendUint16(to, uint16(zeroRemainder+rest))
}

// remainder returns an integer minus the nearest double, exactly.
func remainder(integer int64, double float64) int64 {
	if double >= 1<<63 {
		return integer - math.MaxInt64 - 1
	}
	return integer - int64(double)
}

func micros(stamp *timestamppb.Timestamp) int64 {
	return stamp.GetSeconds()*1_000_000 + int64(stamp.GetNanos())/1000
}

// appendEscaped appends bytes in a form that none other is a prefix of.
func appendEscaped(to, data []byte) []byte {
	to = append(to, bytes.ReplaceAll(data, []byte{0}, []byte{0, 0xff})...)
	return append(to, 0, 1)
}

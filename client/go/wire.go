package datastore

import (
	rpc "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"

	pb "github.com/datastore/datastore-grpc/client/go/gen/datastorev1"
)

// The functions of this file are for programs that also use the generated code, in gen/datastorev1.

// EncodeValue returns the message of a value. It fails with ErrInvalidValue or ErrUnsupportedType, with the Path of
// the part that cannot be sent.
func EncodeValue(value any) (*pb.Value, error) { return toValue(value) }

// DecodeValue returns the value of a message. It fails with ErrCorruptData, with the Path of the part that is not a
// value.
func DecodeValue(message *pb.Value) (any, error) { return fromValue(message) }

// UnmarshalValue returns the value of a serialized message. It fails with ErrCorruptData.
func UnmarshalValue(data []byte) (any, error) {
	message := new(pb.Value)
	if err := proto.Unmarshal(data, message); err != nil {
		return nil, newError(ErrCorruptData, "%d bytes are not a value: %v", len(data), err)
	}
	return fromValue(message)
}

// EncodeQuery returns the message of a query.
func EncodeQuery(query Query) (*pb.Query, error) { return query.encode() }

// SortKey returns bytes that compare as values do in the order of queries; descending, the greatest value comes
// first.
func SortKey(value any, descending bool) ([]byte, error) {
	message, err := toValue(value)
	if err != nil {
		return nil, err
	}
	return appendSortKey(nil, message, descending), nil
}

// StatusError returns the error of a status that a server has sent.
func StatusError(status *rpc.Status) *Error { return statusError(status) }

package datastore

import (
	"cmp"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/datastore/datastore-grpc/client/go/gen/datastorev1"
)

// Entry is a key, its value and, if it was requested, its metadata.
type Entry struct {
	Key Key
	// Value is nil in the results of a query for keys only.
	Value    any
	Metadata *Metadata
}

// Metadata is what a store that keeps versions knows about an entry.
type Metadata struct {
	// Version is greater than every earlier one of the same key; at least 1.
	Version    int64
	CreateTime time.Time
	UpdateTime time.Time
	// ExpireTime is zero if the entry never expires.
	ExpireTime time.Time
}

func (m *Metadata) encode() *pb.Metadata {
	message := &pb.Metadata{
		Version:    m.Version,
		CreateTime: timestamppb.New(m.CreateTime),
		UpdateTime: timestamppb.New(m.UpdateTime),
	}
	if !m.ExpireTime.IsZero() {
		message.ExpireTime = timestamppb.New(m.ExpireTime)
	}
	return message
}

// field returns the part of the metadata that a field of a query reads.
func (m *Metadata) field(path string) *pb.Value {
	switch path {
	case CreateTimeField:
		return &pb.Value{Kind: &pb.Value_TimestampValue{TimestampValue: timestamppb.New(m.CreateTime)}}
	case UpdateTimeField:
		return &pb.Value{Kind: &pb.Value_TimestampValue{TimestampValue: timestamppb.New(m.UpdateTime)}}
	}
	return int64Value(m.Version)
}

// fromMetadata returns metadata that a server has sent; nil if it has sent none.
func fromMetadata(message *pb.Metadata) (*Metadata, error) {
	if message == nil {
		return nil, nil
	}
	created, faultyCreate := decodeTime(message.GetCreateTime())
	updated, faultyUpdate := decodeTime(message.GetUpdateTime())
	expires, faultyExpire := decodeTime(message.GetExpireTime())
	if fault := cmp.Or(faultyCreate, faultyUpdate, faultyExpire); fault != nil {
		return nil, newError(ErrCorruptData, "a time of the metadata of an entry %s", fault.problem)
	}
	metadata := &Metadata{Version: message.GetVersion(), CreateTime: created, UpdateTime: updated}
	if message.GetExpireTime() != nil {
		metadata.ExpireTime = expires
	}
	return metadata, nil
}

// fromKey returns a key that a server has sent.
func fromKey(message *pb.Key) (Key, error) {
	key := Key(message.GetText()).canonical()
	if err := key.check(); err != nil {
		return "", newError(ErrCorruptData, "the key of an entry is not valid: %v", err.(*Error).Message)
	}
	return key, nil
}

func fromEntry(message *pb.Entry) (entry Entry, err error) {
	if entry.Key, err = fromKey(message.GetKey()); err != nil {
		return entry, err
	}
	if entry.Metadata, err = fromMetadata(message.GetMetadata()); err != nil || message.GetValue() == nil {
		return entry, err
	}
	entry.Value, err = fromValue(message.GetValue())
	return entry, err
}

// encode returns the message of an entry that a server has sent, to be sent back.
func (e Entry) encode() (*pb.Entry, error) {
	message := &pb.Entry{Key: &pb.Key{Text: string(e.Key)}}
	if e.Metadata != nil {
		message.Metadata = e.Metadata.encode()
	}
	if e.Value == nil {
		return message, nil
	}
	var err error
	message.Value, err = toValue(e.Value)
	return message, err
}

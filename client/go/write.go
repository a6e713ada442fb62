package datastore

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/datastore/datastore-grpc/client/go/gen/datastorev1"
)

// PatchChanges is how many changes a Patch has at most.
const PatchChanges = 256

// EntryBytes is the size of the largest entry, key and serialized value together, in bytes.
const EntryBytes = 3 << 20

// Write is one write of a batch, made by Put, Delete, Patch or Touch.
type Write struct {
	key         Key
	operation   operation
	value       any
	changes     []FieldChange
	create      bool
	returnValue bool
	condition   *pb.Precondition
	expiry      *pb.Expiry
	// fault is what is wrong with the options.
	fault error
}

type operation int

const (
	putOperation operation = iota
	deleteOperation
	patchOperation
	touchOperation
)

// WriteOption is a term of a write: a Condition, an Expiry, CreateIfAbsent or ReturnValue.
type WriteOption interface{ apply(write *Write) }

// Put returns a write that stores a value, replacing any previous one. A nil deletes the entry.
func Put(key Key, value any, options ...WriteOption) Write {
	return Write{key: key, operation: putOperation, value: value}.with(options)
}

// Delete returns a write that removes an entry; there need not be one.
func Delete(key Key, options ...WriteOption) Write {
	return Write{key: key, operation: deleteOperation}.with(options)
}

// Patch returns a write that changes parts of a value, which must be a map.
func Patch(key Key, changes []FieldChange, options ...WriteOption) Write {
	return Write{key: key, operation: patchOperation, changes: changes}.with(options)
}

// Touch returns a write that changes only when an entry expires: without an Expiry, never.
func Touch(key Key, options ...WriteOption) Write {
	return Write{key: key, operation: touchOperation}.with(options)
}

func (w Write) with(options []WriteOption) Write {
	for _, option := range options {
		option.apply(&w)
	}
	return w
}

// Condition is what must hold of an entry for a write to be made; otherwise it fails with ErrConditionFailed.
type Condition struct{ message *pb.Precondition }

// IfExists makes a write only if the key has an entry.
func IfExists() Condition { return ifExists(true) }

// IfAbsent makes a write only if the key has no entry.
func IfAbsent() Condition { return ifExists(false) }

func ifExists(exists bool) Condition {
	return Condition{&pb.Precondition{Kind: &pb.Precondition_Exists{Exists: exists}}}
}

// IfVersion makes a write only if the entry has this version.
func IfVersion(version int64) Condition {
	return Condition{&pb.Precondition{Kind: &pb.Precondition_Version{Version: version}}}
}

func (c Condition) apply(write *Write) {
	if write.condition != nil {
		write.fault = invalidWrite("condition", "a write has one condition, and this one has two")
	}
	write.condition = c.message
}

// Expiry is when an entry expires: from then on it is absent.
type Expiry struct{ message *pb.Expiry }

// ExpiresIn lets an entry expire so long after the write, by the clock of the store.
func ExpiresIn(duration time.Duration) Expiry {
	return Expiry{&pb.Expiry{Kind: &pb.Expiry_ExpiresIn{ExpiresIn: durationpb.New(duration)}}}
}

// ExpiresAt lets an entry expire at this instant; one that has passed deletes the entry.
func ExpiresAt(instant time.Time) Expiry {
	return Expiry{&pb.Expiry{Kind: &pb.Expiry_ExpireTime{ExpireTime: timestamppb.New(instant)}}}
}

func (e Expiry) apply(write *Write) {
	if write.expiry != nil {
		write.fault = invalidWrite("expiry", "a write has one expiry, and this one has two")
	}
	write.expiry = e.message
}

type writeFlag func(write *Write)

func (f writeFlag) apply(write *Write) { f(write) }

// CreateIfAbsent has a Patch of an absent entry begin with an empty map; without it, it fails with
// ErrConditionFailed.
func CreateIfAbsent() WriteOption { return writeFlag(func(write *Write) { write.create = true }) }

// ReturnValue has Client.Patch return the new value.
func ReturnValue() WriteOption { return writeFlag(func(write *Write) { write.returnValue = true }) }

// FieldChange is one change of a Patch, made by Set, Increment, Append or Remove.
type FieldChange struct {
	path string
	kind changeKind
	// value is what is set or added; for an append a list.
	value any
}

type changeKind int

const (
	setChange changeKind = iota
	incrementChange
	appendChange
	removeChange
)

// Set stores a value in the member at a path, e.g. "geo.lat", and makes the maps on the way to it.
func Set(path string, value any) FieldChange { return FieldChange{path, setChange, value} }

// Increment adds a number to that in the member; a missing one is 0.
func Increment(path string, number any) FieldChange {
	return FieldChange{path, incrementChange, number}
}

// Append appends values to the list in the member; a missing one is empty.
func Append(path string, values ...any) FieldChange { return FieldChange{path, appendChange, values} }

// Remove removes the member, if there is one.
func Remove(path string) FieldChange { return FieldChange{path: path, kind: removeChange} }

// encode returns the message of a write; single writes take their parts from it.
func (w Write) encode() (*pb.BatchWriteRequest_Write, error) {
	key, err := ParseKey(string(w.key))
	if err != nil {
		return nil, err
	}
	if err := w.checkTerms(); err != nil {
		return nil, err
	}
	keyMessage := &pb.Key{Text: string(key)}
	message := &pb.BatchWriteRequest_Write{Condition: w.condition, Expiry: w.expiry}
	switch w.operation {
	case putOperation:
		value, err := toValue(w.value)
		if err != nil {
			return nil, err
		}
		if size := len(key) + proto.Size(value); size > EntryBytes {
			return nil, &Error{Reason: ErrLimitExceeded, Limit: "entry_bytes", Maximum: EntryBytes, Message: fmt.Sprintf(
				"an entry has at most %d bytes, and that of %s has %d", EntryBytes, key, size)}
		}
		message.Operation = &pb.BatchWriteRequest_Write_Put{Put: &pb.Entry{Key: keyMessage, Value: value}}
	case deleteOperation:
		message.Operation = &pb.BatchWriteRequest_Write_Delete{Delete: keyMessage}
	case patchOperation:
		changes, err := encodeChanges(w.changes)
		if err != nil {
			return nil, err
		}
		patch := &pb.Patch{Key: keyMessage, Changes: changes, Create: w.create}
		message.Operation = &pb.BatchWriteRequest_Write_Patch{Patch: patch}
	case touchOperation:
		message.Operation = &pb.BatchWriteRequest_Write_Touch{Touch: keyMessage}
	}
	return message, nil
}

func encodeChanges(changes []FieldChange) ([]*pb.FieldChange, error) {
	if err := checkPaths(changes); err != nil {
		return nil, err
	}
	messages := make([]*pb.FieldChange, len(changes))
	for place, change := range changes {
		value, err := toValue(change.value)
		if err != nil {
			return nil, err
		}
		message := &pb.FieldChange{FieldPath: change.path}
		switch change.kind {
		case setChange:
			message.Kind = &pb.FieldChange_Set{Set: value}
		case incrementChange:
			if !isNumber(value) {
				return nil, invalidWrite("changes", "%q can be incremented by a number, not %T", change.path, change.value)
			}
			message.Kind = &pb.FieldChange_Increment{Increment: value}
		case appendChange:
			message.Kind = &pb.FieldChange_Append{Append: value.GetListValue()}
		case removeChange:
			message.Kind = &pb.FieldChange_Remove_{Remove: &pb.FieldChange_Remove{}}
		}
		messages[place] = message
	}
	return messages, nil
}

func isNumber(value *pb.Value) bool {
	switch value.GetKind().(type) {
	case *pb.Value_Int64Value, *pb.Value_DoubleValue:
		return true
	}
	return false
}

// checkPaths says what is wrong with the paths of a patch: none must be that of another change or below it.
func checkPaths(changes []FieldChange) error {
	if len(changes) < 1 || len(changes) > PatchChanges {
		return invalidWrite("changes", "a patch has from 1 to %d changes, got %d", PatchChanges, len(changes))
	}
	changed := make(map[string]bool, len(changes))
	for place, change := range changes {
		if fault := fieldFault(change.path); fault != "" {
			return invalidWrite(fmt.Sprintf("changes[%d].field_path", place), "%s", fault)
		}
		if changed[change.path] {
			return invalidWrite("changes", "a patch changes %q twice", change.path)
		}
		changed[change.path] = true
	}
	for path := range changed {
		for at, character := range path {
			if character == '.' && changed[path[:at]] {
				return invalidWrite("changes", "a patch changes %q twice, the second time as %q", path[:at], path)
			}
		}
	}
	return nil
}

// checkTerms says what is wrong with the options of a write.
func (w Write) checkTerms() error {
	version, isVersion := w.condition.GetKind().(*pb.Precondition_Version)
	expiresIn, isRelative := w.expiry.GetKind().(*pb.Expiry_ExpiresIn)
	switch {
	case w.fault != nil:
		return w.fault
	case w.operation != patchOperation && w.create:
		return invalidWrite("create", "CreateIfAbsent is for a Patch")
	case w.operation != patchOperation && w.returnValue:
		return invalidWrite("include_value", "ReturnValue is for a Patch")
	case isVersion && version.Version < 1:
		return invalidWrite("condition.version", "a version is at least 1, got %d", version.Version)
	case w.expiry != nil && w.operation == deleteOperation:
		return invalidWrite("expiry", "a deleted entry cannot expire")
	case isRelative && expiresIn.ExpiresIn.AsDuration() <= 0:
		return invalidWrite("expiry.expires_in", "an entry can expire after a time above 0, got %v",
			expiresIn.ExpiresIn.AsDuration())
	case w.expiry.GetExpireTime().GetSeconds() > lastSecond:
		return invalidWrite("expiry.expire_time", "an entry can expire until the end of the year 9999")
	}
	return nil
}

func invalidWrite(field, format string, arguments ...any) error {
	return &Error{Reason: ErrInvalid, Message: fmt.Sprintf(format, arguments...), Field: field}
}

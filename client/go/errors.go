package datastore

import (
	"errors"
	"fmt"
	"time"
)

// Reason says what kind of error an Error is, as in the table of docs/protocol.md. It is an error itself, for
// errors.Is:
//
//	if errors.Is(err, datastore.ErrConditionFailed) { ... }
type Reason string

// The reasons. ErrInvalid also matches the ErrInvalid... ones, ErrUnavailable also ErrOverloaded, and ErrStore also
// the other errors of the storage.
const (
	ErrInvalid           Reason = "INVALID"
	ErrInvalidKey        Reason = "INVALID_KEY"
	ErrInvalidValue      Reason = "INVALID_VALUE"
	ErrInvalidQuery      Reason = "INVALID_QUERY"
	ErrInvalidToken      Reason = "INVALID_TOKEN"
	ErrUnsupportedType   Reason = "UNSUPPORTED_TYPE"
	ErrLimitExceeded     Reason = "LIMIT_EXCEEDED"
	ErrConditionFailed   Reason = "CONDITION_FAILED"
	ErrBatchAborted      Reason = "BATCH_ABORTED"
	ErrRequestForgotten  Reason = "REQUEST_FORGOTTEN"
	ErrChangesExpired    Reason = "CHANGES_EXPIRED"
	ErrQueryNotSupported Reason = "QUERY_NOT_SUPPORTED"
	ErrUnsupported       Reason = "UNSUPPORTED"
	ErrDeadlineExceeded  Reason = "DEADLINE_EXCEEDED"
	ErrUnavailable       Reason = "UNAVAILABLE"
	ErrOverloaded        Reason = "OVERLOADED"
	ErrUnauthenticated   Reason = "UNAUTHENTICATED"
	ErrPermissionDenied  Reason = "PERMISSION_DENIED"
	ErrWrongShard        Reason = "WRONG_SHARD"
	ErrPlacement         Reason = "PLACEMENT"
	ErrTruncatedStream   Reason = "TRUNCATED_STREAM"
	ErrClosed            Reason = "DATASTORE_CLOSED"
	ErrStore             Reason = "STORE"
	ErrStoreFull         Reason = "STORE_FULL"
	ErrStoreLocked       Reason = "STORE_LOCKED"
	ErrStoreFormat       Reason = "STORE_FORMAT"
	ErrCorruptData       Reason = "CORRUPT_DATA"
	ErrNoStores          Reason = "NO_STORES"
	ErrCursorRunning     Reason = "CURSOR_RUNNING"
	ErrCursorReuse       Reason = "CURSOR_REUSE"
	ErrCircularLink      Reason = "CIRCULAR_LINK"
	ErrConfig            Reason = "CONFIG"
	ErrInternal          Reason = "INTERNAL"
	ErrDatastore         Reason = "DATASTORE"
)

// broader has the reason that also matches errors of a reason; "" for most.
var broader = map[Reason]Reason{
	ErrInvalid: "", ErrInvalidKey: ErrInvalid, ErrInvalidValue: ErrInvalid, ErrInvalidQuery: ErrInvalid,
	ErrInvalidToken: ErrInvalid, ErrUnsupportedType: "", ErrLimitExceeded: "", ErrConditionFailed: "",
	ErrBatchAborted: "", ErrRequestForgotten: "", ErrChangesExpired: "", ErrQueryNotSupported: "", ErrUnsupported: "",
	ErrDeadlineExceeded: "", ErrUnavailable: "", ErrOverloaded: ErrUnavailable, ErrUnauthenticated: "",
	ErrPermissionDenied: "", ErrWrongShard: "", ErrPlacement: "", ErrTruncatedStream: "", ErrClosed: "", ErrStore: "",
	ErrStoreFull: ErrStore, ErrStoreLocked: ErrStore, ErrStoreFormat: ErrStore, ErrCorruptData: ErrStore,
	ErrNoStores: "", ErrCursorRunning: "", ErrCursorReuse: "", ErrCircularLink: "", ErrConfig: "", ErrInternal: "",
	ErrDatastore: "",
}

// Error makes a Reason an error.
func (r Reason) Error() string { return string(r) }

// Error is every error of this package, except that of a context that the caller canceled. Decide by its reason,
// with errors.Is; get the details with errors.As. Details that do not apply are zero.
type Error struct {
	Reason  Reason
	Message string // For people; may change.

	Shard     string // The shard that failed.
	Field     string // The field of the request, e.g. "query.filters[0].operator".
	Path      string // The part of a value, e.g. "value['a'][3]".
	Limit     string // The name of the limit that was exceeded, e.g. "batch_items".
	Maximum   int64  // The value of that limit.
	Version   int64  // The current version of an entry whose condition failed; 0 if it is absent.
	Index     int    // The position of the write that failed in an atomic batch.
	Owner     string // The shard that owns the key.
	Epoch     int64  // The placement epoch of the node that refused the key.
	Right     string // The right that the caller lacks.
	Incident  string // The id under which the server logged what happened.
	RequestID string // The id of the call in the server's log.

	// Retryable says whether the call may be repeated unchanged, after RetryAfter: nothing was done, or it was a
	// read.
	Retryable  bool
	RetryAfter time.Duration

	cause  error
	unsent bool // The call was not sent, because there was no connection.
}

// Error returns the message after the reason.
func (e *Error) Error() string {
	text := fmt.Sprintf("%s: %s", e.Reason, e.Message)
	if e.Shard != "" {
		text += fmt.Sprintf(" (shard %s)", e.Shard)
	}
	return text
}

// Is reports whether a Reason matches the error.
func (e *Error) Is(target error) bool {
	reason, ok := target.(Reason)
	return ok && (e.Reason == reason || broader[e.Reason] == reason && reason != "")
}

// Unwrap returns the error of gRPC or of the context that caused this one; nil if there is none.
func (e *Error) Unwrap() error { return e.cause }

// mayHaveBeenMade reports whether a write that ended with the error, because the way to its store failed, may have
// been made.
func mayHaveBeenMade(err error) bool {
	var failure *Error
	if !errors.As(err, &failure) || failure.Retryable || failure.unsent {
		return false
	}
	return errors.Is(failure, ErrUnavailable) || failure.Reason == ErrDeadlineExceeded
}

// mayRepeat reports whether a call that ended with the error may be repeated unchanged.
func mayRepeat(err error) bool {
	var failure *Error
	return errors.As(err, &failure) && failure.Retryable
}

func newError(reason Reason, format string, arguments ...any) *Error {
	return &Error{Reason: reason, Message: fmt.Sprintf(format, arguments...)}
}

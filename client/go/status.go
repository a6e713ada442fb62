package datastore

import (
	"errors"
	"strconv"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	rpc "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// domain is that of every ErrorInfo of a server.
const domain = "datastore"

// byCode has the reasons for statuses that do not come from our servers, but from gRPC or something in between.
// CANCELLED is how gRPC ends calls when a server stops; calls that their callers cancel do not get here.
var byCode = map[codes.Code]Reason{
	codes.InvalidArgument:   ErrInvalid,
	codes.OutOfRange:        ErrInvalid,
	codes.ResourceExhausted: ErrLimitExceeded,
	codes.Unauthenticated:   ErrUnauthenticated,
	codes.PermissionDenied:  ErrPermissionDenied,
	codes.Unimplemented:     ErrQueryNotSupported,
	codes.DeadlineExceeded:  ErrDeadlineExceeded,
	codes.Unavailable:       ErrUnavailable,
	codes.Canceled:          ErrUnavailable,
	codes.DataLoss:          ErrCorruptData,
	codes.Internal:          ErrInternal,
	codes.Unknown:           ErrInternal,
}

// statusError returns the error of a status, with all details. A status without an ErrorInfo of ours, or with an
// unknown reason, gets its reason by its code.
func statusError(message *rpc.Status) *Error {
	code := codes.Code(message.GetCode())
	failure := &Error{Message: message.GetMessage(), cause: status.ErrorProto(message)}
	for _, detail := range status.FromProto(message).Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			failure.note(detail)
		case *errdetails.RetryInfo:
			failure.Retryable, failure.RetryAfter = true, max(0, detail.GetRetryDelay().AsDuration())
		case *errdetails.RequestInfo:
			failure.RequestID = detail.GetRequestId()
		}
	}
	if failure.Reason == "" {
		failure.Reason = byCode[code]
		switch {
		case failure.Reason == "":
			failure.Reason, failure.Message = ErrDatastore, code.String()+": "+message.GetMessage()
		case code == codes.ResourceExhausted && failure.Retryable:
			failure.Reason = ErrOverloaded
		}
	}
	if !errors.Is(failure, ErrUnavailable) {
		// Only these may be repeated.
		failure.Retryable, failure.RetryAfter = false, 0
	}
	return failure
}

// serverError is statusError for what a server answered to a call: a store that it closed was not closed by the
// caller.
func serverError(message *rpc.Status) *Error {
	failure := statusError(message)
	if failure.Reason == ErrClosed {
		failure.Reason = ErrUnavailable
	}
	return failure
}

// note takes the reason and the details of an ErrorInfo.
func (e *Error) note(info *errdetails.ErrorInfo) {
	if info.GetDomain() != domain {
		return
	}
	reason := Reason(info.GetReason())
	if _, known := broader[reason]; known {
		e.Reason = reason
	}
	details := info.GetMetadata()
	number := func(name string) int64 {
		value, _ := strconv.ParseInt(details[name], 10, 64)
		return value
	}
	e.Shard, e.Field, e.Path, e.Limit = details["shard"], details["field"], details["path"], details["limit"]
	e.Owner, e.Right, e.Incident = details["owner"], details["right"], details["incident"]
	e.Maximum, e.Version, e.Index, e.Epoch = number("maximum"), number("version"), int(number("index")), number("epoch")
}

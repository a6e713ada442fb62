package datastore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// plainWords has gRPC's and Go's connection errors, by a part of their text, in words that do not require knowledge
// of either.
var plainWords = []struct{ part, words string }{
	{"connection refused", "connection refused"},
	{"no such host", "no such host"},
	{"no route to host", "no route to that host"},
	{"network is unreachable", "network unreachable"},
	{"first record does not look like a TLS handshake", "it does not use TLS; without it, leave out grpcs:// and TLS"},
	{"certificate has expired", "its certificate has expired, or is not valid yet; do the clocks agree?"},
	{"certificate is valid for", "its certificate is for another host"},
	{"doesn't contain any IP SANs", "its certificate is for another host"},
	{"is not valid for any names", "its certificate is for another host"},
	{"signed by unknown authority", "its certificate is not of an authority that is trusted here; LoadTLS takes a ca"},
	{"failed to verify certificate", "its certificate is not valid"},
	{"remote error: tls:", "it ended the TLS handshake; it may demand a certificate of an authority that it trusts"},
	{"certificate required", "it demands a certificate, cert and key"},
	{"error reading server preface: EOF", "it closed the connection; with TLS its address begins with grpcs://"},
	{"error reading server preface: http2: frame too large", "it does not speak gRPC; with TLS its address begins with" +
		" grpcs://"},
	{"error reading server preface: read tcp", "it closed the connection; with TLS its address begins with grpcs://"},
	{"i/o timeout", "it accepts connections but does not respond"},
	{"context deadline exceeded", "it accepts connections but does not respond"},
	{"RST_STREAM", "it ended the call"},
	{"keepalive ping failed", "connection lost"},
	{"connection reset", "connection lost"},
	{"broken pipe", "connection lost"},
	{"EOF", "connection lost"},
}

func plainly(text string) string {
	for _, known := range plainWords {
		if strings.Contains(text, known.part) {
			return known.words
		}
	}
	return text
}

// failedCall is what is known about a call that failed.
type failedCall struct {
	server string
	limit  time.Duration
	// sent says whether there was a connection to send it on.
	sent bool
	// fromServer says whether the status is the server's, and not gRPC's.
	fromServer bool
}

// callError returns the error of a call that ended with an error of gRPC. The text of an error that the server
// answered with is the server's; that of any other one names the server.
func callError(ctx context.Context, err error, call *failedCall) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return canceled(ctx, call.server)
	}
	state := status.Convert(err)
	failure := serverError(state.Proto())
	failure.cause = err
	if call.fromServer = len(state.Proto().GetDetails()) > 0; call.fromServer {
		return failure
	}
	if strings.Contains(state.Message(), "RST_STREAM") && failure.Reason != ErrDeadlineExceeded {
		failure.Reason = ErrUnavailable
	}
	switch {
	case failure.Reason == ErrUnavailable && call.sent:
		failure.Message = fmt.Sprintf("a call to %s was cut off (%s)", call.server, plainly(state.Message()))
	case failure.Reason == ErrUnavailable:
		failure.unsent = true
		failure.Message = fmt.Sprintf("cannot connect to %s (%s)", call.server, plainly(state.Message()))
	case failure.Reason == ErrDeadlineExceeded:
		failure.cause = context.DeadlineExceeded
		failure.Message = fmt.Sprintf("the call to %s did not finish within %v", call.server, call.limit)
	case state.Code() == codes.Unimplemented:
		failure.Message = fmt.Sprintf("%s speaks another version of the protocol than datastore.v1, or is not a datastore"+
			" (%s)", call.server, state.Message())
	default:
		failure.Message = fmt.Sprintf("%s: %s", call.server, failure.Message)
	}
	return failure
}

// canceled returns the error of a call that the caller canceled, or the client for a reason of its own.
func canceled(ctx context.Context, server string) error {
	var failure *Error
	if errors.As(context.Cause(ctx), &failure) {
		return failure
	}
	return fmt.Errorf("datastore: the call to %s was canceled: %w", server, context.Cause(ctx))
}

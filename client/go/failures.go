package datastore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// known is a part of an error's text, and what it means in words that do not require knowledge of gRPC or Go.
type known struct{ part, words string }

// unconnected has errors of connections that were not made, the general ones last.
var unconnected = []known{
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
	{"remote error: tls:", endedTLS},
	{"i/o timeout", "it accepts connections but does not respond"},
	{"context deadline exceeded", "it accepts connections but does not respond"},
}

// cutOff has errors of calls that had been sent.
var cutOff = []known{
	{"RST_STREAM", "it ended the call"},
	{"without sending trailers", "it ended the call without its status"},
	{"keepalive ping failed", "connection lost"},
	{"connection reset", "connection lost"},
	{"broken pipe", "connection lost"},
	{"EOF", "connection lost"},
}

// unreadable has errors of gRPC for answers that are not what they should be.
var unreadable = []string{
	"failed to unmarshal", "failed to decompress", "Decompressor is not installed", "compressed flag set",
	"cardinality violation", "unexpected EOF",
}

const (
	// A server does not say why it closes a connection before the first call, and often not why it ends TLS.
	endedTLS   = "it ended the TLS handshake; it may demand a certificate, cert and key, of an authority that it trusts"
	endedPlain = "it closed the connection; with TLS its address begins with grpcs://"
)

// plainly returns what an error's text means; all of the text if that is not known.
func plainly(text string, meanings []known) string {
	for _, known := range meanings {
		if strings.Contains(text, known.part) {
			return known.words
		}
	}
	return text
}

// whyUnconnected returns why there is no connection to a server.
func whyUnconnected(text string, usesTLS bool) string {
	ended := endedPlain
	if usesTLS {
		ended = endedTLS
	}
	text = plainly(text, unconnected)
	for _, part := range []string{"EOF", "connection reset", "broken pipe", "http2: frame too large"} {
		if strings.Contains(text, part) {
			return ended
		}
	}
	return text
}

// garbled returns the reason of a status whose code does not tell it: the stream was cut off, or an answer cannot be
// read; "" for all others.
func garbled(state *status.Status) Reason {
	contains := func(part string) bool { return strings.Contains(state.Message(), part) }
	switch {
	case state.Code() == codes.DeadlineExceeded:
		return ""
	case contains("RST_STREAM"), contains("without sending trailers"):
		return ErrUnavailable
	case state.Code() != codes.Internal && state.Code() != codes.Unimplemented:
		return ""
	case slices.ContainsFunc(unreadable, contains):
		return ErrCorruptData
	}
	return ""
}

// lostCall is a call that gRPC ended, not the server.
type lostCall struct {
	server  string
	usesTLS bool
	limit   time.Duration
	// sent says whether there was a connection to send it on.
	sent bool
}

// failure returns the error of a call that ended with a status of gRPC itself; it names the server.
func (c lostCall) failure(state *status.Status) *Error {
	failure := statusError(state.Proto())
	failure.cause, failure.unsent = state.Err(), !c.sent
	if reason := garbled(state); reason != "" {
		failure.Reason = reason
	}
	switch {
	case failure.Reason == ErrUnavailable && c.sent:
		failure.Message = fmt.Sprintf("a call to %s was cut off (%s)", c.server, plainly(state.Message(), cutOff))
	case failure.Reason == ErrUnavailable:
		why := whyUnconnected(state.Message(), c.usesTLS)
		failure.Message = fmt.Sprintf("cannot connect to %s (%s)", c.server, why)
	case failure.Reason == ErrDeadlineExceeded:
		failure.cause, failure.Message = context.DeadlineExceeded, late(c.server, c.limit).Message
	case failure.Reason == ErrCorruptData:
		failure.Message = fmt.Sprintf("an answer of %s cannot be read (%s)", c.server, state.Message())
	case state.Code() == codes.Unimplemented:
		failure.Message = fmt.Sprintf("%s speaks another version of the protocol than datastore.v1, or is not a datastore"+
			" (%s)", c.server, state.Message())
	default:
		failure.Message = fmt.Sprintf("%s: %s", c.server, failure.Message)
	}
	return failure
}

// late returns the error of a call that was sent and not answered within a time; 0 if it had none of its own.
func late(server string, limit time.Duration) *Error {
	within := "in time"
	if limit > 0 {
		within = fmt.Sprintf("within %v", limit)
	}
	failure := newError(ErrDeadlineExceeded, "the call to %s did not finish %s", server, within)
	failure.cause = context.DeadlineExceeded
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

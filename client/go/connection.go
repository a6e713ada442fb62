package datastore

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	pb "github.com/datastore/datastore-grpc/client/go/gen/datastorev1"
)

// connection calls one server, of several whose addresses are tried in turn. Unary calls and streams have a channel
// each, so that a call never waits behind unread results.
type connection struct {
	server  string // As errors name it.
	options options

	callChannel, streamChannel *grpc.ClientConn
	calls, streams             pb.DatastoreServiceClient
	callSlots, streamSlots     *slots
	link                       link

	closing sync.Once
	closed  chan struct{}
}

func newConnection(addresses []string, o options) (*connection, error) {
	closed := make(chan struct{})
	c := &connection{
		server:      strings.Join(addresses, ", "),
		options:     o,
		callSlots:   newSlots(callsAtOnce, closed),
		streamSlots: newSlots(streamsAtOnce, closed),
		closed:      closed,
	}
	var err error
	if c.callChannel, err = dial(addresses, o); err == nil {
		c.streamChannel, err = dial(addresses, o, grpc.WithStaticStreamWindowSize(streamWindow),
			grpc.WithStaticConnWindowSize(connectionWindow))
	}
	if err != nil {
		return nil, configError("%s: %v", c.server, err)
	}
	c.calls, c.streams = pb.NewDatastoreServiceClient(c.callChannel), pb.NewDatastoreServiceClient(c.streamChannel)
	return c, nil
}

// close ends everything; it may be repeated.
func (c *connection) close() (err error) {
	c.closing.Do(func() {
		close(c.closed)
		err = errors.Join(c.callChannel.Close(), c.streamChannel.Close())
	})
	return err
}

// unaryMethod is a method of the generated client.
type unaryMethod[Request, Response any] func(context.Context, *Request, ...grpc.CallOption) (*Response, error)

// callTerms say how a unary call may be repeated.
type callTerms struct {
	isRead bool
	// mayFollow says whether an attempt may follow one that ended with an error. It is told of every failed attempt.
	mayFollow func(error) bool
}

// read makes a call that changes nothing.
func read[Request, Response any](
	ctx context.Context, c *connection, method unaryMethod[Request, Response], request *Request,
) (*Response, error) {
	return unary(ctx, c, method, func() *Request { return request }, callTerms{isRead: true, mayFollow: mayRepeat})
}

// unary makes a call, whose request is made anew for each attempt, and repeats it as its terms allow. The deadline
// covers all attempts and the waits between them.
func unary[Request, Response any](
	ctx context.Context, c *connection, method unaryMethod[Request, Response], request func() *Request, terms callTerms,
) (*Response, error) {
	ctx, cancel := withTimeout(ctx, c.options.timeout)
	defer cancel()
	limit := timeLeft(ctx)
	var patience patience
	for {
		response, err := once(ctx, c, method, request, limit, terms.isRead)
		if err == nil {
			return response, nil
		}
		if !terms.mayFollow(err) || !c.options.retry {
			return nil, err
		}
		if err := c.pause(ctx, &patience, err); err != nil {
			return nil, err
		}
	}
}

// once makes one attempt of a call.
func once[Request, Response any](
	ctx context.Context, c *connection, method unaryMethod[Request, Response], request func() *Request,
	limit time.Duration, isRead bool,
) (*Response, error) {
	if err := c.take(ctx, c.callSlots, limit); err != nil {
		return nil, err
	}
	defer c.callSlots.release()
	var server peer.Peer
	response, err := method(ctx, request(), grpc.Peer(&server))
	if err != nil {
		return nil, c.failure(ctx, err, limit, server.Addr != nil, isRead)
	}
	c.link.up()
	return response, nil
}

// pause waits before another attempt may follow one that ended with an error. It returns the error to give up with:
// that one, if the time is up.
func (c *connection) pause(ctx context.Context, patience *patience, err error) error {
	deadline, _ := ctx.Deadline()
	wait, again := patience.next(time.Now(), deadline, err)
	if !again {
		return err
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-c.closed:
		return c.closedError()
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return err
		}
		return canceled(ctx, c.server)
	}
}

// take waits for a slot; the caller releases it.
func (c *connection) take(ctx context.Context, slots *slots, limit time.Duration) error {
	if c.isClosed() {
		return c.closedError()
	}
	if err := slots.take(ctx); err != nil {
		return c.unsent(ctx, err, limit)
	}
	if c.isClosed() {
		slots.release()
		return c.closedError()
	}
	return nil
}

// unsent returns the error of a call that was not sent, because of others: errFull, errClosed or that of the context.
func (c *connection) unsent(ctx context.Context, err error, limit time.Duration) error {
	switch {
	case errors.Is(err, errClosed):
		return c.closedError()
	case errors.Is(err, errFull):
		failure := newError(ErrOverloaded, "%d calls to %s are already waiting, the limit of one client; make fewer"+
			" concurrent calls", waitingCalls, c.server)
		failure.Retryable, failure.RetryAfter = true, retryDelay
		return failure
	case errors.Is(err, context.DeadlineExceeded):
		failure := newError(ErrDeadlineExceeded, "the call was not sent to %s within %v: too many other calls of this"+
			" client were in progress", c.server, limit)
		failure.cause, failure.unsent = err, true
		return failure
	}
	return canceled(ctx, c.server)
}

// unanswered returns the error of a call that was sent, when its context ended.
func (c *connection) unanswered(ctx context.Context, limit time.Duration) error {
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return canceled(ctx, c.server)
	}
	return late(c.server, limit)
}

// failure returns the error of an attempt that failed. One that did not reach a server that is expected back may be
// repeated, and so may a read that was cut off.
func (c *connection) failure(ctx context.Context, err error, limit time.Duration, sent, isRead bool) error {
	switch {
	case c.isClosed():
		return c.closedError()
	case errors.Is(ctx.Err(), context.Canceled):
		return canceled(ctx, c.server)
	}
	state := status.Convert(err)
	if len(state.Proto().GetDetails()) > 0 {
		c.link.up()
		return serverError(state.Proto())
	}
	failure := lostCall{server: c.server, usesTLS: c.options.tls != nil, limit: limit, sent: sent}.failure(state)
	if failure.Reason == ErrUnavailable && c.link.down(time.Now(), sent) && (isRead || !sent) {
		failure.Retryable, failure.RetryAfter = true, retryDelay
	}
	return failure
}

func (c *connection) isClosed() bool {
	select {
	case <-c.closed:
		return true
	default:
		return false
	}
}

func (c *connection) closedError() error {
	return newError(ErrClosed, "the client of %s was closed", c.server)
}

// withTimeout gives a context without a deadline one.
func withTimeout(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	if _, has := ctx.Deadline(); has {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, timeout)
}

// timeLeft returns the time until the deadline of a context, for errors; 0 if it has none.
func timeLeft(ctx context.Context) time.Duration {
	deadline, limited := ctx.Deadline()
	if !limited {
		return 0
	}
	return time.Until(deadline).Round(time.Millisecond)
}

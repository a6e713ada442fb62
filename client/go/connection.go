package datastore

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"

	pb "github.com/datastore/datastore-grpc/client/go/gen/datastorev1"
)

const (
	// messageBytes is the size of the largest message from a server.
	messageBytes = 4 << 20
	// streamWindow is how many bytes a server may send ahead of the reader of a stream. A message that the reader
	// waits for arrives whole all the same; without a fixed window gRPC lets it grow to megabytes.
	streamWindow = 64 << 10
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
		c.streamChannel, err = dial(addresses, o, grpc.WithInitialWindowSize(streamWindow))
	}
	if err != nil {
		return nil, configError("%s: %v", c.server, err)
	}
	c.calls, c.streams = pb.NewDatastoreServiceClient(c.callChannel), pb.NewDatastoreServiceClient(c.streamChannel)
	return c, nil
}

// dial returns a channel to the first of the servers that can be reached. It connects with the first call.
func dial(addresses []string, o options, more ...grpc.DialOption) (*grpc.ClientConn, error) {
	servers := manual.NewBuilderWithScheme("datastore")
	state := resolver.State{}
	for _, address := range addresses {
		host, _, _ := net.SplitHostPort(address)
		state.Addresses = append(state.Addresses, resolver.Address{Addr: address, ServerName: host})
	}
	servers.InitialState(state)
	transport := insecure.NewCredentials()
	if o.tls != nil {
		transport = credentials.NewTLS(o.tls)
	}
	settings := []grpc.DialOption{
		grpc.WithResolvers(servers),
		grpc.WithTransportCredentials(transport),
		// Proxies are for the web; calls, even those to this machine, would go through them.
		grpc.WithNoProxy(),
		// Retries are decided here, with what the errors say.
		grpc.WithDisableRetry(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(messageBytes)),
		// Servers allow a ping every 10 s. A connection that died silently is noticed within 20 s.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 12 * time.Second, Timeout: 5 * time.Second}),
		grpc.WithConnectParams(grpc.ConnectParams{
			// A server that is back is found within a second.
			Backoff: backoff.Config{
				BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second,
			},
			// The limit for a server that accepts connections but does not respond, e.g. a suspended process.
			MinConnectTimeout: 5 * time.Second,
		}),
	}
	if o.token != "" {
		settings = append(settings, grpc.WithPerRPCCredentials(bearer(o.token)))
	}
	return grpc.NewClient("datastore:///"+addresses[0], append(settings, more...)...)
}

// bearer sends a token with each call.
type bearer string

// GetRequestMetadata returns the metadata of a call.
func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(b)}, nil
}

// RequireTransportSecurity returns false: the settings were checked when the client connected.
func (b bearer) RequireTransportSecurity() bool { return false }

func (c *connection) close() error {
	c.closing.Do(func() { close(c.closed) })
	return errors.Join(c.callChannel.Close(), c.streamChannel.Close())
}

// callTerms say how a unary call may be repeated.
type callTerms struct {
	isRead bool
	// mayFollow says whether an attempt may follow one that ended with an error. It is told of every failed attempt.
	mayFollow func(error) bool
}

// read makes a call that changes nothing.
func read[Request, Response any](
	ctx context.Context, c *connection, method func(context.Context, *Request, ...grpc.CallOption) (*Response, error),
	request *Request,
) (response *Response, err error) {
	return unary(ctx, c, method, func() *Request { return request }, callTerms{isRead: true, mayFollow: mayRepeat})
}

// unary makes a call, whose request is made anew for each attempt, and repeats it as its terms allow. The deadline
// covers all attempts and the waits between them.
func unary[Request, Response any](
	ctx context.Context, c *connection, method func(context.Context, *Request, ...grpc.CallOption) (*Response, error),
	request func() *Request, terms callTerms,
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
	ctx context.Context, c *connection, method func(context.Context, *Request, ...grpc.CallOption) (*Response, error),
	request func() *Request, limit time.Duration, isRead bool,
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

// pause waits before another attempt may follow one that ended with an error. It returns the error to give up with.
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
		return canceled(ctx, c.server)
	}
}

// take waits for a slot; the caller releases it.
func (c *connection) take(ctx context.Context, slots *slots, limit time.Duration) error {
	if c.isClosed() {
		return c.closedError()
	}
	err := slots.take(ctx)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errClosed):
		return c.closedError()
	case errors.Is(err, errFull):
		failure := newError(ErrOverloaded, "%d calls to %s are already waiting, the limit of one client; make fewer"+
			" concurrent calls", waitingCalls, c.server)
		failure.Retryable, failure.RetryAfter = true, retryDelay
		return failure
	case errors.Is(err, context.DeadlineExceeded):
		failure := newError(ErrDeadlineExceeded, "the call was not sent to %s within %v: %d other calls of this client"+
			" were in progress", c.server, limit, cap(slots.taken))
		failure.cause, failure.unsent = err, true
		return failure
	}
	return canceled(ctx, c.server)
}

// failure returns the error of an attempt that failed. One that did not reach a server that is expected back may be
// repeated, and so may a read that was cut off.
func (c *connection) failure(ctx context.Context, err error, limit time.Duration, sent, isRead bool) error {
	if c.isClosed() {
		return c.closedError()
	}
	call := &failedCall{server: c.server, usesTLS: c.options.tls != nil, limit: limit, sent: sent}
	result := callError(ctx, err, call)
	failure, ok := result.(*Error)
	if !ok {
		return result
	}
	switch {
	case call.fromServer:
		c.link.up()
	case failure.Reason == ErrUnavailable:
		if c.link.down(time.Now(), sent) && (isRead || !sent) {
			failure.Retryable, failure.RetryAfter = true, retryDelay
		}
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

// stream is one call whose messages are received one by one. It must be closed.
type stream[Response any] struct {
	connection *connection
	ctx        context.Context
	cancel     context.CancelFunc
	received   grpc.ServerStreamingClient[Response]
	server     *peer.Peer
	limit      time.Duration
}

// open begins a stream.
func open[Request, Response any](
	ctx context.Context, c *connection,
	method func(context.Context, *Request, ...grpc.CallOption) (grpc.ServerStreamingClient[Response], error),
	request *Request,
) (*stream[Response], error) {
	limit := timeLeft(ctx)
	if err := c.take(ctx, c.streamSlots, limit); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	s := &stream[Response]{connection: c, ctx: ctx, cancel: cancel, server: new(peer.Peer), limit: limit}
	context.AfterFunc(ctx, c.streamSlots.release)
	var err error
	if s.received, err = method(ctx, request, grpc.Peer(s.server)); err != nil {
		err = s.failure(err)
		s.close()
		return nil, err
	}
	return s, nil
}

// receive returns the next message; io.EOF at the end.
func (s *stream[Response]) receive() (*Response, error) {
	response, err := s.received.Recv()
	if err != nil {
		return nil, s.failure(err)
	}
	s.connection.link.up()
	return response, nil
}

func (s *stream[Response]) failure(err error) error {
	if errors.Is(err, io.EOF) {
		return err
	}
	return s.connection.failure(s.ctx, err, s.limit, s.server.Addr != nil, true)
}

// close ends the call, and releases its slot; it may be repeated.
func (s *stream[Response]) close() { s.cancel() }

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

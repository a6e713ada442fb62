package datastore

import (
	"context"
	"errors"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/peer"
)

// stream is one call whose messages are received one by one. It must be closed.
type stream[Response any] struct {
	connection *connection
	ctx        context.Context
	cancel     context.CancelFunc
	received   grpc.ServerStreamingClient[Response]
	server     *peer.Peer
	limit      time.Duration
}

// streamMethod is a streaming method of the generated client.
type streamMethod[Request, Response any] func(
	context.Context, *Request, ...grpc.CallOption,
) (grpc.ServerStreamingClient[Response], error)

// open begins a stream. The limit is the time that its reader has given it, for errors.
func open[Request, Response any](
	ctx context.Context, c *connection, method streamMethod[Request, Response], request *Request, limit time.Duration,
) (*stream[Response], error) {
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

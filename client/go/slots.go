package datastore

import (
	"context"
	"errors"
	"sync/atomic"
)

const (
	// callsAtOnce is how many unary calls of one client run at once: enough to keep a server busy; more would only
	// queue there.
	callsAtOnce = 100
	// streamsAtOnce is how many streams of one client are open at once: what servers allow on one connection.
	streamsAtOnce = 1000
	// waitingCalls is how many calls of one client wait for others; the next one is refused.
	waitingCalls = 10_000
)

// slots let some calls run at once; others wait, first come, first served.
type slots struct {
	taken   chan struct{}
	waiting atomic.Int64
	closed  <-chan struct{}
}

func newSlots(atOnce int, closed <-chan struct{}) *slots {
	return &slots{taken: make(chan struct{}, atOnce), closed: closed}
}

var (
	errFull   = errors.New("too many calls are waiting")
	errClosed = errors.New("the client was closed")
)

// take waits for a slot. Its errors are errFull, errClosed and that of the context.
func (s *slots) take(ctx context.Context) error {
	select {
	case s.taken <- struct{}{}:
		return nil
	default:
	}
	if s.waiting.Add(1) > waitingCalls {
		s.waiting.Add(-1)
		return errFull
	}
	defer s.waiting.Add(-1)
	// Goroutines that wait for a channel are woken in the order in which they came.
	select {
	case s.taken <- struct{}{}:
		return nil
	case <-s.closed:
		return errClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *slots) release() { <-s.taken }

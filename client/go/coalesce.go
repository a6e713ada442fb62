package datastore

import (
	"context"
	"errors"
	"sync"
	"time"
)

const (
	// messagesAtOnce is how many messages with gets are in flight before further gets wait to be sent together.
	messagesAtOnce = 2
	// coalescedGets is how many gets one message has at most: they are answered together.
	coalescedGets = 256
	// hurry is how long a get waits for an answer to others before it is sent beside them: they may be for a shard
	// that has stopped.
	hurry = 50 * time.Millisecond
)

// gathering sends gets together that are made while others are in flight. One that finds few others is sent at once.
type gathering struct {
	// read returns the results of keys, in their order.
	read func(context.Context, []Key) []ReadResult

	mutex    sync.Mutex
	inFlight int
	waiting  []*gatheredGet
}

// gatheredGet is a get whose caller waits for its result, as long as its context allows.
type gatheredGet struct {
	ctx    context.Context
	key    Key
	result chan ReadResult
	// sent is the message that it was sent in; nil before.
	sent *gatheredMessage
}

// gatheredMessage is a message with gets, which ends early when no caller waits for it any more.
type gatheredMessage struct {
	gets    []*gatheredGet
	waiting int
	cancel  context.CancelFunc
}

// errUnanswered is the error of a get that was sent, when its context ended.
var errUnanswered = errors.New("the message has no answer yet")

// get returns the result of one key. Its errors are errFull, errUnanswered, and that of the context, which has a
// deadline, if it was not sent.
func (g *gathering) get(ctx context.Context, key Key) (ReadResult, error) {
	asked := &gatheredGet{ctx: ctx, key: key, result: make(chan ReadResult, 1)}
	if !g.join(asked) {
		return ReadResult{}, errFull
	}
	impatient := time.NewTimer(hurry)
	defer impatient.Stop()
	for {
		select {
		case result := <-asked.result:
			return result, nil
		case <-impatient.C:
			g.mutex.Lock()
			g.send()
			g.mutex.Unlock()
		case <-ctx.Done():
			return ReadResult{}, g.leave(asked)
		}
	}
}

// join adds a get to those that wait, and sends them unless there are enough in flight; false if too many wait.
func (g *gathering) join(asked *gatheredGet) bool {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	if len(g.waiting) >= waitingCalls {
		return false
	}
	g.waiting = append(g.waiting, asked)
	if g.inFlight < messagesAtOnce {
		g.send()
	}
	return true
}

// leave notes that the caller of a get has gone, and returns its error.
func (g *gathering) leave(asked *gatheredGet) error {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	if asked.sent == nil {
		return asked.ctx.Err()
	}
	if asked.sent.waiting--; asked.sent.waiting == 0 {
		asked.sent.cancel()
	}
	return errUnanswered
}

// send makes a message of the gets that wait, but not of those whose callers have left. The mutex is held.
func (g *gathering) send() {
	var together []*gatheredGet
	for len(g.waiting) > 0 && len(together) < coalescedGets {
		if asked := g.waiting[0]; asked.ctx.Err() == nil {
			together = append(together, asked)
		}
		g.waiting = g.waiting[1:]
	}
	if len(together) > 0 {
		g.inFlight++
		g.exchange(together)
	}
}

// exchange begins the call for gets, which gives each its result. It has the latest of their deadlines.
func (g *gathering) exchange(together []*gatheredGet) {
	message := &gatheredMessage{gets: together, waiting: len(together)}
	var latest time.Time
	for _, asked := range together {
		asked.sent = message
		if deadline, _ := asked.ctx.Deadline(); deadline.After(latest) {
			latest = deadline
		}
	}
	ctx, cancel := context.WithDeadline(context.Background(), latest)
	message.cancel = cancel
	go g.call(ctx, message)
}

// call makes the call of a message, and then sends what waits.
func (g *gathering) call(ctx context.Context, message *gatheredMessage) {
	defer message.cancel()
	keys := make([]Key, len(message.gets))
	for place, asked := range message.gets {
		keys[place] = asked.key
	}
	for place, result := range g.read(ctx, keys) {
		message.gets[place].result <- result
	}
	g.mutex.Lock()
	defer g.mutex.Unlock()
	g.inFlight--
	if g.inFlight < messagesAtOnce {
		g.send()
	}
}

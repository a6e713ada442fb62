package datastore

import (
	"context"
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
}

// get returns the result of one key. Its errors are errFull and that of the context, which has a deadline.
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
			return ReadResult{}, ctx.Err()
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
		go g.exchange(together)
	}
}

// exchange makes the call for gets, and gives each its result. It has the latest of their deadlines.
func (g *gathering) exchange(together []*gatheredGet) {
	keys := make([]Key, len(together))
	var latest time.Time
	for place, asked := range together {
		keys[place] = asked.key
		if deadline, _ := asked.ctx.Deadline(); deadline.After(latest) {
			latest = deadline
		}
	}
	ctx, cancel := context.WithDeadline(context.Background(), latest)
	defer cancel()
	for place, result := range g.read(ctx, keys) {
		together[place].result <- result
	}
	g.mutex.Lock()
	defer g.mutex.Unlock()
	g.inFlight--
	if g.inFlight < messagesAtOnce {
		g.send()
	}
}

package datastore

import (
	"bytes"
	"context"
	"errors"
	"io"
	"iter"
	"strings"
	"time"

	pb "github.com/datastore/datastore-grpc/client/go/gen/datastorev1"
)

// Summary says how the results of a query ended.
type Summary struct {
	Reason EndReason
	// Entries is how many entries the query returned, over all calls that it took.
	Entries int64
	// Shards is what each shard contributed to the last of these calls; empty without shards.
	Shards []ShardSummary
	// Explanation says how the query was evaluated, if the query asked for it.
	Explanation *pb.Explanation
}

// EndReason is why the results of a query ended.
type EndReason string

// The reasons why results end: there are no more, the limit was reached, or shards could not be reached that
// AllowPartial lets be left out.
const (
	Exhausted    EndReason = "EXHAUSTED"
	LimitReached EndReason = "LIMIT"
	Partial      EndReason = "PARTIAL"
)

// ShardSummary is one shard's part of a query.
type ShardSummary struct {
	Shard   string
	Entries int64
	// Err is why the shard could not be reached; nil if it could.
	Err error
}

// Unreachable returns the names of the shards that are missing from the results.
func (s *Summary) Unreachable() []string {
	var names []string
	for _, shard := range s.Shards {
		if shard.Err != nil {
			names = append(names, shard.Shard)
		}
	}
	return names
}

// Cursor reads the results of a query, once. It is not safe for several goroutines, except for Close. It must be read
// or closed.
type Cursor struct {
	client  *Client
	ctx     context.Context
	cancel  context.CancelFunc
	query   Query
	request *pb.QueryRequest

	isUsed   bool
	limit    time.Duration
	patience patience
	// lateAt is the token at the last end by the server's time limit; nil before one.
	lateAt  []byte
	entries int64
	summary *Summary
}

// Query returns a cursor over the entries that a query selects. Nothing is sent until it is read.
//
// A stream that is cut off is continued where it was: of entries that exist throughout and do not move in the order
// of the query, each is returned exactly once. Results are never silently incomplete: if they end without their
// summary, the last error is not nil.
func (c *Client) Query(ctx context.Context, query Query) *Cursor {
	ctx, cancel := context.WithCancel(ctx)
	return &Cursor{client: c, ctx: ctx, cancel: cancel, query: query}
}

// All returns the entries, in their order. An error is the last pair. Leaving the loop early ends the call.
func (c *Cursor) All() iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		defer c.cancel()
		if err := c.begin(); err != nil {
			yield(Entry{}, err)
			return
		}
		var cancel context.CancelFunc
		c.ctx, cancel = withTimeout(c.ctx, c.client.connection.options.streamTimeout)
		defer cancel()
		c.limit = timeLeft(c.ctx)
		for {
			err := c.readStream(yield)
			if err == nil {
				return
			}
			if err := c.pause(err); err != nil {
				yield(Entry{}, err)
				return
			}
		}
	}
}

// Summary returns how the results ended; nil before that.
func (c *Cursor) Summary() *Summary { return c.summary }

// Close ends the reading, from any goroutine: a loop over All gets the error of a canceled context. A loop that ends,
// or is left, has closed the cursor itself.
func (c *Cursor) Close() { c.cancel() }

// begin prepares the request.
func (c *Cursor) begin() error {
	if c.isUsed {
		return newError(ErrCursorReuse, "a cursor can be read once; call Query again")
	}
	c.isUsed = true
	query, err := c.query.encode()
	if err != nil {
		return err
	}
	c.request = &pb.QueryRequest{Query: query, AllowPartial: c.query.allowPartial, Explain: c.query.explain}
	return nil
}

// readStream passes on the entries of one call, up to the summary or until the reader leaves.
func (c *Cursor) readStream(yield func(Entry, error) bool) error {
	connection := c.client.connection
	stream, err := open(c.ctx, connection, connection.streams.Query, c.request, c.limit)
	if err != nil {
		return err
	}
	defer stream.close()
	received := int64(0)
	for {
		response, err := stream.receive()
		if errors.Is(err, io.EOF) {
			return newError(ErrTruncatedStream, "the results from %s ended without their summary", connection.server)
		}
		if err != nil {
			return err
		}
		c.patience.progress()
		c.note(response)
		received += int64(len(response.GetEntries()))
		summary := response.GetSummary()
		if summary != nil && summary.GetEntries() != received {
			return newError(ErrTruncatedStream, "%s sent %d results, but %d arrived", connection.server,
				summary.GetEntries(), received)
		}
		goesOn, err := c.passOn(response, yield)
		if err != nil || !goesOn {
			return err
		}
		if summary != nil {
			c.summary = c.summaryOf(summary)
			return nil
		}
	}
}

// passOn gives the reader the entries of a message, and reports whether it wants more.
func (c *Cursor) passOn(response *pb.QueryResponse, yield func(Entry, error) bool) (bool, error) {
	messages := response.GetEntries()
	for place, message := range messages {
		isWhole := response.GetNeedsLastEntry() && place == len(messages)-1
		entry, err := c.query.result(message, isWhole)
		if err != nil {
			return false, err
		}
		c.entries++
		if !yield(entry, nil) {
			return false, nil
		}
	}
	return true, nil
}

// pause waits before the next call after one that failed. It returns the error to give up with.
func (c *Cursor) pause(err error) error {
	token := c.request.GetResumeToken()
	switch {
	case len(token) == 0:
		if !mayRepeat(err) || !c.client.connection.options.retry {
			return err
		}
	case errors.Is(err, ErrDeadlineExceeded):
		// If the server's time limit ends a second call that has not come further, it would end every one.
		if bytes.Equal(c.lateAt, token) {
			return err
		}
		c.lateAt = token
	case !errors.Is(err, ErrUnavailable):
		return err
	}
	return c.client.connection.pause(c.ctx, &c.patience, err)
}

// note remembers where the results are after a message: its entries are passed on now.
func (c *Cursor) note(response *pb.QueryResponse) {
	c.request.ResumeToken = response.GetResumeToken()
	if !response.GetNeedsLastEntry() {
		c.request.LastEntry = nil
	} else if entries := response.GetEntries(); len(entries) > 0 {
		c.request.LastEntry = entries[len(entries)-1]
	}
}

// result returns an entry as the query asked for it. One that is sent back with a token has come whole, and an order
// that reads metadata brings it.
func (q Query) result(message *pb.Entry, isWhole bool) (entry Entry, err error) {
	if entry.Key, err = fromKey(message.GetKey()); err != nil {
		return entry, err
	}
	if q.metadata {
		entry.Metadata, err = fromMetadata(message.GetMetadata())
	}
	if err != nil || q.keysOnly {
		return entry, err
	}
	value := message.GetValue()
	if isWhole && len(q.fields) > 0 {
		value = cut(value, q.fields)
	}
	entry.Value, err = fromValue(value)
	return entry, err
}

func (c *Cursor) summaryOf(message *pb.QuerySummary) *Summary {
	return &Summary{
		Reason:      EndReason(strings.TrimPrefix(message.GetReason().String(), "REASON_")),
		Entries:     c.entries,
		Shards:      fromShards(message.GetShards()),
		Explanation: message.GetExplanation(),
	}
}

func fromShards(messages []*pb.ShardSummary) []ShardSummary {
	shards := make([]ShardSummary, len(messages))
	for place, message := range messages {
		shards[place] = ShardSummary{Shard: message.GetShard(), Entries: message.GetEntries()}
		if message.GetStatus() != nil {
			shards[place].Err = serverError(message.GetStatus())
		}
	}
	return shards
}

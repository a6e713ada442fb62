package datastore

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	pb "github.com/datastore/datastore-grpc/client/go/gen/datastorev1"
)

const (
	// batchItems is how many items of a batch a message has at most, and batchBytes how large it is; larger batches
	// are sent in parts.
	batchItems = 1000
	batchBytes = EntryBytes + 64<<10
	// itemBytes is what an item of a batch takes at most besides its key and its value or patch: lengths, a
	// condition, an expiry, an attempt.
	itemBytes = 96
)

// ReadResult is what BatchGet read of one key.
type ReadResult struct {
	// Value is nil if the key is absent, or could not be read.
	Value    any
	Metadata *Metadata
	Err      error
}

// WriteResult is how one write of a batch ended.
type WriteResult struct {
	// Metadata is that of the entry as stored; nil after a delete, a failure, and in a store that keeps no versions.
	Metadata *Metadata
	Err      error
}

// BatchGet reads the values of keys, as many as you like, in the order of the keys. One that cannot be read does not
// affect the others; the error is that of the first of them.
func (c *Client) BatchGet(ctx context.Context, keys []Key) ([]ReadResult, error) {
	return c.batchGet(ctx, keys, false)
}

// BatchGetEntries reads values with their metadata; see BatchGet. They fail with ErrUnsupported if the store keeps no
// versions.
func (c *Client) BatchGetEntries(ctx context.Context, keys []Key) ([]ReadResult, error) {
	return c.batchGet(ctx, keys, true)
}

func (c *Client) batchGet(ctx context.Context, keys []Key, metadata bool) ([]ReadResult, error) {
	results := make([]ReadResult, len(keys))
	var places []int
	var messages []*pb.Key
	for place, key := range keys {
		if key, results[place].Err = ParseKey(string(key)); results[place].Err == nil {
			places, messages = append(places, place), append(messages, &pb.Key{Text: string(key)})
		}
	}
	most := int(c.batchItems.Load())
	for begin := 0; begin < len(messages); {
		end := min(begin+most, len(messages))
		read := c.readPart(ctx, messages[begin:end], metadata)
		for at, result := range read {
			results[places[begin+at]] = result
		}
		begin += len(read)
		// Values that do not fit in an answer were read for nothing, so ask only for about as many as fit.
		most = min(2*len(read), int(c.batchItems.Load()))
	}
	for place, result := range results {
		if result.Err != nil {
			return results, itemError(place, result.Err)
		}
	}
	return results, nil
}

// itemError returns the error of a batch of which an item failed.
func itemError(place int, err error) error { return fmt.Errorf("item %d: %w", place, err) }

// readPart returns the results of the first keys of one message, at least one; those that did not fit in the answer
// are to be asked for again. Keys whose errors allow it are asked for again, within the time of one call.
func (c *Client) readPart(ctx context.Context, keys []*pb.Key, metadata bool) []ReadResult {
	ctx, cancel := withTimeout(ctx, c.connection.options.timeout)
	defer cancel()
	results := c.ask(ctx, keys, metadata)
	var patience patience
	for {
		var asked []int
		var again []*pb.Key
		for place, result := range results {
			if mayRepeat(result.Err) {
				asked, again = append(asked, place), append(again, keys[place])
			}
		}
		if len(asked) == 0 || !c.connection.options.retry ||
			c.connection.pause(ctx, &patience, results[asked[0]].Err) != nil {
			return results
		}
		for at, result := range c.ask(ctx, again, metadata) {
			results[asked[at]] = result
		}
	}
}

// ask makes one call for keys, and returns the results of the first of them.
func (c *Client) ask(ctx context.Context, keys []*pb.Key, metadata bool) []ReadResult {
	request := &pb.BatchGetRequest{Keys: keys, IncludeMetadata: metadata}
	response, err := read(ctx, c.connection, c.connection.calls.BatchGet, request)
	if err == nil {
		err = c.checkCount(len(response.GetResults()), len(keys))
	}
	if err != nil {
		if most := c.lowerItems(err, len(keys)); most > 0 {
			return c.ask(ctx, keys[:most], metadata)
		}
		results := make([]ReadResult, len(keys))
		for place := range results {
			results[place].Err = err
		}
		return results
	}
	results := make([]ReadResult, 0, len(keys))
	for _, message := range response.GetResults() {
		result := readResult(message)
		if len(results) > 0 && didNotFit(result.Err) {
			break
		}
		results = append(results, result)
	}
	return results
}

func readResult(message *pb.BatchGetResponse_Result) ReadResult {
	if message.GetStatus() != nil {
		return ReadResult{Err: serverError(message.GetStatus())}
	}
	if message.GetValue() == nil {
		return ReadResult{}
	}
	value, err := fromValue(message.GetValue())
	return ReadResult{Value: value, Metadata: fromMetadata(message.GetMetadata()), Err: err}
}

// didNotFit reports whether a value was left out because the answer was full.
func didNotFit(err error) bool {
	var failure *Error
	return errors.As(err, &failure) && failure.Reason == ErrLimitExceeded && failure.Limit == "message_bytes"
}

// lowerItems returns how many items the server takes in a message, if it refused these for their number; otherwise 0.
func (c *Client) lowerItems(err error, items int) int {
	var failure *Error
	if !errors.As(err, &failure) || failure.Reason != ErrLimitExceeded || failure.Limit != "batch_items" ||
		failure.Maximum < 1 || failure.Maximum >= int64(items) {
		return 0
	}
	c.batchItems.Store(failure.Maximum)
	return int(failure.Maximum)
}

func (c *Client) checkCount(answered, asked int) error {
	if answered == asked {
		return nil
	}
	return newError(ErrCorruptData, "%s returned %d results for %d items", c.connection.server, answered, asked)
}

// BatchWrite makes writes, as many as you like. Each succeeds or fails by itself; writes to the same key are made in
// their order. The error is that of the first that failed. After a part of the batch whose outcome is unknown
// (ErrUnavailable, ErrDeadlineExceeded) no more is sent, because it could overtake that part: the later writes have
// the same error.
func (c *Client) BatchWrite(ctx context.Context, writes []Write) ([]WriteResult, error) {
	results := make([]WriteResult, len(writes))
	part := &writePart{}
	var stopped error
	for place, write := range writes {
		item, err := write.encode()
		if err != nil {
			results[place].Err = err
			continue
		}
		size := len(keyOf(item)) + max(proto.Size(item.GetPut().GetValue()), proto.Size(item.GetPatch())) + itemBytes
		if len(part.items) > 0 && (len(part.items) >= int(c.batchItems.Load()) || part.size+size > batchBytes) {
			stopped = c.writePart(ctx, part, results, stopped)
			part = &writePart{}
		}
		part.add(place, item, c.newAttempt(), size)
	}
	_ = c.writePart(ctx, part, results, stopped)
	return results, firstError(results)
}

// BatchWriteAtomic makes all of the writes or, if one fails, none; readers see all of them or none. If one fails, its
// result has its error, and the others have ErrBatchAborted. It fails with ErrUnsupported if the store cannot do
// that, or if the keys are not all on one shard, and with ErrLimitExceeded if the batch does not fit in one message.
func (c *Client) BatchWriteAtomic(ctx context.Context, writes []Write) ([]WriteResult, error) {
	results := make([]WriteResult, len(writes))
	if len(writes) == 0 {
		return results, nil
	}
	part := &writePart{atomic: true}
	failed := -1
	for place, write := range writes {
		item, err := write.encode()
		results[place].Err = err
		if err != nil && failed < 0 {
			failed = place
		}
		part.add(place, item, c.newAttempt(), 0)
	}
	if failed >= 0 {
		for place := range results {
			if results[place].Err == nil {
				aborted := newError(ErrBatchAborted, "this write was not made, because the one at index %d of its atomic"+
					" batch failed", failed)
				aborted.Index = failed
				results[place].Err = aborted
			}
		}
		return results, firstError(results)
	}
	if err := c.sendPart(ctx, part, results); err != nil {
		return nil, err
	}
	return results, firstError(results)
}

func firstError(results []WriteResult) error {
	for place, result := range results {
		if result.Err != nil && !errors.Is(result.Err, ErrBatchAborted) {
			return itemError(place, result.Err)
		}
	}
	return nil
}

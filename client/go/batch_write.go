package datastore

import (
	"context"
	"errors"
)

// WriteResult is how one write of a batch ended.
type WriteResult struct {
	// Metadata is that of the entry as stored; nil after a delete, a failure, and in a store that keeps no versions.
	Metadata *Metadata
	Err      error
}

// BatchWrite makes writes, as many as you like. Each succeeds or fails by itself; writes to the same key are made in
// their order. The error is that of the first that failed. After a part of the batch whose outcome is unknown
// (ErrUnavailable, ErrDeadlineExceeded) no more is sent, because it could overtake that part: the later writes have
// the same error. All of it has the time of one call.
func (c *Client) BatchWrite(ctx context.Context, writes []Write) ([]WriteResult, error) {
	ctx, cancel := withTimeout(ctx, c.connection.options.timeout)
	defer cancel()
	results := make([]WriteResult, len(writes))
	part := &writePart{}
	var stopped error
	for place, write := range writes {
		item, err := write.encode()
		if err != nil {
			results[place].Err = err
			continue
		}
		if !part.fits(item, int(c.batchItems.Load())) {
			stopped = c.writePart(ctx, part, results, stopped)
			part = &writePart{}
		}
		part.add(place, item, c.newAttempt())
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
		part.add(place, item, c.newAttempt())
	}
	if failed >= 0 {
		abort(results, failed)
		return results, firstError(results)
	}
	ctx, cancel := withTimeout(ctx, c.connection.options.timeout)
	defer cancel()
	if err := c.sendPart(ctx, part, results); err != nil {
		return nil, err
	}
	return results, firstError(results)
}

// abort gives the writes of an atomic batch the error that another one, at this index, failed.
func abort(results []WriteResult, failed int) {
	aborted := newError(ErrBatchAborted, "this write was not made, because the one at index %d of its atomic batch failed",
		failed)
	aborted.Index = failed
	for place := range results {
		if results[place].Err == nil {
			results[place].Err = aborted
		}
	}
}

// firstError returns the error of the first write that failed for a reason of its own.
func firstError(results []WriteResult) error {
	for place, result := range results {
		if result.Err != nil && !errors.Is(result.Err, ErrBatchAborted) {
			return itemError(place, result.Err)
		}
	}
	return nil
}

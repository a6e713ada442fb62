package datastore

import (
	"context"
	"errors"

	pb "github.com/datastore/datastore-grpc/client/go/gen/datastorev1"
)

// ReadResult is what BatchGet read of one key.
type ReadResult struct {
	// Value is nil if the key is absent, or could not be read.
	Value    any
	Metadata *Metadata
	Err      error
}

// BatchGet reads the values of keys, as many as you like, in the order of the keys. One that cannot be read does not
// affect the others; the error is that of the first of them. All of it has the time of one call.
func (c *Client) BatchGet(ctx context.Context, keys []Key) ([]ReadResult, error) {
	return c.batchGet(ctx, keys, false)
}

// BatchGetEntries reads values with their metadata; see BatchGet. They fail with ErrUnsupported if the store keeps no
// versions.
func (c *Client) BatchGetEntries(ctx context.Context, keys []Key) ([]ReadResult, error) {
	return c.batchGet(ctx, keys, true)
}

func (c *Client) batchGet(ctx context.Context, keys []Key, metadata bool) ([]ReadResult, error) {
	ctx, cancel := withTimeout(ctx, c.connection.options.timeout)
	defer cancel()
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

// readPart returns the results of the first keys of one message, at least one; those that did not fit in the answer
// are to be asked for again. Keys whose errors allow it are asked for again.
func (c *Client) readPart(ctx context.Context, keys []*pb.Key, metadata bool) []ReadResult {
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
	if err != nil {
		return ReadResult{Err: err}
	}
	metadata, err := fromMetadata(message.GetMetadata())
	if err != nil {
		return ReadResult{Err: err}
	}
	return ReadResult{Value: value, Metadata: metadata}
}

// didNotFit reports whether a value was left out because the answer was full.
func didNotFit(err error) bool {
	var failure *Error
	return errors.As(err, &failure) && failure.Reason == ErrLimitExceeded && failure.Limit == "message_bytes"
}

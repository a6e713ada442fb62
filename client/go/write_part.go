package datastore

import (
	"context"
	"errors"
	"slices"

	"google.golang.org/protobuf/proto"

	pb "github.com/datastore/datastore-grpc/client/go/gen/datastorev1"
)

// writePart is the part of a batch that one message has.
type writePart struct {
	atomic bool
	items  []*pb.BatchWriteRequest_Write
	// attempts are those of the items, and places their places in the batch.
	attempts []*attempt
	places   []int
	size     int
}

// itemBytes is what an item of a batch takes at most besides its key and its value or patch: lengths, a condition, an
// expiry, an attempt.
const itemBytes = 96

// fits reports whether one more item, of so many, leaves the message within its limits; the first always does.
func (p *writePart) fits(item *pb.BatchWriteRequest_Write, most int) bool {
	return len(p.items) == 0 || len(p.items) < most && p.size+sizeOf(item) <= batchBytes
}

func (p *writePart) add(place int, item *pb.BatchWriteRequest_Write, attempt *attempt) {
	p.items, p.attempts, p.places = append(p.items, item), append(p.attempts, attempt), append(p.places, place)
	p.size += sizeOf(item)
}

func sizeOf(item *pb.BatchWriteRequest_Write) int {
	content := max(proto.Size(item.GetPut().GetValue()), proto.Size(item.GetPatch()))
	return len(keyOf(item)) + content + itemBytes
}

// of returns the part with only the items at these places in it.
func (p *writePart) of(places []int) *writePart {
	part := &writePart{atomic: p.atomic}
	for _, place := range places {
		part.add(p.places[place], p.items[place], p.attempts[place])
	}
	return part
}

// request returns the message that is sent now.
func (p *writePart) request() *pb.BatchWriteRequest {
	for place, item := range p.items {
		item.Attempt = p.attempts[place].message()
	}
	return &pb.BatchWriteRequest{Writes: p.items, Atomic: p.atomic}
}

// mayFollow notes how the message failed, and reports whether it may be sent again as a whole.
func (p *writePart) mayFollow(err error) bool {
	may := true
	for _, attempt := range p.attempts {
		attempt.note(err)
		may = may && attempt.mayFollow(err)
	}
	return may
}

// repeatable returns the places of the items that may be sent again after their errors, in their order. An item whose
// key a later one has written since, or may have, is not repeated.
func (p *writePart) repeatable(results []WriteResult) []int {
	var places []int
	written := map[string]bool{}
	for place := len(p.items) - 1; place >= 0; place-- {
		key, err := keyOf(p.items[place]), results[p.places[place]].Err
		if err == nil || !p.attempts[place].mayFollowItem(err) {
			written[key] = true
		} else if !written[key] {
			places = append(places, place)
		}
	}
	slices.Reverse(places)
	return places
}

func keyOf(item *pb.BatchWriteRequest_Write) string {
	switch operation := item.GetOperation().(type) {
	case *pb.BatchWriteRequest_Write_Put:
		return operation.Put.GetKey().GetText()
	case *pb.BatchWriteRequest_Write_Patch:
		return operation.Patch.GetKey().GetText()
	case *pb.BatchWriteRequest_Write_Touch:
		return operation.Touch.GetText()
	}
	return item.GetDelete().GetText()
}

// writePart sends a part unless an earlier error says not to. It returns the error after which no more must be sent.
func (c *Client) writePart(ctx context.Context, part *writePart, results []WriteResult, stopped error) error {
	if len(part.items) == 0 {
		return stopped
	}
	err := stopped
	if err == nil {
		err = c.sendPart(ctx, part, results)
	}
	if err == nil {
		return nil
	}
	if most := c.lowerItems(err, len(part.items)); most > 0 {
		// The server takes fewer items in a message, and has done nothing.
		stopped = nil
		for places := range slices.Chunk(indexes(len(part.items)), most) {
			stopped = c.writePart(ctx, part.of(places), results, stopped)
		}
		return stopped
	}
	var failure *Error
	if errors.As(err, &failure) && !errors.Is(failure, ErrUnavailable) && failure.Reason != ErrDeadlineExceeded {
		return nil
	}
	return err
}

// sendPart makes the writes of a part by one message, and those whose errors allow it again. It fails if a message
// does, and so have the writes of that message then.
func (c *Client) sendPart(ctx context.Context, part *writePart, results []WriteResult) error {
	var patience patience
	asked := part
	for {
		response, err := unary(ctx, c.connection, c.connection.calls.BatchWrite, asked.request,
			callTerms{mayFollow: asked.mayFollow})
		if err == nil {
			err = c.checkCount(len(response.GetResults()), len(asked.items))
		}
		if err != nil {
			for place, attempt := range asked.attempts {
				results[asked.places[place]] = WriteResult{Err: attempt.outcome(err)}
			}
			return err
		}
		asked.take(response.GetResults(), results)
		again := part.repeatable(results)
		if len(again) == 0 || part.atomic && len(again) < len(part.items) || !c.connection.options.retry {
			return nil
		}
		if c.connection.pause(ctx, &patience, results[part.places[again[0]]].Err) != nil {
			return nil
		}
		asked = part.of(again)
	}
}

// take notes the results of a message.
func (p *writePart) take(messages []*pb.BatchWriteResponse_Result, results []WriteResult) {
	for place, message := range messages {
		var result WriteResult
		if result.Metadata, result.Err = fromMetadata(message.GetMetadata()); message.GetStatus() != nil {
			err := error(serverError(message.GetStatus()))
			p.attempts[place].note(err)
			result.Err = p.attempts[place].outcome(err)
		}
		results[p.places[place]] = result
	}
}

func indexes(count int) []int {
	all := make([]int, count)
	for place := range all {
		all[place] = place
	}
	return all
}

package datastore

import (
	"context"

	pb "github.com/datastore/datastore-grpc/client/go/gen/datastorev1"
)

// write makes one write by its own call, and returns the entry as stored.
func (c *Client) write(ctx context.Context, write Write) (Entry, error) {
	item, err := write.encode()
	if err != nil {
		return Entry{}, err
	}
	attempt := c.newAttempt()
	terms := callTerms{mayFollow: func(err error) bool {
		attempt.note(err)
		return attempt.mayFollow(err)
	}}
	stored, err := c.writeItem(ctx, write, item, attempt, terms)
	if err != nil {
		return Entry{}, attempt.outcome(err)
	}
	return fromEntry(stored)
}

func (c *Client) writeItem(
	ctx context.Context, write Write, item *pb.BatchWriteRequest_Write, attempt *attempt, terms callTerms,
) (*pb.Entry, error) {
	calls := c.connection.calls
	switch operation := item.GetOperation().(type) {
	case *pb.BatchWriteRequest_Write_Put:
		response, err := unary(ctx, c.connection, calls.Put, func() *pb.PutRequest {
			return &pb.PutRequest{
				Entry: operation.Put, Condition: item.Condition, Expiry: item.Expiry, Attempt: attempt.message(),
			}
		}, terms)
		return &pb.Entry{Key: operation.Put.GetKey(), Metadata: response.GetMetadata()}, err
	case *pb.BatchWriteRequest_Write_Patch:
		response, err := unary(ctx, c.connection, calls.Patch, func() *pb.PatchRequest {
			return &pb.PatchRequest{
				Patch: operation.Patch, Condition: item.Condition, Expiry: item.Expiry, IncludeValue: write.returnValue,
				Attempt: attempt.message(),
			}
		}, terms)
		return &pb.Entry{
			Key: operation.Patch.GetKey(), Value: response.GetValue(), Metadata: response.GetMetadata(),
		}, err
	case *pb.BatchWriteRequest_Write_Touch:
		response, err := unary(ctx, c.connection, calls.Touch, func() *pb.TouchRequest {
			return &pb.TouchRequest{
				Key: operation.Touch, Condition: item.Condition, Expiry: item.Expiry, Attempt: attempt.message(),
			}
		}, terms)
		return &pb.Entry{Key: operation.Touch, Metadata: response.GetMetadata()}, err
	default:
		_, err := unary(ctx, c.connection, calls.Delete, func() *pb.DeleteRequest {
			return &pb.DeleteRequest{Key: item.GetDelete(), Condition: item.Condition, Attempt: attempt.message()}
		}, terms)
		return &pb.Entry{Key: item.GetDelete()}, err
	}
}

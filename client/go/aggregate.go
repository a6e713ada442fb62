package datastore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	pb "github.com/datastore/datastore-grpc/client/go/gen/datastorev1"
)

// Aggregate says what to compute of the entries of a query, and how to group them. Like a Query it is built by methods
// that return a changed copy:
//
//	datastore.NewAggregate(datastore.Count("n"), datastore.Avg("elevation", "height")).GroupBy("country").Order("-n")
type Aggregate struct {
	aggregations []Aggregation
	groupBy      []string
	orders       []string
	limit        *int64
}

// NewAggregate returns an aggregate of all entries as one group.
func NewAggregate(aggregations ...Aggregation) Aggregate {
	return Aggregate{aggregations: aggregations}
}

// GroupBy computes the aggregations for each group: entries that are equal in all of these fields are one.
func (a Aggregate) GroupBy(fields ...string) Aggregate {
	a.groupBy = append(slices.Clip(a.groupBy), fields...)
	return a
}

// Order sorts the groups, each time by a field of GroupBy or the name of an aggregation, descending after a minus.
// Ties, and groups without orders, are sorted by the values of GroupBy.
func (a Aggregate) Order(orders ...string) Aggregate {
	a.orders = append(slices.Clip(a.orders), orders...)
	return a
}

// Limit returns the first groups only, so many.
func (a Aggregate) Limit(count int64) Aggregate {
	a.limit = &count
	return a
}

// Aggregation is one value to compute of each group, made by Count, CountOf, Sum, Avg, Min or Max of a field, with the
// name that orders use.
type Aggregation struct {
	name     string
	function pb.Aggregation_Function
	field    string
}

// Count is how many entries there are.
func Count(name string) Aggregation { return Aggregation{name, pb.Aggregation_FUNCTION_COUNT, ""} }

// CountOf is how many entries have a field, null left out.
func CountOf(field, name string) Aggregation {
	return Aggregation{name, pb.Aggregation_FUNCTION_COUNT, field}
}

// Sum is the exact sum of the numbers in a field, rounded once: an int64 if all of them are and it fits, otherwise a
// float64. It is 0 without any.
func Sum(field, name string) Aggregation {
	return Aggregation{name, pb.Aggregation_FUNCTION_SUM, field}
}

// Avg is the exact mean of the numbers in a field, rounded once to a float64; nil without any.
func Avg(field, name string) Aggregation {
	return Aggregation{name, pb.Aggregation_FUNCTION_AVG, field}
}

// Min is the first value of a field in the total order, null left out; nil without any.
func Min(field, name string) Aggregation {
	return Aggregation{name, pb.Aggregation_FUNCTION_MIN, field}
}

// Max is the last value of a field in the total order, null left out; nil without any.
func Max(field, name string) Aggregation {
	return Aggregation{name, pb.Aggregation_FUNCTION_MAX, field}
}

// Group is one group of entries.
type Group struct {
	// Group has the values of the fields of GroupBy, nil for a missing one.
	Group []any
	// Values has the results of the aggregations, in their order.
	Values []any
}

// Aggregate computes aggregations over the entries that a query selects, on the server. A call that is cut off is
// repeated from the beginning.
func (c *Client) Aggregate(ctx context.Context, query Query, aggregate Aggregate) ([]Group, error) {
	request, err := aggregate.encode(query)
	if err != nil {
		return nil, err
	}
	ctx, cancel := withTimeout(ctx, c.connection.options.streamTimeout)
	defer cancel()
	limit := timeLeft(ctx)
	var patience patience
	for {
		groups, err := c.readGroups(ctx, request, limit)
		if err == nil {
			return groups, nil
		}
		if !mayRepeat(err) || !c.connection.options.retry {
			return nil, err
		}
		if err := c.connection.pause(ctx, &patience, err); err != nil {
			return nil, err
		}
	}
}

func (a Aggregate) encode(query Query) (*pb.AggregateRequest, error) {
	if query.keysOnly || len(query.fields) > 0 || query.metadata || query.allowPartial {
		return nil, invalidQuery("query", "the query of an aggregate returns no entries, and is never partial: leave out"+
			" KeysOnly, Fields, WithMetadata and AllowPartial")
	}
	message, err := query.encode()
	if err != nil {
		return nil, err
	}
	request := &pb.AggregateRequest{Query: message, GroupBy: a.groupBy, Limit: a.limit}
	for _, each := range a.aggregations {
		request.Aggregations = append(request.Aggregations, &pb.Aggregation{
			Name: each.name, Function: each.function, FieldPath: each.field,
		})
	}
	if request.Orders, err = encodeOrders(a.orders, "orders"); err != nil {
		return nil, err
	}
	return request, checkAggregate(request)
}

// checkAggregate says what is wrong with the names and fields of an aggregate.
func checkAggregate(request *pb.AggregateRequest) error {
	if len(request.GetAggregations()) == 0 {
		return invalidQuery("aggregations", "name at least one aggregation, e.g. Count(\"n\")")
	}
	if request.GetLimit() < 0 {
		return invalidQuery("limit", "a limit must not be negative, got %d", request.GetLimit())
	}
	names := map[string]bool{}
	add := func(name, where string) error {
		if names[name] {
			return invalidQuery(where, "%q would be in each group twice", name)
		}
		names[name] = true
		return checkField(name, where)
	}
	for place, path := range request.GetGroupBy() {
		if err := add(path, fmt.Sprintf("group_by[%d]", place)); err != nil {
			return err
		}
	}
	for place, each := range request.GetAggregations() {
		where := fmt.Sprintf("aggregations[%d]", place)
		if err := add(each.GetName(), where+".name"); err != nil {
			return err
		}
		if each.GetFieldPath() == "" && each.GetFunction() == pb.Aggregation_FUNCTION_COUNT {
			continue
		}
		if err := checkField(each.GetFieldPath(), where+".field_path"); err != nil {
			return err
		}
	}
	for place, order := range request.GetOrders() {
		if !names[order.GetFieldPath()] {
			return invalidQuery(fmt.Sprintf("orders[%d]", place), "groups cannot be sorted by %q, which is neither in"+
				" GroupBy nor the name of an aggregation", order.GetFieldPath())
		}
	}
	return nil
}

// readGroups returns the groups of one call.
func (c *Client) readGroups(
	ctx context.Context, request *pb.AggregateRequest, limit time.Duration,
) ([]Group, error) {
	stream, err := open(ctx, c.connection, c.connection.streams.Aggregate, request, limit)
	if err != nil {
		return nil, err
	}
	defer stream.close()
	var groups []Group
	for {
		response, err := stream.receive()
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		for _, message := range response.GetGroups() {
			group, err := c.fromGroup(message, request)
			if err != nil {
				return nil, err
			}
			groups = append(groups, group)
		}
		if summary := response.GetSummary(); summary != nil && summary.GetGroups() == int64(len(groups)) {
			return groups, nil
		} else if summary != nil || err != nil {
			return nil, newError(ErrTruncatedStream, "the groups from %s ended after %d, without their summary",
				c.connection.server, len(groups))
		}
	}
}

func (c *Client) fromGroup(message *pb.AggregateResponse_Group, request *pb.AggregateRequest) (group Group, err error) {
	values, results := len(message.GetValues()), len(message.GetResults())
	if values != len(request.GetGroupBy()) || results != len(request.GetAggregations()) {
		return group, newError(ErrCorruptData, "%s returned a group of %d values and %d results for %d fields and %d"+
			" aggregations", c.connection.server, values, results, len(request.GetGroupBy()), len(request.GetAggregations()))
	}
	if group.Group, err = fromValues(message.GetValues()); err == nil {
		group.Values, err = fromValues(message.GetResults())
	}
	return group, err
}

func fromValues(messages []*pb.Value) ([]any, error) {
	values := make([]any, len(messages))
	for place, message := range messages {
		value, err := fromValue(message)
		if err != nil {
			return nil, err
		}
		values[place] = value
	}
	return values, nil
}

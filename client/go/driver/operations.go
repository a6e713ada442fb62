package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	rpc "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"

	datastore "github.com/datastore/datastore-grpc/client/go"
	pb "github.com/datastore/datastore-grpc/client/go/gen/datastorev1"
)

// operations has what each operation does.
var operations = map[string]func(*driver, *request) (any, error){
	"key": key, "compare_keys": compareKeys, "encode": encode, "decode": decode, "sort_key": sortKey, "query": query,
	"error": statusError,

	"connect": (*driver).connect, "close": (*driver).close, "describe": (*driver).describe, "get": (*driver).get,
	"put": (*driver).put, "delete": (*driver).delete, "contains": (*driver).contains, "touch": (*driver).touch,
	"patch": (*driver).patch, "update": (*driver).update, "batch_get": (*driver).batchGet,
	"batch_write": (*driver).batchWrite, "lone_gets": (*driver).loneGets, "list_entries": (*driver).listEntries,
	"aggregate": (*driver).aggregate, "write": (*driver).write,

	"read": (*driver).read, "open_query": (*driver).openQuery, "next": (*driver).next, "leave": (*driver).leave,
	"open_watch": (*driver).openWatch, "changes": (*driver).changes,

	"bench_query": benchQuery, "bench_get": benchGet, "memory": memory,
}

// driver has the clients, cursors and watches, by number.
type driver struct {
	held map[int]io.Closer
}

func newDriver() *driver { return &driver{held: map[int]io.Closer{}} }

func (d *driver) hold(held io.Closer) int {
	number := len(d.held) + 1
	d.held[number] = held
	return number
}

func (d *driver) end() {
	for number := len(d.held); number > 0; number-- {
		if held := d.held[number]; held != nil {
			_ = held.Close()
		}
	}
}

// clients are two of one server. Nothing is sent before a call, so most requests only use the first.
type clients struct {
	*datastore.Client
	coalescing *datastore.Client
}

func (c clients) Close() error { return errors.Join(c.Client.Close(), c.coalescing.Close()) }

func (d *driver) client(request *request) clients { return d.held[request.Client].(clients) }

// background is the context of all calls: their deadlines are those of the client.
var background = context.Background()

// Without a server.

func key(_ *driver, request *request) (any, error) {
	key, err := datastore.ParseKey(request.Text)
	if err != nil {
		return nil, err
	}
	return object{
		"text": key, "collection": key.Collection(), "hash": fmt.Sprint(key.Hash()), "slot": key.Slot(),
		"collection_slot": key.Collection().Slot(),
	}, nil
}

func compareKeys(_ *driver, request *request) (any, error) {
	return object{"order": datastore.Key(request.A).Compare(datastore.Key(request.B))}, nil
}

func encode(_ *driver, request *request) (any, error) {
	value, err := request.Value.plain()
	if err != nil {
		return nil, err
	}
	message, err := datastore.EncodeValue(value)
	return serialized(message, err)
}

func serialized(message proto.Message, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	data, err := proto.Marshal(message)
	return object{"wire": hex.EncodeToString(data)}, err
}

func decode(_ *driver, request *request) (any, error) {
	value, err := datastore.UnmarshalValue(unhexed(request.Wire))
	if err != nil {
		return nil, err
	}
	return object{"value": written(value)}, nil
}

func sortKey(_ *driver, request *request) (any, error) {
	value, err := request.Value.plain()
	if err != nil {
		return nil, err
	}
	data, err := datastore.SortKey(value, request.Descending)
	return object{"sort_key": hex.EncodeToString(data)}, err
}

func query(_ *driver, request *request) (any, error) {
	query, err := request.build()
	if err != nil {
		return nil, err
	}
	message, err := datastore.EncodeQuery(query)
	return serialized(message, err)
}

func statusError(_ *driver, request *request) (any, error) {
	status := new(rpc.Status)
	if err := proto.Unmarshal(unhexed(request.Status), status); err != nil {
		return nil, unsupported(err.Error())
	}
	return object{"error": reported(datastore.StatusError(status))}, nil
}

// Clients.

func (d *driver) connect(request *request) (any, error) {
	var options []datastore.Option
	if request.TLS {
		config, err := datastore.LoadTLS(request.CA, request.Cert, request.KeyFile)
		if err != nil {
			return nil, err
		}
		options = append(options, datastore.WithTLS(config))
	}
	if request.Token != "" {
		options = append(options, datastore.WithToken(request.Token))
	}
	if request.TimeoutMS != nil {
		options = append(options, datastore.WithTimeout(time.Duration(*request.TimeoutMS)*time.Millisecond))
	}
	if request.QueryTimeoutMS != nil {
		options = append(options, datastore.WithStreamTimeout(time.Duration(*request.QueryTimeoutMS)*time.Millisecond))
	}
	if request.Retry != nil && !*request.Retry {
		options = append(options, datastore.WithoutRetries())
	}
	if request.RetryWrites {
		options = append(options, datastore.WithRetryWrites())
	}
	addresses := strings.Join(request.Addresses, ",")
	client, err := datastore.Connect(addresses, options...)
	if err != nil {
		return nil, err
	}
	coalescing, err := datastore.Connect(addresses, append(options, datastore.WithCoalescing())...)
	return object{"client": d.hold(clients{client, coalescing})}, err
}

func (d *driver) close(request *request) (any, error) {
	client := d.client(request)
	d.held[request.Client] = nil
	return nil, client.Close()
}

func (d *driver) describe(request *request) (any, error) {
	store, err := d.client(request).Describe(background)
	if err != nil {
		return nil, err
	}
	features := []string{}
	for _, feature := range store.GetFeatures() {
		features = append(features, feature.String()[len("FEATURE_"):])
	}
	return object{
		"features": features, "limits": limits(store.GetLimits()), "server_version": store.GetServerVersion(),
	}, nil
}

// Entries.

func (d *driver) get(request *request) (any, error) {
	if request.Metadata {
		entry, err := d.client(request).GetEntry(background, request.Key)
		if entry == nil {
			return nil, err
		}
		return found(entry.Value, entry.Metadata), err
	}
	value, err := d.client(request).Get(background, request.Key)
	return found(value, nil), err
}

func (d *driver) put(request *request) (any, error) {
	value, err := request.Value.plain()
	if err != nil {
		return nil, err
	}
	metadata, err := d.client(request).Put(background, request.Key, value, terms(request.Condition, request.Expiry)...)
	return found(nil, metadata), err
}

func (d *driver) delete(request *request) (any, error) {
	return nil, d.client(request).Delete(background, request.Key, terms(request.Condition, request.Expiry)...)
}

func (d *driver) contains(request *request) (any, error) {
	contains, err := d.client(request).Contains(background, request.Key)
	return object{"contains": contains}, err
}

func (d *driver) touch(request *request) (any, error) {
	metadata, err := d.client(request).Touch(background, request.Key, terms(request.Condition, request.Expiry)...)
	return found(nil, metadata), err
}

func (d *driver) patch(request *request) (any, error) {
	changes, err := changesOf(request.Changes)
	if err != nil {
		return nil, err
	}
	options := terms(request.Condition, request.Expiry)
	if request.Create {
		options = append(options, datastore.CreateIfAbsent())
	}
	if request.ReturnValue {
		options = append(options, datastore.ReturnValue())
	}
	entry, err := d.client(request).Patch(background, request.Key, changes, options...)
	return found(entry.Value, entry.Metadata), err
}

func (d *driver) update(request *request) (any, error) {
	field, added := request.Add[0], integer(request.Add[1])
	value, err := d.client(request).Update(background, request.Key, func(value any) (any, error) {
		members, isMap := value.(map[string]any)
		if !isMap {
			members = map[string]any{}
		}
		number, _ := members[field].(int64)
		members[field] = number + added
		return members, nil
	})
	if err != nil {
		return nil, err
	}
	return object{"value": written(value)}, nil
}

// Batches.

func (d *driver) batchGet(request *request) (any, error) {
	get := d.client(request).BatchGet
	if request.Metadata {
		get = d.client(request).BatchGetEntries
	}
	read, err := get(background, request.Keys)
	if read == nil && err != nil {
		return nil, err
	}
	results := make([]object, len(read))
	for place, result := range read {
		results[place] = shown(result.Value, result.Metadata, result.Err)
	}
	return object{"results": results}, nil
}

func (d *driver) batchWrite(request *request) (any, error) {
	writes := make([]datastore.Write, len(request.Writes))
	for place := range writes {
		var err error
		if writes[place], err = request.Writes[place].build(); err != nil {
			return nil, err
		}
	}
	write := d.client(request).BatchWrite
	if request.Atomic {
		write = d.client(request).BatchWriteAtomic
	}
	made, err := write(background, writes)
	if made == nil && err != nil {
		return nil, err
	}
	results := make([]object, len(made))
	for place, result := range made {
		results[place] = shown(nil, result.Metadata, result.Err)
	}
	return object{"results": results}, nil
}

func (d *driver) loneGets(request *request) (any, error) {
	results := make([]object, len(request.Keys))
	var gets sync.WaitGroup
	for place, key := range request.Keys {
		gets.Go(func() {
			value, err := d.client(request).coalescing.Get(background, key)
			results[place] = shown(value, nil, err)
		})
	}
	gets.Wait()
	return object{"results": results}, nil
}

// shown returns the result of an item of a batch.
func shown(value any, metadata *datastore.Metadata, err error) object {
	if err != nil {
		return object{"error": reported(err)}
	}
	return found(value, metadata)
}

// Queries that are read at once.

func (d *driver) listEntries(request *request) (any, error) {
	query, err := request.build()
	if err != nil {
		return nil, err
	}
	var token *datastore.PageToken
	if request.PageToken != nil {
		token = &datastore.PageToken{Token: string(unhexed(*request.PageToken))}
		if request.LastEntry != nil {
			last, err := request.LastEntry.plain()
			if err != nil {
				return nil, err
			}
			token.LastEntry = &last
		}
	}
	page, err := d.client(request).ListEntries(background, query, request.PageSize, token)
	if err != nil {
		return nil, err
	}
	result := object{"entries": writtenEntries(page.Entries), "unreachable": names(page.Unreachable)}
	if page.Next != nil {
		result["next_page_token"] = hex.EncodeToString([]byte(page.Next.Token))
		if page.Next.LastEntry != nil {
			result["last_entry"] = writtenEntry(*page.Next.LastEntry)
		}
	}
	return result, nil
}

func (d *driver) aggregate(request *request) (any, error) {
	query, err := request.build()
	if err != nil {
		return nil, err
	}
	var aggregations []datastore.Aggregation
	for _, part := range request.Aggregations {
		aggregations = append(aggregations, part.build())
	}
	asked := datastore.NewAggregate(aggregations...).GroupBy(request.GroupBy...).Order(request.Orders...)
	if request.Limit != nil {
		asked = asked.Limit(*request.Limit)
	}
	found, err := d.client(request).Aggregate(background, query, asked)
	if err != nil {
		return nil, err
	}
	groups := make([]object, len(found))
	for place, group := range found {
		groups[place] = object{"group": writtenAll(group.Group), "values": writtenAll(group.Values)}
	}
	return object{"groups": groups}, nil
}

func writtenAll(values []any) []object {
	all := make([]object, len(values))
	for place, value := range values {
		all[place] = written(value)
	}
	return all
}

func writtenEntries(entries []datastore.Entry) []object {
	all := make([]object, len(entries))
	for place, entry := range entries {
		all[place] = writtenEntry(entry)
	}
	return all
}

func names(shards []datastore.ShardSummary) []string {
	all := make([]string, len(shards))
	for place, shard := range shards {
		all[place] = shard.Shard
	}
	return all
}

func (d *driver) write(request *request) (any, error) {
	value := make([]byte, request.ValueBytes)
	writes := make([]datastore.Write, request.Count)
	for number := range writes {
		writes[number] = datastore.Put(datastore.Key(fmt.Sprintf("%s/%08d", request.Prefix, number)), value)
	}
	_, err := d.client(request).BatchWrite(background, writes)
	return nil, err
}

// limits returns the limits that a message has, by name.
func limits(message *pb.Limits) object {
	limits := object{}
	for field, value := range message.ProtoReflect().Range {
		limits[string(field.Name())] = fmt.Sprint(value.Int())
	}
	return limits
}

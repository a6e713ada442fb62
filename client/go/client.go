package datastore

import (
	"context"
	"errors"
	"sync/atomic"

	pb "github.com/datastore/datastore-grpc/client/go/gen/datastorev1"
)

// Client reads, writes and queries the entries of one server. Many goroutines can share it.
type Client struct {
	connection *connection
	gathering  gathering
	// batchItems is how many items a message has at most; lowered if the server refuses that many.
	batchItems atomic.Int64
}

// Connect returns a client of the server at an address: HOST:PORT, grpc://HOST:PORT, or grpcs://HOST:PORT for TLS,
// with DefaultPort if there is none. Of several addresses, separated by commas, the first that answers is used, and
// the next when it cannot be reached. Nothing is sent before the first call. The caller must close the client.
func Connect(addresses string, settings ...Option) (*Client, error) {
	o := options{timeout: DefaultTimeout, streamTimeout: DefaultStreamTimeout, retry: true}
	for _, set := range settings {
		set(&o)
	}
	servers, err := parseAddresses(addresses, &o)
	if err != nil {
		return nil, err
	}
	if err := o.check(servers); err != nil {
		return nil, err
	}
	connection, err := newConnection(servers, o)
	if err != nil {
		return nil, err
	}
	client := &Client{connection: connection}
	client.gathering.read = client.readTogether
	client.batchItems.Store(batchItems)
	return client, nil
}

// Close ends all calls and streams, which fail with ErrClosed.
func (c *Client) Close() error { return c.connection.close() }

// Get returns the value of a key; nil if it is absent.
func (c *Client) Get(ctx context.Context, key Key) (any, error) {
	if c.connection.options.coalesces() {
		return c.getTogether(ctx, key)
	}
	entry, err := c.get(ctx, key, false)
	if entry == nil {
		return nil, err
	}
	return entry.Value, err
}

// getTogether is Get for a client that coalesces.
func (c *Client) getTogether(ctx context.Context, key Key) (any, error) {
	key, err := ParseKey(string(key))
	if err != nil {
		return nil, err
	}
	ctx, cancel := withTimeout(ctx, c.connection.options.timeout)
	defer cancel()
	limit := timeLeft(ctx)
	result, err := c.gathering.get(ctx, key)
	switch {
	case errors.Is(err, errUnanswered):
		return nil, c.connection.unanswered(ctx, limit)
	case err != nil:
		return nil, c.connection.unsent(ctx, err, limit)
	}
	return result.Value, result.Err
}

// readTogether returns the results of gets that are sent together.
func (c *Client) readTogether(ctx context.Context, keys []Key) []ReadResult {
	if len(keys) > 1 {
		results, _ := c.batchGet(ctx, keys, false) // Each result has its own error.
		return results
	}
	entry, err := c.get(ctx, keys[0], false)
	if entry == nil {
		return []ReadResult{{Err: err}}
	}
	return []ReadResult{{Value: entry.Value, Err: err}}
}

// GetEntry returns the entry of a key with its metadata; nil if it is absent. It fails with ErrUnsupported if the
// store keeps no versions.
func (c *Client) GetEntry(ctx context.Context, key Key) (*Entry, error) {
	return c.get(ctx, key, true)
}

func (c *Client) get(ctx context.Context, key Key, metadata bool) (*Entry, error) {
	key, err := ParseKey(string(key))
	if err != nil {
		return nil, err
	}
	request := &pb.GetRequest{Key: &pb.Key{Text: string(key)}, IncludeMetadata: metadata}
	response, err := read(ctx, c.connection, c.connection.calls.Get, request)
	if err != nil || response.GetValue() == nil {
		return nil, err
	}
	entry, err := fromEntry(&pb.Entry{Key: request.Key, Value: response.GetValue(), Metadata: response.GetMetadata()})
	if err != nil {
		return nil, err
	}
	return &entry, nil
}

// Contains reports whether a key has an entry.
func (c *Client) Contains(ctx context.Context, key Key) (bool, error) {
	key, err := ParseKey(string(key))
	if err != nil {
		return false, err
	}
	request := &pb.ContainsRequest{Key: &pb.Key{Text: string(key)}}
	response, err := read(ctx, c.connection, c.connection.calls.Contains, request)
	return response.GetContains(), err
}

// Put stores a value, replacing any previous one, and returns the metadata of the entry; nil if the store keeps no
// versions. A nil value deletes the entry. The options are a Condition and an Expiry; without an Expiry the entry
// never expires.
func (c *Client) Put(ctx context.Context, key Key, value any, options ...WriteOption) (*Metadata, error) {
	entry, err := c.write(ctx, Put(key, value, options...))
	return entry.Metadata, err
}

// Delete removes an entry; that there is none is not an error. The option is a Condition.
func (c *Client) Delete(ctx context.Context, key Key, options ...WriteOption) error {
	_, err := c.write(ctx, Delete(key, options...))
	return err
}

// Patch changes parts of a value, all of them or, if one does not fit, none. It returns the entry with its metadata,
// and with its new value if the options include ReturnValue. The other options are a Condition, an Expiry, without
// which the entry expires as before, and CreateIfAbsent.
func (c *Client) Patch(ctx context.Context, key Key, changes []FieldChange, options ...WriteOption) (Entry, error) {
	return c.write(ctx, Patch(key, changes, options...))
}

// Touch changes only when an entry expires: as an Expiry says, or never. An absent entry is ErrConditionFailed.
func (c *Client) Touch(ctx context.Context, key Key, options ...WriteOption) (*Metadata, error) {
	entry, err := c.write(ctx, Touch(key, options...))
	return entry.Metadata, err
}

// Describe returns the server's description of its store, its features, its limits and its shards.
func (c *Client) Describe(ctx context.Context) (*pb.DescribeStoreResponse, error) {
	return read(ctx, c.connection, c.connection.calls.DescribeStore, &pb.DescribeStoreRequest{})
}

package datastore

import (
	"context"
	"errors"
	"io"
	"iter"
	"strings"
	"time"

	pb "github.com/datastore/datastore-grpc/client/go/gen/datastorev1"
)

// ChangeKind is what happened to an entry.
type ChangeKind string

// The kinds of changes.
const (
	KindPut    ChangeKind = "PUT"
	KindDelete ChangeKind = "DELETE"
	KindExpire ChangeKind = "EXPIRE"
)

// Change is one change of an entry.
type Change struct {
	Kind ChangeKind
	Key  Key
	// Version is greater than those of all earlier changes of the key.
	Version int64
	// Value is the new value; nil unless the entry was put, and in a watch of keys only.
	Value any
}

// Changes are changes that belong together: those of an atomic batch are never split.
type Changes struct {
	Changes []Change
	// Token continues after these changes, with WatchFrom and the same query.
	Token []byte
	// CaughtUp says that the listing that WatchInitial asked for is complete with these changes.
	CaughtUp bool
}

// Watch reads the changes of entries as they happen. It is not safe for several goroutines, except for Close.
type Watch struct {
	client   *Client
	ctx      context.Context
	cancel   context.CancelCauseFunc
	request  *pb.WatchRequest
	stream   *stream[pb.WatchResponse]
	first    *pb.WatchResponse
	patience patience
}

// WatchOption says where a watch begins: WatchFrom, WatchInitial, or neither for now.
type WatchOption func(*pb.WatchRequest)

// WatchFrom begins after the changes that a token of an earlier watch of the same query came with.
func WatchFrom(token []byte) WatchOption {
	return func(request *pb.WatchRequest) { request.ResumeToken = token }
}

// WatchInitial begins with the entries that exist, as puts in no particular order.
func WatchInitial() WatchOption {
	return func(request *pb.WatchRequest) { request.Initial = true }
}

// Watch watches the entries that a query selects by its key, its scope and its filters, until the context ends. It
// returns once the watch has begun: all writes that are made from then on are shown. The caller must close it, or
// read it by a loop over All, which does.
//
// A stream that is cut off is continued where it was. A reader that is too slow gets ErrChangesExpired: watch again,
// with WatchInitial.
func (c *Client) Watch(ctx context.Context, query Query, options ...WatchOption) (*Watch, error) {
	if query.limit != nil || query.offset != 0 || len(query.orders) > 0 || len(query.fields) > 0 ||
		query.startAfter != nil || query.metadata || query.allowPartial {
		return nil, invalidQuery("query", "a watch selects entries by key, scope and filters; of the rest only KeysOnly"+
			" applies")
	}
	message, err := query.encode()
	if err != nil {
		return nil, err
	}
	w := &Watch{client: c, request: &pb.WatchRequest{Query: message}}
	for _, set := range options {
		set(w.request)
	}
	w.ctx, w.cancel = context.WithCancelCause(ctx)
	if err := w.begin(); err != nil {
		w.Close()
		return nil, err
	}
	return w, nil
}

// All returns the changes, as they happen. An error is the last pair. Leaving the loop ends the watch.
func (w *Watch) All() iter.Seq2[*Changes, error] {
	return func(yield func(*Changes, error) bool) {
		defer w.Close()
		for {
			changes, err := w.next()
			if !yield(changes, err) || err != nil {
				return
			}
		}
	}
}

// Close ends the watch; a loop over All gets the error of a canceled context.
func (w *Watch) Close() { w.cancel(nil) }

// begin opens the first stream, and receives its first message, within the time of a call.
func (w *Watch) begin() error {
	c := w.client.connection
	limit := time.AfterFunc(c.options.timeout, func() {
		w.cancel(newError(ErrDeadlineExceeded, "the watch of %s did not begin within %v", c.server, c.options.timeout))
	})
	defer limit.Stop()
	ctx, cancel := context.WithTimeout(w.ctx, c.options.timeout)
	defer cancel()
	for {
		var err error
		if w.first, err = w.receive(); err == nil {
			return nil
		}
		if err = w.pause(ctx, err); err != nil {
			return err
		}
	}
}

// next returns the next changes that belong together.
func (w *Watch) next() (*Changes, error) {
	var changes []Change
	for {
		response, err := w.receive()
		if err != nil {
			if err = w.pause(w.ctx, err); err != nil {
				return nil, err
			}
			// They come again: their token had not come.
			changes = nil
			continue
		}
		for _, message := range response.GetChanges() {
			change, err := fromChange(message)
			if err != nil {
				return nil, err
			}
			changes = append(changes, change)
		}
		token := response.GetResumeToken()
		if len(token) == 0 {
			continue
		}
		w.request.ResumeToken = token
		if len(changes) > 0 || response.GetCaughtUp() {
			return &Changes{Changes: changes, Token: token, CaughtUp: response.GetCaughtUp()}, nil
		}
	}
}

// receive returns the next message, of a new stream if there is none.
func (w *Watch) receive() (response *pb.WatchResponse, err error) {
	if w.first != nil {
		response, w.first = w.first, nil
		return response, nil
	}
	c := w.client.connection
	if w.stream == nil {
		if w.stream, err = open(w.ctx, c, c.streams.Watch, w.request, timeLeft(w.ctx)); err != nil {
			return nil, err
		}
	}
	response, err = w.stream.receive()
	if errors.Is(err, io.EOF) {
		err = newError(ErrTruncatedStream, "the changes from %s ended", c.server)
	}
	if err != nil {
		w.stream.close()
		w.stream = nil
		return nil, err
	}
	w.patience.progress()
	return response, nil
}

// pause waits before the next stream after one that failed. It returns the error to give up with.
func (w *Watch) pause(ctx context.Context, err error) error {
	c := w.client.connection
	hasBegun := len(w.request.GetResumeToken()) > 0
	if hasBegun && !errors.Is(err, ErrUnavailable) {
		return err
	}
	if !hasBegun && (!mayRepeat(err) || !c.options.retry) {
		return err
	}
	return c.pause(ctx, &w.patience, err)
}

func fromChange(message *pb.EntryChange) (Change, error) {
	kind := ChangeKind(strings.TrimPrefix(message.GetKind().String(), "KIND_"))
	if kind != KindPut && kind != KindDelete && kind != KindExpire {
		return Change{}, newError(ErrCorruptData, "a change is of the kind %s, which this client does not know", kind)
	}
	key, err := fromKey(message.GetKey())
	change := Change{Kind: kind, Key: key, Version: message.GetVersion()}
	if err != nil || message.GetValue() == nil {
		return change, err
	}
	change.Value, err = fromValue(message.GetValue())
	return change, err
}

package datastore

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/datastore/datastore-grpc/client/go/gen/datastorev1"
)

func TestACanceledContextEndsACall(t *testing.T) {
	arrived := make(chan struct{}, 1)
	client := connected(t, &server{get: waits(arrived)})
	ctx, cancel := context.WithCancelCause(context.Background())
	left := errors.New("the user has left")
	go func() {
		<-arrived
		cancel(left)
	}()
	_, err := client.Get(ctx, "/a")
	if !errors.Is(err, left) || errors.Is(err, ErrUnavailable) {
		t.Errorf("%v, want that the user has left", err)
	}
}

func TestTheDeadlineOfTheContextCounts(t *testing.T) {
	arrived := make(chan struct{}, 1)
	client := connected(t, &server{get: waits(arrived)})
	ctx, cancel := context.WithTimeout(context.Background(), 0)
	defer cancel()
	for _, call := range []func() error{
		func() error { _, err := client.Get(ctx, "/a"); return err },
		func() error { _, err := client.Watch(ctx, NewQuery("/")); return err },
		func() error {
			for _, err := range client.Query(ctx, NewQuery("/")).All() {
				return err
			}
			return nil
		},
	} {
		if err := call(); !errors.Is(err, ErrDeadlineExceeded) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v, want ErrDeadlineExceeded", err)
		}
	}
}

func TestAClosedClientEndsItsCalls(t *testing.T) {
	arrived, gone := make(chan struct{}, 1), make(chan struct{}, 1)
	client := connected(t, &server{get: waits(arrived), query: counting(gone)})
	failed := make(chan error, 1)
	go func() {
		_, err := client.Get(context.Background(), "/a")
		failed <- err
	}()
	<-arrived
	for _, err := range client.Query(context.Background(), NewQuery("/")).All() {
		if err == nil {
			_ = client.Close()
		} else if !errors.Is(err, ErrClosed) {
			t.Errorf("the stream: %v, want ErrClosed", err)
		}
	}
	if err := <-failed; !errors.Is(err, ErrClosed) {
		t.Errorf("the call: %v, want ErrClosed", err)
	}
	if _, err := client.Get(context.Background(), "/a"); !errors.Is(err, ErrClosed) {
		t.Errorf("a later call: %v, want ErrClosed", err)
	}
	<-gone
}

func TestAHundredCallsRunAtOnce(t *testing.T) {
	var running, most atomic.Int64
	var arrived sync.WaitGroup
	arrived.Add(callsAtOnce)
	answer := make(chan struct{})
	client := connected(t, &server{get: func(context.Context, *pb.GetRequest) (*pb.GetResponse, error) {
		now := running.Add(1)
		for before := most.Load(); now > before && !most.CompareAndSwap(before, now); before = most.Load() {
		}
		if now <= callsAtOnce && !isClosed(answer) {
			arrived.Done()
		}
		<-answer
		running.Add(-1)
		return &pb.GetResponse{}, nil
	}})
	var calls sync.WaitGroup
	for number := range 3 * callsAtOnce {
		calls.Go(func() {
			if _, err := client.Get(context.Background(), Key(fmt.Sprint(number))); err != nil {
				t.Error(err)
			}
		})
	}
	arrived.Wait()
	close(answer)
	calls.Wait()
	if most.Load() != callsAtOnce {
		t.Errorf("%d calls ran at once, want %d", most.Load(), callsAtOnce)
	}
}

func isClosed(channel <-chan struct{}) bool {
	select {
	case <-channel:
		return true
	default:
		return false
	}
}

func TestLeavingALoopEndsTheStream(t *testing.T) {
	gone := make(chan struct{}, 1)
	client := connected(t, &server{query: counting(gone)})
	cursor := client.Query(context.Background(), NewQuery("/"))
	for entry, err := range cursor.All() {
		if err != nil || entry.Key != "/a" || entry.Value != int64(1) {
			t.Errorf("%v, %v; want /a", entry, err)
		}
		break
	}
	<-gone
	for _, err := range cursor.All() {
		if !errors.Is(err, ErrCursorReuse) {
			t.Errorf("%v, want ErrCursorReuse", err)
		}
	}
	if cursor.Summary() != nil {
		t.Error("results that were left have a summary")
	}
}

func TestAnotherGoroutineClosesACursorAndAWatch(t *testing.T) {
	gone := make(chan struct{}, 2)
	client := connected(t, &server{
		query: counting(gone),
		watch: func(_ *pb.WatchRequest, stream grpc.ServerStreamingServer[pb.WatchResponse]) error {
			_ = stream.Send(&pb.WatchResponse{ResumeToken: []byte("t")})
			<-stream.Context().Done()
			gone <- struct{}{}
			return nil
		},
	})
	cursor := client.Query(context.Background(), NewQuery("/"))
	var closing sync.Once
	for _, err := range cursor.All() {
		closing.Do(func() { go cursor.Close() })
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("%v, want context.Canceled", err)
		}
	}
	watch, err := client.Watch(context.Background(), NewQuery("/"))
	if err != nil {
		t.Fatal(err)
	}
	go watch.Close()
	for _, err := range watch.All() {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%v, want context.Canceled", err)
		}
	}
	<-gone
	<-gone
}

func TestUpdatesOfManyGoroutinesAreAllMade(t *testing.T) {
	store := &counter{}
	client := connected(t, &server{get: store.get, put: store.put})
	const goroutines, updates = 8, 10
	var all sync.WaitGroup
	for range goroutines {
		all.Go(func() {
			for range updates {
				_, err := client.Update(context.Background(), "/n", func(value any) (any, error) {
					number, _ := value.(int64)
					return number + 1, nil
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if value, err := client.Get(context.Background(), "/n"); value != int64(goroutines*updates) {
		t.Errorf("%v, %v; want %d", value, err, goroutines*updates)
	}
	broken := errors.New("broken")
	_, err := client.Update(context.Background(), "/n", func(any) (any, error) { return nil, broken })
	if !errors.Is(err, broken) {
		t.Errorf("%v, want the error of the function", err)
	}
}

// counter is a store of one entry, with versions.
type counter struct {
	mutex   sync.Mutex
	version int64
	value   *pb.Value
}

func (c *counter) get(context.Context, *pb.GetRequest) (*pb.GetResponse, error) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return &pb.GetResponse{Value: c.value, Metadata: &pb.Metadata{Version: c.version}}, nil
}

func (c *counter) put(_ context.Context, request *pb.PutRequest) (*pb.PutResponse, error) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if request.GetCondition().GetVersion() != c.version {
		return nil, refusal(ErrConditionFailed, codes.Aborted)
	}
	c.version++
	c.value = request.GetEntry().GetValue()
	return &pb.PutResponse{Metadata: &pb.Metadata{Version: c.version}}, nil
}

func TestAnUpdateOfAnEntryWithoutMetadataFails(t *testing.T) {
	client := connected(t, &server{get: func(context.Context, *pb.GetRequest) (*pb.GetResponse, error) {
		return &pb.GetResponse{Value: int64Value(1)}, nil
	}})
	_, err := client.Update(context.Background(), "/a", func(value any) (any, error) { return value, nil })
	if !errors.Is(err, ErrCorruptData) {
		t.Errorf("%v, want ErrCorruptData", err)
	}
}

func TestAWatchThatDoesNotBeginFails(t *testing.T) {
	client := connected(t, &server{
		watch: func(_ *pb.WatchRequest, stream grpc.ServerStreamingServer[pb.WatchResponse]) error {
			<-stream.Context().Done()
			return nil
		},
	}, WithTimeout(time.Millisecond))
	if _, err := client.Watch(context.Background(), NewQuery("/")); !errors.Is(err, ErrDeadlineExceeded) {
		t.Errorf("%v, want ErrDeadlineExceeded", err)
	}
}

func TestTheErrorOfABatchNamesItsItem(t *testing.T) {
	client := connected(t, &server{})
	results, err := client.BatchGet(context.Background(), []Key{"/\x00"})
	if !errors.Is(err, ErrInvalidKey) || !errors.Is(results[0].Err, ErrInvalidKey) {
		t.Errorf("%v, want ErrInvalidKey", err)
	}
	writes := []Write{Delete("/a"), Put("/b", make(chan int))}
	made, err := client.BatchWriteAtomic(context.Background(), writes)
	if !errors.Is(err, ErrUnsupportedType) || !errors.Is(made[0].Err, ErrBatchAborted) {
		t.Errorf("%v, %v; want ErrUnsupportedType and ErrBatchAborted", err, made)
	}
}

func TestOptionsThatAWriteCannotHaveAreRefused(t *testing.T) {
	client := connected(t, &server{})
	for name, write := range map[string]Write{
		"two conditions":     Put("/a", 1, IfExists(), IfVersion(2)),
		"two expiries":       Touch("/a", ExpiresIn(time.Hour), ExpiresIn(time.Minute)),
		"ReturnValue":        Put("/a", 1, ReturnValue()),
		"CreateIfAbsent":     Put("/a", 1, CreateIfAbsent()),
		"a delete that does": Delete("/a", CreateIfAbsent()),
	} {
		results, _ := client.BatchWrite(context.Background(), []Write{write})
		if !errors.Is(results[0].Err, ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, results[0].Err)
		}
	}
}

func TestGetsThatAreMadeTogetherShareMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var messages [][]Key
		answer := make(chan struct{})
		gets := gathering{read: func(_ context.Context, keys []Key) []ReadResult {
			messages = append(messages, keys)
			<-answer
			results := make([]ReadResult, len(keys))
			for place, key := range keys {
				results[place].Value = key
			}
			return results
		}}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var callers sync.WaitGroup
		get := func(key Key) {
			callers.Go(func() {
				if result, err := gets.get(ctx, key); err != nil || result.Value != key {
					t.Errorf("%s is %v, %v", key, result, err)
				}
			})
			synctest.Wait()
		}
		for _, key := range []Key{"/a", "/b", "/c", "/d"} {
			get(key)
		}
		// Two are in flight, and two wait; with an answer these are sent.
		answer <- struct{}{}
		synctest.Wait()
		get("/e")
		// Without an answer for a while, what waits is sent.
		time.Sleep(hurry)
		synctest.Wait()
		gone, leave := context.WithCancel(ctx)
		callers.Go(func() {
			if _, err := gets.get(gone, "/f"); !errors.Is(err, context.Canceled) {
				t.Errorf("%v, want context.Canceled", err)
			}
		})
		synctest.Wait()
		leave()
		close(answer)
		callers.Wait()
		synctest.Wait()
		want := [][]Key{{"/a"}, {"/b"}, {"/c", "/d"}, {"/e"}}
		if !reflect.DeepEqual(messages, want) || gets.inFlight != 0 {
			t.Errorf("the messages are %v, want %v", messages, want)
		}
	})
}

func TestAMessageThatNobodyWaitsForEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gets := gathering{read: func(ctx context.Context, keys []Key) []ReadResult {
			<-ctx.Done()
			return make([]ReadResult, len(keys))
		}}
		deadline, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		var leave []context.CancelFunc
		for _, key := range []Key{"/a", "/b", "/c", "/d"} {
			ctx, left := context.WithCancel(deadline)
			leave = append(leave, left)
			go func() { _, _ = gets.get(ctx, key) }()
			synctest.Wait()
		}
		// The last two share a message.
		time.Sleep(hurry)
		synctest.Wait()
		for place, want := range []int{2, 1, 1, 0} {
			leave[place]()
			synctest.Wait()
			if gets.inFlight != want {
				t.Errorf("%d messages are in flight after %d callers have gone, want %d", gets.inFlight, place+1, want)
			}
		}
	})
}

func TestACoalescedGetThatIsNotAnsweredWasSent(t *testing.T) {
	arrived := make(chan struct{}, 1)
	client := connected(t, &server{get: waits(arrived)}, WithCoalescing(), WithTimeout(20*time.Millisecond))
	_, err := client.Get(context.Background(), "/a")
	if !errors.Is(err, ErrDeadlineExceeded) || strings.Contains(err.Error(), "not sent") {
		t.Errorf("%v, want that it did not finish", err)
	}
}

func TestAGetHasTheTokenOfItsCaller(t *testing.T) {
	type caller struct{}
	tokens := make(chan string, 1)
	client := connected(t, &server{get: func(ctx context.Context, _ *pb.GetRequest) (*pb.GetResponse, error) {
		headers, _ := metadata.FromIncomingContext(ctx)
		tokens <- strings.Join(headers.Get("authorization"), "")
		return &pb.GetResponse{}, nil
	}}, WithCoalescing(), WithTokenSource(func(ctx context.Context) (string, error) {
		name, _ := ctx.Value(caller{}).(string)
		return "token-of-" + name, nil
	}))
	if _, err := client.Get(context.WithValue(context.Background(), caller{}, "alice"), "/a"); err != nil {
		t.Error(err)
	}
	if token := <-tokens; token != "Bearer token-of-alice" {
		t.Errorf("the token was %q", token)
	}
}

func TestAnAnswerThatCannotBeReadIsCorrupt(t *testing.T) {
	message := func(body ...byte) []byte { return append([]byte{0, 0, 0, 0, byte(len(body))}, body...) }
	for _, each := range []struct {
		name string
		body []byte
		code string
		want Reason
	}{
		{"not a message", message(0xff, 0xff), "0", ErrCorruptData},
		{"compressed", append([]byte{1}, message()[1:]...), "0", ErrCorruptData},
		{"cut", message(1, 2, 3)[:6], "0", ErrCorruptData},
		{"missing", nil, "0", ErrCorruptData},
		{"too large", []byte{0, 0x7f, 0, 0, 0}, "0", ErrLimitExceeded},
		{"without trailers", message(), "", ErrUnavailable},
	} {
		_, err := answering(t, each.body, each.code).Get(context.Background(), "/a")
		if !errors.Is(err, each.want) || errors.Is(err, ErrCorruptData) != (each.want == ErrCorruptData) {
			t.Errorf("%s: %v, want %s", each.name, err, each.want)
		}
	}
}

func TestPartsOfAnswersThatCannotBeReadAreCorrupt(t *testing.T) {
	key, late := &pb.Key{Text: "/\x01"}, &pb.Metadata{CreateTime: &timestamppb.Timestamp{Seconds: lastSecond + 1}}
	client := connected(t, &server{
		get: func(context.Context, *pb.GetRequest) (*pb.GetResponse, error) {
			return &pb.GetResponse{Value: int64Value(1), Metadata: late}, nil
		},
		batchGet: func(context.Context, *pb.BatchGetRequest) (*pb.BatchGetResponse, error) {
			return &pb.BatchGetResponse{Results: []*pb.BatchGetResponse_Result{
				{Value: int64Value(1), Metadata: late}, {Value: int64Value(2)},
			}}, nil
		},
		query: func(_ *pb.QueryRequest, stream grpc.ServerStreamingServer[pb.QueryResponse]) error {
			return stream.Send(&pb.QueryResponse{Entries: []*pb.Entry{{Key: key, Value: int64Value(1)}}})
		},
		watch: func(_ *pb.WatchRequest, stream grpc.ServerStreamingServer[pb.WatchResponse]) error {
			return stream.Send(&pb.WatchResponse{Changes: []*pb.EntryChange{{Key: key}}})
		},
		aggregate: func(_ *pb.AggregateRequest, stream grpc.ServerStreamingServer[pb.AggregateResponse]) error {
			return stream.Send(&pb.AggregateResponse{
				Groups:  []*pb.AggregateResponse_Group{{}},
				Summary: &pb.AggregateSummary{Groups: 1},
			})
		},
	})
	ctx := context.Background()
	_, err := client.GetEntry(ctx, "/a")
	results, _ := client.BatchGetEntries(ctx, []Key{"/a", "/b"})
	_, aggregateErr := client.Aggregate(ctx, NewQuery("/"), NewAggregate(Count("n")))
	errs := []error{err, results[0].Err, aggregateErr}
	for _, err := range client.Query(ctx, NewQuery("/")).All() {
		errs = append(errs, err)
	}
	watch, err := client.Watch(ctx, NewQuery("/"))
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range watch.All() {
		errs = append(errs, err)
	}
	for place, err := range errs {
		if !errors.Is(err, ErrCorruptData) {
			t.Errorf("%d: %v, want ErrCorruptData", place, err)
		}
	}
	if results[1].Err != nil || results[1].Value != int64(2) {
		t.Errorf("the other item is %v", results[1])
	}
}

func TestAQueryThatIsLateNamesItsWholeTime(t *testing.T) {
	calls := 0
	client := connected(t, &server{
		query: func(_ *pb.QueryRequest, stream grpc.ServerStreamingServer[pb.QueryResponse]) error {
			if calls++; calls == 1 {
				_ = stream.Send(&pb.QueryResponse{ResumeToken: []byte("t")})
				return refusal(ErrUnavailable, codes.Unavailable)
			}
			<-stream.Context().Done()
			return nil
		},
	}, WithStreamTimeout(300*time.Millisecond))
	for _, err := range client.Query(context.Background(), NewQuery("/")).All() {
		if !errors.Is(err, ErrDeadlineExceeded) || !strings.Contains(err.Error(), "within 300ms") {
			t.Errorf("%v, want that it did not finish within 300ms", err)
		}
	}
}

func TestATokenIsSentWithEachCall(t *testing.T) {
	var calls int
	var seen []string
	client := connected(t, &server{get: func(ctx context.Context, _ *pb.GetRequest) (*pb.GetResponse, error) {
		headers, _ := metadata.FromIncomingContext(ctx)
		seen = append(seen, headers.Get("authorization")...)
		return &pb.GetResponse{}, nil
	}}, WithTokenSource(func(context.Context) (string, error) {
		calls++
		return []string{"", "first", "second", "not a token"}[calls], nil
	}))
	for range 2 {
		if _, err := client.Get(context.Background(), "/a"); err != nil {
			t.Error(err)
		}
	}
	if _, err := client.Get(context.Background(), "/a"); !errors.Is(err, ErrUnauthenticated) {
		t.Errorf("%v, want ErrUnauthenticated", err)
	}
	if want := []string{"Bearer first", "Bearer second"}; !reflect.DeepEqual(seen, want) {
		t.Errorf("the tokens were %v, want %v", seen, want)
	}
}

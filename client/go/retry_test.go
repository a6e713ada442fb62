package datastore

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "github.com/datastore/datastore-grpc/client/go/gen/datastorev1"
)

func TestTheWaitsBetweenAttemptsGrow(t *testing.T) {
	now, never := time.Unix(0, 0), time.Time{}
	var patience patience
	backoff := firstBackoff
	for range 10 {
		wait, again := patience.next(now, never, ErrUnavailable)
		if !again || wait < backoff/2 || wait > backoff {
			t.Errorf("%v, %v; want a wait from %v to %v", wait, again, backoff/2, backoff)
		}
		backoff = min(2*backoff, lastBackoff)
	}
	asked := &Error{Reason: ErrOverloaded, Retryable: true, RetryAfter: time.Minute}
	if wait, _ := patience.next(now, now.Add(time.Hour), asked); wait < time.Minute {
		t.Errorf("%v, want a minute at least", wait)
	}
	if _, again := patience.next(now, now.Add(time.Minute), asked); again {
		t.Error("a wait goes beyond the deadline")
	}
	if _, again := patience.next(now.Add(awayTime), never, ErrUnavailable); again {
		t.Error("there is no end without progress")
	}
	patience.progress()
	if wait, again := patience.next(now.Add(awayTime), never, ErrUnavailable); !again || wait > firstBackoff {
		t.Errorf("%v, %v after progress", wait, again)
	}
}

func TestDelaysOfServersStayWithinReason(t *testing.T) {
	now, never := time.Unix(0, 0), time.Time{}
	for _, each := range []struct {
		delay       *durationpb.Duration
		least, most time.Duration
		isBeyond    bool
	}{
		{&durationpb.Duration{Seconds: -5}, 0, firstBackoff, false},
		{&durationpb.Duration{Seconds: 315_576_000_000, Nanos: 999_999_999}, longestWait, longestWait, true},
		{&durationpb.Duration{Seconds: 10_000_000_000}, longestWait, longestWait, true},
		{&durationpb.Duration{Seconds: 60}, longestWait, longestWait, false},
	} {
		busy := must(status.New(codes.Unavailable, "busy").WithDetails(&errdetails.RetryInfo{RetryDelay: each.delay}))
		failure := serverError(busy.Proto())
		wait, again := new(patience).next(now, never, failure)
		if !again || wait < each.least || wait > each.most {
			t.Errorf("%v: %v, %v; want a wait from %v to %v", each.delay, wait, again, each.least, each.most)
		}
		if _, again := new(patience).next(now, now.Add(time.Hour), failure); again == each.isBeyond {
			t.Errorf("%v: again within an hour: %v", each.delay, again)
		}
	}
}

func TestAServerThatAnsweredIsExpectedBack(t *testing.T) {
	now := time.Unix(0, 0)
	var server link
	if server.down(now, false) {
		t.Error("a server that never answered is expected")
	}
	server.up()
	for _, each := range []struct {
		after time.Duration
		want  bool
	}{{0, true}, {awayTime - 1, true}, {awayTime, false}} {
		if got := server.down(now.Add(each.after), false); got != each.want {
			t.Errorf("after %v it is expected: %v, want %v", each.after, got, each.want)
		}
	}
	var cutOff link
	if !cutOff.down(now, true) {
		t.Error("a server that took a call is not expected back")
	}
}

func TestSlotsAreGivenInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slots := newSlots(1, make(chan struct{}))
		if err := slots.take(t.Context()); err != nil {
			t.Fatal(err)
		}
		var order []int
		for number := range 20 {
			go func() {
				if err := slots.take(t.Context()); err != nil {
					t.Error(err)
				}
				order = append(order, number)
				slots.release()
			}()
			synctest.Wait()
		}
		slots.release()
		synctest.Wait()
		if len(order) != 20 || !slices.IsSorted(order) {
			t.Errorf("the order is %v", order)
		}
	})
}

func TestTooManyWaitingCallsAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		closed := make(chan struct{})
		slots := newSlots(1, closed)
		waiters := make(chan error, waitingCalls)
		for range waitingCalls + 1 {
			go func() { waiters <- slots.take(t.Context()) }()
		}
		synctest.Wait()
		if err := <-waiters; err != nil {
			t.Errorf("the first: %v", err)
		}
		if err := slots.take(t.Context()); !errors.Is(err, errFull) {
			t.Errorf("one too many: %v, want errFull", err)
		}
		close(closed)
		for range waitingCalls {
			if err := <-waiters; !errors.Is(err, errClosed) {
				t.Errorf("one that waited: %v, want errClosed", err)
			}
		}
	})
}

func TestAWriteIsRepeatedInTheOrderOfItsKey(t *testing.T) {
	busy := &Error{Reason: ErrOverloaded, Retryable: true}
	part := &writePart{}
	for place, key := range []string{"/a", "/b", "/a", "/c", "/b"} {
		item := &pb.BatchWriteRequest_Write{Operation: &pb.BatchWriteRequest_Write_Delete{Delete: &pb.Key{Text: key}}}
		part.add(place, item, &attempt{})
	}
	results := []WriteResult{{Err: busy}, {Err: busy}, {}, {Err: &Error{Reason: ErrStoreFull}}, {Err: busy}}
	// The first /a was overtaken by the second; both /b go again, one after the other.
	if got := part.repeatable(results); !slices.Equal(got, []int{1, 4}) {
		t.Errorf("%v, want 1 and 4", got)
	}
}

func TestTheOutcomeOfAWriteStaysUnknown(t *testing.T) {
	cutOff := &Error{Reason: ErrUnavailable, Message: "cut off"}
	refused := &Error{Reason: ErrUnavailable, Retryable: true}
	repeated := &attempt{id: make([]byte, 16)}
	if first := repeated.message(); first.GetAgeUs() != 0 {
		t.Errorf("the first attempt has the age %d", first.GetAgeUs())
	}
	if !repeated.mayFollow(cutOff) || (&attempt{}).mayFollow(cutOff) {
		t.Error("only a write with an id follows one that was cut off")
	}
	if repeated.mayFollow(&Error{Reason: ErrDeadlineExceeded}) {
		t.Error("a write follows one whose time was up")
	}
	repeated.note(cutOff)
	if again := repeated.message(); again.GetAgeUs() < 1 {
		t.Errorf("a later attempt has the age %d", again.GetAgeUs())
	}
	repeated.note(refused)
	if got := repeated.outcome(refused); got != error(cutOff) {
		t.Errorf("%v, want that it was cut off", got)
	}
	if got := repeated.outcome(ErrConditionFailed); got != error(ErrConditionFailed) {
		t.Errorf("%v, want the answer", got)
	}
}

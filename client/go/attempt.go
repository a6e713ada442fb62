package datastore

import (
	"crypto/rand"
	"errors"
	"time"

	pb "github.com/datastore/datastore-grpc/client/go/gen/datastorev1"
)

// attempt is one write that may be sent several times. If its outcome may become unknown and it is to be repeated all
// the same, it has an id, by which its store makes it only once.
type attempt struct {
	id     []byte
	sentAt time.Duration
	// begun is when the first attempt was sent that may have been made, and unknown its error; nil if none may have
	// been.
	begun   time.Duration
	unknown error
}

func (c *Client) newAttempt() *attempt {
	if !c.connection.options.retryWrites {
		return &attempt{}
	}
	id := make([]byte, 16)
	_, _ = rand.Read(id) // It never fails.
	return &attempt{id: id}
}

// message returns the message of an attempt that is sent now; nil if the write has no id.
func (a *attempt) message() *pb.Attempt {
	a.sentAt = sinceBoot()
	switch {
	case a.id == nil:
		return nil
	case a.unknown == nil:
		return &pb.Attempt{RequestId: a.id}
	}
	return &pb.Attempt{RequestId: a.id, AgeUs: max(1, (a.sentAt - a.begun).Microseconds())}
}

// note takes the error of the attempt that was sent last.
func (a *attempt) note(err error) {
	if a.unknown == nil && mayHaveBeenMade(err) {
		a.begun, a.unknown = a.sentAt, err
	}
}

// mayFollow reports whether another call may follow one that ended with this error: not if its time was up, also that
// of the server.
func (a *attempt) mayFollow(err error) bool {
	return a.mayFollowItem(err) && !errors.Is(err, ErrDeadlineExceeded)
}

// mayFollowItem is the same for an item of a batch, whose call has not ended so.
func (a *attempt) mayFollowItem(err error) bool {
	return mayRepeat(err) || a.id != nil && mayHaveBeenMade(err)
}

// outcome returns the error of a write whose last attempt ended with this one. If that did not reach the store, an
// earlier attempt may have been made.
func (a *attempt) outcome(err error) error {
	if a.unknown != nil && (errors.Is(err, ErrUnavailable) || errors.Is(err, ErrWrongShard)) {
		return a.unknown
	}
	return err
}

package datastore

import (
	"errors"
	"math"
	"math/rand/v2"
	"sync"
	"time"
)

const (
	// awayTime is how long a server that answered before is expected back: finishing its calls and restarting takes
	// less. Calls and streams wait for it within their deadlines; later ones fail immediately.
	awayTime = 30 * time.Second
	// firstBackoff and lastBackoff are the waits between attempts; each is shortened at random by up to a half.
	firstBackoff = 50 * time.Millisecond
	lastBackoff  = time.Second
	// longestWait is that between attempts without a deadline, whatever delay a server asks for.
	longestWait = 30 * time.Second
	// retryDelay is that of errors that the client itself finds safe to retry: as long as it takes to reconnect.
	retryDelay = 100 * time.Millisecond
)

// patience decides how long the attempts of one call, or one stream, go on.
type patience struct {
	// cutAt is when the wait for the server began; zero while messages arrive.
	cutAt   time.Time
	backoff time.Duration
}

// progress notes that the server has sent a message.
func (p *patience) progress() { *p = patience{} }

// next returns how long to wait before the next attempt, after one ended with an error; false to give up.
func (p *patience) next(now, deadline time.Time, err error) (time.Duration, bool) {
	if p.cutAt.IsZero() {
		p.cutAt, p.backoff = now, firstBackoff
	}
	if now.Sub(p.cutAt) >= awayTime {
		return 0, false
	}
	wait := p.backoff/2 + rand.N(p.backoff/2)
	p.backoff = min(2*p.backoff, lastBackoff)
	var failure *Error
	if errors.As(err, &failure) {
		wait += min(failure.RetryAfter, math.MaxInt64-wait)
	}
	if deadline.IsZero() {
		return min(wait, longestWait), true
	}
	return wait, wait < deadline.Sub(now)
}

// link knows whether a server is up, by the outcomes of calls. One that has never answered is not waited for: its
// address may be wrong. One that did is expected back until it has been away for awayTime.
type link struct {
	mutex     sync.Mutex
	wasUp     bool
	downSince time.Time
}

// up notes that the server answered.
func (l *link) up() {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.wasUp, l.downSince = true, time.Time{}
}

// down notes that a call failed on its way, and whether it had been sent. It returns whether the server is expected
// back.
func (l *link) down(now time.Time, sent bool) bool {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.wasUp = l.wasUp || sent
	if l.downSince.IsZero() {
		l.downSince = now
	}
	return l.wasUp && now.Sub(l.downSince) < awayTime
}

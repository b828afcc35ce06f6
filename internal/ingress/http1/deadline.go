package http1

import (
	"sync/atomic"
	"time"
)

// Deadline is one of a connection's that moves on with each request: setting it is a timer each time, so that it is set a little later than it should be and
// stays for a while.
type Deadline struct{ at atomic.Int64 } // in Unix nanoseconds

// slack is by how much a deadline may be later than it should.
func slack(d time.Duration) time.Duration { return d / 8 }

// Extend has the deadline be no earlier than after d, and not much later.
func (l *Deadline) Extend(d time.Duration, set func(time.Time) error) error {
	now := time.Now()
	if left := time.Duration(l.at.Load() - now.UnixNano()); left >= d && left <= d+slack(d) {
		return nil
	}
	return l.Set(now.Add(d+slack(d)), set)
}

// Set sets it to a time.
func (l *Deadline) Set(t time.Time, set func(time.Time) error) error {
	l.at.Store(t.UnixNano())
	return set(t)
}

package runner

import (
	"sync"
	"time"

	"restic-manager/shared/wire"
)

// skewClock knows how far this host's clock is off.
type skewClock struct {
	mu       sync.Mutex // guards the fields below
	known    bool
	skew     time.Duration // the server's clock minus this host's
	measured time.Time     // by both of this host's clocks
	done     chan struct{} // closed at the next measuring
	// jumped is by how much the clock was set between two times of it; jump but in tests.
	jumped func(from, to time.Time) time.Duration
}

func newSkewClock() *skewClock { return &skewClock{done: make(chan struct{}), jumped: jump} }

// jump is how much more the wall clock went on than the monotonic one.
func jump(from, to time.Time) time.Duration {
	return to.Round(0).Sub(from.Round(0)) - to.Sub(from)
}

// next is closed when the clock is measured again.
func (c *skewClock) next() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.done
}

// measure takes the server's time from a reply that was asked for at sent and came at got.
func (c *skewClock) measure(server, sent, got time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known, c.measured = true, got
	close(c.done)
	c.done = make(chan struct{})
	c.skew = server.Sub(sent.Add(got.Sub(sent) / 2).Round(0))
}

// now is the skew; nil when it was never measured, or this host's clock was set since (it jumped against
// the monotonic one, as it does after a sleep): then stale says to measure again.
func (c *skewClock) now(at time.Time) (skew *time.Duration, stale bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.known {
		return nil, false
	}
	if c.jumped(c.measured, at).Abs() > wire.MaxSkew/10 {
		return nil, true
	}
	s := c.skew
	return &s, false
}

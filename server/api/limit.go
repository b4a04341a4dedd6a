package api

import (
	"maps"
	"sync"
	"time"
)

// limiter bounds how often each key may do something: perSecond on the long run, burst at once. It keeps one
// time per key (the generic cell rate algorithm: ITU-T I.371, annex A) and forgets keys that are at rest.
type limiter struct {
	every time.Duration // 0: no limit
	slack time.Duration
	now   func() time.Time

	mu   sync.Mutex // guards all below
	next map[string]time.Time
	keep int // sweep when there are more keys than this
}

func newLimiter(perSecond float64, burst int, now func() time.Time) *limiter {
	l := &limiter{now: now, next: map[string]time.Time{}, keep: 1024}
	if perSecond > 0 && burst > 0 {
		l.every = time.Duration(float64(time.Second) / perSecond)
		l.slack = time.Duration(burst-1) * l.every
	}
	return l
}

// allow counts one and reports whether it is within the limit; else it was not counted, and wait tells for
// how long it would not be.
func (l *limiter) allow(key string) (wait time.Duration, ok bool) {
	if l.every == 0 {
		return 0, true
	}
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	at := l.next[key]
	if at.Before(now) {
		at = now
	}
	if wait := at.Sub(now) - l.slack; wait > 0 {
		return wait, false
	}
	l.next[key] = at.Add(l.every)
	if len(l.next) > l.keep {
		maps.DeleteFunc(l.next, func(_ string, at time.Time) bool { return at.Before(now) })
		l.keep = max(1024, 2*len(l.next))
	}
	return 0, true
}

// gate bounds how many of each key are inside at once.
type gate struct {
	most int

	mu     sync.Mutex // guards inside
	inside map[string]int
}

func newGate(most int) *gate { return &gate{most: most, inside: map[string]int{}} }

// enter reports whether there was room. Who got in leaves.
func (g *gate) enter(key string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.inside[key] >= g.most {
		return false
	}
	g.inside[key]++
	return true
}

func (g *gate) leave(key string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.inside[key]--; g.inside[key] == 0 {
		delete(g.inside, key)
	}
}

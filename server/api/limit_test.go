package api

import (
	"strconv"
	"testing"
	"time"
)

func TestLimiterGivesABurstThenARate(t *testing.T) {
	now := time.Unix(1000, 0)
	l := newLimiter(2, 20, func() time.Time { return now })
	count := func() (n int) {
		for range 1000 {
			if _, ok := l.allow("host"); ok {
				n++
			}
		}
		return n
	}
	if got := count(); got != 20 {
		t.Errorf("at once: got %d, want the burst of 20", got)
	}
	wait, _ := l.allow("host")
	if wait != 500*time.Millisecond {
		t.Errorf("got a wait of %s, want 500ms", wait)
	}
	now = now.Add(wait)
	if got := count(); got != 1 {
		t.Errorf("after the wait: got %d, want 1", got)
	}
	now = now.Add(3 * time.Second)
	if got := count(); got != 6 {
		t.Errorf("3 s later: got %d, want 6", got)
	}
	now = now.Add(time.Hour)
	if got := count(); got != 20 {
		t.Errorf("after a rest: got %d, want 20", got)
	}
	if _, ok := l.allow("another"); !ok {
		t.Error("one key's use counted against another")
	}
}

func TestLimiterForgetsKeysAtRest(t *testing.T) {
	now := time.Unix(1000, 0)
	l := newLimiter(2, 20, func() time.Time { return now })
	for i := range 100_000 {
		l.allow(strconv.Itoa(i))
		now = now.Add(time.Millisecond)
	}
	if len(l.next) > 3000 {
		t.Errorf("%d keys are kept, of which 500 are not at rest", len(l.next))
	}
}

func TestLimiterOff(t *testing.T) {
	l := newLimiter(-1, 20, time.Now)
	for range 100 {
		if _, ok := l.allow("x"); !ok {
			t.Fatal("a limit of -1 refused")
		}
	}
}

func TestGateLetsSoManyInAndForgetsWhoLeft(t *testing.T) {
	g := newGate(2)
	if !g.enter("host") || !g.enter("host") || g.enter("host") {
		t.Error("two and no more may be inside")
	}
	if !g.enter("another") {
		t.Error("one key's use counted against another")
	}
	g.leave("host")
	if !g.enter("host") {
		t.Error("who left still counts")
	}
	for _, key := range []string{"host", "host", "another"} {
		g.leave(key)
	}
	if len(g.inside) != 0 {
		t.Errorf("got %v, want nobody", g.inside)
	}
}

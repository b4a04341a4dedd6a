package supervise

import (
	"testing"
	"time"
)

func TestStallIsSilenceWithoutWork(t *testing.T) {
	start := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
	var used usage
	s := newStall(1, start)
	s.measure = func(int) usage { return used }
	output := start
	at := func(d time.Duration) time.Duration { return s.since(start.Add(d), output) }
	// Restic's clock alone: less than a hundredth of a processor, and some bytes a second.
	var got time.Duration
	for d := time.Duration(0); d <= 30*time.Minute; d += 250 * time.Millisecond {
		if d%time.Second == 0 {
			used.bytes += 500
			if d%(2*time.Second) == 0 {
				used.ticks++
			}
		}
		got = at(d)
		if d < time.Minute && got != 0 {
			t.Fatalf("after %s: got %s, want 0", d, got)
		}
	}
	if got < 29*time.Minute || got > 30*time.Minute {
		t.Errorf("after half an hour of nothing: got %s, want about 29m30s", got)
	}
	// Work without output.
	for d := 30 * time.Minute; d <= 32*time.Minute; d += time.Second {
		used.bytes += 1 << 20
		got = at(d)
	}
	if got != 0 {
		t.Errorf("while it reads: got %s, want 0", got)
	}
	for d := 32 * time.Minute; d <= 40*time.Minute; d += time.Second {
		got = at(d)
	}
	if got < 7*time.Minute || got > 8*time.Minute+30*time.Second {
		t.Errorf("8 minutes after the work: got %s, want about 8m", got)
	}
	output = start.Add(40 * time.Minute)
	if got = at(40*time.Minute + time.Second); got != 0 {
		t.Errorf("after a word: got %s, want 0", got)
	}
}

func TestGroupUsageSeesItsOwn(t *testing.T) {
	g := strangerGroup(t)
	if found := members(g); len(found) != 1 || found[0].pid != g || found[0].start == 0 {
		t.Errorf("members: got %+v, want the leader alone", found)
	}
	if u := groupUsage(g); u.bytes == 0 {
		t.Errorf("usage: got %+v, want some bytes", u)
	}
}

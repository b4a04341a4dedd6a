package job

import (
	"fmt"
	"testing"
	"time"

	"restic-manager/shared/wire"
)

// TestDueAtTheMomentAndNotBefore: the sweeper's decisions fall due with their timers, and the rules agree.
func TestDueAtTheMomentAndNotBefore(t *testing.T) {
	freed := in(t, disconnected)
	freed.Holding = false
	for _, c := range []struct {
		name string
		j    Job
		at   time.Duration
		want Event
	}{
		{"queued", in(t, wire.StateQueued), wire.QueueTTL, Expire{}},
		{"accepted", in(t, wire.StateAccepted), wire.LeaseDuration, LeaseRanOut{}},
		{"running", in(t, wire.StateRunning), wire.LeaseDuration, LeaseRanOut{}},
		{"disconnected, holding", in(t, disconnected), wire.HoldAfterSilence, ReleaseHold{}},
		{"disconnected, its hold released", freed, wire.LostAfter, Lose{}},
		{"lost by revoking, holding", in(t, wire.StateLost), wire.HoldAfterSilence, ReleaseHold{}},
		{"ended", in(t, wire.StateSucceeded), 1000 * wire.LostAfter, nil},
	} {
		at := t0.Add(c.at)
		if got := Due(c.j, at.Add(-1)); c.want != nil && got != nil {
			t.Errorf("%s, just before: got %T, want nothing due", c.name, got)
		}
		got := Due(c.j, at)
		if fmt.Sprintf("%T", got) != fmt.Sprintf("%T", c.want) {
			t.Errorf("%s: got %T, want %T", c.name, got, c.want)
		}
		if got == nil {
			continue
		}
		if j, _, err := Apply(c.j, got, at); err != nil || j == c.j {
			t.Errorf("%s: %T was due: got %v, want it to change the job", c.name, got, err)
		}
	}
}

// TestVigilForgivesAfterTheSweeperWasAway: an amnesty begins with the first sweep after a gap, lasts its time,
// and is known before that sweep too.
func TestVigilForgivesAfterTheSweeperWasAway(t *testing.T) {
	v, amnesty := Vigil{}.Begin(t0)
	if !amnesty {
		t.Error("first sweep ever: want an amnesty")
	}
	for at := SweepAway; at < wire.Amnesty; at += SweepAway {
		if v, amnesty = v.Begin(t0.Add(at)); !amnesty {
			t.Errorf("after %s: want the amnesty still", at)
		}
	}
	now := t0.Add(wire.Amnesty)
	if !v.Forgives(now.Add(-1)) || v.Forgives(now) {
		t.Error("the amnesty is to end when its time is over, not before")
	}
	if v, amnesty = v.Begin(now); amnesty {
		t.Error("after its time: want none")
	}
	if v.Forgives(now.Add(SweepAway)) || !v.Forgives(now.Add(SweepAway+1)) {
		t.Error("a sweep that is late begins to forgive when it is too late, not before")
	}
	if w, _ := v.Begin(now.Add(-time.Second)); w.SweptAt != v.SweptAt {
		t.Errorf("a sweep with an older time: got %s, want %s kept", w.SweptAt, v.SweptAt)
	}
}

func TestTieFollowsWhatIsKnownOfTheRepository(t *testing.T) {
	report := func(id, location string) []wire.RepositoryReport {
		return []wire.RepositoryReport{{Name: "other", ID: "x"}, {Name: wire.RepositoryLocal, ID: id, Location: location}}
	}
	local, server := Tie{ID: "a"}, Tie{ID: "a", ServerHeld: true}
	for _, c := range []struct {
		name      string
		got, want Tie
	}{
		{"learnt", Tie{}.Learnt(wire.RepositoryLocal, "b"), Tie{ID: "b"}},
		{"learnt anew", local.Learnt(wire.RepositoryLocal, "b"), Tie{ID: "b"}},
		{"learnt of one no longer used", server.Learnt(wire.RepositoryLocal, "b"), server},
		{"learnt of the server's", Tie{ServerHeld: true}.Learnt(wire.RepositoryServer, "b"), Tie{ID: "b", ServerHeld: true}},
		{"initialised", Tie{}.Initialised(wire.RepositoryLocal, "b"), Tie{ID: "b"}},
		{"initialised, another known by then", local.Initialised(wire.RepositoryLocal, "b"), local},
		{"reported", Tie{}.Reported(nil, report("b", "l")), Tie{ID: "b"}},
		{"reported anew", local.Reported(report("a", "l"), report("b", "m")), Tie{ID: "b"}},
		{"reported without id at the same place", local.Reported(report("a", "l"), report("", "l")), local},
		{"reported without id at another place", local.Reported(report("a", "l"), report("", "m")), Tie{}},
		{"reported no more", local.Reported(report("a", "l"), nil), Tie{}},
		{"never reported", local.Reported(nil, nil), local},
		{"reported while the server holds one", server.Reported(nil, report("b", "l")), server},
	} {
		if c.got != c.want {
			t.Errorf("%s: got %+v, want %+v", c.name, c.got, c.want)
		}
	}
}

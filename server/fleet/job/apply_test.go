package job

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"restic-manager/server/fault"
	"restic-manager/shared/wire"
)

var t0 = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const (
	lease, other = "11111111111111111111111111111111", "22222222222222222222222222222222"
	nonce        = "33333333333333333333333333333333"
	sum          = "s1"
)

// disconnected stands beside the states: running, with the lease run out. It holds its repository still.
const disconnected = "disconnected"

// arrows are those of the protocol. There are no others.
var arrows = map[[2]wire.State]bool{
	{"queued", "accepted"}: true, {"queued", "running"}: true, {"queued", "canceled"}: true, {"queued", "expired"}: true,
	{"accepted", "queued"}: true, {"accepted", "running"}: true, {"accepted", "rejected"}: true, {"accepted", "canceled"}: true,
	{"running", "succeeded"}: true, {"running", "succeeded_with_issues"}: true, {"running", "failed"}: true,
	{"running", "canceled"}: true, {"running", "lost"}: true,
}

// in gives a job in the state, as the rules themselves bring it there.
func in(t *testing.T, state wire.State) Job {
	t.Helper()
	if state == disconnected {
		j, _, err := Apply(in(t, wire.StateRunning), LeaseRanOut{}, t0.Add(wire.LeaseDuration))
		if err != nil {
			t.Fatal(err)
		}
		return j
	}
	j := New("j", "h", wire.KindPrune, wire.QueueTTL, t0)
	do := func(e Event, now time.Time) {
		t.Helper()
		var err error
		if j, _, err = Apply(j, e, now); err != nil {
			t.Fatalf("bring a job to %s: %T: %v", state, e, err)
		}
	}
	switch state {
	case wire.StateQueued:
		return j
	case wire.StateExpired:
		do(Expire{}, t0.Add(wire.QueueTTL))
		return j
	}
	do(Accept{Lease: lease, Delivery: 1, RepositoryName: "local", RepositoryID: "r"}, t0)
	switch state {
	case wire.StateAccepted:
		return j
	case wire.StateCanceled:
		do(Cancel{}, t0)
		return j
	case wire.StateRejected:
		do(Finish{Lease: lease, SHA256: sum, State: state}, t0)
		return j
	}
	do(Start{Lease: lease, Nonce: nonce}, t0)
	switch state {
	case wire.StateRunning:
	case wire.StateLost:
		do(Revoke{}, t0)
	default:
		do(Finish{Lease: lease, SHA256: sum, State: state}, t0)
	}
	return j
}

// TestEveryArrow: the arrows of the protocol, and for every other pair of state and event its refusal or that
// it changes no state.
func TestEveryArrow(t *testing.T) {
	later := t0.Add(wire.LeaseDuration)
	events := []struct {
		name string
		e    Event
		now  time.Time
		// want per state: a state, or "!code" for a refusal. Ended is for the states not named.
		want  map[wire.State]string
		ended string
	}{
		{"accept", Accept{Lease: other, Delivery: 1}, t0, map[wire.State]string{"queued": "accepted", "accepted": "!job_gone", "running": "!job_gone"}, "!job_gone"},
		{"accept again", Accept{Lease: lease, Delivery: 1}, t0, map[wire.State]string{"queued": "accepted", "accepted": "accepted", "running": "running"}, "!job_gone"},
		{"late accept", Accept{Lease: other, Delivery: 2}, t0, map[wire.State]string{"queued": "!job_gone", "accepted": "!job_gone", "running": "!job_gone"}, "!job_gone"},
		{"accept, lane busy", Accept{Lease: other, Delivery: 1, LaneBusy: true}, t0, map[wire.State]string{"queued": "!host_busy", "accepted": "!job_gone", "running": "!job_gone"}, "!job_gone"},
		{"accept, held", Accept{Lease: other, Delivery: 1, Held: true}, t0, map[wire.State]string{"queued": "!repository_busy", "accepted": "!job_gone", "running": "!job_gone"}, "!job_gone"},
		{"accept, alarm", Accept{Lease: other, Delivery: 1, Alarm: true}, t0, map[wire.State]string{"queued": "!job_gone", "accepted": "!job_gone", "running": "!job_gone"}, "!job_gone"},
		{"accept after its time", Accept{Lease: other, Delivery: 1}, t0.Add(wire.QueueTTL), map[wire.State]string{"queued": "!job_gone", "accepted": "!job_gone", "running": "!job_gone"}, "!job_gone"},
		{"start", Start{Lease: lease, Nonce: nonce}, t0, map[wire.State]string{"queued": "!lease_lost", "accepted": "running", "running": "running"}, "!lease_lost"},
		{"start, other nonce", Start{Lease: lease, Nonce: other}, t0, map[wire.State]string{"queued": "!lease_lost", "accepted": "running", "running": "!lease_lost"}, "!lease_lost"},
		{"start, other lease", Start{Lease: other, Nonce: nonce}, t0, map[wire.State]string{"queued": "!lease_lost", "accepted": "!lease_lost", "running": "!lease_lost"}, "!lease_lost"},
		{"adopt", Adopt{Lease: other, Nonce: other}, t0, map[wire.State]string{"queued": "running", "accepted": "!job_gone", "running": "!job_gone"}, "!job_gone"},
		{"adopt again", Adopt{Lease: lease, Nonce: nonce}, t0, map[wire.State]string{"queued": "running", "accepted": "!job_gone", "running": "running",
			"canceled": "!job_gone", "rejected": "!job_gone", "expired": "!job_gone"}, "="},
		{"adopt, other nonce", Adopt{Lease: lease, Nonce: other}, t0, map[wire.State]string{"queued": "running", "accepted": "!job_gone", "running": "!job_gone"}, "!job_gone"},
		{"adopt, lane busy", Adopt{Lease: other, Nonce: other, LaneBusy: true}, t0, map[wire.State]string{"queued": "!host_busy", "accepted": "!job_gone", "running": "!job_gone"}, "!job_gone"},
		{"adopt, held", Adopt{Lease: other, Nonce: other, Held: true}, t0, map[wire.State]string{"queued": "running", "accepted": "!job_gone", "running": "!job_gone"}, "!job_gone"},
		{"adopt after its time", Adopt{Lease: other, Nonce: other}, t0.Add(wire.QueueTTL), map[wire.State]string{"queued": "running", "accepted": "!job_gone", "running": "!job_gone"}, "!job_gone"},
		{"adopt without a nonce", Adopt{Lease: other}, t0, map[wire.State]string{"queued": "!invalid", "accepted": "!invalid", "running": "!invalid"}, "!invalid"},
		{"coalesce", Coalesce{Into: "x"}, t0, map[wire.State]string{"queued": "canceled", "accepted": "!not_due", "running": "!not_due"}, "!not_due"},
		{"resume", Resume{Old: lease, New: other}, t0, map[wire.State]string{"queued": "!lease_lost", "accepted": "accepted", "running": "running", "expired": "!lease_lost"}, "="},
		{"resume, wrong", Resume{Old: other, New: nonce}, t0, map[wire.State]string{"queued": "!lease_lost", "accepted": "!lease_lost", "running": "!lease_lost"}, "!lease_lost"},
		{"resume after 7 days", Resume{Old: lease, New: other}, t0.Add(9 * 24 * time.Hour), map[wire.State]string{"queued": "!lease_lost", "accepted": "accepted", "running": "running"}, "!lease_lost"},
		{"heard", Heard{Lease: lease}, t0, map[wire.State]string{"queued": "!lease_lost", "accepted": "accepted", "running": "running", "expired": "!lease_lost"}, "="},
		{"progress", Progress{Lease: lease, Seq: 1}, t0, map[wire.State]string{"queued": "!lease_lost", "accepted": "!not_started", "running": "running", "expired": "!lease_lost"}, "="},
		{"finish{succeeded}", Finish{Lease: lease, SHA256: "s2", State: "succeeded"}, t0, map[wire.State]string{"queued": "!lease_lost", "accepted": "!not_started", "running": "succeeded", "expired": "!lease_lost"}, "="},
		{"finish{issues}", Finish{Lease: lease, SHA256: "s2", State: "succeeded_with_issues"}, t0, map[wire.State]string{"queued": "!lease_lost", "accepted": "!not_started", "running": "succeeded_with_issues", "expired": "!lease_lost"}, "="},
		{"finish{failed}", Finish{Lease: lease, SHA256: "s2", State: "failed"}, t0, map[wire.State]string{"queued": "!lease_lost", "accepted": "!not_started", "running": "failed", "expired": "!lease_lost"}, "="},
		{"finish{canceled}", Finish{Lease: lease, SHA256: "s2", State: "canceled"}, t0, map[wire.State]string{"queued": "!lease_lost", "accepted": "!not_started", "running": "canceled", "expired": "!lease_lost"}, "="},
		{"finish{rejected}", Finish{Lease: lease, SHA256: "s2", State: "rejected"}, t0, map[wire.State]string{"queued": "!lease_lost", "accepted": "rejected", "running": "!invalid", "expired": "!lease_lost"}, "="},
		{"finish{lost}", Finish{Lease: lease, SHA256: "s2", State: "lost"}, t0, map[wire.State]string{"queued": "!lease_lost", "accepted": "!not_started", "running": "!invalid", "expired": "!lease_lost"}, "="},
		{"finish, other lease", Finish{Lease: other, SHA256: "s2", State: "failed"}, t0, map[wire.State]string{"queued": "!lease_lost", "accepted": "!lease_lost", "running": "!lease_lost"}, "!lease_lost"},
		{"cancel", Cancel{}, t0, map[wire.State]string{"queued": "canceled", "accepted": "canceled", "running": "running", "canceled": "canceled"}, "!job_ended"},
		{"revoke", Revoke{}, t0, map[wire.State]string{"queued": "canceled", "accepted": "canceled", "running": "lost"}, "="},
		{"expire early", Expire{}, t0, nil, "!not_due"},
		{"expire", Expire{}, t0.Add(wire.QueueTTL), map[wire.State]string{"queued": "expired"}, "!not_due"},
		{"lease early", LeaseRanOut{}, later.Add(-1), nil, "!not_due"},
		{"lease ran out", LeaseRanOut{}, later, map[wire.State]string{"accepted": "queued", "running": "running"}, "!not_due"},
		{"unnamed while leased", UnnamedPoll{Boot: "b", Seq: 1}, t0, nil, "!not_due"},
		{"unnamed, the first", UnnamedPoll{Boot: "b", Seq: 1}, later, map[wire.State]string{disconnected: "running"}, "!not_due"},
		{"lose early", Lose{}, t0.Add(wire.LostAfter - 1), nil, "!not_due"},
		{"lose", Lose{}, t0.Add(wire.LostAfter), map[wire.State]string{disconnected: "lost"}, "!not_due"},
		{"release early", ReleaseHold{}, t0.Add(wire.HoldAfterSilence - 1), nil, "!not_due"},
		{"release", ReleaseHold{}, t0.Add(wire.HoldAfterSilence), map[wire.State]string{"lost": "lost", disconnected: "running"}, "!not_due"},
		{"start that finds its repository held", Start{Lease: lease, Nonce: nonce, RepositoryID: "q", Held: true}, t0,
			map[wire.State]string{"queued": "!lease_lost", "accepted": "queued !repository_busy", "running": "running"}, "!lease_lost"},
		{"start without a nonce", Start{Lease: lease}, t0, map[wire.State]string{"accepted": "!invalid"}, "!lease_lost"},
		{"accept without a lease", Accept{Delivery: 1}, t0, nil, "!lease_lost"},
		{"waiting", Waiting{}, t0, map[wire.State]string{"queued": "queued"}, "!not_due"},
	}
	seen := map[[2]wire.State]bool{}
	for _, ev := range events {
		for _, state := range append([]wire.State{disconnected}, wire.States...) {
			t.Run(ev.name+"/"+string(state), func(t *testing.T) {
				was := in(t, state)
				j, _, err := Apply(was, ev.e, ev.now)
				if j.State != was.State {
					seen[[2]wire.State{was.State, j.State}] = true
				}
				want, ok := ev.want[state]
				if state == disconnected && !ok { // what is not said of it is as of any running job
					want, ok = ev.want[wire.StateRunning]
				}
				if !ok {
					if want = ev.ended; want == "=" {
						want = string(was.State)
					}
				}
				if to, code, both := strings.Cut(want, " !"); both {
					if !fault.Is(err, code) || j.State != wire.State(to) {
						t.Fatalf("got %s, %v, want %s and %s", j.State, err, to, code)
					}
					return
				}
				if want[0] == '!' {
					if !fault.Is(err, want[1:]) {
						t.Fatalf("error: got %v, want %s", err, want[1:])
					}
					if j != was {
						t.Fatalf("refused, and changed all the same: got %+v", j)
					}
					return
				}
				if err != nil || j.State != wire.State(want) {
					t.Fatalf("got %s, %v, want %s", j.State, err, want)
				}
				if was.State.Terminal() && (j.State != was.State || j.EndedAt != was.EndedAt || j.ErrorCode != was.ErrorCode) {
					t.Fatalf("an ended job changed: got %+v, was %+v", j, was)
				}
			})
		}
	}
	// The arrow of reconciling takes three polls.
	j := in(t, disconnected)
	for seq := int64(1); seq <= UnnamedPolls; seq++ {
		was := j.State
		if j, _, _ = Apply(j, UnnamedPoll{Boot: "b", Seq: seq}, later); j.State != was {
			seen[[2]wire.State{was, j.State}] = true
		}
	}
	if !maps.Equal(seen, arrows) {
		t.Errorf("arrows: got %v, want %v", seen, arrows)
	}
}

func TestLeaseThatRanOutQueuesAgainUnderAnotherDelivery(t *testing.T) {
	j, fx, err := Apply(in(t, wire.StateAccepted), LeaseRanOut{}, t0.Add(wire.LeaseDuration))
	if err != nil || j.Delivery != 2 || j.Lease != "" || j.Holding || fx.Freed != "r" || !fx.WakeHost {
		t.Fatalf("got %+v, %+v, %v", j, fx, err)
	}
}

func TestStartThatFindsItsRepositoryHeld(t *testing.T) {
	j, fx, err := Apply(in(t, wire.StateAccepted), Start{Lease: lease, Nonce: nonce, RepositoryID: "q", Held: true}, t0)
	if !fault.Is(err, wire.ProblemRepositoryBusy) || j.State != wire.StateQueued || j.Delivery != 2 || fx.Freed != "r" {
		t.Fatalf("got %+v, %+v, %v, want queued again and refused", j, fx, err)
	}
	j, fx, err = Apply(in(t, wire.StateAccepted), Start{Lease: lease, Nonce: nonce, RepositoryID: "q"}, t0)
	if err != nil || j.HoldKey != "q" || !j.Holding || fx.Freed != "r" {
		t.Fatalf("got %+v, %+v, %v, want the hold moved to q", j, fx, err)
	}
}

func TestDisconnectedJobIsNotEndedBeforeItsTime(t *testing.T) {
	j := in(t, wire.StateRunning)
	now := t0.Add(wire.LeaseDuration)
	j, _, err := Apply(j, LeaseRanOut{}, now)
	if err != nil || j.State != wire.StateRunning || !j.DisconnectedSince.Equal(t0) {
		t.Fatalf("got %+v, %v, want running, disconnected since it was heard", j, err)
	}
	for seq := int64(1); seq <= UnnamedPolls; seq++ {
		if j.State != wire.StateRunning {
			t.Fatalf("ended after %d polls", seq-1)
		}
		for range 2 { // the second is a duplicate
			if j.State == wire.StateRunning {
				j, _, err = Apply(j, UnnamedPoll{Boot: "b", Seq: seq}, now)
			}
		}
	}
	if j.State != wire.StateFailed || j.ErrorCode != wire.CodeInterrupted || j.Holding {
		t.Fatalf("got %+v, %v, want failed{interrupted}", j, err)
	}
}

func TestSignOfLifeForgetsUnnamedPolls(t *testing.T) {
	now := t0.Add(wire.LeaseDuration)
	j, _, _ := Apply(in(t, wire.StateRunning), LeaseRanOut{}, now)
	j, _, _ = Apply(j, UnnamedPoll{Boot: "b", Seq: 1}, now)
	j, _, _ = Apply(j, Heard{Lease: lease}, now)
	if !j.DisconnectedSince.IsZero() || j.Unnamed != (Unnamed{}) || !j.LeaseExpiresAt.Equal(now.Add(wire.LeaseDuration)) {
		t.Fatalf("got %+v, want connected with a new lease", j)
	}
}

func TestFinishIsIdempotentByItsBytes(t *testing.T) {
	j := in(t, wire.StateSucceeded)
	if got, fx, err := Apply(j, Finish{Lease: other, SHA256: sum, State: wire.StateSucceeded}, t0); err != nil || got != j || fx.KeepReport {
		t.Fatalf("the same bytes: got %+v, %+v, %v", got, fx, err)
	}
	if got, fx, err := Apply(j, Finish{Lease: lease, SHA256: "s2", State: wire.StateFailed}, t0); err != nil || !fx.KeepReport || got.State != j.State {
		t.Fatalf("other bytes: got %+v, %+v, %v, want a late report", got, fx, err)
	}
}

// TestRandomEventsKeepTheInvariants throws any event at any time at a job.
func TestRandomEventsKeepTheInvariants(t *testing.T) {
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 1))
		j, now := New("j", "h", wire.Kinds[r.IntN(len(wire.Kinds))].Kind, wire.QueueTTL, t0), t0
		trace := ""
		for range 60 {
			if r.IntN(4) == 0 {
				now = now.Add(time.Duration(r.Int64N(int64(2 * time.Hour))))
			}
			l := []string{lease, other, ""}[r.IntN(3)]
			events := []Event{
				Accept{Lease: l, Delivery: r.IntN(4), RepositoryID: "r", Held: r.IntN(4) == 0},
				Start{Lease: l, Nonce: []string{nonce, other}[r.IntN(2)], RepositoryID: "q", Held: r.IntN(3) == 0},
				Resume{Old: l, New: lease}, Heard{Lease: l}, Progress{Lease: l, Seq: r.Int64N(9)},
				Finish{Lease: l, SHA256: fmt.Sprint(r.IntN(3)), State: wire.States[r.IntN(len(wire.States))]},
				UnnamedPoll{Boot: "b", Seq: r.Int64N(9)}, Due(j, now), Due(j, now),
			}
			if r.IntN(30) == 0 {
				events = append(events, Cancel{}, Revoke{})
			}
			e := events[r.IntN(len(events))]
			if e == nil {
				continue
			}
			next, fx, err := Apply(j, e, now)
			trace += fmt.Sprintf("%s %#v -> %s %v\n", now.Format(time.TimeOnly), e, next.State, err)
			broken := ""
			switch {
			case next.State != j.State && !arrows[[2]wire.State{j.State, next.State}]:
				broken = "not an arrow of the protocol"
			case next.State.Terminal() == next.EndedAt.IsZero():
				broken = "ended without an end"
			case fx.Ended != (next.State.Terminal() && !j.State.Terminal()):
				broken = "the end was told wrongly"
			case next.State == wire.StateRunning && j.State == wire.StateRunning && next.StartNonce != j.StartNonce:
				broken = "started twice"
			case next.State == wire.StateQueued && (next.Holding || next.Lease != ""):
				broken = "a queued job holds"
			case next.Active() && next.Hold() != wire.HoldNone && !next.Holding && next.HoldReleasedAt.IsZero():
				broken = "runs without its hold"
			case j.State != wire.StateQueued && next.State == wire.StateQueued && next.Delivery != j.Delivery+1:
				broken = "queued again under the same delivery"
			case j.State == wire.StateRunning && next.State == wire.StateQueued:
				broken = "a started job was queued again"
			}
			if broken != "" {
				t.Fatalf("seed %d: %s\n%s", seed, broken, trace)
			}
			j = next
		}
	}
}

// An adopted job holds its repository where it may; where another job's hold excludes it, it runs without.
func TestAnAdoptedJobHoldsItsRepositoryWhereItMay(t *testing.T) {
	now := t0.Add(time.Minute)
	for name, c := range map[string]struct {
		event Adopt
		key   string
		holds bool
	}{
		"free":          {Adopt{Lease: lease, Nonce: nonce, RepositoryName: "local", RepositoryID: "r"}, "r", true},
		"held":          {Adopt{Lease: lease, Nonce: nonce, RepositoryName: "local", RepositoryID: "r", Held: true}, "r", false},
		"not known yet": {Adopt{Lease: lease, Nonce: nonce, RepositoryName: "server"}, HostKey("h"), true},
	} {
		j, fx, err := Apply(in(t, wire.StateQueued), c.event, now)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if j.Holding != c.holds || j.HoldKey != c.key || j.HoldReleasedAt.IsZero() != c.holds {
			t.Errorf("%s: got holding %v of %q, released %v", name, j.Holding, j.HoldKey, j.HoldReleasedAt)
		}
		if j.Lease != lease || j.StartNonce != nonce || !j.AcceptedAt.Equal(now) || !j.StartedAt.Equal(now) || !j.LeaseExpiresAt.Equal(now.Add(wire.LeaseDuration)) ||
			j.RepositoryName != c.event.RepositoryName || j.Delivery != 1 || fx != (Effects{}) {
			t.Errorf("%s: got %+v, %+v", name, j, fx)
		}
		// It ends as any other.
		if j, fx, err = Apply(j, Finish{Lease: lease, SHA256: sum, State: wire.StateSucceeded}, now); err != nil || j.State != wire.StateSucceeded || (fx.Freed != "") != c.holds {
			t.Errorf("%s: its end: got %+v, %+v, %v", name, j, fx, err)
		}
	}
}

// What another run stands for is canceled, and says so; nobody asked for that.
func TestACoalescedJobNamesTheOneThatStandsForIt(t *testing.T) {
	j, fx, err := Apply(in(t, wire.StateQueued), Coalesce{Into: "j2"}, t0)
	if err != nil || j.State != wire.StateCanceled || j.ErrorCode != wire.CodeCanceled || !strings.Contains(j.ErrorMessage, "j2") || !j.CancelRequestedAt.IsZero() || !fx.Ended || !fx.LeftQueue {
		t.Errorf("got %+v, %+v, %v", j, fx, err)
	}
}

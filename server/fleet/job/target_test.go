package job

import (
	"slices"
	"testing"
	"time"

	"restic-manager/server/fault"
	"restic-manager/shared/wire"
)

// about is a queued job about a repository of a setting; id is restic's, empty where it is not known.
func about(id string) Job {
	j := New("j", "h", wire.KindPrune, wire.QueueTTL, t0)
	j.Target = Target{SettingID: "s", RepositoryID: id}
	return j
}

func accepted(t *testing.T, j Job) Job {
	t.Helper()
	name, id := j.Uses(Tie{ID: "own", ServerHeld: true})
	j, _, err := Apply(j, Accept{Lease: lease, Delivery: j.Delivery, RepositoryName: name, RepositoryID: id}, t0)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func TestAJobUsesItsTargetOrTheHostsOwn(t *testing.T) {
	own := New("j", "h", wire.KindPrune, wire.QueueTTL, t0)
	for _, c := range []struct {
		job           Job
		tie           Tie
		name, id, key string
	}{
		{own, Tie{}, wire.RepositoryLocal, "", "host:h"},
		{own, Tie{ID: "r", ServerHeld: true}, wire.RepositoryServer, "r", "r"},
		{about(""), Tie{ID: "r", ServerHeld: true}, wire.RepositoryTarget, "", "host:h"},
		{about("t"), Tie{ID: "r"}, wire.RepositoryTarget, "t", "t"},
	} {
		name, id := c.job.Uses(c.tie)
		if key := c.job.Key(c.tie); name != c.name || id != c.id || key != c.key {
			t.Errorf("%+v with %+v: got %s %q holding %s, want %s %q holding %s", c.job.Target, c.tie, name, id, key, c.name, c.id, c.key)
		}
	}
}

func TestStartLearnsTheTarget(t *testing.T) {
	j, fx, err := Apply(accepted(t, about("")), Start{Lease: lease, Nonce: nonce, RepositoryID: "t"}, t0)
	if err != nil || j.State != wire.StateRunning || j.Target.RepositoryID != "t" || j.HoldKey != "t" || fx.Freed != "host:h" {
		t.Errorf("got %s of %+v holding %s, %+v, %v", j.State, j.Target, j.HoldKey, fx, err)
	}
	// Found held it is queued again, and what was learnt stays: it is not offered until that is free.
	j, _, err = Apply(accepted(t, about("")), Start{Lease: lease, Nonce: nonce, RepositoryID: "t", Held: true}, t0)
	if !fault.Is(err, wire.ProblemRepositoryBusy) || j.State != wire.StateQueued || j.Key(Tie{}) != "t" || j.Target.SettingID != "s" {
		t.Errorf("held: got %s of %+v, %v", j.State, j.Target, err)
	}
	// And so when the lease runs out.
	j, _, err = Apply(accepted(t, about("t")), LeaseRanOut{}, t0.Add(wire.LeaseDuration))
	if err != nil || j.State != wire.StateQueued || j.Target != about("t").Target {
		t.Errorf("requeued: got %s of %+v, %v", j.State, j.Target, err)
	}
}

func TestAnotherRepositoryAtTheAddressEndsTheJobBeforeItStarts(t *testing.T) {
	was := accepted(t, about("t"))
	j, fx, err := Apply(was, Start{Lease: lease, Nonce: nonce, RepositoryID: "another"}, t0)
	if !fault.Is(err, wire.ProblemLeaseLost) || j.State != wire.StateCanceled || j.ErrorCode != wire.CodeWrongRepository || j.ErrorMessage == "" ||
		!j.StartedAt.IsZero() || j.Holding || fx.Freed != "t" || !fx.Ended {
		t.Errorf("got %s %s, holding %t, %+v, %v", j.State, j.ErrorCode, j.Holding, fx, err)
	}
	if again, _, err := Apply(j, Start{Lease: lease, Nonce: nonce, RepositoryID: "another"}, t0.Add(time.Second)); !fault.Is(err, wire.ProblemLeaseLost) || again != j {
		t.Errorf("again: got %+v, %v", again, err)
	}
	if j, _, err := Apply(was, Start{Lease: lease, Nonce: nonce, RepositoryID: "t"}, t0); err != nil || j.State != wire.StateRunning {
		t.Errorf("the right one: got %s, %v", j.State, err)
	}
}

func TestOnlyMaintenanceAndOnlyAgentsThatKnowIt(t *testing.T) {
	for _, k := range wire.Kinds {
		err := MayTarget(k.Kind, []string{wire.FeatureTarget}, "1")
		if refused := slices.Contains([]wire.Kind{wire.KindBackup, wire.KindRestore, wire.KindEstimate}, k.Kind); refused != (err != nil) {
			t.Errorf("%s: got %v", k.Kind, err)
		}
	}
	if err := MayTarget(wire.KindPrune, []string{"other"}, "1"); !fault.Is(err, "target_unsupported") {
		t.Errorf("an old agent: got %v", err)
	}
}

package policy

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"restic-manager/server/database"
	"restic-manager/server/fleet"
	"restic-manager/shared/wire"
)

// hex32 is a lease, a nonce.
func hex32(n int) string { return fmt.Sprintf("%032x", n) }

func execs(query string, args ...any) func(tx *database.Tx) error {
	return func(tx *database.Tx) error { return tx.Exec(query, args...).Error }
}

// adopting is what an agent says of a job that it began at its due time.
func adopting(policy string, due time.Time, nonce int) wire.AdoptRequest {
	return wire.AdoptRequest{PolicyID: policy, PolicyVersion: 1, DueAt: due, Kind: wire.KindBackup, Spec: mustJSON(wire.BackupSpec{Paths: []string{"/home"}}),
		StartNonce: hex32(nonce), Repository: wire.RepositoryLocal, TimeLimitSeconds: 3600, StartedAt: due}
}

func (x *fixture) adopt(host string, lease int, r wire.AdoptRequest) (id string, err error) {
	id = wire.TickJobID(r.PolicyID, host, r.DueAt)
	return id, x.fleet.Adopt(x.t.Context(), host, id, hex32(lease), r)
}

func (x *fixture) wantState(id string, want wire.State) {
	x.t.Helper()
	j, err := x.fleet.JobByID(x.t.Context(), id)
	if err != nil || j.State != want {
		x.t.Errorf("job %s: got %s, %v, want %s", id, j.State, err, want)
	}
}

// order queues a job by hand.
func (x *fixture) order(host string, kind wire.Kind) (string, error) {
	x.t.Helper()
	j, _, err := x.fleet.CreateJob(x.t.Context(), tester, fleet.NewJob{HostID: host, Kind: kind})
	return j.ID, err
}

func TestAJobThatBeganWhileTheServerWasAwayIsAdopted(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		host := x.keeper()
		p := x.create(x.draft())
		x.clock.Set(day(2, 4, 0))
		id, err := x.adopt(host, 1, adopting(p.ID, day(2, 2, 30), 1))
		if err != nil {
			t.Fatal(err)
		}
		x.wantState(id, wire.StateRunning)
		if got, want := x.told(p.ID, host), "02T02:30 run"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if _, err := x.adopt(host, 1, adopting(p.ID, day(2, 2, 30), 1)); err != nil {
			t.Errorf("once more: %v", err)
		}
		_, err = x.adopt(host, 2, adopting(p.ID, day(2, 2, 30), 2))
		wantCode(t, err, wire.ProblemJobGone)
		// The lane is taken now.
		x.clock.Set(day(3, 4, 0))
		_, err = x.adopt(host, 3, adopting(p.ID, day(3, 2, 30), 3))
		wantCode(t, err, wire.ProblemHostBusy)
		if got, want := x.told(p.ID, host), "02T02:30 run"; got != want {
			t.Errorf("a refused one left %s, want %s", got, want)
		}
		finish := wire.FinishRequest{State: wire.StateSucceeded}
		if _, err := x.fleet.Finish(t.Context(), host, id, hex32(1), mustJSON(finish), finish); err != nil {
			t.Fatal(err)
		}
		if _, err := x.adopt(host, 1, adopting(p.ID, day(2, 2, 30), 1)); err != nil {
			t.Errorf("after its end: %v", err)
		}
		x.wantState(id, wire.StateSucceeded)
		if id, err = x.adopt(host, 3, adopting(p.ID, day(3, 2, 30), 3)); err != nil {
			t.Fatal(err)
		}
		x.wantState(id, wire.StateRunning)
		x.whole()
	})
}

// The answer to the agent's question was lost: the job is queued here, and begun there.
func TestAQueuedJobThatBeganThereIsTaken(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		host := x.keeper()
		p := x.create(x.draft())
		x.clock.Set(day(2, 2, 30))
		asked := x.asks(host, p.ID, day(2, 2, 30))
		x.clock.Set(day(2, 2, 40))
		id, err := x.adopt(host, 1, adopting(p.ID, day(2, 2, 30), 1))
		if err != nil || id != asked.JobID {
			t.Fatalf("got job %s, %v, want %s", id, err, asked.JobID)
		}
		x.wantState(id, wire.StateRunning)
		x.whole()
	})
}

// The due time was coalesced into a queued job, and nobody heard: what runs stands for both.
func TestAnAdoptedJobStandsForTheQueuedOnesOfItsPolicy(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		host := x.keeper()
		p := x.create(x.draft())
		byHand, err := x.Run(t.Context(), tester, p.ID, nil)
		if err != nil {
			t.Fatal(err)
		}
		x.clock.Set(day(2, 2, 30))
		if a := x.asks(host, p.ID, day(2, 2, 30)); a.Outcome != wire.OutcomeCoalesced || a.JobID != byHand[0].JobID {
			t.Fatalf("got %+v, want coalesced", a)
		}
		id, err := x.adopt(host, 1, adopting(p.ID, day(2, 2, 30), 1))
		if err != nil {
			t.Fatal(err)
		}
		x.wantState(id, wire.StateRunning)
		x.wantState(byHand[0].JobID, wire.StateCanceled)
		j, err := x.fleet.JobByID(t.Context(), byHand[0].JobID)
		if err != nil || j.Error == nil || !strings.Contains(j.Error.Message, id) {
			t.Errorf("got %+v, %v, want it to name job %s", j.Error, err, id)
		}
		if got, want := x.told(p.ID, host), "02T02:30 coalesced"; got != want {
			t.Errorf("got %s, want %s: the first outcome", got, want)
		}
		x.whole()
	})
}

func TestOnlyDueTimesAreAdopted(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		host, other := x.keeper(), x.keeper()
		p := x.create(x.draft())
		x.clock.Set(day(2, 4, 0))
		for name, r := range map[string]wire.AdoptRequest{
			"an invented one":       adopting(p.ID, day(2, 2, 31), 1),
			"tomorrow's":            adopting(p.ID, day(3, 2, 30), 1),
			"one of before":         adopting(p.ID, day(1, 2, 30), 1),
			"one of no policy":      adopting(database.NewID(), day(2, 2, 30), 1),
			"half a second":         adopting(p.ID, day(2, 2, 30).Add(time.Second/2), 1),
			"a policy that is none": adopting("x", day(2, 2, 30), 1),
		} {
			if _, err := x.adopt(host, 1, r); err == nil {
				t.Errorf("%s was adopted", name)
			} else {
				wantCode(t, err, wire.ProblemJobGone)
			}
		}
		err := x.fleet.Adopt(t.Context(), other, wire.TickJobID(p.ID, host, day(2, 2, 30)), hex32(1), adopting(p.ID, day(2, 2, 30), 1))
		wantCode(t, err, wire.ProblemJobGone) // another host's
		for name, change := range map[string]func(r *wire.AdoptRequest){
			"a prune":             func(r *wire.AdoptRequest) { r.Kind, r.Spec = wire.KindPrune, []byte("{}") },
			"a spec with a flag":  func(r *wire.AdoptRequest) { r.Spec = []byte(`{"paths":["--help"]}`) },
			"an unknown field":    func(r *wire.AdoptRequest) { r.Spec = []byte(`{"paths":["/a"],"hook":"x"}`) },
			"no nonce":            func(r *wire.AdoptRequest) { r.StartNonce = "" },
			"a target":            func(r *wire.AdoptRequest) { r.Repository = wire.RepositoryTarget },
			"a repository's name": func(r *wire.AdoptRequest) { r.RepositoryID = "x" },
		} {
			r := adopting(p.ID, day(2, 2, 30), 1)
			change(&r)
			if _, err := x.adopt(host, 1, r); err == nil {
				t.Errorf("%s was adopted", name)
			} else {
				wantCode(t, err, "invalid")
			}
		}
		var n int64
		if x.read(&n, "SELECT count(*) FROM jobs"); n != 0 {
			t.Errorf("%d jobs are left", n)
		}
		if got := x.told(p.ID, host); got != "" {
			t.Errorf("due times are left: %s", got)
		}
	})
}

func TestAJobOfAPolicyThatIsGoneIsAdopted(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		host := x.keeper()
		p := x.create(x.draft())
		x.clock.Set(day(2, 4, 0))
		if err := x.Delete(t.Context(), tester, p.ID); err != nil {
			t.Fatal(err)
		}
		id, err := x.adopt(host, 1, adopting(p.ID, day(2, 2, 30), 1))
		if err != nil {
			t.Fatal(err)
		}
		x.wantState(id, wire.StateRunning)
		if got, want := x.told(p.ID, host), "02T02:30 run"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		x.whole()
	})
}

// A hold that another job has is not waited for: restic runs already, and its own lock protects there.
func TestAJobIsAdoptedBesideAnExclusiveHold(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		host, pruner := x.keeper(), x.keeper()
		p := x.create(x.draft())
		repository := strings.Repeat("ab", 32)
		x.clock.Set(day(2, 4, 0))
		x.write(execs("INSERT INTO repositories (id, created_at) VALUES (?, ?)", repository, x.clock.Now()))
		x.write(execs("UPDATE hosts SET repository_id = ? WHERE id = ?", repository, pruner))
		j, err := x.order(pruner, wire.KindCheck)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := x.fleet.Accept(t.Context(), pruner, j, wire.AcceptRequest{Lease: hex32(7), Delivery: 1}); err != nil {
			t.Fatal(err)
		}
		r := adopting(p.ID, day(2, 2, 30), 1)
		r.RepositoryID = repository
		id, err := x.adopt(host, 1, r)
		if err != nil {
			t.Fatal(err)
		}
		got, err := x.fleet.JobByID(t.Context(), id)
		if err != nil || got.State != wire.StateRunning || got.HoldReleasedAt == nil || got.Repository.ID != repository {
			t.Errorf("got %+v, %v, want it to run without a hold", got, err)
		}
		x.whole()
	})
}

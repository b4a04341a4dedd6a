package e2e

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"restic-manager/server/database"
	"restic-manager/server/database/databasetest"
	"restic-manager/server/fleet"
	rules "restic-manager/server/fleet/job"
	"restic-manager/shared/wire"
)

// sweepers are the stores of several replicas under one turned clock, on one database, which sweep at the same time.
type sweepers struct {
	t      *testing.T
	clock  *databasetest.Clock
	stores []*fleet.Store
	db     *database.DB
}

func newSweepers(t *testing.T, engine string, replicas int) *sweepers {
	t.Helper()
	w := &sweepers{t: t, clock: databasetest.NewClock(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))}
	url := databasetest.New(t, engine)
	for range replicas {
		s, db := openStore(t, url, make([]byte, 32), w.clock.Now)
		w.stores, w.db = append(w.stores, s), db
	}
	w.settle()
	return w
}

// sweep has all sweep at once, and gives what they did together.
func (w *sweepers) sweep() fleet.SweepReport {
	w.t.Helper()
	var sum fleet.SweepReport
	var mu sync.Mutex
	w.together(func(s *fleet.Store) error {
		r, err := s.Sweep(w.t.Context())
		mu.Lock()
		defer mu.Unlock()
		sum = plus(sum, r)
		return err
	})
	return sum
}

func plus(a, b fleet.SweepReport) fleet.SweepReport {
	return fleet.SweepReport{Offline: a.Offline + b.Offline, Expired: a.Expired + b.Expired, Requeued: a.Requeued + b.Requeued,
		Disconnected: a.Disconnected + b.Disconnected, HoldsFreed: a.HoldsFreed + b.HoldsFreed, Lost: a.Lost + b.Lost}
}

func (w *sweepers) together(do func(s *fleet.Store) error) {
	w.t.Helper()
	var all sync.WaitGroup
	for _, s := range w.stores {
		all.Go(func() {
			if err := do(s); err != nil {
				w.t.Error(err)
			}
		})
	}
	all.Wait()
}

// pass lets time go by while the sweepers live.
func (w *sweepers) pass(d time.Duration) (sum fleet.SweepReport) {
	w.t.Helper()
	for ; d > 0; d -= rules.SweepAway {
		w.clock.Advance(min(d, rules.SweepAway))
		sum = plus(sum, w.sweep())
	}
	return sum
}

// settle sweeps until the amnesty after a jump of the clock is over, and once more.
func (w *sweepers) settle() fleet.SweepReport {
	w.t.Helper()
	return plus(w.sweep(), w.pass(wire.Amnesty+2*rules.SweepAway))
}

// jump turns the clock on as if all servers had been away meanwhile.
func (w *sweepers) jump(d time.Duration) fleet.SweepReport {
	w.t.Helper()
	w.clock.Advance(d)
	return w.settle()
}

// busyHost is a host with a job that runs and has a line of log, one that was accepted and never started, and one
// that waits.
type busyHost struct {
	id, running, lease string
}

func (w *sweepers) busy(n int) busyHost {
	w.t.Helper()
	s := w.stores[n%len(w.stores)]
	h := busyHost{lease: fmt.Sprintf("%032x", members.Load()*4+1)}
	h.id, _ = enroll(w.t, s, "")
	order := func(kind wire.Kind, n int) string {
		w.t.Helper()
		j, _, err := s.CreateJob(w.t.Context(), tester, fleet.NewJob{HostID: h.id, Kind: kind, Spec: unique(kind, n)})
		if err != nil {
			w.t.Fatal(err)
		}
		return j.ID
	}
	do := func(err error) {
		w.t.Helper()
		if err != nil {
			w.t.Fatal(err)
		}
	}
	accept := func(id, lease string) {
		w.t.Helper()
		_, err := s.Accept(w.t.Context(), h.id, id, wire.AcceptRequest{Lease: lease, Delivery: 1})
		do(err)
	}
	h.running = order(wire.KindBackup, 1)
	accept(h.running, h.lease)
	do(s.Start(w.t.Context(), h.id, h.running, h.lease, wire.StartRequest{StartNonce: h.lease}))
	line := []byte(`{"t":"2026-03-01T12:00:00Z","s":"out","text":"scan finished"}` + "\n")
	_, err := s.AppendLog(w.t.Context(), h.id, h.running, h.lease, wire.LogQuery{FirstLine: 1, Lines: 1, SumBefore: hexSum(nil)}, fleet.LogBody{Raw: line, Plain: line})
	do(err)
	accept(order(wire.KindSnapshots, 0), fmt.Sprintf("%032x", members.Load()*4+2))
	order(wire.KindBackup, 2)
	do(s.Flush(w.t.Context()))
	return h
}

// TestFaultSweepersDoEachOnce: the sweepers of two replicas look at the same moment at hosts and jobs that fell silent,
// and what is due is done once: by their own words, by the counters and by the tables.
func TestFaultSweepersDoEachOnce(t *testing.T) {
	const hosts = 10
	rounds := figures(3, 30)
	w := newSweepers(t, "postgres", 2)
	bad := 0
	var all fleet.SweepReport
	expired := int64(0)
	expect := func(what string, got, want any) {
		t.Helper()
		if got != want {
			bad++
			t.Errorf("%s: got %+v, want %+v", what, got, want)
		}
	}
	for range rounds {
		for n := range hosts {
			w.busy(n)
		}
		at := w.pass(wire.OfflineAfter + 2*rules.SweepAway)
		expect("after 150 s of silence", at, fleet.SweepReport{Offline: hosts, Requeued: hosts, Disconnected: hosts})
		day := w.jump(wire.QueueTTL)
		expect("after a day", day, fleet.SweepReport{Expired: 2 * hosts, HoldsFreed: hosts})
		week := w.jump(wire.LostAfter)
		expect("after a week", week, fleet.SweepReport{Lost: hosts})
		all = plus(all, plus(at, plus(day, week)))
		w.jump(91 * 24 * time.Hour)
		var mu sync.Mutex
		logs := int64(0)
		w.together(func(s *fleet.Store) error {
			n, err := s.ExpireLogs(t.Context())
			mu.Lock()
			defer mu.Unlock()
			logs += n
			return err
		})
		expect("logs expired", logs, int64(hosts))
		expired += logs
	}
	var gone, requeued uint64
	var lost, out int64
	for _, s := range w.stores {
		st, err := s.Stats(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		gone, requeued = gone+st.OfflineSweeps, requeued+st.Requeues
		for _, ended := range st.EndedJobs {
			switch ended.State {
			case wire.StateLost:
				lost += ended.Count
			case wire.StateExpired:
				out += ended.Count
			}
		}
	}
	n := rounds * hosts
	expect("counters of offline, requeued, lost and expired", [4]int{int(gone), int(requeued), int(lost), int(out)}, [4]int{n, n, n, 2 * n})
	bad += violations(t, w.stores[0])
	fault(t, faultRow{Row: "15", Fault: "both sweepers at the same moment over hosts that fell silent", Variant: "postgres, 2 replicas, turned clock", Runs: rounds, Violations: bad,
		Figure: fmt.Sprintf("%d hosts offline, %d jobs requeued, %d disconnected, %d holds freed, %d expired, %d lost, %d logs expired: each once",
			all.Offline, all.Requeued, all.Disconnected, all.HoldsFreed, all.Expired, all.Lost, expired)})
}

// TestFaultSuspended: a machine sleeps for 8 hours in the middle of a backup. Its jobs are not lost, and end as restic
// did.
func TestFaultSuspended(t *testing.T) {
	t.Parallel()
	for _, engine := range databases {
		t.Run(engine, func(t *testing.T) {
			hosts := figures(3, 20)
			w := newSweepers(t, engine, 1)
			s := w.stores[0]
			var asleep []busyHost
			for n := range hosts {
				asleep = append(asleep, w.busy(n))
			}
			w.pass(8 * time.Hour)
			bad := 0
			expect := func(id string, want wire.State) {
				t.Helper()
				if j, err := s.JobByID(t.Context(), id); err != nil || j.State != want {
					bad++
					t.Errorf("the job of a machine that sleeps: got %s, %v, want %s", j.State, err, want)
				}
			}
			for _, h := range asleep {
				expect(h.running, wire.StateRunning)
				ref := wire.JobRef{ID: h.running, Lease: h.lease}
				// The process is the same as before; its clock jumped, so it says hello.
				if _, err := s.Hello(t.Context(), h.id, helloOf("b1", 1, 2, "")); err != nil {
					t.Fatal(err)
				}
				if _, err := s.Poll(t.Context(), h.id, wire.PollQuery{Boot: "b1", Seq: 3, Jobs: []wire.JobRef{ref}}); err != nil {
					t.Fatal(err)
				}
				w.pass(time.Minute)
				expect(h.running, wire.StateRunning)
				body := []byte(`{"state":"succeeded","log_lines":1}`)
				if reply, err := s.Finish(t.Context(), h.id, h.running, h.lease, body, wire.FinishRequest{State: wire.StateSucceeded, LogLines: 1}); err != nil || reply.Late {
					bad++
					t.Errorf("the result after the sleep: got %+v, %v, want it taken in time", reply, err)
				}
				expect(h.running, wire.StateSucceeded)
			}
			bad += violations(t, s)
			fault(t, faultRow{Row: "11", Fault: "a machine suspended for 8 h in the middle of a backup", Variant: engine + ", turned clock", Runs: hosts, Violations: bad,
				Figure: "0 jobs lost, each ended as restic did"})
		})
	}
}

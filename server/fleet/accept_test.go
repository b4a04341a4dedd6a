package fleet

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"restic-manager/server/database"
	"restic-manager/server/fault"
	"restic-manager/shared/wire"
)

// TestAcceptsOf64WorkersTakeEachJobOnce: over 20 hosts and 5 repositories, or many, on two replicas. Workers
// meet at the same jobs on purpose. Every refusal is one of the protocol's, every job is taken by one lease,
// and PostgreSQL has seen no deadlock, none hidden by a retry either.
func TestAcceptsOf64WorkersTakeEachJobOnce(t *testing.T) {
	for _, over := range []struct{ hosts, repositories, jobs int }{{20, 5, 4}, {60, 60, 1}} {
		t.Run(fmt.Sprintf("%d hosts, %d repositories", over.hosts, over.repositories), func(t *testing.T) {
			each(t, func(t *testing.T, x *fixture) {
				r := &acceptRace{t: t, stores: []*Store{x.Store, x.replica().Store}, taken: map[string]int{}}
				kinds := []wire.Kind{wire.KindBackup, wire.KindPrune, wire.KindSnapshots, wire.KindForget, wire.KindBackup, wire.KindInit, wire.KindCheck, wire.KindUnlock}
				x.write(t, func(tx *database.Tx) error {
					for n := range over.hosts {
						h := database.NewID()
						if err := x.insertHost(tx, h, repo(n%over.repositories)); err != nil {
							return err
						}
						for k := range over.jobs {
							id, err := x.insertJob(tx, h, kinds[(n+k)%len(kinds)])
							if err != nil {
								return err
							}
							r.jobs = append(r.jobs, offered{h, id})
						}
					}
					return nil
				})
				r.run()
				for _, j := range r.jobs {
					if r.taken[j.id] != 1 {
						t.Errorf("job %s: taken %d times, want once", j.id, r.taken[j.id])
					}
					if got := x.job(j.id).State; got != wire.StateSucceeded {
						t.Errorf("job %s: got %s, want succeeded", j.id, got)
					}
				}
				x.whole()
				if x.db.Postgres() {
					wantNoDeadlock(t, x)
				}
			})
		})
	}
}

// acceptRace is workers that take, start and finish jobs until none is left.
type acceptRace struct {
	t      *testing.T
	stores []*Store
	jobs   []offered

	mu    sync.Mutex // guards all below
	left  []offered
	taken map[string]int

	again chan struct{} // gets a few each time that a job ends
	over  chan struct{} // closed when all are taken
}

func (r *acceptRace) run() {
	r.left, r.again, r.over = slices.Clone(r.jobs), make(chan struct{}, acceptWorkers), make(chan struct{})
	var wg sync.WaitGroup
	for n := range acceptWorkers {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(7, uint64(n)))
			for lease := 1 + n; ; lease += acceptWorkers {
				j, ok := r.next(random)
				if !ok {
					return
				}
				busy, err := r.work(r.stores[n%len(r.stores)], j, hex32(lease), random.IntN(2) == 0)
				if err != nil {
					r.t.Errorf("job %s: %v", j.id, err)
					return
				}
				if !busy {
					continue
				}
				select { // whoever has it ends some time
				case <-r.again:
				case <-r.over:
				}
			}
		})
	}
	wg.Wait()
}

// next is a job that nobody is known to have taken: most workers meet at some.
func (r *acceptRace) next(random *rand.Rand) (j offered, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.left) == 0 {
		return offered{}, false
	}
	return r.left[random.IntN(len(r.left))], true
}

// work does one job if it can be had; busy is true when it must wait. An answer that the protocol does not
// know here is an error.
func (r *acceptRace) work(s *Store, j offered, lease string, twice bool) (busy bool, err error) {
	ctx, q := r.t.Context(), wire.AcceptRequest{Lease: lease, Delivery: 1}
	_, err = s.Accept(ctx, j.host, j.id, q)
	switch {
	case fault.Is(err, wire.ProblemJobGone):
		return false, nil
	case fault.Is(err, wire.ProblemHostBusy), fault.Is(err, wire.ProblemRepositoryBusy):
		return true, nil
	case err != nil:
		return false, fmt.Errorf("accept: %w", err)
	}
	defer r.end()
	r.take(j)
	if twice {
		if _, err := s.Accept(ctx, j.host, j.id, q); err != nil {
			return false, fmt.Errorf("accept again: %w", err)
		}
	}
	// The job's repository is known: starting learns nothing new.
	if err := s.Start(ctx, j.host, j.id, lease, wire.StartRequest{StartNonce: lease}); err != nil {
		return false, fmt.Errorf("start: %w", err)
	}
	f := wire.FinishRequest{State: wire.StateSucceeded}
	if _, err := s.Finish(ctx, j.host, j.id, lease, mustJSON(f), f); err != nil {
		return false, fmt.Errorf("finish: %w", err)
	}
	return false, nil
}

func (r *acceptRace) take(j offered) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.taken[j.id]++
	had := len(r.left)
	if r.left = slices.DeleteFunc(r.left, func(o offered) bool { return o == j }); len(r.left) == 0 && had > 0 {
		close(r.over)
	}
}

func (r *acceptRace) end() {
	for range 4 {
		select {
		case r.again <- struct{}{}:
		default:
		}
	}
}

// TestStartsThatLearnOneRepositoryBreakNothing: hosts whose repository is not known yet learn at their starts,
// all at once, that it is the same; hellos say so too, and lists come in.
func TestStartsThatLearnOneRepositoryBreakNothing(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		const hosts = 24
		var jobs []offered
		x.write(t, func(tx *database.Tx) error {
			for n := range hosts {
				h := database.NewID()
				if err := x.insertHost(tx, h, ""); err != nil {
					return err
				}
				id, err := x.insertJob(tx, h, []wire.Kind{wire.KindBackup, wire.KindPrune, wire.KindBackup}[n%3])
				if err != nil {
					return err
				}
				jobs = append(jobs, offered{h, id})
			}
			return nil
		})
		var wg sync.WaitGroup
		var mu sync.Mutex
		started := 0
		for n, j := range jobs {
			lease := hex32(n + 1)
			x.take(j.host, j.id, n+1)
			wg.Go(func() {
				err := x.Start(t.Context(), j.host, j.id, lease, wire.StartRequest{StartNonce: lease, RepositoryID: repo(1)})
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					started++
				case !fault.Is(err, wire.ProblemRepositoryBusy):
					t.Errorf("start: got %v, want none or %s", err, wire.ProblemRepositoryBusy)
				}
			})
			wg.Go(func() {
				r := helloOf("b1", 1, 1, x.clock.Now())
				r.Repositories = []wire.RepositoryReport{{Name: wire.RepositoryLocal, ID: repo(1), Location: "x"}}
				if _, err := x.Hello(t.Context(), j.host, r); err != nil {
					t.Errorf("hello: %v", err)
				}
			})
		}
		wg.Wait()
		if started == 0 {
			t.Error("no job started at all")
		}
		x.whole()
		for _, j := range jobs {
			if h, err := x.HostByID(t.Context(), j.host); err != nil || h.RepositoryID == nil || *h.RepositoryID != repo(1) {
				t.Errorf("repository of host %s: got %v, %v, want %s", j.host, h.RepositoryID, err, repo(1))
			}
		}
		if x.db.Postgres() {
			wantNoDeadlock(t, x)
		}
	})
}

func wantNoDeadlock(t *testing.T, x *fixture) {
	t.Helper()
	if n := deadlocks(t, x); n != 0 {
		t.Errorf("deadlocks: got %d, want none", n)
	}
}

// deadlocks closes the store's connections, so that their counts are written, and looks at them.
func deadlocks(t testing.TB, x *fixture) (n int64) {
	t.Helper()
	if err := x.db.Close(); err != nil {
		t.Fatal(err)
	}
	db, err := database.Open(t.Context(), database.Options{URL: x.url, MaxConnections: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.Read(t.Context()).Raw("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()").Scan(&n).Error; err != nil {
		t.Fatal(err)
	}
	return n
}

func (x *fixture) write(t testing.TB, fn func(tx *database.Tx) error) {
	t.Helper()
	if err := x.db.Write(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

// insertHost makes an online host; its repository may be unknown.
func (x *fixture) insertHost(tx *database.Tx, id, repository string) error {
	if repository != "" {
		if err := lockRepository(tx, repository); err != nil {
			return err
		}
	}
	return tx.Exec(`INSERT INTO hosts (id, name, name_key, labels, status, created_at, token_sha256, hostname, facts, guard, kinds,
		reported_repositories, agent_version, restic_version, protocol_version, repository_id)
		VALUES (?, ?, ?, '{}', 'online', ?, ?, '', '{}', '{}', '[]', '[]', '1', '', 1, ?)`,
		id, id, id, tx.Now, id, optional(repository)).Error
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// insertJob queues a job without looking for the same one.
func (x *fixture) insertJob(tx *database.Tx, host string, kind wire.Kind) (id string, err error) {
	info, _ := kind.Info()
	row := jobRow{ID: database.NewID(), HostID: host, Kind: kind, Lane: info.Lane, Hold: info.Hold, State: wire.StateQueued,
		Spec: "{}", CreatedBy: "test", TimeLimitSeconds: 3600, QueuedAt: tx.Now, ExpiresAt: tx.Now.Add(wire.QueueTTL), Delivery: 1}
	if err := tx.Create(&row).Error; err != nil {
		return "", err
	}
	return row.ID, tx.Audit(tester, "job.create", "job:"+row.ID, nil)
}

// TestAcceptAgainTakesNothingBack: a repeated accept of a running job renews its lease; a cancel that comes
// between its look and its write stays.
func TestAcceptAgainTakesNothingBack(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		h := x.host("web")
		id := x.queue(h, wire.KindBackup)
		x.begin(h, id, 1)
		x.clock.Advance(10 * time.Second)
		row, c, err := x.decideAccept(t.Context(), h, id, wire.AcceptRequest{Lease: hex32(1), Delivery: 1})
		if err != nil || c.refused != nil {
			t.Fatalf("look: got %v, %v, want the same answer again", err, c.refused)
		}
		if _, err := x.CancelJob(t.Context(), tester, id); err != nil {
			t.Fatal(err)
		}
		if done, err := x.writeAccept(t.Context(), row, c); err != nil || !done {
			t.Fatalf("write: got %v, %v, want done", done, err)
		}
		if j := x.job(id); j.CancelRequestedAt == nil {
			t.Fatal("the cancel is gone")
		}
	})
}

// TestAcceptWritesNothingWhenWhatDecidedHasChanged: between the look and the write the host is revoked, gets
// an alarm, learns its repository, or another takes lane or hold.
func TestAcceptWritesNothingWhenWhatDecidedHasChanged(t *testing.T) {
	for name, change := range map[string]func(x *fixture, host, other string){
		"revoked": func(x *fixture, host, other string) {
			if _, err := x.RevokeHost(x.t.Context(), tester, host); err != nil {
				x.t.Fatal(err)
			}
		},
		"alarm": func(x *fixture, host, other string) {
			x.write(x.t, func(tx *database.Tx) error { return raiseAlarm(tx, host) })
		},
		"repository": func(x *fixture, host, other string) { x.use(host, repo(2)) },
		"lane":       func(x *fixture, host, other string) { x.take(host, x.queue(host, wire.KindBackup), 7) },
		"hold":       func(x *fixture, host, other string) { x.take(other, x.queue(other, wire.KindForget), 7) },
	} {
		for _, known := range []string{repo(1), ""} {
			if known == "" && name == "hold" {
				continue // nobody else holds the host
			}
			t.Run(fmt.Sprintf("%s, repository known %v", name, known != ""), func(t *testing.T) {
				each(t, func(t *testing.T, x *fixture) {
					h, other := x.host("web"), x.host("db")
					if known != "" {
						x.use(h, known)
						x.use(other, known)
					}
					id := x.queue(h, wire.KindBackup)
					row, c, err := x.decideAccept(t.Context(), h, id, wire.AcceptRequest{Lease: hex32(1), Delivery: 1})
					if err != nil || c.refused != nil {
						t.Fatalf("look: got %v, %v, want that it may be taken", err, c.refused)
					}
					change(x, h, other)
					if done, err := x.writeAccept(t.Context(), row, c); err != nil && !isConstraint(err) || done {
						t.Fatalf("write: got done %v, %v, want nothing written", done, err)
					}
					if j := x.job(id); j.State == wire.StateAccepted {
						t.Fatalf("state: got %s", j.State)
					}
					x.whole()
				})
			})
		}
	}
}

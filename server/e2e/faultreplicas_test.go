package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"restic-manager/agent/client"
	"restic-manager/server/fleet"
	"restic-manager/shared/wire"
)

// TestFaultOneAcceptEach: whatever is offered to two copies of an agent that take it at two replicas at once, one
// gets it.
func TestFaultOneAcceptEach(t *testing.T) {
	const hosts, repositories = 20, 5
	jobs := figures(200, 1000)
	p := newPair(t)
	queued := make([]int, hosts)
	var fleetOf []*member
	for n := range hosts {
		fleetOf = append(fleetOf, p.join(fmt.Sprintf("%064x", n%repositories)))
	}
	kinds := []wire.Kind{wire.KindBackup, wire.KindForget, wire.KindBackup, wire.KindCheck, wire.KindBackup}
	for n := range jobs {
		kind := kinds[n/hosts%len(kinds)]
		p.replicas[n%2].order(fleetOf[n%hosts].id, kind, unique(kind, n))
		queued[n%hosts]++
	}
	var accepted sync.Map // job id -> *atomic.Int64
	var wrong atomic.Int64
	lease := leases()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	begun := time.Now()
	var all sync.WaitGroup
	for n, m := range fleetOf {
		all.Go(func() {
			for done := 0; done < queued[n]; {
				reply, err := m.poll(ctx, rand.IntN(2), time.Second)
				if client.Code(err) == wire.ProblemRateLimited {
					continue
				}
				if err != nil {
					t.Errorf("poll: %v", err)
					return
				}
				if reply.Offer == nil {
					continue
				}
				won, err := m.race(ctx, offer{reply.Offer.JobID, reply.Offer.Delivery}, lease)
				if err != nil {
					t.Error(err)
					return
				}
				count, _ := accepted.LoadOrStore(reply.Offer.JobID, new(atomic.Int64))
				if sum := count.(*atomic.Int64).Add(int64(len(won))); sum > 1 {
					wrong.Add(1)
					t.Errorf("job %s was accepted %d times", reply.Offer.JobID, sum)
				}
				for _, j := range won {
					if err := m.perform(ctx, j); err != nil {
						t.Error(err)
						return
					}
					done++
				}
			}
		})
	}
	all.Wait()
	took := time.Since(begun)
	var succeeded int
	if err := p.db.Read(t.Context()).Raw("SELECT count(*) FROM jobs WHERE state = 'succeeded'").Scan(&succeeded).Error; err != nil {
		t.Fatal(err)
	}
	if succeeded != jobs {
		t.Errorf("jobs that succeeded: got %d, want %d", succeeded, jobs)
	}
	bad := int(wrong.Load()) + violations(t, p.store) + jobs - succeeded
	stuck := p.deadlocks()
	fault(t, faultRow{Row: "15", Fault: "two copies take each offer at two replicas at once", Variant: "postgres, 2 replicas", Runs: jobs, Violations: bad + stuck,
		Figure: fmt.Sprintf("%d jobs of %d hosts on %d repositories in %s: 1 accept each, %d deadlocks", jobs, hosts, repositories, took.Round(time.Second/10), stuck)})
}

// queueFor queues one job in each lane of each host; all holds are shared: what is measured is taking, not waiting.
func queueFor(t *testing.T, s *fleet.Store, hosts []*member) (long, short []string) {
	t.Helper()
	long, short = make([]string, len(hosts)), make([]string, len(hosts))
	each64(len(hosts), func(n int) {
		for kind, ids := range map[wire.Kind][]string{wire.KindBackup: long, wire.KindSnapshots: short} {
			j, _, err := s.CreateJob(t.Context(), tester, fleet.NewJob{HostID: hosts[n].id, Kind: kind, Spec: unique(kind, n)})
			if err != nil {
				t.Error(err)
				return
			}
			ids[n] = j.ID
		}
	})
	return long, short
}

// each64 shares the work among 64 workers, and gives the time it took.
func each64(n int, do func(n int)) time.Duration {
	var next atomic.Int64
	var workers sync.WaitGroup
	begun := time.Now()
	for range 64 {
		workers.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				do(i)
			}
		})
	}
	workers.Wait()
	return time.Since(begun)
}

// TestFaultAcceptsASecond measures accepts alone, at both replicas: by HTTP as agents send them, and at two stores
// with the connections of two replicas.
func TestFaultAcceptsASecond(t *testing.T) {
	const repositories = 20
	p := newPair(t)
	hosts := make([]*member, figures(200, 1000))
	each64(len(hosts), func(n int) { hosts[n] = p.join(fmt.Sprintf("%064x", n%repositories)) })
	long, short := queueFor(t, p.store, hosts)
	var failed atomic.Int64
	check := func(err error) {
		if err != nil {
			failed.Add(1)
			t.Error(err)
		}
	}
	each64(len(hosts), func(n int) { // an agent has its connection when it accepts
		_, err := hosts[n].poll(t.Context(), n%2, 0)
		check(err)
	})
	byHTTP := each64(len(hosts), func(n int) {
		_, err := hosts[n].to[n%2].Accept(t.Context(), long[n], wire.AcceptRequest{Lease: fmt.Sprintf("%032x", n+1), Delivery: 1})
		check(err)
	})
	second, secondDB := p.open(nil)
	stores := [2]*fleet.Store{p.store, second}
	atStore := each64(len(hosts), func(n int) {
		_, err := stores[n%2].Accept(t.Context(), hosts[n].id, short[n], wire.AcceptRequest{Lease: fmt.Sprintf("%032x", len(hosts)+n+1), Delivery: 1})
		check(err)
	})
	bad := int(failed.Load()) + violations(t, p.store)
	secondDB.Close()
	stuck := p.deadlocks()
	rate := func(d time.Duration) float64 { return float64(len(hosts)) / d.Seconds() }
	fault(t, faultRow{Row: "15", Fault: "64 workers accept at both replicas", Variant: "postgres, 2 replicas", Runs: 2 * len(hosts), Violations: bad + stuck,
		Figure: fmt.Sprintf("%.0f accepts/s by HTTP, %.0f/s at two stores; %d hosts, %d repositories, %d deadlocks", rate(byHTTP), rate(atStore), len(hosts), repositories, stuck)})
}

// TestFaultReplicasRace: 32 clients take, run and end jobs of all holds on 20 repositories, each job tried by two of
// them at two replicas, while the tables are asked again and again whether two hold what only one may.
func TestFaultReplicasRace(t *testing.T) {
	const clients, hosts, repositories = 32, 60, 20
	limit := time.Duration(figures(5, 60)) * time.Second
	p := newPair(t)
	var fleetOf []*member
	for n := range hosts {
		fleetOf = append(fleetOf, p.join(fmt.Sprintf("%064x", n%repositories)))
	}
	type tried struct {
		*member
		id string
	}
	pool := make(chan tried, 20*hosts)
	kinds := []wire.Kind{wire.KindBackup, wire.KindSnapshots, wire.KindForget, wire.KindCheck}
	var orders atomic.Int64
	order := func(ctx context.Context, m *member, kind wire.Kind) error {
		j, _, err := p.store.CreateJob(ctx, tester, fleet.NewJob{HostID: m.id, Kind: kind, Spec: unique(kind, int(orders.Add(1)))})
		if err == nil {
			pool <- tried{m, j.ID}
			pool <- tried{m, j.ID}
		}
		return err
	}
	for _, m := range fleetOf {
		for _, kind := range kinds {
			if err := order(t.Context(), m, kind); err != nil {
				t.Fatal(err)
			}
		}
	}
	var accepts, busy, looks, broken atomic.Int64
	var counts sync.Map
	lease := leases()
	over := time.Now().Add(limit)
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			for time.Now().Before(over) {
				j := <-pool
				at := rand.IntN(2)
				ref := wire.JobRef{ID: j.id, Lease: lease()}
				_, err := j.to[at].Accept(t.Context(), j.id, wire.AcceptRequest{Lease: ref.Lease, Delivery: 1})
				switch {
				case client.Code(err) == wire.ProblemJobGone:
					continue
				case refused(err):
					busy.Add(1)
					pool <- j
					continue
				case err != nil:
					t.Error(err)
					return
				}
				accepts.Add(1)
				if _, twice := counts.LoadOrStore(j.id, true); twice {
					broken.Add(1)
					t.Errorf("job %s was accepted twice", j.id)
				}
				if err := j.perform(t.Context(), taken{ref, at}); err != nil {
					t.Error(err)
					return
				}
				if err := order(t.Context(), j.member, kinds[rand.IntN(len(kinds))]); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	ended := make(chan struct{})
	var judge sync.WaitGroup
	judge.Go(func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ended:
				return
			case <-tick.C:
				broken.Add(int64(violations(t, p.store)))
				looks.Add(1)
			}
		}
	})
	all.Wait()
	close(ended)
	judge.Wait()
	broken.Add(int64(violations(t, p.store)))
	stuck := p.deadlocks()
	fault(t, faultRow{Row: "15", Fault: fmt.Sprintf("%d clients hammer %d repositories", clients, repositories), Variant: "postgres, 2 replicas", Runs: int(accepts.Load()),
		Violations: int(broken.Load()) + stuck,
		Figure: fmt.Sprintf("%s, %d jobs accepted, started and finished (%.0f/s), %d refused as busy, %d looks at the invariants, %d deadlocks",
			limit, accepts.Load(), float64(accepts.Load())/limit.Seconds(), busy.Load(), looks.Load(), stuck)})
}

// TestFaultWakeAcrossReplicas: a job queued at one replica ends the poll that waits at the other.
func TestFaultWakeAcrossReplicas(t *testing.T) {
	tries := figures(40, 400)
	p := newPair(t)
	hosts := make([]*member, min(tries, 40)) // a host may poll twice a second
	for n := range hosts {
		hosts[n] = p.join("")
	}
	var times []time.Duration
	late := 0
	for n := range tries {
		m, here, there := hosts[n%len(hosts)], n%2, 1-n%2
		heard := make(chan error, 1)
		var reply wire.PollReply
		var at time.Time
		go func() {
			var err error
			for reply.Offer == nil && err == nil { // the first poll is told the settings
				reply, err = m.poll(t.Context(), there, 25*time.Second)
			}
			at = time.Now()
			heard <- err
		}()
		p.replicas[there].holds(1)
		begun := time.Now()
		j := p.replicas[here].order(m.id, wire.KindBackup, unique(wire.KindBackup, n))
		if err := <-heard; err != nil {
			t.Fatal(err)
		}
		if reply.Offer.JobID != j.ID {
			t.Errorf("offered: got %s, want %s", reply.Offer.JobID, j.ID)
		}
		took := at.Sub(begun)
		if times = append(times, took); took > patience*2*time.Second {
			late++
		}
		p.replicas[here].do("POST", "/api/jobs/"+j.ID+"/cancel", nil, nil)
		p.replicas[there].holds(0)
	}
	fault(t, faultRow{Row: "15", Fault: "a job queued at one replica, its poll held at the other", Variant: "postgres, 2 replicas", Runs: tries, Violations: late,
		Figure: fmt.Sprintf("from the order's request to the offer: p50 %s, p99 %s, most %s",
			inMilliseconds(percentile(times, .5)), inMilliseconds(percentile(times, .99)), inMilliseconds(percentile(times, 1)))})
}

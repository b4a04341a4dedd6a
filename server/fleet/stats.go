package fleet

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"restic-manager/server/fleet/job"
	"restic-manager/shared/wire"
)

// dispatchBuckets are the upper bounds of the histogram of dispatch times.
var dispatchBuckets = []time.Duration{
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2500 * time.Millisecond, 5 * time.Second,
	10 * time.Second, 30 * time.Second, time.Minute, 5 * time.Minute, time.Hour, 24 * time.Hour,
}

// figures count what this replica did since its start.
type figures struct {
	mu       sync.Mutex // guards all below
	ends     map[JobCount]int64
	dispatch []uint64 // per bucket, not cumulative
	count    uint64
	sum      time.Duration
	gone     uint64
	requeues uint64
}

func newFigures() *figures {
	return &figures{ends: map[JobCount]int64{}, dispatch: make([]uint64, len(dispatchBuckets))}
}

func (f *figures) ended(jobs ...job.Job) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, j := range jobs {
		f.ends[JobCount{Kind: j.Kind, State: j.State}]++
	}
}

func (f *figures) offered(after time.Duration) {
	after = max(after, 0)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.count++
	f.sum += after
	if i := slices.IndexFunc(dispatchBuckets, func(b time.Duration) bool { return after <= b }); i >= 0 {
		f.dispatch[i]++
	}
}

func (f *figures) offline(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.gone += uint64(n)
}

func (f *figures) requeued(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.requeues += uint64(n)
}

// report copies the figures into the stats.
func (f *figures) report(s *Stats) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for c, n := range f.ends {
		s.EndedJobs = append(s.EndedJobs, JobCount{Kind: c.Kind, State: c.State, Count: n})
	}
	sum := uint64(0)
	for i, n := range f.dispatch {
		sum += n
		s.Dispatch = append(s.Dispatch, Bucket{UpTo: dispatchBuckets[i], Count: sum})
	}
	s.DispatchCount, s.DispatchSeconds = f.count, f.sum.Seconds()
	s.OfflineSweeps, s.Requeues = f.gone, f.requeues
}

// Stats are the fleet's figures now. Ended jobs are not counted in the database: there may be millions.
func (s *Store) Stats(ctx context.Context) (Stats, error) {
	stats := Stats{HostsByStatus: map[string]int64{}, LongPolls: s.seats.parked.Load()}
	for _, status := range hostStatuses {
		stats.HostsByStatus[status] = 0
	}
	db := s.db.Read(ctx)
	var hosts []struct {
		Status string
		Count  int64
		Alarms int64
	}
	err := db.Raw(`SELECT status, count(*) AS count, sum(CASE WHEN clone_alarm_at IS NULL THEN 0 ELSE 1 END) AS alarms
		FROM hosts GROUP BY status`).Scan(&hosts).Error
	if err != nil {
		return Stats{}, fmt.Errorf("count hosts: %w", err)
	}
	for _, h := range hosts {
		stats.HostsByStatus[h.Status] = h.Count
		stats.CloneAlarms += h.Alarms
	}
	err = db.Raw(`SELECT kind, state, count(*) AS count FROM jobs WHERE state IN ('queued', 'accepted', 'running')
		GROUP BY kind, state ORDER BY kind, state`).Scan(&stats.OpenJobs).Error
	if err != nil {
		return Stats{}, fmt.Errorf("count jobs: %w", err)
	}
	for _, c := range stats.OpenJobs {
		if c.State == wire.StateQueued {
			stats.QueueDepth += c.Count
		}
	}
	if stats.QueueDepth > 0 {
		now, err := s.db.Now(ctx)
		if err != nil {
			return Stats{}, err
		}
		var oldest []time.Time
		if err := db.Raw("SELECT queued_at FROM jobs WHERE state = 'queued' ORDER BY queued_at LIMIT 1").Scan(&oldest).Error; err != nil {
			return Stats{}, fmt.Errorf("find the oldest queued job: %w", err)
		}
		if len(oldest) > 0 {
			stats.OldestQueuedAge = max(now.Sub(oldest[0]), 0)
		}
	}
	s.figures.report(&stats)
	return stats, nil
}

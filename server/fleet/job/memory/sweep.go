package memory

import (
	"fmt"
	"time"

	"restic-manager/server/fleet/job"
	"restic-manager/shared/wire"
)

// Report counts what one sweep changed, as fleet's SweepReport does.
type Report struct {
	Amnesty      bool
	Offline      int
	Expired      int
	Requeued     int
	Disconnected int
	HoldsFreed   int
	Lost         int
}

// Sweep is fleet's, for hosts that go offline after wire.OfflineAfter.
func (s *Store) Sweep() (Report, error) {
	var report Report
	s.Flush()
	now := s.now()
	if s.Vigil, report.Amnesty = s.Vigil.Begin(now); report.Amnesty {
		return report, nil
	}
	for _, id := range s.names {
		h := s.hosts[id]
		if h.Status() == "online" && now.Sub(h.LastSeenAt) >= wire.OfflineAfter {
			h.Online = false
			report.Offline++
		}
	}
	for _, id := range s.queue {
		if err := s.judge(s.jobs[id], now, &report); err != nil {
			return report, err
		}
	}
	for key, u := range s.keys {
		if !u.at.After(now.Add(-job.KeyKept)) {
			delete(s.keys, key)
		}
	}
	return report, nil
}

// judge applies every decision that is due.
func (s *Store) judge(r *record, now time.Time, report *Report) error {
	for e := job.Due(r.Job, now); e != nil; e = job.Due(r.Job, now) {
		was := r.Job
		fx, err := s.apply(r, e, now)
		if err != nil || r.Job == was {
			return fmt.Errorf("job %s: %T was due and changed nothing: %w", r.ID, e, err)
		}
		switch e.(type) {
		case job.Expire:
			report.Expired++
		case job.LeaseRanOut:
			if fx.Requeued {
				report.Requeued++
			} else {
				report.Disconnected++
			}
		case job.ReleaseHold:
			report.HoldsFreed++
		case job.Lose:
			report.Lost++
		}
	}
	return nil
}

package memory

import (
	"time"

	"restic-manager/server/fleet/job"
	"restic-manager/shared/wire"
)

// progressEvery: at most so often is a job's progress written.
const progressEvery = 5 * time.Second

// pulse is what a server keeps in memory until the next Flush. A restart loses it.
type pulse struct {
	seen     map[string]time.Time
	heard    map[wire.JobRef]time.Time
	progress map[string]latest
}

// latest is the newest progress of a running job.
type latest struct {
	lease   string
	seq     int64
	stalled float64
	at      time.Time
	stored  time.Time // of the last flush that took it
	dirty   bool
}

func newPulse() pulse {
	return pulse{seen: map[string]time.Time{}, heard: map[wire.JobRef]time.Time{}, progress: map[string]latest{}}
}

func (p pulse) renew(ref wire.JobRef, now time.Time) {
	if ref.Lease != "" {
		p.heard[ref] = now
	}
}

// report takes progress of a running job's lease if it is newer than what is known.
func (p pulse) report(j job.Job, q wire.Progress, now time.Time) {
	l, ok := p.progress[j.ID]
	if !ok || l.lease != j.Lease {
		l = latest{lease: j.Lease}
		if j.ProgressLease == j.Lease {
			l.seq = j.ProgressSeq
		}
	}
	if q.Seq > l.seq {
		l.seq, l.stalled, l.at, l.dirty = q.Seq, q.StalledSeconds, now, true
	}
	p.progress[j.ID] = l
}

// Seen notes a sign of life of a host, for the next Flush.
func (s *Store) Seen(host string) { s.pulse.seen[host] = s.now() }

// Flush writes signs of life, renewals and progress. Only Sweep takes a host offline.
func (s *Store) Flush() {
	now := s.now()
	for id, at := range s.pulse.seen {
		if h := s.hosts[id]; h != nil && h.RevokedAt.IsZero() {
			h.Online = true
			if at.After(h.LastSeenAt) {
				h.LastSeenAt = at
			}
		}
	}
	for ref, at := range s.pulse.heard {
		if r := s.jobs[ref.ID]; r != nil {
			s.apply(r, job.Heard{Lease: ref.Lease}, at) // another lease's is refused, an ended job's changes nothing
		}
	}
	s.pulse.seen, s.pulse.heard = map[string]time.Time{}, map[wire.JobRef]time.Time{}
	for id, l := range s.pulse.progress {
		if l.dirty && now.Sub(l.stored) >= progressEvery {
			s.apply(s.jobs[id], job.Progress{Lease: l.lease, Seq: l.seq, StalledSeconds: l.stalled}, l.at)
			l.dirty, l.stored = false, now
			s.pulse.progress[id] = l
		}
	}
}

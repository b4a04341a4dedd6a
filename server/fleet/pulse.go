package fleet

import (
	"sync"
	"time"

	"restic-manager/shared/wire"
)

// pulse gathers in memory what would else be a write per message: signs of life of hosts, renewals of leases,
// progress. Flush writes them, many in one statement. What is lost with the process is renewed by the next
// messages.
type pulse struct {
	mu       sync.Mutex // guards all below
	seen     map[string]time.Time
	leases   map[wire.JobRef]time.Time // the last message that named the job with that lease
	progress map[string]*latest
	failing  time.Time // start of the first flush that did not succeed; zero: the last one did

	flushing sync.Mutex // one flush at a time
}

// latest is the newest progress of a running job, and what this replica knows of the job.
type latest struct {
	host     string
	lease    string
	progress wire.Progress
	text     string // of progress, as it is stored
	at       time.Time
	stored   time.Time // of the last flush that took it
	dirty    bool

	checked   time.Time // when the job was read; zero: look again
	canceling bool
	events    <-chan string // of the host's wake-ups: a cancel is one
	stop      func()
}

func newPulse() *pulse {
	return &pulse{seen: map[string]time.Time{}, leases: map[wire.JobRef]time.Time{}, progress: map[string]*latest{}}
}

// Seen notes a sign of life of a host: call it for every authenticated request of an agent. It asks no
// database; Flush writes it.
func (s *Store) Seen(hostID string) {
	now := s.db.Clock()
	s.pulse.mu.Lock()
	defer s.pulse.mu.Unlock()
	s.pulse.seen[hostID] = now
}

// renewAt notes that a message named the job with this lease. Whether it is the job's, the flush decides: a
// wrong one takes nothing from the right one.
func (p *pulse) renewAt(jobID, lease string, at time.Time) {
	if lease == "" {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if ref := (wire.JobRef{ID: jobID, Lease: lease}); p.leases[ref].Before(at) {
		p.leases[ref] = at
	}
}

// latest is the newest progress of the job's lease here, if it is not stored yet.
func (p *pulse) latest(jobID, lease string) (latest, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.progress[jobID]
	if l == nil || l.lease != lease || l.text == "" {
		return latest{}, false
	}
	return *l, true
}

// forget drops the progress of an ended job.
func (p *pulse) forget(jobID string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.drop(jobID)
}

// drop is forget under the lock.
func (p *pulse) drop(jobID string) {
	if l := p.progress[jobID]; l != nil {
		l.stop()
		delete(p.progress, jobID)
	}
}

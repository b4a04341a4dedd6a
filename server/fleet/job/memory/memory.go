// Package memory is the fleet's hosts and jobs without a database: the rules of packages job and boot, and
// maps. It means what package fleet means, which a test holds by comparing the two; what has no part in the
// rules (logs, lists of snapshots, names) is not here. No I/O, no goroutine, no clock and no randomness of
// its own: a simulation drives it and gets the same run from the same seed.
package memory

import (
	"slices"
	"time"

	"restic-manager/server/fault"
	"restic-manager/server/fleet/boot"
	"restic-manager/server/fleet/job"
	"restic-manager/shared/wire"
)

// Store is a fleet. It is not safe for concurrent use: each call is one transaction.
type Store struct {
	now    func() time.Time
	random func() string

	hosts  map[string]*Host
	names  []string // of hosts, in the order they were added
	jobs   map[string]*record
	number int64
	queue  []string // ids of jobs by number
	keys   map[ownedKey]used
	pulse  pulse
	trail  []Entry

	// Vigil is what the sweepers share: the zero value opens an amnesty with the first sweep.
	Vigil job.Vigil
}

// Host is what the rules know of a host.
type Host struct {
	ID         string
	Boots      boot.Host
	Tie        job.Tie
	Online     bool
	LastSeenAt time.Time // zero: never
	RevokedAt  time.Time // zero: it is not

	kinds    []wire.Kind
	features []string
	version  string
	reported []wire.RepositoryReport
	url      string // of the repository that the server keeps
}

// Entry is one row of the audit trail, as far as the rules know it: who did it is not here.
type Entry struct {
	Action string // noun.verb, as fleet's
	Target string // noun:id
}

// Trail is the audit trail, oldest first. Like fleet's it has one row for each call of people that changed
// something, and one for each alarm.
func (s *Store) Trail() []Entry { return s.trail }

// audit is part of the transaction that it tells of.
func (s *Store) audit(action, target string) { s.trail = append(s.trail, Entry{action, target}) }

// Status is the host's state in the words of the product.
func (h Host) Status() string {
	switch {
	case !h.RevokedAt.IsZero():
		return "revoked"
	case h.Online:
		return "online"
	case h.LastSeenAt.IsZero():
		return "never_seen"
	}
	return "offline"
}

// record is a job and what was asked.
type record struct {
	job.Job
	ask Order
}

// New is an empty fleet. now is the deciding clock, in whole microseconds; random gives a text that was never
// given before, for marks and the ids of jobs.
func New(now func() time.Time, random func() string) *Store {
	return &Store{
		now: now, random: random, hosts: map[string]*Host{}, jobs: map[string]*record{}, keys: map[ownedKey]used{}, pulse: newPulse(),
	}
}

// AddHost enrolls a host. The id must be new.
func (s *Store) AddHost(id string) {
	s.hosts[id] = &Host{ID: id}
	s.names = append(s.names, id)
}

// Host gives a host; false when there is none.
func (s *Store) Host(id string) (Host, bool) {
	if h := s.hosts[id]; h != nil {
		return *h, true
	}
	return Host{}, false
}

// Hosts are all hosts in the order they were added.
func (s *Store) Hosts() []Host {
	all := make([]Host, 0, len(s.names))
	for _, id := range s.names {
		all = append(all, *s.hosts[id])
	}
	return all
}

// Job gives a job; false when there is none.
func (s *Store) Job(id string) (job.Job, bool) {
	if r := s.jobs[id]; r != nil {
		return r.Job, true
	}
	return job.Job{}, false
}

// Jobs are all jobs in the order they were queued.
func (s *Store) Jobs() []job.Job { return s.AppendJobs(make([]job.Job, 0, len(s.queue))) }

// AppendJobs appends them to a slice that the caller may use again.
func (s *Store) AppendJobs(to []job.Job) []job.Job {
	for _, id := range s.queue {
		to = append(to, s.jobs[id].Job)
	}
	return to
}

// Restart forgets what a server keeps in memory only: signs of life, renewals and progress that no Flush has
// written.
func (s *Store) Restart() { s.pulse = newPulse() }

// apply has the rules decide, and keeps what comes of it also beside a refusal.
func (s *Store) apply(r *record, e job.Event, now time.Time) (job.Effects, error) {
	j, fx, err := job.Apply(r.Job, e, now)
	r.Job = j
	return fx, err
}

// of finds a host's job.
func (s *Store) of(host, id string) (*record, bool) {
	r := s.jobs[id]
	if r == nil || r.HostID != host {
		return nil, false
	}
	return r, true
}

// laneBusy reports whether a job of the host occupies the lane.
func (s *Store) laneBusy(host string, lane wire.Lane) bool {
	return s.any(func(j job.Job) bool { return j.HostID == host && j.Lane() == lane && j.Active() })
}

// held reports whether a hold of another job on the key excludes this one.
func (s *Store) held(key, except string, hold wire.Hold) bool {
	return s.any(func(j job.Job) bool {
		return j.ID != except && j.Holding && j.HoldKey == key && job.Excludes(j.Hold(), hold)
	})
}

func (s *Store) any(is func(job.Job) bool) bool {
	return slices.ContainsFunc(s.queue, func(id string) bool { return is(s.jobs[id].Job) })
}

var (
	errNoHost    = fault.NotFoundf("there is no such host")
	errRevoked   = fault.New(fault.Unauthorized, wire.ProblemUnauthorized, "this host is revoked or deleted")
	errNoJob     = fault.NotFoundf("there is no such job")
	errGone      = fault.New(fault.Conflict, wire.ProblemJobGone, "there is no such job for this host; delete its folder")
	errLeaseLost = fault.New(fault.Gone, wire.ProblemLeaseLost, "there is no such job for this host, or another delivery has it")
)

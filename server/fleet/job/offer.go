package job

import (
	"cmp"
	"slices"
	"time"

	"restic-manager/shared/wire"
)

// Repository is what holds, and what waits for, one hold key, apart from the job that is looked at.
type Repository struct {
	ExclusiveHeld bool
	SharedHeld    bool
	Waiting       []Waiter
}

// Waiter is a queued exclusive job on the repository.
type Waiter struct {
	Number       int64
	HostOnline   bool
	LaneFree     bool
	Alarm        bool
	WaitingSince time.Time
}

// yields reports whether a newer shared job must let the waiter go first: only shared holds keep it from
// being offered, and it has not been kept for too long.
func (w Waiter) yields(now time.Time) bool {
	return w.HostOnline && w.LaneFree && !w.Alarm &&
		(w.WaitingSince.IsZero() || now.Sub(w.WaitingSince) < wire.HoldAfterSilence)
}

// Held reports whether a hold that is in force excludes this one.
func (r Repository) Held(h wire.Hold) bool {
	return r.ExclusiveHeld && Excludes(h, wire.HoldExclusive) || r.SharedHeld && Excludes(h, wire.HoldShared)
}

// Before is the queued exclusive job that a shared one has to let go first, if there is one.
func (r Repository) Before(j Job, now time.Time) (first Waiter, ok bool) {
	if j.Hold() != wire.HoldShared || !r.SharedHeld {
		return Waiter{}, false
	}
	for _, w := range r.Waiting {
		if w.Number < j.Number && w.yields(now) {
			return w, true
		}
	}
	return Waiter{}, false
}

// offerable reports whether a queued job may be offered; waits is true for an exclusive one that only shared
// holds keep from it.
func offerable(j Job, r Repository, now time.Time) (ok, waits bool) {
	hold := j.Hold()
	if r.Held(hold) {
		return false, hold == wire.HoldExclusive && !r.ExclusiveHeld
	}
	_, yields := r.Before(j, now)
	return !yields, false
}

// Candidate is one queued job of the polling host with what its repository is under.
type Candidate struct {
	Job        Job
	LaneFree   bool
	Repository Repository
}

// View is what one poll is answered from. Jobs holds those of the host that the poll names; Queue the
// queued ones; Disconnected the host's running ones whose lease ran out.
type View struct {
	Query        wire.PollQuery
	Newest       bool // the poll is of the host's newest process
	Closed       bool // revoked, or under a clone alarm: no new jobs
	Amnesty      bool
	Jobs         map[string]Job
	Queue        []Candidate
	Disconnected []Job
}

// Decision is the answer to a poll, and what is to be written because of it.
type Decision struct {
	Offer   *Job
	Cancel  []string
	Drop    []wire.JobRef
	Waits   []string // jobs for which Waiting is to be applied
	Unnamed []string // jobs for which UnnamedPoll is to be applied
}

// Answer decides a poll. An offer is the oldest job that may run; it is the same until it is accepted.
func Answer(v View, now time.Time) Decision {
	var d Decision
	named := map[string]bool{}
	for _, ref := range v.Query.Jobs {
		named[ref.ID] = true
		switch Verdict(v.Jobs, ref, now) {
		case wire.VerdictCancel:
			d.Cancel = append(d.Cancel, ref.ID)
		case wire.VerdictDrop:
			d.Drop = append(d.Drop, ref)
		}
	}
	if !v.Newest || v.Closed {
		return d
	}
	if !v.Amnesty {
		for _, j := range v.Disconnected {
			if !named[j.ID] {
				d.Unnamed = append(d.Unnamed, j.ID)
			}
		}
	}
	queue := slices.SortedFunc(slices.Values(v.Queue), func(a, b Candidate) int { return cmp.Compare(a.Job.Number, b.Job.Number) })
	for _, c := range queue {
		if c.Job.State != wire.StateQueued || !now.Before(c.Job.ExpiresAt) || !c.LaneFree {
			continue
		}
		ok, waits := offerable(c.Job, c.Repository, now)
		if waits && c.Job.WaitingSince.IsZero() {
			d.Waits = append(d.Waits, c.Job.ID)
		}
		if ok && d.Offer == nil && capacity(v.Query, c.Job.Lane()) > 0 {
			d.Offer = &c.Job
		}
	}
	return d
}

func capacity(q wire.PollQuery, l wire.Lane) int {
	if l == wire.LaneLong {
		return q.FreeLong
	}
	return q.FreeShort
}

// Verdict is the server's word on one job folder of a host; jobs are those of the host. Drop means that
// nothing is waited for: the job is unknown, ended without having started and without the agent's word, or
// ended so long ago that it answers no resume. Another lease than the job's is not dropped here: the agent's
// newer one may be under way in a resume; the calls that need it answer 410.
func Verdict(jobs map[string]Job, ref wire.JobRef, now time.Time) wire.Verdict {
	j, ok := jobs[ref.ID]
	switch {
	case !ok:
		return wire.VerdictDrop
	case j.Canceling():
		return wire.VerdictCancel
	case j.State.Terminal() && j.StartNonce == "" && j.FinishSHA256 == "":
		return wire.VerdictDrop
	case j.State.Terminal() && now.Sub(j.EndedAt) >= EndedFor:
		return wire.VerdictDrop
	}
	return wire.VerdictContinue
}

package job

import (
	"time"

	"restic-manager/server/fault"
	"restic-manager/shared/wire"
)

// Effects are what a change asks of the store beside writing the job, in the same transaction.
type Effects struct {
	// WakeHost: the host's poll has something to hear: an offer, a cancel, a free lane.
	WakeHost bool
	// Freed is the hold key whose waiters may be offered now; empty: none.
	Freed string
	// LeftQueue: the job left the queue without running; jobs behind it may pass.
	LeftQueue bool
	// KeepReport: a result that came after another end is kept as a late report.
	KeepReport bool
	// Ended: the job has just ended.
	Ended bool
	// Requeued: the job has just returned to the queue.
	Requeued bool
}

// How long a refused agent should wait before it asks again.
const (
	retryRepository = 15 * time.Second
	retryHost       = 5 * time.Second
)

// Apply is the rules: what the event makes of the job. When the job that comes back equals j, nothing
// changes. The store writes it even beside an error: a start that finds its repository held is refused and
// queues the job again. now is the deciding clock. Errors are *fault.Error.
func Apply(j Job, e Event, now time.Time) (Job, Effects, error) {
	switch e := e.(type) {
	case Accept:
		return accept(j, e, now)
	case Start:
		return start(j, e, now)
	case Adopt:
		return adopt(j, e, now)
	case Coalesce:
		return coalesce(j, e, now)
	case Resume:
		return resume(j, e, now)
	case Heard:
		return heard(j, e, now)
	case Progress:
		return progress(j, e, now)
	case Finish:
		return finish(j, e, now)
	case UnnamedPoll:
		return unnamed(j, e, now)
	case Cancel:
		return cancel(j, now)
	case Revoke:
		return revoke(j, now)
	case Expire:
		return expire(j, now)
	case LeaseRanOut:
		return leaseRanOut(j, now)
	case ReleaseHold:
		return releaseHold(j, now)
	case Lose:
		return lose(j, now)
	case Waiting:
		return waiting(j, now)
	}
	return j, Effects{}, fault.New(fault.Internal, "internal", "unknown event %T", e)
}

// renew is a sign of life with the job's lease.
func renew(j Job, now time.Time) Job {
	if !j.Active() {
		return j
	}
	if now.After(j.HeardAt) {
		j.HeardAt, j.LeaseExpiresAt = now, now.Add(wire.LeaseDuration)
	}
	j.DisconnectedSince = time.Time{}
	j.Unnamed = Unnamed{}
	return j
}

// end gives the job its one terminal state. A hold ends with it, but for those of hosts that cannot be asked
// whether restic still runs.
func end(j Job, state wire.State, code, message string, keepHold bool, now time.Time) (Job, Effects, error) {
	fx := Effects{Ended: true, WakeHost: true, LeftQueue: j.State == wire.StateQueued}
	j.State, j.EndedAt = state, now
	j.ErrorCode, j.ErrorMessage = code, message
	j.DisconnectedSince, j.StalledSince = time.Time{}, time.Time{}
	if j.Holding && !keepHold {
		j.Holding = false
		fx.Freed = j.HoldKey
	}
	return j, fx, nil
}

// requeue puts a job that never started back. Its next delivery is another one: late messages of this one
// take nothing.
func requeue(j Job, now time.Time) (Job, Effects) {
	fx := Effects{Requeued: true, WakeHost: true}
	if j.Holding {
		fx.Freed = j.HoldKey
	}
	q := New(j.ID, j.HostID, j.Kind, 0, j.QueuedAt)
	q.Number, q.ExpiresAt, q.Delivery, q.Target = j.Number, j.ExpiresAt, j.Delivery+1, j.Target
	return q, fx
}

func jobGone(why string) error {
	return fault.New(fault.Conflict, wire.ProblemJobGone, "the job is not to be had: %s; delete its folder", why)
}

func leaseLost(why string) error {
	return fault.New(fault.Gone, wire.ProblemLeaseLost, "the lease is not the job's: %s", why)
}

func notDue(what string) error {
	return fault.New(fault.Conflict, "not_due", "%s", what)
}

func busy(code string, after time.Duration, what string) error {
	e := fault.New(fault.Busy, code, "%s; the job is offered again when it can run", what)
	e.RetryAfter = after
	return e
}

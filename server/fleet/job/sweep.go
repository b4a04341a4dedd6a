package job

import (
	"time"

	"restic-manager/server/fault"
	"restic-manager/shared/wire"
)

// Due is the sweeper's next decision on the job, nil when there is none. After applying it there may be
// another.
func Due(j Job, now time.Time) Event {
	silence := now.Sub(j.HeardAt)
	switch {
	case j.State == wire.StateQueued && !now.Before(j.ExpiresAt):
		return Expire{}
	case j.State == wire.StateAccepted && !now.Before(j.LeaseExpiresAt),
		j.State == wire.StateRunning && j.DisconnectedSince.IsZero() && !now.Before(j.LeaseExpiresAt):
		return LeaseRanOut{}
	case j.Holding && silence >= wire.HoldAfterSilence && (j.State.Terminal() || !j.DisconnectedSince.IsZero()):
		return ReleaseHold{}
	case j.State == wire.StateRunning && !j.DisconnectedSince.IsZero() && silence >= wire.LostAfter:
		return Lose{}
	}
	return nil
}

func expire(j Job, now time.Time) (Job, Effects, error) {
	if j.State != wire.StateQueued || now.Before(j.ExpiresAt) {
		return j, Effects{}, notDue("only a queued job whose time is over expires")
	}
	return end(j, wire.StateExpired, wire.CodeExpired, "the host did not fetch the job in time; see whether its agent runs, then retry", false, now)
}

func leaseRanOut(j Job, now time.Time) (Job, Effects, error) {
	if !j.Active() || now.Before(j.LeaseExpiresAt) {
		return j, Effects{}, notDue("the lease has not run out")
	}
	if j.State == wire.StateAccepted {
		j, fx := requeue(j, now)
		return j, fx, nil
	}
	if j.DisconnectedSince.IsZero() {
		j.DisconnectedSince = j.HeardAt
	}
	return j, Effects{WakeHost: true}, nil
}

func releaseHold(j Job, now time.Time) (Job, Effects, error) {
	silent := !j.DisconnectedSince.IsZero() || j.State.Terminal()
	if !j.Holding || !silent || now.Sub(j.HeardAt) < wire.HoldAfterSilence {
		return j, Effects{}, notDue("the hold is not to be released")
	}
	j.Holding, j.HoldReleasedAt = false, now
	return j, Effects{Freed: j.HoldKey}, nil
}

func lose(j Job, now time.Time) (Job, Effects, error) {
	if j.State != wire.StateRunning || j.DisconnectedSince.IsZero() || now.Sub(j.HeardAt) < wire.LostAfter {
		return j, Effects{}, notDue("only a job that has been silent for 7 days is lost")
	}
	return end(j, wire.StateLost, wire.CodeSilent, "the host has not been heard for 7 days; a late result is still taken", false, now)
}

func cancel(j Job, now time.Time) (Job, Effects, error) {
	switch {
	case j.State == wire.StateCanceled:
		return j, Effects{}, nil
	case j.State.Terminal():
		return j, Effects{}, fault.New(fault.Conflict, "job_ended", "the job has ended already (%s); there is nothing to cancel", j.State)
	case j.State == wire.StateRunning:
		if j.CancelRequestedAt.IsZero() {
			j.CancelRequestedAt = now
		}
		return j, Effects{WakeHost: true}, nil
	}
	j.CancelRequestedAt = now
	return end(j, wire.StateCanceled, wire.CodeCanceled, "canceled before it started", false, now)
}

func revoke(j Job, now time.Time) (Job, Effects, error) {
	switch {
	case j.State.Terminal():
		return j, Effects{}, nil
	case j.State == wire.StateRunning:
		return end(j, wire.StateLost, wire.CodeHostRevoked, "the host was revoked while the job ran", true, now)
	}
	return end(j, wire.StateCanceled, wire.CodeHostRevoked, "the host was revoked before the job started", false, now)
}

func waiting(j Job, now time.Time) (Job, Effects, error) {
	if j.State != wire.StateQueued || j.Hold() != wire.HoldExclusive {
		return j, Effects{}, notDue("only a queued exclusive job waits for shared holds")
	}
	if j.WaitingSince.IsZero() {
		j.WaitingSince = now
	}
	return j, Effects{}, nil
}

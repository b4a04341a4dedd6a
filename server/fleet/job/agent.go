package job

import (
	"fmt"
	"time"

	"restic-manager/server/fault"
	"restic-manager/shared/wire"
)

func accept(j Job, e Accept, now time.Time) (Job, Effects, error) {
	switch {
	case e.Lease == "":
		return j, Effects{}, leaseLost("none was given")
	case j.Active() && j.Lease == e.Lease:
		return renew(j, now), Effects{}, nil
	case j.State != wire.StateQueued:
		return j, Effects{}, jobGone("it is " + string(j.State))
	case j.Delivery != e.Delivery:
		return j, Effects{}, jobGone(fmt.Sprintf("delivery %d is over", e.Delivery))
	case !now.Before(j.ExpiresAt):
		return j, Effects{}, jobGone("its time in the queue is over")
	case e.Alarm:
		return j, Effects{}, jobGone("two agents use this host's identity; an operator must decide first")
	case e.LaneBusy:
		return j, Effects{}, busy(wire.ProblemHostBusy, retryHost, "another job of this host is under way")
	case e.Held:
		return j, Effects{}, busy(wire.ProblemRepositoryBusy, retryRepository, "another job holds the repository")
	}
	j.State, j.Lease, j.AcceptedAt = wire.StateAccepted, e.Lease, now
	j.RepositoryName, j.RepositoryID = e.RepositoryName, e.RepositoryID
	j.HoldKey = HoldKey(j.HostID, e.RepositoryID)
	j.Holding = j.Hold() != wire.HoldNone
	return renew(j, now), Effects{}, nil
}

func start(j Job, e Start, now time.Time) (Job, Effects, error) {
	switch {
	case e.Lease == "" || j.Lease != e.Lease:
		return j, Effects{}, leaseLost("another delivery has it, or the job was queued again")
	case j.State == wire.StateRunning && j.StartNonce == e.Nonce && e.Nonce != "":
		return renew(j, now), Effects{}, nil
	case j.State != wire.StateAccepted:
		return j, Effects{}, leaseLost("the job is " + string(j.State))
	case e.Nonce == "":
		return j, Effects{}, fault.Invalidf("start_nonce: give 128 random bits in hex")
	}
	var fx Effects
	if e.RepositoryID != "" && e.RepositoryID != j.RepositoryID {
		if j.Target.SettingID != "" {
			if j.Target.RepositoryID != "" {
				return anotherTarget(j, e.RepositoryID, now)
			}
			j.Target.RepositoryID = e.RepositoryID
		}
		if e.Held {
			j, fx = requeue(j, now)
			return j, fx, busy(wire.ProblemRepositoryBusy, retryRepository, "another job holds the repository")
		}
		if j.Holding {
			fx.Freed = j.HoldKey
		}
		j.RepositoryID, j.HoldKey = e.RepositoryID, e.RepositoryID
	}
	j.State, j.StartNonce, j.StartedAt = wire.StateRunning, e.Nonce, now
	return renew(j, now), fx, nil
}

// anotherTarget ends a job whose repository's address leads to another one by now: what it is to remove or to check is not
// there.
func anotherTarget(j Job, found string, now time.Time) (Job, Effects, error) {
	j, fx, err := end(j, wire.StateCanceled, wire.CodeWrongRepository, fmt.Sprintf("the repository at this address is %.8s, not %.8s, which the job is about", found, j.Target.RepositoryID), false, now)
	if err == nil {
		err = leaseLost("the repository at its address is another one")
	}
	return j, fx, err
}

func adopt(j Job, e Adopt, now time.Time) (Job, Effects, error) {
	switch {
	case e.Lease == "" || e.Nonce == "":
		return j, Effects{}, fault.Invalidf("lease, start_nonce: give 128 random bits in hex each")
	case j.Lease == e.Lease && j.StartNonce == e.Nonce:
		return renew(j, now), Effects{}, nil
	case j.State.Terminal():
		return j, Effects{}, jobGone("it is " + string(j.State))
	case j.State != wire.StateQueued:
		return j, Effects{}, jobGone("another delivery has it")
	case e.LaneBusy:
		return j, Effects{}, busy(wire.ProblemHostBusy, retryHost, "another job of this host is under way")
	}
	j.State, j.Lease, j.AcceptedAt, j.StartNonce, j.StartedAt = wire.StateRunning, e.Lease, now, e.Nonce, now
	j.RepositoryName, j.RepositoryID = e.RepositoryName, e.RepositoryID
	j.HoldKey = HoldKey(j.HostID, e.RepositoryID)
	if j.Hold() != wire.HoldNone {
		// It runs, whoever holds the repository: restic's own lock protects there.
		if j.Holding = !e.Held; e.Held {
			j.HoldReleasedAt = now
		}
	}
	return renew(j, now), Effects{}, nil
}

func coalesce(j Job, e Coalesce, now time.Time) (Job, Effects, error) {
	if j.State != wire.StateQueued {
		return j, Effects{}, notDue("only a queued job is stood for by another")
	}
	return end(j, wire.StateCanceled, wire.CodeCanceled, "the agent had begun another run of this policy meanwhile, which stands for it: job "+e.Into, false, now)
}

func resume(j Job, e Resume, now time.Time) (Job, Effects, error) {
	switch {
	case e.New == "" || j.Lease == "" || (j.Lease != e.New && j.Lease != e.Old):
		return j, Effects{}, leaseLost("neither the old nor the new one is")
	case j.State.Terminal() && now.Sub(j.EndedAt) >= EndedFor:
		return j, Effects{}, leaseLost("the job ended over 7 days ago")
	}
	fx := Effects{WakeHost: j.Lease != e.New} // what is known of the old one is over
	j.Lease = e.New
	return renew(j, now), fx, nil
}

func heard(j Job, e Heard, now time.Time) (Job, Effects, error) {
	if e.Lease == "" || j.Lease != e.Lease {
		return j, Effects{}, leaseLost("another delivery has it, or the job was queued again")
	}
	return renew(j, now), Effects{}, nil
}

func progress(j Job, e Progress, now time.Time) (Job, Effects, error) {
	switch {
	case e.Lease == "" || j.Lease != e.Lease:
		return j, Effects{}, leaseLost("another delivery has it, or the job was queued again")
	case j.State == wire.StateAccepted:
		return j, Effects{}, notStarted()
	case j.State != wire.StateRunning:
		return j, Effects{}, nil
	}
	j = renew(j, now)
	if j.ProgressLease == e.Lease && e.Seq <= j.ProgressSeq {
		return j, Effects{}, nil
	}
	j.ProgressLease, j.ProgressSeq = e.Lease, e.Seq
	still := time.Duration(e.StalledSeconds * float64(time.Second))
	switch {
	case still < wire.StallAfter:
		j.StalledSince = time.Time{}
	case j.StalledSince.IsZero():
		j.StalledSince = now.Add(-still).Truncate(time.Microsecond)
	}
	return j, Effects{}, nil
}

func notStarted() error {
	return fault.New(fault.Conflict, wire.ProblemNotStarted, "the job has not started here; repeat start with its nonce, then this")
}

func finish(j Job, e Finish, now time.Time) (Job, Effects, error) {
	switch {
	case j.State.Terminal() && j.FinishSHA256 != "" && j.FinishSHA256 == e.SHA256:
		return j, Effects{}, nil
	case e.Lease == "" || j.Lease != e.Lease:
		return j, Effects{}, leaseLost("another delivery has it, or the job was queued again")
	case j.State.Terminal():
		j.LateReport = true
		return j, Effects{KeepReport: true}, nil
	case j.State == wire.StateAccepted && e.State != wire.StateRejected:
		return j, Effects{}, notStarted()
	case j.State == wire.StateRunning && !reportable(e.State):
		return j, Effects{}, fault.Invalidf("state: a running job ends as succeeded, succeeded_with_issues, failed or canceled, not as %.40q", e.State)
	}
	code, message := e.Error.Code, e.Error.Message
	if code == "" {
		code = map[wire.State]string{
			wire.StateRejected: wire.CodePreflight, wire.StateFailed: wire.CodeRestic, wire.StateCanceled: wire.CodeCanceled,
		}[e.State]
	}
	if e.State.Success() {
		code, message = "", ""
	}
	j = renew(j, now)
	j.FinishSHA256 = e.SHA256
	return end(j, e.State, code, message, false, now)
}

// reportable are the ends that an agent may report of a job that ran.
func reportable(s wire.State) bool {
	return s.Success() || s == wire.StateFailed || s == wire.StateCanceled
}

func unnamed(j Job, e UnnamedPoll, now time.Time) (Job, Effects, error) {
	if j.State != wire.StateRunning || j.DisconnectedSince.IsZero() || now.Before(j.LeaseExpiresAt) {
		return j, Effects{}, notDue("only a disconnected job can have lost its folder")
	}
	switch {
	case j.Unnamed.Boot != e.Boot:
		j.Unnamed = Unnamed{Boot: e.Boot, Seq: e.Seq, Polls: 1}
	case e.Seq > j.Unnamed.Seq:
		j.Unnamed.Seq = e.Seq
		j.Unnamed.Polls++
	}
	if j.Unnamed.Polls < UnnamedPolls {
		return j, Effects{}, nil
	}
	return end(j, wire.StateFailed, wire.CodeInterrupted,
		"the agent is back and does not know the job: its state folder was lost; run the job again", false, now)
}

// MayAppend reports whether log lines of that lease are taken: lease_lost or not_started when they are not.
// Lines of an ended job are.
func MayAppend(j Job, lease string) error {
	switch {
	case lease == "" || j.Lease != lease:
		return leaseLost("another delivery has it, or the job was queued again")
	case j.State == wire.StateAccepted:
		return notStarted()
	}
	return nil
}

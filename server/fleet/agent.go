package fleet

import (
	"context"
	"encoding/json"
	"fmt"

	"restic-manager/server/database"
	"restic-manager/server/fault"
	"restic-manager/server/fleet/job"
	"restic-manager/shared/failpoint"
	"restic-manager/shared/wire"
)

var errLeaseLost = fault.New(fault.Gone, wire.ProblemLeaseLost, "there is no such job for this host, or another delivery has it")

// Start is asked before restic runs, and takes the hold when the repository's id was learnt only now: 423
// repository_busy queues the job again, 410 lease_lost means that the job is no longer this folder's.
func (s *Store) Start(ctx context.Context, hostID, jobID, lease string, r wire.StartRequest) error {
	if !wire.IsRandomHex(r.StartNonce) {
		return fault.Invalidf("start_nonce: give 128 random bits in hex")
	}
	if r.RepositoryID != "" && !wire.IsSHA256(r.RepositoryID) {
		return fault.Invalidf("repository_id: give restic's id, 64 hex digits")
	}
	var c change
	err := s.db.Write(ctx, func(tx *database.Tx) (err error) {
		if c, err = s.start(tx, hostID, jobID, lease, r); err != nil {
			return err
		}
		return failpoint.Hit("server.start.uncommitted")
	})
	if err == nil {
		err = failpoint.Hit("server.start.committed")
	}
	if err != nil {
		return fmt.Errorf("start job %s: %w", jobID, err)
	}
	if c.fx.Requeued {
		s.figures.requeued(1)
	}
	if c.fx.Ended {
		s.figures.ended(c.job)
	}
	return c.refused
}

func (s *Store) start(tx *database.Tx, hostID, jobID, lease string, r wire.StartRequest) (change, error) {
	seen, ok, err := readJob(tx, jobID, ruleColumns, "")
	if err != nil {
		return change{}, err
	}
	if !ok || seen.HostID != hostID {
		return change{refused: errLeaseLost}, nil
	}
	e := job.Start{Lease: lease, Nonce: r.StartNonce, RepositoryID: r.RepositoryID}
	learnt := r.RepositoryID != "" && r.RepositoryID != seen.RepositoryID
	if learnt && seen.State == wire.StateAccepted && seen.Lease == lease {
		hold := seen.rules().Hold()
		if err := s.learnRepository(tx, hostID, seen.RepositoryName, r.RepositoryID, hold); err != nil {
			return change{}, err
		}
		if seen.Holding {
			if e.Held, err = isHeld(tx, r.RepositoryID, seen.ID, hold); err != nil {
				return change{}, err
			}
		}
	}
	row, ok, err := lockJob(tx, jobID)
	if err != nil {
		return change{}, err
	}
	if !ok {
		return change{refused: errLeaseLost}, nil
	}
	c, err := s.apply(tx, row, e)
	if err == nil && c.fx.Ended { // it is about another repository than is there
		return c, forgetTarget(tx, c.job.Target)
	}
	if err != nil || c.refused != nil || row.State == c.job.State {
		return c, err
	}
	// One skew for all the job's times, so that a line shows the same time whenever it is read.
	return c, tx.Exec("UPDATE jobs SET skew_seconds = (SELECT skew_seconds FROM hosts WHERE id = ?) WHERE id = ?", hostID, jobID).Error
}

// learnRepository remembers the id of the host's repository and locks its row for the hold. name says which
// of the host's repositories it is the id of; when the host uses another one by now, or it is not the host's own, only
// the row is locked.
func (s *Store) learnRepository(tx *database.Tx, hostID, name, id string, hold wire.Hold) error {
	if err := lockRepository(tx, id); err != nil {
		return err
	}
	if tx.Postgres() {
		if err := tx.Exec("SELECT id FROM repositories WHERE id = ?"+forHold(hold), id).Error; err != nil {
			return fmt.Errorf("lock repository %s for a hold: %w", id, err)
		}
	}
	host, err := lockHost(tx, hostID)
	if err != nil {
		return err
	}
	was, err := tieOf(tx, host)
	if err != nil || was.Learnt(name, id) == was {
		return err
	}
	return tieRepository(tx, hostID, id)
}

// tieOf is what is known of the repository that a host uses.
func tieOf(tx *database.Tx, host hostRow) (job.Tie, error) {
	var n int64
	if err := tx.Raw("SELECT count(*) FROM host_repositories WHERE host_id = ?", host.ID).Scan(&n).Error; err != nil {
		return job.Tie{}, fmt.Errorf("look for the repository of host %s: %w", host.ID, err)
	}
	t := job.Tie{ServerHeld: n > 0}
	if host.RepositoryID != nil {
		t.ID = *host.RepositoryID
	}
	return t, nil
}

// lockRepository makes the repository's row when it is new, and locks it.
func lockRepository(tx *database.Tx, id string) error {
	if err := tx.Exec("INSERT INTO repositories (id, created_at) VALUES (?, ?) ON CONFLICT (id) DO NOTHING", id, tx.Now).Error; err != nil {
		return fmt.Errorf("add repository %s: %w", id, err)
	}
	var found []string
	if err := tx.Raw("SELECT id FROM repositories WHERE id = ?"+forUpdate(tx), id).Scan(&found).Error; err != nil {
		return fmt.Errorf("lock repository %s: %w", id, err)
	}
	return nil
}

// tieRepository makes the id the one of the host's repository: holds and the list of snapshots go by it.
func tieRepository(tx *database.Tx, hostID, id string) error {
	if err := tx.Exec("UPDATE hosts SET repository_id = ? WHERE id = ?", id, hostID).Error; err != nil {
		return fmt.Errorf("tie host %s to its repository: %w", hostID, err)
	}
	tx.Notify(database.TopicHosts, database.TopicHost(hostID), database.TopicSnapshots(hostID), database.TopicWake(hostID))
	if err := rememberOwn(tx, hostID, id); err != nil {
		return err
	}
	return countSnapshots(tx, "id = ?", hostID)
}

// isHeld reports whether a hold of another job on the key excludes this one.
func isHeld(tx *database.Tx, key, exceptJob string, hold wire.Hold) (bool, error) {
	var n int64
	err := tx.Raw(`SELECT count(*) FROM jobs WHERE holding AND hold <> 'none' AND hold_key = ? AND id <> ?
		AND (hold = 'exclusive' OR ? = 'exclusive')`, key, exceptJob, string(hold)).Scan(&n).Error
	if err != nil {
		return false, fmt.Errorf("look for holds on %s: %w", key, err)
	}
	return n > 0, nil
}

// Resume rotates the lease of a job and tells where the server stands; 410 when the job is not this
// folder's. It answers for ended jobs too, for 7 days.
func (s *Store) Resume(ctx context.Context, hostID, jobID string, r wire.ResumeRequest) (wire.ResumeReply, error) {
	if !wire.IsRandomHex(r.NewLease) || r.OldLease != "" && !wire.IsRandomHex(r.OldLease) {
		return wire.ResumeReply{}, fault.Invalidf("old_lease, new_lease: give 128 random bits in hex")
	}
	var reply wire.ResumeReply
	var owner job.Job
	var found jobRow
	var refused error
	err := s.db.Write(ctx, func(tx *database.Tx) error {
		row, ok, err := readJob(tx, jobID, ruleColumns+", jobs.spec, jobs.policy_id, jobs.due_at", forUpdate(tx))
		if err != nil {
			return err
		}
		if !ok || row.HostID != hostID {
			refused = errLeaseLost
			return nil
		}
		c, err := s.apply(tx, row, job.Resume{Old: r.OldLease, New: r.NewLease})
		if refused = c.refused; err != nil || refused != nil {
			return err
		}
		owner, found = c.job, row
		reply, err = s.resumed(tx, row, c.job)
		return err
	})
	if err == nil && refused == nil {
		// An ended job may still owe its listing, which needs the repository.
		reply.Secrets, err = s.secretsOf(ctx, s.db.Read(ctx), owner)
		if err == nil {
			reply.TimeLimitSeconds, err = s.timeLimit(ctx, found, owner)
		}
	}
	if err != nil {
		return wire.ResumeReply{}, fmt.Errorf("resume job %s: %w", jobID, err)
	}
	return reply, refused
}

func (s *Store) resumed(tx *database.Tx, row jobRow, j job.Job) (wire.ResumeReply, error) {
	next, complete, err := s.logCursor(tx, j.ID)
	if err != nil {
		return wire.ResumeReply{}, err
	}
	reply := wire.ResumeReply{
		State: j.State, NextLine: next, LogComplete: complete, Cancel: j.Canceling(),
		Kind: j.Kind, Spec: json.RawMessage(row.Spec), TimeLimitSeconds: row.TimeLimitSeconds,
		Repository: wire.RepositoryRef{Name: j.RepositoryName, ID: j.RepositoryID},
	}
	return reply, nil
}

// revokeJobs ends what the host had, in the transaction that revokes it and has locked its row. It gives what
// has ended.
func (s *Store) revokeJobs(tx *database.Tx, hostID string) (ended []job.Job, err error) {
	var rows []jobRow
	err = tx.Raw("SELECT "+ruleColumns+" FROM jobs WHERE host_id = ? AND state IN ('queued', 'accepted', 'running') ORDER BY id"+forUpdate(tx),
		hostID).Scan(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("read the jobs of host %s: %w", hostID, err)
	}
	for _, row := range rows {
		c, err := s.apply(tx, row, job.Revoke{})
		if err != nil {
			return nil, err
		}
		ended = append(ended, c.job)
	}
	return ended, nil
}

package fleet

import (
	"context"
	"fmt"
	"time"

	"restic-manager/server/database"
	"restic-manager/server/fault"
	"restic-manager/server/fleet/job"
	"restic-manager/shared/wire"
)

// adoption is a job that an agent began by itself, checked.
type adoption struct {
	host, id, lease string
	ask             order
	request         wire.AdoptRequest
}

// Adopt takes a scheduled job that the host's agent began by itself because the server was away: from now on it is
// running here too, under this lease and nonce. 409 job_gone when it ended otherwise, when another delivery has it, or
// when its policy was never due then; 423 host_busy while another job has the lane. The same again gets the same answer.
func (s *Store) Adopt(ctx context.Context, hostID, jobID, lease string, r wire.AdoptRequest) error {
	a, err := checkAdopt(hostID, jobID, lease, r)
	if err != nil {
		return err
	}
	for try := 1; ; try++ {
		var ended []job.Job
		err := s.db.Write(ctx, func(tx *database.Tx) (err error) {
			ended, err = s.adopt(tx, a)
			return err
		})
		if err == nil {
			s.figures.ended(ended...)
			return nil
		}
		// Who accepts at the same time may not have the same row locked: the constraint stands behind both.
		if try == maxAcceptTries || !isConstraint(err) {
			return fmt.Errorf("adopt job %s: %w", jobID, err)
		}
	}
}

func checkAdopt(hostID, jobID, lease string, r wire.AdoptRequest) (adoption, error) {
	due := r.DueAt.UTC()
	switch {
	case !wire.IsRandomHex(lease) || !wire.IsRandomHex(r.StartNonce):
		return adoption{}, fault.Invalidf("lease, start_nonce: give 128 random bits in hex each")
	case r.RepositoryID != "" && !wire.IsSHA256(r.RepositoryID):
		return adoption{}, fault.Invalidf("repository_id: give restic's own id, 64 hex digits, or leave it out")
	case r.Repository != wire.RepositoryLocal && r.Repository != wire.RepositoryServer:
		return adoption{}, fault.Invalidf("repository: give %s or %s", wire.RepositoryLocal, wire.RepositoryServer)
	case r.Kind != wire.KindBackup:
		return adoption{}, fault.Invalidf("kind: a policy makes backups")
	case !wire.IsUUID(r.PolicyID) || due.Nanosecond() != 0 || due.Year() < 2000 || due.Year() > 9999 || jobID != wire.TickJobID(r.PolicyID, hostID, due):
		return adoption{}, errNoSuchJob
	}
	spec, err := wire.DecodeSpec(r.Kind, r.Spec)
	if err != nil {
		return adoption{}, fault.Invalidf("%v", err)
	}
	limit := min(max(time.Duration(min(max(r.TimeLimitSeconds, 0), int64(maxTimeLimit.Seconds())))*time.Second, minTimeLimit), maxTimeLimit)
	o, err := NewJob{HostID: hostID, Kind: r.Kind, Spec: spec, TimeLimit: limit, PolicyID: r.PolicyID, ID: jobID, DueAt: due}.order()
	return adoption{hostID, jobID, lease, o, r}, err
}

// adopt takes the job in one transaction: a refusal leaves nothing behind. It gives the jobs that have ended.
func (s *Store) adopt(tx *database.Tx, a adoption) (ended []job.Job, err error) {
	if a.request.RepositoryID != "" { // its lock comes before the host's
		hold := job.Job{Kind: a.request.Kind}.Hold()
		if err := s.learnRepository(tx, a.host, a.request.Repository, a.request.RepositoryID, hold); err != nil {
			return nil, err
		}
	}
	host, err := lockHost(tx, a.host)
	if err != nil {
		return nil, err
	}
	if host.RevokedAt != nil {
		return nil, errNoSuchJob
	}
	row, there, err := readJob(tx, a.id, ruleColumns, "")
	if err != nil {
		return nil, err
	}
	e := job.Adopt{Lease: a.lease, Nonce: a.request.StartNonce, RepositoryName: a.request.Repository, RepositoryID: a.request.RepositoryID}
	if !there || row.Lease != a.lease || row.StartNonce != e.Nonce {
		if err := s.mayAdopt(tx, a); err != nil {
			return nil, err
		}
	}
	if !there {
		if _, err := s.insert(tx, database.Actor{Kind: "agent", ID: host.ID, Name: host.Name}, host, a.ask); err != nil {
			return nil, err
		}
	}
	if row, there, err = lockJob(tx, a.id); err != nil || !there || row.HostID != a.host {
		return nil, firstOf(err, errNoSuchJob)
	}
	was := row.rules()
	if err := tx.Raw("SELECT EXISTS (SELECT 1 FROM jobs WHERE host_id = ? AND lane = ? AND state IN ('accepted', 'running') AND id <> ?)",
		a.host, string(was.Lane()), a.id).Scan(&e.LaneBusy).Error; err != nil {
		return nil, fmt.Errorf("look for a job in the lane: %w", err)
	}
	if e.Held, err = isHeld(tx, job.HoldKey(a.host, e.RepositoryID), a.id, was.Hold()); err != nil {
		return nil, err
	}
	c, err := s.apply(tx, row, e)
	if err != nil || c.refused != nil || c.was.State == c.job.State {
		return nil, firstOf(err, c.refused)
	}
	err = tx.Exec("UPDATE jobs SET skew_seconds = ?, agent_started_at = ? WHERE id = ?", host.SkewSeconds, saneTime(a.request.StartedAt), a.id).Error
	if err != nil {
		return nil, fmt.Errorf("write when job %s began: %w", a.id, err)
	}
	return s.standFor(tx, a)
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// mayAdopt asks those who know of policies, and has the due time written down.
func (s *Store) mayAdopt(tx *database.Tx, a adoption) error {
	if s.hooks.Adopted == nil {
		return errNoSuchJob
	}
	return s.hooks.Adopted(tx, a.host, a.request)
}

// standFor ends the queued jobs of the policy: what runs stands for them.
func (s *Store) standFor(tx *database.Tx, a adoption) (ended []job.Job, err error) {
	var rows []jobRow
	err = tx.Raw("SELECT "+ruleColumns+" FROM jobs WHERE host_id = ? AND policy_id = ? AND kind = ? AND state = 'queued' AND id <> ? ORDER BY id"+forUpdate(tx),
		a.host, a.request.PolicyID, a.request.Kind, a.id).Scan(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("read the queued jobs of policy %s: %w", a.request.PolicyID, err)
	}
	for _, row := range rows {
		c, err := s.apply(tx, row, job.Coalesce{Into: a.id})
		if err != nil {
			return nil, err
		}
		actor := database.Actor{Kind: "agent", ID: a.host, Name: "schedule"}
		if err := tx.Audit(actor, "job.coalesce", "job:"+row.ID, map[string]any{"host": a.host, "into": a.id}); err != nil {
			return nil, err
		}
		ended = append(ended, c.job)
	}
	return ended, nil
}

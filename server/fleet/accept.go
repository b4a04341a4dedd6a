package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"gorm.io/gorm"

	"restic-manager/server/database"
	"restic-manager/server/fault"
	"restic-manager/server/fleet/job"
	"restic-manager/shared/wire"
)

// acceptRow is a job with what decides whether it may be taken.
type acceptRow struct {
	Row            jobRow     `gorm:"embedded"` // gorm passes over embedded types that are not exported
	Clock          *time.Time `gorm:"column:clock"`
	Alarm          bool       `gorm:"column:alarm"`
	HostRepository string     `gorm:"column:host_repository"`
	ServerHeld     bool       `gorm:"column:server_held"`
	LaneBusy       bool       `gorm:"column:lane_busy"`
	Held           bool       `gorm:"column:held"`
}

// acceptColumns: lane and hold are looked at in the statement that locks, and once more in the one that
// writes, for what was committed while the lock was waited for.
const acceptColumns = ruleColumns + `, jobs.spec, hosts.clone_alarm_at IS NOT NULL OR hosts.revoked_at IS NOT NULL AS alarm,
	coalesce(hosts.repository_id, '') AS host_repository,
	EXISTS (SELECT 1 FROM host_repositories r WHERE r.host_id = hosts.id) AS server_held,
	EXISTS (SELECT 1 FROM jobs o WHERE o.host_id = jobs.host_id AND o.lane = jobs.lane AND o.state IN ('accepted', 'running')) AS lane_busy,
	jobs.hold <> 'none' AND EXISTS (SELECT 1 FROM jobs o WHERE o.holding AND o.hold <> 'none'
		AND o.hold_key = coalesce(hosts.repository_id, 'host:' || hosts.id)
		AND (o.hold = 'exclusive' OR jobs.hold = 'exclusive')) AS held, `

// Accept takes an offered job: 409 job_gone when it is not to be had any more, 423 repository_busy or
// host_busy when it must wait. The same lease gets the same answer while the job is accepted or running.
func (s *Store) Accept(ctx context.Context, hostID, jobID string, r wire.AcceptRequest) (wire.AcceptReply, error) {
	if !wire.IsRandomHex(r.Lease) {
		return wire.AcceptReply{}, fault.Invalidf("lease: give 128 random bits in hex")
	}
	if !wire.IsUUID(jobID) {
		return wire.AcceptReply{}, errNoSuchJob
	}
	var reply wire.AcceptReply
	var refused error
	for try := 1; ; try++ {
		err := s.db.WriteUntimed(ctx, func(tx *database.Tx) (err error) {
			reply, refused, err = s.accept(tx, hostID, jobID, r)
			return err
		})
		switch {
		case err == nil:
			return reply, refused
		case try < 3 && isConstraint(err):
			// The constraint behind the rules: another got it in between. The facts are read anew.
		default:
			return wire.AcceptReply{}, fmt.Errorf("accept job %s: %w", jobID, err)
		}
	}
}

var errNoSuchJob = fault.New(fault.Conflict, wire.ProblemJobGone, "there is no such job for this host; delete its folder")

func (s *Store) accept(tx *database.Tx, hostID, jobID string, r wire.AcceptRequest) (wire.AcceptReply, error, error) {
	for try := 1; ; try++ {
		row, ok, err := lockForAccept(tx, hostID, jobID)
		if err != nil {
			return wire.AcceptReply{}, nil, err
		}
		if !ok {
			return wire.AcceptReply{}, errNoSuchJob, nil
		}
		tx.SetNow(row.Clock)
		e := job.Accept{
			Lease: r.Lease, Delivery: r.Delivery, RepositoryName: repositoryName(row.ServerHeld), RepositoryID: row.HostRepository,
			LaneBusy: row.LaneBusy, Held: row.Held, Alarm: row.Alarm,
		}
		c := change{was: row.Row.rules()}
		c.job, c.fx, c.refused = job.Apply(c.was, e, tx.Now)
		if c.refused != nil {
			return wire.AcceptReply{}, c.refused, nil
		}
		done, err := writeAccept(tx, c)
		if err != nil {
			return wire.AcceptReply{}, nil, err
		}
		if !done {
			if try == 3 {
				return wire.AcceptReply{}, nil, errors.New("the job changes faster than it can be read")
			}
			continue
		}
		if err := s.effects(tx, c); err != nil {
			return wire.AcceptReply{}, nil, err
		}
		reply := wire.AcceptReply{
			Kind: c.job.Kind, Spec: json.RawMessage(row.Row.Spec), TimeLimitSeconds: row.Row.TimeLimitSeconds,
			Repository: wire.RepositoryRef{Name: c.job.RepositoryName, ID: c.job.RepositoryID},
		}
		if c.job.RepositoryName == wire.RepositoryServer {
			reply.Secrets, err = s.secretsFor(tx, hostID)
		}
		return reply, nil, err
	}
}

// lockForAccept locks the repository's row, so that accepts of one repository queue there and do not meet at
// the constraint; while the repository is unknown the host's row stands in for it.
func lockForAccept(tx *database.Tx, hostID, jobID string) (row acceptRow, ok bool, err error) {
	query := "SELECT " + acceptColumns + tx.ClockColumn() + ` AS clock FROM jobs JOIN hosts ON hosts.id = jobs.host_id
		JOIN repositories ON repositories.id = hosts.repository_id WHERE jobs.id = ? AND jobs.host_id = ?`
	other := "SELECT " + acceptColumns + tx.ClockColumn() + ` AS clock FROM jobs JOIN hosts ON hosts.id = jobs.host_id
		WHERE jobs.id = ? AND jobs.host_id = ? AND hosts.repository_id IS NULL`
	if tx.Postgres() {
		query += " FOR NO KEY UPDATE OF repositories"
		other += " FOR NO KEY UPDATE OF hosts"
	}
	for _, q := range []string{query, other} {
		var rows []acceptRow
		if err := tx.Raw(q, jobID, hostID).Scan(&rows).Error; err != nil {
			return acceptRow{}, false, fmt.Errorf("lock the repository of job %s: %w", jobID, err)
		}
		if len(rows) > 0 {
			return rows[0], true, nil
		}
	}
	return acceptRow{}, false, nil
}

// writeAccept takes the job if it, its lane and its repository are still free; false when they are not.
func writeAccept(tx *database.Tx, c change) (bool, error) {
	if c.job == c.was {
		return true, nil
	}
	if c.was.State != wire.StateQueued {
		return write(tx, c.was, c.job, "")
	}
	and := ` AND NOT EXISTS (SELECT 1 FROM jobs o WHERE o.host_id = ? AND o.lane = ? AND o.state IN ('accepted', 'running'))`
	args := []any{c.job.HostID, c.job.Lane()}
	if c.job.Holding {
		and += ` AND NOT EXISTS (SELECT 1 FROM jobs o WHERE o.holding AND o.hold <> 'none' AND o.hold_key = ? AND (o.hold = 'exclusive' OR ? = 'exclusive'))`
		args = append(args, c.job.HoldKey, string(c.job.Hold()))
	}
	return write(tx, c.was, c.job, and, args...)
}

func repositoryName(serverHeld bool) string {
	return job.Tie{ServerHeld: serverHeld}.Name()
}

// isConstraint reports whether the database itself refused a second hold or a second job in a lane.
func isConstraint(err error) bool {
	if errors.Is(err, gorm.ErrDuplicatedKey) {
		return true
	}
	s := err.Error()
	return strings.Contains(s, "SQLSTATE 23P01") || strings.Contains(s, "held by another job")
}

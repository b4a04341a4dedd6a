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
	"restic-manager/shared/failpoint"
	"restic-manager/shared/wire"
)

// acceptRow is a job with what decides whether it may be taken.
type acceptRow struct {
	Row            jobRow     `gorm:"embedded"` // gorm passes over embedded types that are not exported
	Clock          *time.Time `gorm:"column:clock"`
	Alarm          bool       `gorm:"column:alarm"`
	HostRepository string     `gorm:"column:host_repository"` // the host's own
	ServerHeld     bool       `gorm:"column:server_held"`
	LaneBusy       bool       `gorm:"column:lane_busy"`
	Held           bool       `gorm:"column:held"`
}

// acceptColumns: what decides is looked at without a lock, and again in the statement that writes.
const acceptColumns = ruleColumns + `, jobs.spec, jobs.policy_id, jobs.due_at, hosts.clone_alarm_at IS NOT NULL OR hosts.revoked_at IS NOT NULL AS alarm,
	coalesce(hosts.repository_id, '') AS host_repository,
	EXISTS (SELECT 1 FROM host_repositories r WHERE r.host_id = hosts.id) AS server_held,
	EXISTS (SELECT 1 FROM jobs o WHERE o.host_id = jobs.host_id AND o.lane = jobs.lane AND o.state IN ('accepted', 'running')) AS lane_busy,
	jobs.hold <> 'none' AND EXISTS (SELECT 1 FROM jobs o WHERE o.holding AND o.hold <> 'none'
		AND o.hold_key = ` + keyOfJob + `
		AND (o.hold = 'exclusive' OR jobs.hold = 'exclusive')) AS held, `

// maxAcceptTries bounds how often the facts are read anew because they changed before the write.
const maxAcceptTries = 5

// Accept takes an offered job: 409 job_gone when it is not to be had any more, 423 repository_busy or
// host_busy when it must wait. The same lease gets the same answer while the job is accepted or running. It
// is two round trips: one that reads, and one statement that writes if all is as it was read.
func (s *Store) Accept(ctx context.Context, hostID, jobID string, r wire.AcceptRequest) (wire.AcceptReply, error) {
	if !wire.IsRandomHex(r.Lease) {
		return wire.AcceptReply{}, fault.Invalidf("lease: give 128 random bits in hex")
	}
	if !wire.IsUUID(jobID) {
		return wire.AcceptReply{}, errNoSuchJob
	}
	for try := 1; ; try++ {
		row, c, err := s.decideAccept(ctx, hostID, jobID, r)
		if err != nil {
			return wire.AcceptReply{}, fmt.Errorf("accept job %s: %w", jobID, err)
		}
		if c.refused != nil {
			return wire.AcceptReply{}, c.refused
		}
		if err := failpoint.Hit("server.accept.uncommitted"); err != nil {
			return wire.AcceptReply{}, err
		}
		done, err := s.writeAccept(ctx, row, c)
		switch {
		case err == nil && done:
			if err := failpoint.Hit("server.accept.committed"); err != nil {
				return wire.AcceptReply{}, err
			}
			return s.accepted(ctx, row, c)
		case err != nil && !isConstraint(err):
			return wire.AcceptReply{}, fmt.Errorf("accept job %s: %w", jobID, err)
		case try == maxAcceptTries:
			return wire.AcceptReply{}, fmt.Errorf("accept job %s: it changes faster than it can be read", jobID)
		}
	}
}

var errNoSuchJob = fault.New(fault.Conflict, wire.ProblemJobGone, "there is no such job for this host; delete its folder")

// decideAccept has the rules decide on what there is now.
func (s *Store) decideAccept(ctx context.Context, hostID, jobID string, r wire.AcceptRequest) (acceptRow, change, error) {
	var rows []acceptRow
	err := s.db.Read(ctx).Raw("SELECT "+acceptColumns+s.db.ClockColumn()+` AS clock FROM jobs JOIN hosts ON hosts.id = jobs.host_id
		WHERE jobs.id = ? AND jobs.host_id = ?`, jobID, hostID).Scan(&rows).Error
	if err != nil {
		return acceptRow{}, change{}, fmt.Errorf("read what decides: %w", err)
	}
	if len(rows) == 0 {
		return acceptRow{}, change{refused: errNoSuchJob}, nil
	}
	row := rows[0]
	c := change{was: row.Row.rules()}
	name, repository := c.was.Uses(row.tie())
	c.job, c.fx, c.refused = job.Apply(c.was, job.Accept{
		Lease: r.Lease, Delivery: r.Delivery, RepositoryName: name, RepositoryID: repository,
		LaneBusy: row.LaneBusy, Held: row.Held, Alarm: row.Alarm,
	}, s.db.Selected(row.Clock))
	return row, c, nil
}

// writeAccept takes the job if it, its lane and its repository are still free; false when they are not. On
// PostgreSQL the repository's row is locked first, by a statement of its own: the one that writes then sees
// what it waited for. So what excludes each other queues there, and never meets at the constraint, where two
// could wait for each other. While the repository is unknown the host's row stands in for it.
func (s *Store) writeAccept(ctx context.Context, row acceptRow, c change) (done bool, err error) {
	if c.job == c.was {
		return true, nil
	}
	and, args := "", []any(nil)
	if c.was.State == wire.StateQueued {
		and, args = stillFree(row, c.job)
	}
	statements := []database.Statement{writing(c.was, c.job, and, args...)}
	if c.was.State == wire.StateQueued && c.job.Holding && s.db.Postgres() {
		lock := database.Statement{SQL: "SELECT id FROM hosts WHERE id = ? FOR NO KEY UPDATE", Args: []any{c.job.HostID}}
		if _, repository := c.job.Uses(row.tie()); repository != "" {
			lock = database.Statement{SQL: "SELECT id FROM repositories WHERE id = ?" + forHold(c.job.Hold()), Args: []any{repository}}
		}
		statements = []database.Statement{lock, statements[0]}
	}
	rows, err := s.db.WriteTogether(ctx, topics(c), statements...)
	return rows == 1, err
}

// stillFree is the condition that what decided is as it was read.
func stillFree(row acceptRow, j job.Job) (and string, args []any) {
	and = ` AND NOT EXISTS (SELECT 1 FROM jobs o WHERE o.host_id = ? AND o.lane = ? AND o.state IN ('accepted', 'running'))
		AND EXISTS (SELECT 1 FROM hosts WHERE hosts.id = ? AND hosts.clone_alarm_at IS NULL AND hosts.revoked_at IS NULL
			AND (jobs.target_setting IS NOT NULL OR coalesce(hosts.repository_id, '') = ?))`
	args = []any{j.HostID, string(j.Lane()), j.HostID, row.HostRepository}
	if j.Holding {
		and += ` AND NOT EXISTS (SELECT 1 FROM jobs o WHERE o.holding AND o.hold <> 'none' AND o.hold_key = ? AND (o.hold = 'exclusive' OR ? = 'exclusive'))`
		args = append(args, j.HoldKey, string(j.Hold()))
	}
	return and, args
}

// accepted is the answer, with what the job needs of the repository that the server keeps.
func (s *Store) accepted(ctx context.Context, row acceptRow, c change) (reply wire.AcceptReply, err error) {
	reply = wire.AcceptReply{
		Kind: c.job.Kind, Spec: json.RawMessage(row.Row.Spec), TimeLimitSeconds: row.Row.TimeLimitSeconds,
		Repository: wire.RepositoryRef{Name: c.job.RepositoryName, ID: c.job.RepositoryID},
	}
	reply.Secrets, err = s.secretsOf(ctx, s.db.Read(ctx), c.job)
	if err == nil {
		reply.TimeLimitSeconds, err = s.timeLimit(ctx, row.Row, c.job)
	}
	if err != nil {
		return wire.AcceptReply{}, fmt.Errorf("accept job %s: %w", c.job.ID, err)
	}
	return reply, nil
}

// tie is what is known of the host's own repository.
func (r acceptRow) tie() job.Tie { return job.Tie{ID: r.HostRepository, ServerHeld: r.ServerHeld} }

// secretsOf are those of the repository that a job uses, as far as the server keeps them; nil where it does not, or the kind does
// without them.
func (s *Store) secretsOf(ctx context.Context, db *gorm.DB, j job.Job) (*wire.Secrets, error) {
	if info, _ := j.Kind.Info(); info.NoRepository {
		return nil, nil
	}
	switch {
	case j.RepositoryName == wire.RepositoryServer:
		return s.readSecrets(db, j.HostID)
	case j.RepositoryName == wire.RepositoryTarget && s.hooks.TargetSecrets != nil:
		return s.hooks.TargetSecrets(ctx, j.Target, j.Kind, j.HostID)
	}
	return nil, nil
}

// isConstraint reports whether the database itself refused a second hold or a second job in a lane.
func isConstraint(err error) bool {
	if errors.Is(err, gorm.ErrDuplicatedKey) {
		return true
	}
	s := err.Error()
	return strings.Contains(s, "SQLSTATE 23P01") || strings.Contains(s, "held by another job")
}

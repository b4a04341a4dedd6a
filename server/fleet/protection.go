package fleet

import (
	"fmt"
	"time"

	"restic-manager/server/database"
	"restic-manager/server/fleet/job"
	"restic-manager/shared/wire"
)

// Protection says how well a host's data is backed up.
type Protection string

// The protections, the worst first; a revoked host is none of anybody's worry.
const (
	Failing       Protection = "failing"         // the last backup did not succeed, or two machines use the identity
	NeverBackedUp Protection = "never_backed_up" // no backup ever succeeded
	AtRisk        Protection = "at_risk"         // the last success is too old, or it had issues
	Protected     Protection = "protected"
	Revoked       Protection = "revoked"
)

// Protections in the order of their severity.
var Protections = []Protection{Failing, NeverBackedUp, AtRisk, Protected, Revoked}

// failedStates are the ends of a backup that leave nothing behind. A canceled one is no end: somebody wanted it so.
var failedStates = []wire.State{wire.StateFailed, wire.StateLost, wire.StateRejected, wire.StateExpired}

// severity is the place of a host's protection in Protections. @overdue is the time before which a success is too old.
const severity = `CASE WHEN h.status = 'revoked' THEN 4
	WHEN h.last_success_at IS NULL THEN 1
	WHEN h.clone_alarm_at IS NOT NULL OR h.last_backup_state IN ('failed', 'lost', 'rejected', 'expired') THEN 0
	WHEN h.last_success_at < @overdue OR h.last_backup_state = 'succeeded_with_issues' THEN 2
	ELSE 3 END`

// realBackup is the condition that a backup was one: a dry run leaves nothing behind. The spec is JSON as encoding/json
// writes it: in a path or a tag the quotes would be escaped.
const realBackup = `jobs.kind = 'backup' AND jobs.spec NOT LIKE '%"dry_run":true%'`

// overdueBefore is the time before which a success is too old.
func (s *Store) overdueBefore(now time.Time) time.Time { return now.Add(-s.settings.OverdueAfter) }

// recordBackup notes on the host how its backup ended. The host's row is to be locked before the job's: see lock.go.
func recordBackup(tx *database.Tx, j job.Job) error {
	if j.Kind != wire.KindBackup || j.State == wire.StateCanceled {
		return nil
	}
	err := tx.Exec(`UPDATE hosts SET last_backup_state = ?, last_backup_at = ?, last_backup_job_id = ?, last_backup_error = ?
		WHERE id = ? AND EXISTS (SELECT 1 FROM jobs WHERE jobs.id = ? AND `+realBackup+`)`,
		string(j.State), j.EndedAt, j.ID, j.ErrorCode, j.HostID, j.ID).Error
	if err != nil {
		return fmt.Errorf("note the end of backup %s on its host: %w", j.ID, err)
	}
	tx.Notify(database.TopicHosts)
	return nil
}

// recordSuccess notes on the host that a backup succeeded, and how much it holds: a listing may correct that.
func recordSuccess(tx *database.Tx, j job.Job, bytes int64) error {
	err := tx.Exec(`UPDATE hosts SET last_success_at = ?, success_bytes = ?, latest_size_bytes = ?
		WHERE id = ? AND EXISTS (SELECT 1 FROM jobs WHERE jobs.id = ? AND `+realBackup+`)`, tx.Now, bytes, bytes, j.HostID, j.ID).Error
	if err != nil {
		return fmt.Errorf("note the success on host %s: %w", j.HostID, err)
	}
	return nil
}

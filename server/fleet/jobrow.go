package fleet

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"restic-manager/server/database"
	"restic-manager/server/fleet/job"
	"restic-manager/shared/wire"
)

// jobRow is a row of jobs.
type jobRow struct {
	ID               string     `gorm:"column:id;primaryKey"`
	Number           int64      `gorm:"column:number;->"`
	HostID           string     `gorm:"column:host_id"`
	Kind             wire.Kind  `gorm:"column:kind"`
	Lane             wire.Lane  `gorm:"column:lane"`
	Hold             wire.Hold  `gorm:"column:hold"`
	State            wire.State `gorm:"column:state"`
	Spec             string     `gorm:"column:spec"`
	RetryOf          *string    `gorm:"column:retry_of"`
	CreatedBy        string     `gorm:"column:created_by"`
	TimeLimitSeconds int64      `gorm:"column:time_limit_seconds"`
	QueuedAt         time.Time  `gorm:"column:queued_at"`
	ExpiresAt        time.Time  `gorm:"column:expires_at"`
	WaitingSince     *time.Time `gorm:"column:waiting_since"`
	PolicyID         *string    `gorm:"column:policy_id"`
	DueAt            *time.Time `gorm:"column:due_at"`
	Target           string     `gorm:"column:target"`
	TargetSetting    *string    `gorm:"column:target_setting"`
	TargetHost       *string    `gorm:"column:target_host"`

	Delivery          int        `gorm:"column:delivery"`
	Lease             string     `gorm:"column:lease"`
	HeardAt           *time.Time `gorm:"column:heard_at"`
	LeaseExpiresAt    *time.Time `gorm:"column:lease_expires_at"`
	AcceptedAt        *time.Time `gorm:"column:accepted_at"`
	StartNonce        string     `gorm:"column:start_nonce"`
	StartedAt         *time.Time `gorm:"column:started_at"`
	EndedAt           *time.Time `gorm:"column:ended_at"`
	RepositoryName    string     `gorm:"column:repository_name"`
	RepositoryID      string     `gorm:"column:repository_id"`
	HoldKey           string     `gorm:"column:hold_key"`
	Holding           bool       `gorm:"column:holding"`
	HoldReleasedAt    *time.Time `gorm:"column:hold_released_at"`
	CancelRequestedAt *time.Time `gorm:"column:cancel_requested_at"`
	DisconnectedSince *time.Time `gorm:"column:disconnected_since"`
	StalledSince      *time.Time `gorm:"column:stalled_since"`
	UnnamedBoot       string     `gorm:"column:unnamed_boot"`
	UnnamedSeq        int64      `gorm:"column:unnamed_seq"`
	UnnamedPolls      int64      `gorm:"column:unnamed_polls"`

	ErrorCode      string     `gorm:"column:error_code"`
	ErrorMessage   string     `gorm:"column:error_message"`
	FinishSHA256   string     `gorm:"column:finish_sha256"`
	LateReport     bool       `gorm:"column:late_report"`
	ReportedAt     *time.Time `gorm:"column:reported_at"`
	SkewSeconds    float64    `gorm:"column:skew_seconds"`
	AgentStartedAt *time.Time `gorm:"column:agent_started_at"`
	AgentEndedAt   *time.Time `gorm:"column:agent_ended_at"`
	ElapsedSeconds *float64   `gorm:"column:elapsed_seconds"`
	ExitCode       *int       `gorm:"column:exit_code"`
	SignalSent     bool       `gorm:"column:signal_sent"`
	Progress       *string    `gorm:"column:progress"`
	ProgressLease  string     `gorm:"column:progress_lease"`
	ProgressSeq    int64      `gorm:"column:progress_seq"`
	ProgressAt     *time.Time `gorm:"column:progress_at"`
	Summary        *string    `gorm:"column:summary"`
	Estimate       *string    `gorm:"column:estimate"`
	SnapshotID     string     `gorm:"column:snapshot_id"`
	DataAdded      int64      `gorm:"column:data_added"`
	FilesProcessed int64      `gorm:"column:files_processed"`
	BytesProcessed int64      `gorm:"column:bytes_processed"`
	Issues         *string    `gorm:"column:issues"`
	IssueCount     int64      `gorm:"column:issue_count"`
	IssuesDropped  int64      `gorm:"column:issues_dropped"`
	LogLines       *int64     `gorm:"column:log_lines"`
	LogSHA256      string     `gorm:"column:log_sha256"`
}

// TableName is jobs.
func (jobRow) TableName() string { return "jobs" }

// ruleColumns are those that the rules read and write.
const ruleColumns = `jobs.id, jobs.number, jobs.host_id, jobs.kind, jobs.state, jobs.queued_at, jobs.expires_at, jobs.waiting_since,
	jobs.delivery, jobs.lease, jobs.heard_at, jobs.lease_expires_at, jobs.accepted_at, jobs.start_nonce, jobs.started_at, jobs.ended_at,
	jobs.repository_name, jobs.repository_id, jobs.hold_key, jobs.holding, jobs.hold_released_at, jobs.cancel_requested_at,
	jobs.disconnected_since, jobs.stalled_since, jobs.unnamed_boot, jobs.unnamed_seq, jobs.unnamed_polls, jobs.error_code,
	jobs.error_message, jobs.finish_sha256, jobs.late_report, jobs.progress_lease, jobs.progress_seq,
	jobs.time_limit_seconds, jobs.target, jobs.target_setting, jobs.target_host`

// rules is the row as the rules see it.
func (r jobRow) rules() job.Job {
	return job.Job{
		ID: r.ID, HostID: r.HostID, Number: r.Number, Kind: r.Kind, State: r.State,
		QueuedAt: r.QueuedAt.UTC(), ExpiresAt: r.ExpiresAt.UTC(), WaitingSince: at(r.WaitingSince),
		Delivery: r.Delivery, Lease: r.Lease, HeardAt: at(r.HeardAt), LeaseExpiresAt: at(r.LeaseExpiresAt),
		AcceptedAt: at(r.AcceptedAt), StartNonce: r.StartNonce, StartedAt: at(r.StartedAt), EndedAt: at(r.EndedAt),
		RepositoryName: r.RepositoryName, RepositoryID: r.RepositoryID, HoldKey: r.HoldKey, Holding: r.Holding,
		HoldReleasedAt: at(r.HoldReleasedAt), CancelRequestedAt: at(r.CancelRequestedAt),
		DisconnectedSince: at(r.DisconnectedSince), StalledSince: at(r.StalledSince),
		Unnamed:   job.Unnamed{Boot: r.UnnamedBoot, Seq: r.UnnamedSeq, Polls: r.UnnamedPolls},
		ErrorCode: r.ErrorCode, ErrorMessage: r.ErrorMessage, FinishSHA256: r.FinishSHA256, LateReport: r.LateReport,
		ProgressLease: r.ProgressLease, ProgressSeq: r.ProgressSeq, Target: r.about(),
	}
}

// about is the repository the job is about in place of the host's own.
func (r jobRow) about() job.Target {
	t := job.Target{RepositoryID: r.Target}
	if r.TargetSetting != nil {
		t.SettingID = *r.TargetSetting
	}
	if r.TargetHost != nil {
		t.HostID = *r.TargetHost
	}
	return t
}

// at is the time in UTC, zero for nil.
func at(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.UTC()
}

// ptr is nil for the zero time.
func ptr(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// lockJob reads and locks a job's row; ok is false when there is none.
func lockJob(tx *database.Tx, id string) (row jobRow, ok bool, err error) {
	return readJob(tx, id, ruleColumns, forUpdate(tx))
}

func readJob(tx *database.Tx, id, columns, suffix string) (row jobRow, ok bool, err error) {
	if !wire.IsUUID(id) {
		return jobRow{}, false, nil
	}
	var rows []jobRow
	if err := tx.Raw("SELECT "+columns+" FROM jobs WHERE id = ?"+suffix, id).Scan(&rows).Error; err != nil {
		return jobRow{}, false, fmt.Errorf("read job %s: %w", id, err)
	}
	if len(rows) == 0 {
		return jobRow{}, false, nil
	}
	return rows[0], true, nil
}

// written are the columns that the rules write, and what is written.
var written = []struct {
	column string
	value  func(j job.Job) any
}{
	{"state", func(j job.Job) any { return string(j.State) }},
	{"waiting_since", func(j job.Job) any { return j.WaitingSince }},
	{"delivery", func(j job.Job) any { return j.Delivery }},
	{"lease", func(j job.Job) any { return j.Lease }},
	{"heard_at", func(j job.Job) any { return j.HeardAt }},
	{"lease_expires_at", func(j job.Job) any { return j.LeaseExpiresAt }},
	{"accepted_at", func(j job.Job) any { return j.AcceptedAt }},
	{"start_nonce", func(j job.Job) any { return j.StartNonce }},
	{"started_at", func(j job.Job) any { return j.StartedAt }},
	{"ended_at", func(j job.Job) any { return j.EndedAt }},
	{"repository_name", func(j job.Job) any { return j.RepositoryName }},
	{"repository_id", func(j job.Job) any { return j.RepositoryID }},
	{"target", func(j job.Job) any { return j.Target.RepositoryID }},
	{"hold_key", func(j job.Job) any { return j.HoldKey }},
	{"holding", func(j job.Job) any { return j.Holding }},
	{"hold_released_at", func(j job.Job) any { return j.HoldReleasedAt }},
	{"cancel_requested_at", func(j job.Job) any { return j.CancelRequestedAt }},
	{"disconnected_since", func(j job.Job) any { return j.DisconnectedSince }},
	{"stalled_since", func(j job.Job) any { return j.StalledSince }},
	{"unnamed_boot", func(j job.Job) any { return j.Unnamed.Boot }},
	{"unnamed_seq", func(j job.Job) any { return j.Unnamed.Seq }},
	{"unnamed_polls", func(j job.Job) any { return j.Unnamed.Polls }},
	{"error_code", func(j job.Job) any { return j.ErrorCode }},
	{"error_message", func(j job.Job) any { return j.ErrorMessage }},
	{"finish_sha256", func(j job.Job) any { return j.FinishSHA256 }},
	{"late_report", func(j job.Job) any { return j.LateReport }},
	{"progress_lease", func(j job.Job) any { return j.ProgressLease }},
	{"progress_seq", func(j job.Job) any { return j.ProgressSeq }},
}

// changedColumns is what the rules changed, as a SET list with its arguments.
func changedColumns(was, j job.Job) (set string, args []any) {
	for _, w := range written {
		v := w.value(j)
		if v == w.value(was) {
			continue
		}
		if t, ok := v.(time.Time); ok {
			v = ptr(t)
		}
		set, args = set+", "+w.column+" = ?", append(args, v)
	}
	return strings.TrimPrefix(set, ", "), args
}

// writing is the statement that stores what became of a job, if its state, lease and delivery still are what
// they were, and what is added to its WHERE holds. It writes only what changed: who does not hold the row's
// lock takes nothing back that others have written beside it.
func writing(was, j job.Job, and string, args ...any) database.Statement {
	set, values := changedColumns(was, j)
	return database.Statement{
		SQL:  "UPDATE jobs SET " + set + " WHERE id = ? AND state = ? AND lease = ? AND delivery = ?" + and,
		Args: slices.Concat(values, []any{was.ID, string(was.State), was.Lease, was.Delivery}, args),
	}
}

// write stores what became of a job that has changed; ok is false when it was another by then.
func write(tx *database.Tx, was, j job.Job) (ok bool, err error) {
	s := writing(was, j, "")
	done := tx.Exec(s.SQL, s.Args...)
	if done.Error != nil {
		return false, fmt.Errorf("write job %s as %s: %w", j.ID, j.State, done.Error)
	}
	return done.RowsAffected == 1, nil
}

package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"restic-manager/server/database"
	"restic-manager/server/fleet/job"
	"restic-manager/shared/wire"
)

// shownJob is a job with what is joined to it.
type shownJob struct {
	Row         jobRow `gorm:"embedded"` // gorm passes over embedded types that are not exported
	HostName    string `gorm:"column:host_name"`
	HostRepoID  string `gorm:"column:host_repository_id"`
	ServerHeld  bool   `gorm:"column:server_held"`
	NextLine    int64  `gorm:"column:next_line"`
	LogComplete bool   `gorm:"column:log_complete"`
	LogProblem  string `gorm:"column:log_problem"`
	PolicyName  string `gorm:"column:policy_name"`
	TargetName  string `gorm:"column:target_name"`
}

// listColumns leave out what may be large.
const listColumns = ruleColumns + `, jobs.spec, jobs.retry_of, jobs.created_by, jobs.reported_at, jobs.skew_seconds, jobs.agent_started_at,
	jobs.agent_ended_at, jobs.elapsed_seconds, jobs.exit_code, jobs.progress, jobs.progress_at, jobs.summary, jobs.issues_dropped,
	jobs.log_lines, jobs.log_sha256, jobs.policy_id, jobs.due_at,
	coalesce((SELECT p.name FROM policies p WHERE p.id = jobs.policy_id), '') AS policy_name, hosts.name AS host_name, coalesce(hosts.repository_id, '') AS host_repository_id,
	EXISTS (SELECT 1 FROM host_repositories r WHERE r.host_id = hosts.id) AS server_held, coalesce(targets.name, '') AS target_name,
	coalesce(logs.next_line, 1) AS next_line, coalesce(logs.complete, false) AS log_complete, coalesce(logs.problem, '') AS log_problem`

const fromJobs = ` FROM jobs JOIN hosts ON hosts.id = jobs.host_id LEFT JOIN logs ON logs.job_id = jobs.id
	LEFT JOIN repository_settings targets ON targets.id = jobs.target_setting`

// JobByID is one job, with the paths it could not read and the estimate it made.
func (s *Store) JobByID(ctx context.Context, id string) (Job, error) {
	if !wire.IsUUID(id) {
		return Job{}, errNoJob
	}
	var rows []shownJob
	if err := s.db.Read(ctx).Raw("SELECT "+listColumns+", jobs.issues, jobs.estimate"+fromJobs+" WHERE jobs.id = ?", id).Scan(&rows).Error; err != nil {
		return Job{}, fmt.Errorf("read job %s: %w", id, err)
	}
	if len(rows) == 0 {
		return Job{}, errNoJob
	}
	jobs, err := s.shown(rows)
	if err != nil {
		return Job{}, err
	}
	return jobs[0], nil
}

// shown turns rows into jobs as people see them.
func (s *Store) shown(rows []shownJob) ([]Job, error) {
	jobs := make([]Job, len(rows))
	for i, r := range rows {
		j, err := r.job()
		if err != nil {
			return nil, fmt.Errorf("read job %s: %w", r.Row.ID, err)
		}
		jobs[i] = j
	}
	s.pulse.overlay(jobs)
	return jobs, nil
}

func (r shownJob) job() (Job, error) {
	w := r.Row
	j := Job{
		ID: w.ID, HostID: w.HostID, HostName: r.HostName, Kind: w.Kind, State: w.State, Spec: json.RawMessage(w.Spec),
		Repository: wire.RepositoryRef{Name: w.RepositoryName, ID: w.RepositoryID}, RetryOf: w.RetryOf, CreatedBy: w.CreatedBy,
		ExitCode: w.ExitCode, IssuesDropped: w.IssuesDropped, QueuedAt: w.QueuedAt.UTC(), ExpiresAt: w.ExpiresAt.UTC(),
		AcceptedAt: database.InUTC(w.AcceptedAt), StartedAt: database.InUTC(w.StartedAt), EndedAt: database.InUTC(w.EndedAt), ProgressAt: database.InUTC(w.ProgressAt),
		AgentStartedAt: corrected(w.AgentStartedAt, w.SkewSeconds), AgentEndedAt: corrected(w.AgentEndedAt, w.SkewSeconds),
		ElapsedSeconds: w.ElapsedSeconds, TimeLimitSeconds: w.TimeLimitSeconds, CancelRequestedAt: database.InUTC(w.CancelRequestedAt),
		DisconnectedSince: database.InUTC(w.DisconnectedSince), StalledSince: database.InUTC(w.StalledSince), HoldReleasedAt: database.InUTC(w.HoldReleasedAt),
		LogLines: w.LogLines, LogReceived: r.NextLine - 1, LogComplete: r.LogComplete, LogProblem: r.LogProblem, LateReport: w.LateReport,
	}
	if j.Repository.Name == "" { // not accepted yet: what it would use now
		j.Repository.Name, j.Repository.ID = w.rules().Uses(job.Tie{ID: r.HostRepoID, ServerHeld: r.ServerHeld})
	}
	if t := w.about(); t.SettingID != "" {
		j.Target = &JobTarget{SettingID: t.SettingID, Name: r.TargetName, HostID: t.HostID}
	}
	if w.PolicyID != nil {
		j.Policy, j.DueAt = &JobPolicy{ID: *w.PolicyID, Name: r.PolicyName}, database.InUTC(w.DueAt)
	}
	if w.ErrorCode != "" {
		j.Error = &wire.JobError{Code: w.ErrorCode, Message: w.ErrorMessage}
	}
	return j, errors.Join(decode(w.Progress, &j.Progress), decode(w.Summary, &j.Summary), decode(w.Issues, &j.Issues), decode(w.Estimate, &j.Estimate))
}

// decode reads a JSON column; NULL leaves dst as it is.
func decode(text *string, dst any) error {
	if text == nil || *text == "" {
		return nil
	}
	return json.Unmarshal([]byte(*text), dst)
}

// corrected is an agent's time by the server's clock.
func corrected(t *time.Time, skewSeconds float64) *time.Time {
	if t == nil {
		return nil
	}
	at := t.UTC().Add(-time.Duration(skewSeconds * float64(time.Second))).Truncate(time.Microsecond)
	return &at
}

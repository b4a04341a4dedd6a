package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"restic-manager/server/database"
	"restic-manager/server/fault"
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
}

// listColumns leave out what may be large.
const listColumns = ruleColumns + `, jobs.spec, jobs.retry_of, jobs.created_by, jobs.reported_at, jobs.skew_seconds, jobs.agent_started_at,
	jobs.agent_ended_at, jobs.elapsed_seconds, jobs.exit_code, jobs.progress, jobs.progress_at, jobs.summary, jobs.issues_dropped,
	jobs.log_lines, jobs.log_sha256, hosts.name AS host_name, coalesce(hosts.repository_id, '') AS host_repository_id,
	EXISTS (SELECT 1 FROM host_repositories r WHERE r.host_id = hosts.id) AS server_held,
	coalesce(logs.next_line, 1) AS next_line, coalesce(logs.complete, false) AS log_complete, coalesce(logs.problem, '') AS log_problem`

const fromJobs = ` FROM jobs JOIN hosts ON hosts.id = jobs.host_id LEFT JOIN logs ON logs.job_id = jobs.id`

// JobByID is one job, with the paths it could not read.
func (s *Store) JobByID(ctx context.Context, id string) (Job, error) {
	if !wire.IsUUID(id) {
		return Job{}, errNoJob
	}
	var rows []shownJob
	if err := s.db.Read(ctx).Raw("SELECT "+listColumns+", jobs.issues"+fromJobs+" WHERE jobs.id = ?", id).Scan(&rows).Error; err != nil {
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

// Jobs lists jobs, the newest first.
func (s *Store) Jobs(ctx context.Context, f JobFilter, p Page) (jobs []Job, next string, err error) {
	where, args, err := f.conditions(s.db.Postgres())
	if err != nil {
		return nil, "", err
	}
	if p.Cursor != "" {
		var before string
		if err := decodeCursor(p.Cursor, &before); err != nil {
			return nil, "", err
		}
		if !wire.IsUUID(before) {
			return nil, "", fault.Invalidf("cursor: it is not one of this list; begin again without a cursor")
		}
		where, args = append(where, "jobs.id < ?"), append(args, before)
	}
	query := "SELECT " + listColumns + fromJobs
	if len(where) > 0 {
		query += " WHERE " + strings.Join(where, " AND ")
	}
	var rows []shownJob
	if err := s.db.Read(ctx).Raw(query+" ORDER BY jobs.id DESC LIMIT ?", append(args, p.limit()+1)...).Scan(&rows).Error; err != nil {
		return nil, "", fmt.Errorf("list jobs: %w", err)
	}
	if len(rows) > p.limit() {
		rows = rows[:p.limit()]
		next = encodeCursor(rows[len(rows)-1].Row.ID)
	}
	jobs, err = s.shown(rows)
	return jobs, next, err
}

func (f JobFilter) conditions(postgres bool) (where []string, args []any, err error) {
	add := func(condition string, arg any) { where, args = append(where, condition), append(args, arg) }
	if f.HostID != "" {
		if !wire.IsUUID(f.HostID) {
			return nil, nil, errNoHost
		}
		add("jobs.host_id = ?", f.HostID)
	}
	if f.Kind != "" {
		if _, err := wire.NewSpec(f.Kind); err != nil {
			return nil, nil, fault.Invalidf("%v", err)
		}
		add("jobs.kind = ?", f.Kind)
	}
	for _, state := range f.States {
		if !slices.Contains(wire.States, state) {
			return nil, nil, fault.Invalidf("state: %.40q is none of a job's states", state)
		}
	}
	if len(f.States) > 0 {
		add("jobs.state IN ?", f.States)
	}
	if f.Before != nil {
		add("jobs.queued_at < ?", database.Truncate(*f.Before))
	}
	if f.After != nil {
		add("jobs.queued_at >= ?", database.Truncate(*f.After))
	}
	if f.Label != "" {
		text, err := labelText(f.Label)
		if err != nil {
			return nil, nil, err
		}
		if postgres {
			add("strpos(hosts.labels, ?) > 0", text)
		} else {
			add("instr(hosts.labels, ?) > 0", text)
		}
	}
	if f.Search != "" {
		part := "%" + escapeLike(nameKey(cleanLine(f.Search, maxHostname))) + "%"
		add("(hosts.name_key LIKE ? ESCAPE '!' OR lower(hosts.hostname) LIKE ? ESCAPE '!')", part)
		args = append(args, part)
	}
	return where, args, nil
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
		AcceptedAt: inUTC(w.AcceptedAt), StartedAt: inUTC(w.StartedAt), EndedAt: inUTC(w.EndedAt), ProgressAt: inUTC(w.ProgressAt),
		AgentStartedAt: corrected(w.AgentStartedAt, w.SkewSeconds), AgentEndedAt: corrected(w.AgentEndedAt, w.SkewSeconds),
		ElapsedSeconds: w.ElapsedSeconds, TimeLimitSeconds: w.TimeLimitSeconds, CancelRequestedAt: inUTC(w.CancelRequestedAt),
		DisconnectedSince: inUTC(w.DisconnectedSince), StalledSince: inUTC(w.StalledSince), HoldReleasedAt: inUTC(w.HoldReleasedAt),
		LogLines: w.LogLines, LogReceived: r.NextLine - 1, LogComplete: r.LogComplete, LogProblem: r.LogProblem, LateReport: w.LateReport,
	}
	if j.Repository.Name == "" { // not accepted yet: what it would use now
		j.Repository = wire.RepositoryRef{Name: repositoryName(r.ServerHeld), ID: r.HostRepoID}
	}
	if w.ErrorCode != "" {
		j.Error = &wire.JobError{Code: w.ErrorCode, Message: w.ErrorMessage}
	}
	return j, errors.Join(decode(w.Progress, &j.Progress), decode(w.Summary, &j.Summary), decode(w.Issues, &j.Issues))
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

package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"restic-manager/server/database"
	"restic-manager/server/fault"
	"restic-manager/shared/wire"
)

type hostRow struct {
	ID                   string     `gorm:"column:id;primaryKey"`
	Name                 string     `gorm:"column:name"`
	NameKey              string     `gorm:"column:name_key"`
	Labels               string     `gorm:"column:labels"`
	Status               string     `gorm:"column:status"`
	CreatedAt            time.Time  `gorm:"column:created_at"`
	LastSeenAt           *time.Time `gorm:"column:last_seen_at"`
	RevokedAt            *time.Time `gorm:"column:revoked_at"`
	TokenSHA256          string     `gorm:"column:token_sha256"`
	EnrollmentTokenID    *string    `gorm:"column:enrollment_token_id"`
	Hostname             string     `gorm:"column:hostname"`
	Facts                string     `gorm:"column:facts"`
	Guard                string     `gorm:"column:guard"`
	Kinds                string     `gorm:"column:kinds"`
	Features             string     `gorm:"column:features;default:'[]'"`
	Hooks                string     `gorm:"column:hooks;default:'[]'"`
	HelloAt              *time.Time `gorm:"column:hello_at"`
	ReportedRepositories string     `gorm:"column:reported_repositories"`
	AgentVersion         string     `gorm:"column:agent_version"`
	ResticVersion        string     `gorm:"column:restic_version"`
	ProtocolVersion      int        `gorm:"column:protocol_version"`
	SkewSeconds          float64    `gorm:"column:skew_seconds"`
	CloneAlarmAt         *time.Time `gorm:"column:clone_alarm_at"`
	CloneAlarm           string     `gorm:"column:clone_alarm"`
	RepositoryID         *string    `gorm:"column:repository_id"`
	SnapshotCount        int64      `gorm:"column:snapshot_count"`
	ListingError         string     `gorm:"column:listing_error"`
	LastSuccessAt        *time.Time `gorm:"column:last_success_at"`
	LastBackupState      wire.State `gorm:"column:last_backup_state"`
	LastBackupAt         *time.Time `gorm:"column:last_backup_at"`
	LastBackupJobID      *string    `gorm:"column:last_backup_job_id"`
	LastBackupError      string     `gorm:"column:last_backup_error"`
	SuccessBytes         int64      `gorm:"column:success_bytes"`
	LatestSizeBytes      int64      `gorm:"column:latest_size_bytes"`
	ScheduleVersion      int64      `gorm:"column:schedule_version"`
	ScheduleKnown        int64      `gorm:"column:schedule_known"`
}

// TableName is hosts.
func (hostRow) TableName() string { return "hosts" }

// shownHost is a host with what is joined to it.
type shownHost struct {
	Row         hostRow    `gorm:"embedded"` // gorm passes over embedded types that are not exported
	RefreshedAt *time.Time `gorm:"column:refreshed_at"`
	RepoURL     *string    `gorm:"column:repo_url"`
	RepoEnvKeys *string    `gorm:"column:repo_env_keys"`
	RepoUpdated *time.Time `gorm:"column:repo_updated"`
	RepoSetting *string    `gorm:"column:repo_setting"`
	RepoName    *string    `gorm:"column:repo_name"`
	Severity    int        `gorm:"column:severity"`
	StatusPlace int        `gorm:"column:status_place"`
	GroupValue  string     `gorm:"column:group_value"`
}

// hostColumns takes @overdue: see severity.
const hostColumns = `h.*, r.refreshed_at, hr.url AS repo_url, hr.env_keys AS repo_env_keys, hr.updated_at AS repo_updated,
	hr.setting_id AS repo_setting, rs.name AS repo_name, ` +
	severity + ` AS severity, ` + statusPlace + ` AS status_place`

const fromHosts = ` FROM hosts h
	LEFT JOIN repositories r ON r.id = h.repository_id
	LEFT JOIN host_repositories hr ON hr.host_id = h.id
	LEFT JOIN repository_settings rs ON rs.id = hr.setting_id`

func (r shownHost) host() (Host, error) {
	w := r.Row
	h := Host{
		ID: w.ID, Name: w.Name, Status: w.Status, CreatedAt: w.CreatedAt.UTC(), LastSeenAt: database.InUTC(w.LastSeenAt), RevokedAt: database.InUTC(w.RevokedAt),
		AgentVersion: w.AgentVersion, ResticVersion: w.ResticVersion, ProtocolVersion: w.ProtocolVersion, ClockSkewSeconds: w.SkewSeconds,
		RepositoryID: w.RepositoryID, SnapshotCount: w.SnapshotCount, SnapshotsRefreshedAt: database.InUTC(r.RefreshedAt),
		ListingError: w.ListingError, LastSuccessAt: database.InUTC(w.LastSuccessAt), ActiveJobs: []ActiveJob{},
		Protection: Protections[r.Severity], LatestSizeBytes: w.LatestSizeBytes,
	}
	if w.LastBackupJobID != nil && w.LastBackupAt != nil {
		h.LastBackup = &LastBackup{JobID: *w.LastBackupJobID, State: w.LastBackupState, EndedAt: w.LastBackupAt.UTC(), ErrorCode: w.LastBackupError}
	}
	if w.CloneAlarmAt != nil {
		h.CloneAlarm = &CloneAlarm{At: w.CloneAlarmAt.UTC(), Message: w.CloneAlarm}
	}
	err := errors.Join(
		json.Unmarshal([]byte(w.Labels), &h.Labels),
		json.Unmarshal([]byte(w.Facts), &h.Facts),
		json.Unmarshal([]byte(w.Guard), &h.Guard),
		json.Unmarshal([]byte(w.Kinds), &h.Kinds),
		json.Unmarshal([]byte(w.Hooks), &h.Hooks),
		json.Unmarshal([]byte(w.ReportedRepositories), &h.ReportedRepositories),
	)
	if r.RepoURL != nil {
		h.Repository = &HostRepository{URL: *r.RepoURL, UpdatedAt: r.RepoUpdated.UTC()}
		err = errors.Join(err, json.Unmarshal([]byte(*r.RepoEnvKeys), &h.Repository.EnvKeys))
		if r.RepoSetting != nil && r.RepoName != nil {
			h.Repository.SettingID, h.Repository.Name = *r.RepoSetting, *r.RepoName
		}
	}
	if err != nil {
		return h, fmt.Errorf("read host %s: %w", w.ID, err)
	}
	return h, nil
}

// withActiveJobs adds the jobs that have not ended, for all hosts in one query.
func (s *Store) withActiveJobs(ctx context.Context, rows []shownHost) ([]Host, error) {
	hosts := make([]Host, 0, len(rows))
	ids := make([]string, 0, len(rows))
	index := make(map[string]int, len(rows))
	for i, r := range rows {
		h, err := r.host()
		if err != nil {
			return nil, err
		}
		hosts, ids, index[r.Row.ID] = append(hosts, h), append(ids, r.Row.ID), i
	}
	if len(ids) == 0 {
		return hosts, nil
	}
	var jobs []struct {
		ID, HostID, Kind, State string
		StartedAt               *time.Time
		Progress                *string
	}
	err := s.db.Read(ctx).Raw(`SELECT id, host_id, kind, state, started_at, progress FROM jobs
		WHERE state IN ('queued', 'accepted', 'running') AND host_id IN ? ORDER BY id`, ids).Scan(&jobs).Error
	if err != nil {
		return nil, fmt.Errorf("list the jobs of hosts: %w", err)
	}
	for _, j := range jobs {
		active, err := s.activeJob(ActiveJob{ID: j.ID, Kind: wire.Kind(j.Kind), State: wire.State(j.State), StartedAt: database.InUTC(j.StartedAt)}, j.Progress)
		if err != nil {
			return nil, err
		}
		h := &hosts[index[j.HostID]]
		h.ActiveJobs = append(h.ActiveJobs, active)
	}
	return hosts, nil
}

// activeJob adds how far the job is, by what is stored or by what this replica heard since.
func (s *Store) activeJob(a ActiveJob, stored *string) (ActiveJob, error) {
	var p *wire.Progress
	if err := decode(stored, &p); err != nil {
		return a, fmt.Errorf("read the progress of job %s: %w", a.ID, err)
	}
	if newer, _, ok := s.pulse.newer(a.ID, p != nil); ok && a.State == wire.StateRunning {
		p = &newer
	}
	if p == nil {
		return a, nil
	}
	a.PercentDone, a.BytesDone, a.TotalBytes, a.ElapsedSeconds = p.PercentDone, p.BytesDone, p.TotalBytes, p.ElapsedSeconds
	if len(p.CurrentFiles) > 0 {
		a.CurrentFile = p.CurrentFiles[0]
	}
	return a, nil
}

var errNoHost = fault.NotFoundf("there is no such host")

// HostByID is one host, or not_found.
func (s *Store) HostByID(ctx context.Context, id string) (Host, error) {
	if !wire.IsUUID(id) {
		return Host{}, errNoHost
	}
	now, err := s.db.Now(ctx)
	if err != nil {
		return Host{}, err
	}
	var rows []shownHost
	args := map[string]any{"overdue": s.overdueBefore(now), "id": id}
	if err := s.db.Read(ctx).Raw("SELECT "+hostColumns+fromHosts+" WHERE h.id = @id", args).Scan(&rows).Error; err != nil {
		return Host{}, fmt.Errorf("read host %s: %w", id, err)
	}
	if len(rows) == 0 {
		return Host{}, errNoHost
	}
	hosts, err := s.withActiveJobs(ctx, rows)
	if err != nil {
		return Host{}, err
	}
	return hosts[0], nil
}

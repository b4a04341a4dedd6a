package vault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"restic-manager/server/database"
	"restic-manager/shared/wire"
)

// shownSetting is a setting with what is counted of it.
type shownSetting struct {
	Row           settingRow `gorm:"embedded"`
	RunnerName    *string
	HostCount     int64
	PolicyCount   int64
	SnapshotCount int64
	SizeBytes     int64
	Known         int64
	Frozen        int64
	Missing       int64
	Waiting       int64
}

// selectSettings counts each thing once for all settings: the hosts and their sizes, and the lists of all repositories
// that are known to be there.
const selectSettings = `SELECT s.*, r.name AS runner_name, coalesce(u.host_count, 0) AS host_count, coalesce(u.size_bytes, 0) AS size_bytes,
		coalesce(c.snapshot_count, 0) AS snapshot_count,
		coalesce(m.known, 0) AS known, coalesce(m.frozen, 0) AS frozen, coalesce(m.missing, 0) AS missing, coalesce(w.waiting, 0) AS waiting,
		(SELECT count(*) FROM policies p WHERE p.spec LIKE '%' || CAST(s.id AS text) || '%') AS policy_count
	FROM repository_settings s
	LEFT JOIN hosts r ON r.id = s.runner_id
	LEFT JOIN (SELECT hr.setting_id, count(*) AS host_count, CAST(sum(h.latest_size_bytes) AS bigint) AS size_bytes
		FROM host_repositories hr JOIN hosts h ON h.id = hr.host_id WHERE hr.setting_id IS NOT NULL GROUP BY hr.setting_id) u ON u.setting_id = s.id
	LEFT JOIN (SELECT known.setting_id, CAST(sum(p.snapshot_count) AS bigint) AS snapshot_count FROM (
			SELECT hr.setting_id, h.repository_id FROM host_repositories hr JOIN hosts h ON h.id = hr.host_id WHERE hr.setting_id IS NOT NULL AND h.repository_id IS NOT NULL
			UNION SELECT setting_id, repository_id FROM repository_maintenance) known
		JOIN repositories p ON p.id = known.repository_id GROUP BY known.setting_id) c ON c.setting_id = s.id
	LEFT JOIN (SELECT setting_id, count(*) AS known, sum(CASE WHEN frozen <> '' THEN 1 ELSE 0 END) AS frozen, sum(CASE WHEN missing_at IS NOT NULL THEN 1 ELSE 0 END) AS missing
		FROM repository_maintenance GROUP BY setting_id) m ON m.setting_id = s.id
	LEFT JOIN (SELECT m.setting_id, count(*) AS waiting FROM removals r JOIN repository_maintenance m ON m.repository_id = r.repository_id
		WHERE r.state = 'waiting' GROUP BY m.setting_id) w ON w.setting_id = s.id`

// verifiedSince is when the oldest part of the data was read, by setting and by the number of parts.
type verifiedSince map[verifiedKey]verified

type verifiedKey struct {
	setting string
	parts   int64
}

type verified struct {
	read int64 // parts of all its repositories together
	at   time.Time
}

// readVerified reads it for one setting, or for all when id is empty.
func (s *Store) readVerified(ctx context.Context, id string) (verifiedSince, error) {
	of, args := "", []any(nil)
	if id != "" {
		of, args = " WHERE m.setting_id = ?", []any{id}
	}
	var rows []struct {
		SettingID string
		Parts     int64
		Total     int64
		CheckedAt time.Time
	}
	err := s.db.Read(ctx).Raw(`SELECT * FROM (SELECT m.setting_id, k.parts, k.checked_at, count(*) OVER (PARTITION BY m.setting_id, k.parts) AS total,
			row_number() OVER (PARTITION BY m.setting_id, k.parts ORDER BY k.checked_at) AS place
		FROM repository_checks k JOIN repository_maintenance m ON m.repository_id = k.repository_id`+of+`) x WHERE place = 1`, args...).Scan(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("read what is verified: %w", err)
	}
	all := verifiedSince{}
	for _, r := range rows {
		all[verifiedKey{r.SettingID, r.Parts}] = verified{r.Total, r.CheckedAt.UTC()}
	}
	return all, nil
}

// of is since when all data of the setting's repositories was read; nil: not all of it ever was.
func (v verifiedSince) of(r shownSetting, parts int64) *time.Time {
	got, ok := v[verifiedKey{r.Row.ID, parts}]
	if !ok || got.read < r.Known*parts {
		return nil
	}
	return &got.at
}

func (r shownSetting) repository(v verifiedSince) (Repository, error) {
	w := r.Row
	o := Repository{
		ID: w.ID, Name: w.Name, URL: w.URL, Backend: backend(w.URL), PerHost: perHost(w.URL), AppendOnly: w.AppendOnly, AutoInit: w.AutoInit,
		HostCount: r.HostCount, PolicyCount: r.PolicyCount, SnapshotCount: r.SnapshotCount, SizeBytes: r.SizeBytes, FrozenCount: r.Frozen, MissingCount: r.Missing, WaitingRemovals: r.Waiting,
		CreatedAt: w.CreatedAt.UTC(), UpdatedAt: w.UpdatedAt.UTC(), KitMadeAt: database.InUTC(w.KitMadeAt),
		KitStale: w.KitMadeAt == nil || w.KitMadeAt.Before(w.SecretsChangedAt),
	}
	if w.RunnerID != nil && r.RunnerName != nil {
		o.Runner = &NamedHost{ID: *w.RunnerID, Name: *r.RunnerName}
	}
	var err error
	o.Maintenance, err = readMaintenance(w.Maintenance)
	err = errors.Join(err, json.Unmarshal([]byte(w.EnvKeys), &o.EnvKeys), json.Unmarshal([]byte(w.MaintenanceEnvKeys), &o.MaintenanceEnvKeys))
	if err != nil {
		return o, fmt.Errorf("read repository %s: %w", w.ID, err)
	}
	o.OldestVerifiedAt = v.of(r, o.Maintenance.CheckParts)
	return o, nil
}

// All lists the repositories by name.
func (s *Store) All(ctx context.Context) ([]Repository, error) {
	var rows []shownSetting
	if err := s.db.Read(ctx).Raw(selectSettings + " ORDER BY s.name_key").Scan(&rows).Error; err != nil {
		return nil, fmt.Errorf("list the repositories: %w", err)
	}
	seen, err := s.readVerified(ctx, "")
	if err != nil {
		return nil, err
	}
	all := make([]Repository, 0, len(rows))
	for _, r := range rows {
		o, err := r.repository(seen)
		if err != nil {
			return nil, err
		}
		all = append(all, o)
	}
	return all, nil
}

// ByID is one repository with what restic found there, or not_found.
func (s *Store) ByID(ctx context.Context, id string) (Repository, error) {
	if !wire.IsUUID(id) {
		return Repository{}, errNoRepository
	}
	var rows []shownSetting
	if err := s.db.Read(ctx).Raw(selectSettings+" WHERE s.id = ?", id).Scan(&rows).Error; err != nil {
		return Repository{}, fmt.Errorf("read repository %s: %w", id, err)
	}
	if len(rows) == 0 {
		return Repository{}, errNoRepository
	}
	seen, err := s.readVerified(ctx, id)
	if err != nil {
		return Repository{}, err
	}
	o, err := rows[0].repository(seen)
	if err != nil {
		return Repository{}, err
	}
	if o.Contents, err = s.contents(ctx, o); err != nil {
		return Repository{}, err
	}
	o.Rotation, err = s.lastRotation(ctx, id)
	return o, err
}

// maxContents bounds how many repositories of one setting are shown.
const maxContents = 100

type contentRow struct {
	RepositoryID  string
	SnapshotCount int64
	RefreshedAt   *time.Time
	HostID        *string
	HostName      *string
	Frozen        *string
	FrozenAt      *time.Time
	LastForgetAt  *time.Time
	LastPruneAt   *time.Time
	NextForgetAt  *time.Time
	NextPruneAt   *time.Time
	NextCheckAt   *time.Time
	MissingAt     *time.Time
	OldestPart    *time.Time
	CheckedParts  int64
}

// contents are the repositories that hosts of the setting are tied to, and those that maintenance knows.
func (s *Store) contents(ctx context.Context, o Repository) ([]RepositoryContent, error) {
	var rows []contentRow
	err := s.db.Read(ctx).Raw(`SELECT r.id AS repository_id, r.snapshot_count, r.refreshed_at, h.id AS host_id, h.name AS host_name,
			m.frozen, m.frozen_at, m.last_forget_at, m.last_prune_at, m.next_forget_at, m.next_prune_at, m.next_check_at, m.missing_at,
			(SELECT count(*) FROM repository_checks k WHERE k.repository_id = r.id AND k.parts = @parts) AS checked_parts,
			(SELECT k.checked_at FROM repository_checks k WHERE k.repository_id = r.id AND k.parts = @parts ORDER BY k.checked_at LIMIT 1) AS oldest_part
		FROM (SELECT repository_id, min(host_id) AS host_id FROM (
				SELECT h.repository_id, CAST(h.id AS text) AS host_id FROM host_repositories hr JOIN hosts h ON h.id = hr.host_id
				WHERE hr.setting_id = @id AND h.repository_id IS NOT NULL
				UNION SELECT repository_id, CAST(host_id AS text) FROM repository_maintenance WHERE setting_id = @id) every
			GROUP BY repository_id) known
		JOIN repositories r ON r.id = known.repository_id
		LEFT JOIN repository_maintenance m ON m.repository_id = r.id AND m.setting_id = @id
		LEFT JOIN hosts h ON CAST(h.id AS text) = known.host_id
		ORDER BY h.name_key, r.id LIMIT @limit`,
		map[string]any{"id": o.ID, "parts": o.Maintenance.CheckParts, "limit": maxContents}).Scan(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("read what is in repository %s: %w", o.ID, err)
	}
	var all []RepositoryContent
	for _, r := range rows {
		c := RepositoryContent{RepositoryID: r.RepositoryID, SnapshotCount: r.SnapshotCount, RefreshedAt: database.InUTC(r.RefreshedAt), FrozenAt: database.InUTC(r.FrozenAt),
			LastForgetAt: database.InUTC(r.LastForgetAt), LastPruneAt: database.InUTC(r.LastPruneAt), NextForgetAt: database.InUTC(r.NextForgetAt), NextPruneAt: database.InUTC(r.NextPruneAt),
			NextCheckAt: database.InUTC(r.NextCheckAt), MissingSince: database.InUTC(r.MissingAt), CheckedParts: r.CheckedParts, Parts: o.Maintenance.CheckParts}
		if r.Frozen != nil {
			c.Frozen = *r.Frozen
		}
		if o.PerHost && r.HostID != nil && r.HostName != nil {
			c.Host = &NamedHost{ID: *r.HostID, Name: *r.HostName}
		}
		if c.CheckedParts >= c.Parts {
			c.FullyCheckedAt = database.InUTC(r.OldestPart)
		}
		all = append(all, c)
	}
	return all, nil
}

// Hosts are those that use the repository, by name.
func (s *Store) Hosts(ctx context.Context, id string) ([]RepositoryHost, error) {
	if err := s.exists(ctx, id); err != nil {
		return nil, err
	}
	hosts := []RepositoryHost{}
	err := s.db.Read(ctx).Raw(`SELECT h.id, h.name, coalesce(h.repository_id, '') AS repository_id, hr.url
		FROM host_repositories hr JOIN hosts h ON h.id = hr.host_id WHERE hr.setting_id = ? ORDER BY h.name_key`, id).Scan(&hosts).Error
	if err != nil {
		return nil, fmt.Errorf("list the hosts of repository %s: %w", id, err)
	}
	return hosts, nil
}

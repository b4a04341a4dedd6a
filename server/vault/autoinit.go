package vault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"restic-manager/server/database"
	"restic-manager/server/fault"
	"restic-manager/server/fleet"
	"restic-manager/shared/wire"
)

// A repository is made by itself only where restic itself says that there is none: a repository that cannot be reached or
// opened is none of that. Where one was known, it is gone, and people are to look.

const (
	// probeAgain is how long a host is asked only once whether there is a repository.
	probeAgain = 6 * time.Hour
	// missingFor is how old the word that there is none may be. An init that failed is not repeated within it.
	missingFor = 6 * time.Hour
	// oldestMissing is the age of a job that may have ended within missingFor.
	oldestMissing = 9 * 24 * time.Hour
)

// missing is a host whose job was told that there is no repository.
type missing struct {
	HostID    string
	SettingID string
	URL       string
	EndedAt   time.Time
}

// initAll orders what is needed to have the repositories that hosts were given: the question whether there is one, and
// the init where there is none.
func (s *Store) initAll(ctx context.Context) error {
	return errors.Join(s.initMissing(ctx), s.probeNew(ctx))
}

// initMissing looks at what restic said of repositories that are not there.
func (s *Store) initMissing(ctx context.Context) error {
	now, err := s.db.Now(ctx)
	if err != nil {
		return err
	}
	if err := s.found(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	since := s.looked
	s.mu.Unlock()
	if since = since.Add(-overlap); since.Before(now.Add(-missingFor)) {
		since = now.Add(-missingFor)
	}
	var rows []missing
	err = s.db.Read(ctx).Raw(`SELECT j.host_id, hr.setting_id, hr.url, j.ended_at FROM jobs j
		JOIN host_repositories hr ON hr.host_id = j.host_id AND hr.setting_id IS NOT NULL AND hr.updated_at <= j.accepted_at
		WHERE j.error_code = 'repository_missing' AND j.id >= ? AND j.ended_at > ? AND j.target_setting IS NULL AND j.repository_name = 'server'
		ORDER BY j.ended_at DESC, j.id`, database.FirstIDAt(now.Add(-oldestMissing)), since).Scan(&rows).Error
	if err != nil {
		return fmt.Errorf("look for repositories that are not there: %w", err)
	}
	var failed error
	seen := map[string]bool{}
	for _, m := range rows {
		// What all hosts share is looked at once; its newest word counts.
		if key := m.SettingID + " " + m.URL; seen[key] {
			continue
		} else {
			seen[key] = true
		}
		if err := s.db.Write(ctx, func(tx *database.Tx) error { return s.initOne(tx, m) }); err != nil {
			failed = errors.Join(failed, fmt.Errorf("make repository %s: %w", m.SettingID, err))
		}
	}
	if failed == nil {
		s.mu.Lock()
		s.looked = now
		s.mu.Unlock()
	}
	return failed
}

// overlap is how far back ends are looked for again: commits come out of order.
const overlap = 10 * time.Minute

// found forgets that a repository was gone where it was listed since.
func (s *Store) found(ctx context.Context) error {
	const back = "missing_at IS NOT NULL AND EXISTS (SELECT 1 FROM repositories r WHERE r.id = repository_id AND r.refreshed_at > missing_at)"
	var n int64
	if err := s.db.Read(ctx).Raw("SELECT count(*) FROM repository_maintenance WHERE " + back).Scan(&n).Error; err != nil || n == 0 {
		return err
	}
	return s.db.Write(ctx, func(tx *database.Tx) error {
		tx.Notify(database.TopicRepositories)
		return tx.Exec("UPDATE repository_maintenance SET missing_at = NULL WHERE " + back).Error
	})
}

// initOne orders the init of a repository that is not there, once. The setting's lock keeps two from doing it.
func (s *Store) initOne(tx *database.Tx, m missing) error {
	row, err := lockSetting(tx, m.SettingID)
	if fault.As(err) != nil {
		return nil // forgotten meanwhile
	}
	if err != nil {
		return err
	}
	gone, err := wasThere(tx, row, m)
	if err != nil || gone || !row.AutoInit {
		return err
	}
	// One that was ordered since, by whomever, is enough: also one that failed, which people are to look at.
	var inits int64
	err = tx.Raw(`SELECT count(*) FROM jobs j JOIN host_repositories hr ON hr.host_id = j.host_id WHERE hr.setting_id = ? AND hr.url = ?
		AND j.kind = 'init' AND j.id >= ? AND j.target_setting IS NULL AND (j.state IN ('queued', 'accepted', 'running') OR j.ended_at > ?)`,
		m.SettingID, m.URL, database.FirstIDAt(tx.Now.Add(-oldestMissing)), tx.Now.Add(-missingFor)).Scan(&inits).Error
	if err != nil {
		return fmt.Errorf("look for an init of repository %s: %w", m.SettingID, err)
	}
	if inits > 0 {
		return nil
	}
	spec, err := initSpec(tx, m.HostID)
	if err != nil {
		return err
	}
	_, _, err = s.fleet.Order(tx, database.System, fleet.NewJob{HostID: m.HostID, Kind: wire.KindInit, Spec: spec})
	if f := fault.As(err); f != nil {
		s.log.Warn("a repository is missing, and its init cannot be ordered", "repository", row.Name, "host", m.HostID, "why", f.Message)
		return nil
	}
	return err
}

// wasThere reports whether a repository is known to have been there, and notes that it is gone. Nothing is ever made in
// its place by itself.
func wasThere(tx *database.Tx, row settingRow, m missing) (bool, error) {
	host := m.HostID
	if !perHost(row.URL) {
		host = ""
	}
	var known []struct {
		RepositoryID string
		MissingAt    *time.Time
		RefreshedAt  *time.Time
	}
	err := tx.Raw(`SELECT m.repository_id, m.missing_at, r.refreshed_at FROM repository_maintenance m JOIN repositories r ON r.id = m.repository_id
		WHERE m.setting_id = ? AND coalesce(CAST(m.host_id AS text), '') = ?`, row.ID, host).Scan(&known).Error
	if err != nil {
		return false, fmt.Errorf("look what was found at repository %s: %w", row.ID, err)
	}
	for _, k := range known {
		if k.MissingAt != nil || k.RefreshedAt != nil && k.RefreshedAt.After(m.EndedAt) {
			continue
		}
		if err := tx.Exec("UPDATE repository_maintenance SET missing_at = ? WHERE repository_id = ?", m.EndedAt, k.RepositoryID).Error; err != nil {
			return false, fmt.Errorf("note that repository %s is gone: %w", row.ID, err)
		}
		tx.Notify(database.TopicRepositories)
		if err := tx.Audit(database.System, "repository.missing", "repository:"+row.ID, map[string]any{"name": row.Name, "repository_id": k.RepositoryID, "host": m.HostID}); err != nil {
			return false, err
		}
	}
	return len(known) > 0, nil
}

// initSpec is the order as the host's agent knows it.
func initSpec(tx *database.Tx, hostID string) (*wire.InitSpec, error) {
	var features []string
	var text string
	if err := tx.Raw("SELECT features FROM hosts WHERE id = ?", hostID).Scan(&text).Error; err != nil {
		return nil, fmt.Errorf("read the features of host %s: %w", hostID, err)
	}
	if err := json.Unmarshal([]byte(text), &features); err != nil {
		return nil, fmt.Errorf("read the features of host %s: %w", hostID, err)
	}
	return &wire.InitSpec{IfMissing: slices.Contains(features, wire.FeatureInitIfMissing)}, nil
}

// probeNew asks, where hosts were given a repository of which nothing is known yet, whether there is one: the first backup
// would be refused otherwise. Of a repository that hosts share one is asked at a time.
func (s *Store) probeNew(ctx context.Context) error {
	now, err := s.db.Now(ctx)
	if err != nil {
		return err
	}
	var rows []struct{ HostID, SettingID, URL string }
	err = s.db.Read(ctx).Raw(`SELECT * FROM (SELECT min(CAST(h.id AS text)) AS host_id, hr.setting_id, hr.url FROM host_repositories hr
				JOIN hosts h ON h.id = hr.host_id JOIN repository_settings s ON s.id = hr.setting_id
			WHERE s.auto_init AND h.status = 'online' AND h.revoked_at IS NULL AND h.repository_id IS NULL
				AND NOT EXISTS (SELECT 1 FROM repository_maintenance m WHERE m.setting_id = s.id AND (m.host_id IS NULL OR m.host_id = h.id))
			GROUP BY hr.setting_id, hr.url) fresh
		WHERE NOT EXISTS (SELECT 1 FROM jobs j JOIN host_repositories o ON o.host_id = j.host_id
			WHERE o.setting_id = fresh.setting_id AND o.url = fresh.url AND j.id >= @since AND j.kind IN ('snapshots', 'init') AND j.target_setting IS NULL
				AND (j.state IN ('queued', 'accepted', 'running') OR j.ended_at > o.updated_at))
		ORDER BY setting_id, url LIMIT @limit`, map[string]any{"since": database.FirstIDAt(now.Add(-probeAgain)), "limit": probesAtOnce}).Scan(&rows).Error
	if err != nil {
		return fmt.Errorf("look for repositories that nothing is known of: %w", err)
	}
	var failed error
	for _, r := range rows {
		err := s.db.Write(ctx, func(tx *database.Tx) error {
			// Twice is the same job: it coalesces while it waits.
			_, _, err := s.fleet.Order(tx, database.System, fleet.NewJob{HostID: r.HostID, Kind: wire.KindSnapshots, Spec: &wire.SnapshotsSpec{}})
			return err
		})
		if fault.As(err) == nil && err != nil {
			failed = errors.Join(failed, fmt.Errorf("ask for repository %s: %w", r.SettingID, err))
		}
	}
	return failed
}

// probesAtOnce bounds how many hosts one round looks at.
const probesAtOnce = 500

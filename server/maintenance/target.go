package maintenance

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"restic-manager/server/database"
	"restic-manager/server/fault"
	"restic-manager/server/fleet"
	"restic-manager/shared/wire"
)

// plan is what a setting says of its maintenance; see vault.Maintenance, which checked it.
type plan struct {
	Zone             string `json:"zone"`
	Forget           string `json:"forget"`
	Prune            string `json:"prune"`
	Check            string `json:"check"`
	CheckParts       int64  `json:"check_parts"`
	MaxUnusedPercent *int   `json:"max_unused_percent"`
	Enabled          bool   `json:"enabled"`
}

// defaultCheckParts is in how many parts the data is read where the setting does not say.
const defaultCheckParts = 10

func readPlan(text string) (plan, error) {
	var p plan
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		return p, fmt.Errorf("read the maintenance of a repository: %w", err)
	}
	if p.CheckParts < 1 {
		p.CheckParts = defaultCheckParts
	}
	if p.Zone == "" {
		p.Zone = "UTC"
	}
	return p, nil
}

// target is one of restic's repositories that is looked after, with the setting it is of.
type target struct {
	RepositoryID string
	SettingID    string
	HostID       *string // whose it is, where the setting's address holds {host}
	NextForgetAt *time.Time
	NextPruneAt  *time.Time
	NextCheckAt  *time.Time
	CheckPart    int64
	Frozen       string
	Name         string // the setting's
	RunnerID     *string
	Maintenance  string
	RefreshedAt  *time.Time
}

// lockTarget reads and locks a repository's maintenance; ok is false when there is none. pass leaves one that another
// transaction has in hand.
func lockTarget(tx *database.Tx, repositoryID string, pass bool) (t target, ok bool, err error) {
	suffix := ""
	if tx.Postgres() {
		suffix = " FOR NO KEY UPDATE OF m"
		if pass {
			suffix += " SKIP LOCKED"
		}
	}
	var rows []target
	err = tx.Raw(`SELECT m.repository_id, m.setting_id, m.host_id, m.next_forget_at, m.next_prune_at, m.next_check_at, m.check_part, m.frozen,
			s.name, s.runner_id, s.maintenance, r.refreshed_at
		FROM repository_maintenance m JOIN repository_settings s ON s.id = m.setting_id JOIN repositories r ON r.id = m.repository_id
		WHERE m.repository_id = ?`+suffix, repositoryID).Scan(&rows).Error
	if err != nil {
		return t, false, fmt.Errorf("lock the maintenance of repository %s: %w", repositoryID, err)
	}
	if len(rows) == 0 {
		return t, false, nil
	}
	return rows[0], true, nil
}

// ofSetting is lockTarget for people, who name the setting too.
func ofSetting(tx *database.Tx, settingID, repositoryID string) (target, error) {
	if !wire.IsUUID(settingID) {
		return target{}, errNoRepository
	}
	var known []string
	if err := tx.Raw("SELECT id FROM repository_settings WHERE id = ?", settingID).Scan(&known).Error; err != nil {
		return target{}, fmt.Errorf("look for repository %s: %w", settingID, err)
	}
	if len(known) == 0 {
		return target{}, errNoRepository
	}
	t, ok, err := lockTarget(tx, repositoryID, false)
	if err != nil {
		return target{}, err
	}
	if !ok || t.SettingID != settingID {
		return target{}, errNoContent()
	}
	return t, nil
}

// order asks the machine that maintains the repository. It is a conflict, which says what to do, where there is none or
// its guard does not allow it.
func (s *Store) order(tx *database.Tx, actor database.Actor, t target, spec wire.Spec) (jobID string, err error) {
	if t.RunnerID == nil {
		return "", fault.New(fault.Conflict, "no_runner", "no machine maintains the repository %q: choose one in its settings", t.Name)
	}
	if err := guardAllows(tx, *t.RunnerID, spec.Kind()); err != nil {
		return "", err
	}
	about := fleet.Target{SettingID: t.SettingID, RepositoryID: t.RepositoryID}
	if t.HostID != nil {
		about.HostID = *t.HostID
	}
	jobID, _, err = s.fleet.Order(tx, actor, fleet.NewJob{HostID: *t.RunnerID, Kind: spec.Kind(), Spec: spec, Target: &about})
	return jobID, err
}

// guardAllows is a conflict where the host would refuse the kind. A host that never told of a guard is asked.
func guardAllows(tx *database.Tx, hostID string, kind wire.Kind) error {
	var rows []struct{ Name, Guard string }
	if err := tx.Raw("SELECT name, guard FROM hosts WHERE id = ?", hostID).Scan(&rows).Error; err != nil {
		return fmt.Errorf("read the guard of host %s: %w", hostID, err)
	}
	if len(rows) == 0 {
		return fault.NotFoundf("there is no such host")
	}
	var guard *wire.GuardReport
	if err := json.Unmarshal([]byte(rows[0].Guard), &guard); err != nil {
		return fmt.Errorf("read the guard of host %s: %w", hostID, err)
	}
	switch {
	case guard == nil || guard.Broken == "" && guard.Kinds == nil:
		return nil
	case guard.Broken != "":
		return fault.New(fault.Conflict, "guard_broken", "the guard of %q, which maintains this repository, is broken and refuses everything: %s", rows[0].Name, guard.Broken)
	case !slices.Contains(guard.Kinds, kind):
		return fault.New(fault.Conflict, "guard_forbids", "the guard of %q, which maintains this repository, does not allow %s: add it to guard.yaml there (maintenance: {forget: true, prune: true}; others under kinds), or choose another machine",
			rows[0].Name, kind)
	}
	return nil
}

// underWay reports whether a job of the kind about the repository has not ended, or was asked for since; since zero: has
// not ended.
func underWay(tx *database.Tx, t target, kind wire.Kind, since time.Time) (bool, error) {
	if since.IsZero() {
		since = tx.Now.Add(time.Hour) // none was asked for since then
	}
	var n int64
	err := tx.Raw(`SELECT count(*) FROM jobs WHERE kind = ? AND id >= ? AND target_setting = ? AND target = ?
		AND (state IN ('queued', 'accepted', 'running') OR queued_at >= ?)`,
		string(kind), database.FirstIDAt(tx.Now.Add(-oldestJob)), t.SettingID, t.RepositoryID, since).Scan(&n).Error
	if err != nil {
		return false, fmt.Errorf("look for a %s of repository %s: %w", kind, t.RepositoryID, err)
	}
	return n > 0, nil
}

// oldestJob is the age of a job that may still be under way: it may wait a day, and run for the longest time limit.
const oldestJob = 9 * 24 * time.Hour

package vault

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"gorm.io/gorm"

	"restic-manager/server/database"
	"restic-manager/server/fault"
	"restic-manager/server/fleet"
	"restic-manager/shared/wire"
)

// settingRow is a row of repository_settings.
type settingRow struct {
	ID                   string     `gorm:"column:id;primaryKey"`
	Name                 string     `gorm:"column:name"`
	NameKey              string     `gorm:"column:name_key"`
	URL                  string     `gorm:"column:url"`
	AppendOnly           bool       `gorm:"column:append_only"`
	SealedPassword       []byte     `gorm:"column:sealed_password"`
	EnvKeys              string     `gorm:"column:env_keys"`
	SealedEnv            []byte     `gorm:"column:sealed_env"`
	MaintenanceEnvKeys   string     `gorm:"column:maintenance_env_keys"`
	SealedMaintenanceEnv []byte     `gorm:"column:sealed_maintenance_env"`
	RunnerID             *string    `gorm:"column:runner_id"`
	Maintenance          string     `gorm:"column:maintenance"`
	CreatedAt            time.Time  `gorm:"column:created_at;autoCreateTime:false"`
	UpdatedAt            time.Time  `gorm:"column:updated_at;autoUpdateTime:false"`
	SecretsChangedAt     time.Time  `gorm:"column:secrets_changed_at"`
	KitMadeAt            *time.Time `gorm:"column:kit_made_at"`
	AutoInit             bool       `gorm:"column:auto_init"`
}

// TableName is repository_settings.
func (settingRow) TableName() string { return "repository_settings" }

var errNoRepository = fault.NotFoundf("there is no such repository")

// lockSetting reads and locks a setting, or not_found. The lock comes before those of hosts.
func lockSetting(tx *database.Tx, id string) (settingRow, error) {
	if !wire.IsUUID(id) {
		return settingRow{}, errNoRepository
	}
	suffix := ""
	if tx.Postgres() {
		suffix = " FOR NO KEY UPDATE"
	}
	var rows []settingRow
	if err := tx.Raw("SELECT * FROM repository_settings WHERE id = ?"+suffix, id).Scan(&rows).Error; err != nil {
		return settingRow{}, fmt.Errorf("lock repository %s: %w", id, err)
	}
	if len(rows) == 0 {
		return settingRow{}, errNoRepository
	}
	return rows[0], nil
}

// Create sets a repository up. Nothing is made in the storage: an init job of a host does that.
func (s *Store) Create(ctx context.Context, actor database.Actor, n New) (Repository, error) {
	if n.Password == "" {
		n.Password = newPassword()
	}
	if n.Maintenance == nil {
		n.Maintenance = &Maintenance{}
	}
	p := Patch{Name: &n.Name, URL: &n.URL, Password: &n.Password, AppendOnly: &n.AppendOnly, Env: &n.Env, MaintenanceEnv: &n.MaintenanceEnv,
		RunnerID: &n.RunnerID, Maintenance: n.Maintenance, AutoInit: n.AutoInit}
	p, key, err := s.checkPatch(p)
	if err != nil {
		return Repository{}, err
	}
	id := database.NewID()
	err = s.db.Write(ctx, func(tx *database.Tx) error {
		row := settingRow{ID: id, CreatedAt: tx.Now, AutoInit: true}
		if _, err := s.apply(tx, &row, &Secrets{}, p, key); err != nil {
			return err
		}
		row.SecretsChangedAt, row.UpdatedAt = tx.Now, tx.Now
		if err := tx.Create(&row).Error; err != nil {
			return nameTaken(err)
		}
		tx.Notify(database.TopicRepositories)
		return tx.Audit(actor, "repository.create", "repository:"+id, map[string]any{"name": row.Name, "url": row.URL,
			"env_keys": keysOf(*p.Env), "maintenance_env_keys": keysOf(*p.MaintenanceEnv)})
	})
	if err != nil {
		return Repository{}, fmt.Errorf("create a repository: %w", err)
	}
	return s.ByID(ctx, id)
}

// newPassword is 256 random bits.
func newPassword() string {
	b := make([]byte, 32)
	rand.Read(b)
	return base64.RawURLEncoding.EncodeToString(b)
}

var errNameTaken = fault.New(fault.Conflict, "name_taken", "another repository has this name (upper and lower case count as the same); give another one")

func nameTaken(err error) error {
	if errors.Is(err, gorm.ErrDuplicatedKey) {
		return errNameTaken
	}
	return err
}

// Update changes a repository, and what all hosts that use it are handed, in one transaction. Its data is not touched.
func (s *Store) Update(ctx context.Context, actor database.Actor, id string, p Patch) (Repository, error) {
	p, key, err := s.checkPatch(p)
	if err != nil {
		return Repository{}, err
	}
	err = s.db.Write(ctx, func(tx *database.Tx) error {
		row, err := lockSetting(tx, id)
		if err != nil {
			return err
		}
		secrets, err := s.open(row)
		if err != nil {
			return err
		}
		was := row
		if p.Password != nil && *p.Password != secrets.Password || p.URL != nil && *p.URL != row.URL {
			if err := notRotating(tx, id); err != nil {
				return err
			}
		}
		if p, err = keepFromInit(tx, row, p); err != nil {
			return err
		}
		detail, err := s.apply(tx, &row, &secrets, p, key)
		if err != nil || len(detail) == 0 {
			return err
		}
		row.UpdatedAt = tx.Now
		if opens := detail.any("url", "password", "env_keys", "maintenance_env_keys"); opens {
			row.SecretsChangedAt = tx.Now
		}
		if err := tx.Model(&settingRow{}).Where("id = ?", id).Select("*").Omit("id", "created_at", "kit_made_at").Updates(&row).Error; err != nil {
			return nameTaken(err)
		}
		if detail.any("url", "password", "env_keys") {
			if err := s.rewrite(tx, was, row, secrets); err != nil {
				return err
			}
		}
		if detail.any("url") {
			if err := forgetContents(tx, id); err != nil {
				return err
			}
		}
		tx.Notify(database.TopicRepositories, database.TopicHosts)
		return tx.Audit(actor, "repository.update", "repository:"+id, detail)
	})
	if err != nil {
		return Repository{}, fmt.Errorf("change repository %s: %w", id, err)
	}
	return s.ByID(ctx, id)
}

// forgetContents: what was found at the old address need not be at the new one. A frozen repository stays so until a
// person has looked.
func forgetContents(tx *database.Tx, id string) error {
	err := tx.Exec("DELETE FROM repository_maintenance WHERE setting_id = ? AND frozen = ''", id).Error
	if err != nil {
		return fmt.Errorf("forget what was found at repository %s: %w", id, err)
	}
	return nil
}

// keepFromInit: where a repository was, another address is most likely to lead to the same one, or is mistyped. None is
// made there by itself, unless that is asked for.
func keepFromInit(tx *database.Tx, row settingRow, p Patch) (Patch, error) {
	if p.URL == nil || *p.URL == row.URL || p.AutoInit != nil || !row.AutoInit {
		return p, nil
	}
	var known int64
	if err := tx.Raw("SELECT count(*) FROM repository_maintenance WHERE setting_id = ?", row.ID).Scan(&known).Error; err != nil {
		return p, fmt.Errorf("look what was found at repository %s: %w", row.ID, err)
	}
	if known > 0 {
		off := false
		p.AutoInit = &off
	}
	return p, nil
}

// changes name what was changed, for the audit trail: no secret.
type changes map[string]any

func (c changes) any(fields ...string) bool {
	return slices.ContainsFunc(fields, func(f string) bool { _, ok := c[f]; return ok })
}

// checkPatch looks at what can be judged alone, and gives it in its form.
func (s *Store) checkPatch(p Patch) (_ Patch, nameKey string, err error) {
	if p.Name != nil {
		var clean string
		if clean, nameKey, err = fleet.CheckName(*p.Name); err != nil {
			return p, "", err
		}
		p.Name = &clean
	}
	if p.URL != nil {
		clean, err := checkLocation(*p.URL)
		if err != nil {
			return p, "", err
		}
		p.URL = &clean
	}
	if p.Password != nil {
		if err := fleet.CheckRepositoryPassword(*p.Password); err != nil {
			return p, "", err
		}
	}
	for _, env := range []**map[string]string{&p.Env, &p.MaintenanceEnv} {
		if *env == nil {
			continue
		}
		if err := fleet.CheckRepositoryEnv(**env); err != nil {
			return p, "", err
		}
		clone := map[string]string{}
		maps.Copy(clone, **env)
		*env = &clone
	}
	if p.RunnerID != nil && *p.RunnerID != "" && !wire.IsUUID(*p.RunnerID) {
		return p, "", errNoRunner()
	}
	if p.Maintenance != nil {
		m, err := s.check(*p.Maintenance)
		if err != nil {
			return p, "", err
		}
		p.Maintenance = &m
	}
	return p, nameKey, nil
}

func errNoRunner() error {
	return fault.Invalidf("runner_id: there is no such host, or it is revoked; give the id of the host that is to maintain the repository")
}

// apply changes the row and the opened secrets, and tells what was changed.
func (s *Store) apply(tx *database.Tx, row *settingRow, secrets *Secrets, p Patch, nameKey string) (changes, error) {
	changed := changes{}
	if p.Name != nil && *p.Name != row.Name {
		row.Name, row.NameKey, changed["name"] = *p.Name, nameKey, *p.Name
	}
	if p.URL != nil && *p.URL != row.URL {
		row.URL, changed["url"] = *p.URL, *p.URL
	}
	if p.AppendOnly != nil && *p.AppendOnly != row.AppendOnly {
		row.AppendOnly, changed["append_only"] = *p.AppendOnly, *p.AppendOnly
	}
	if p.AutoInit != nil && *p.AutoInit != row.AutoInit {
		row.AutoInit, changed["auto_init"] = *p.AutoInit, *p.AutoInit
	}
	if p.Password != nil && *p.Password != secrets.Password {
		secrets.Password, changed["password"] = *p.Password, "changed"
		row.SealedPassword = s.fleet.Seal("repository_settings", row.ID, "sealed_password", []byte(*p.Password))
	}
	for _, e := range []struct {
		field, column string
		given         *map[string]string
		now           *map[string]string
		sealed        *[]byte
		keys          *string
	}{
		{"env_keys", "sealed_env", p.Env, &secrets.Env, &row.SealedEnv, &row.EnvKeys},
		{"maintenance_env_keys", "sealed_maintenance_env", p.MaintenanceEnv, &secrets.MaintenanceEnv, &row.SealedMaintenanceEnv, &row.MaintenanceEnvKeys},
	} {
		if e.given == nil || *e.keys != "" && maps.Equal(*e.given, *e.now) {
			continue
		}
		raw, err := json.Marshal(*e.given)
		if err != nil {
			return nil, err
		}
		keys, err := json.Marshal(keysOf(*e.given))
		if err != nil {
			return nil, err
		}
		*e.now, *e.keys, *e.sealed = *e.given, string(keys), s.fleet.Seal("repository_settings", row.ID, e.column, raw)
		changed[e.field] = keysOf(*e.given)
	}
	if err := applyRunner(tx, row, p.RunnerID, changed); err != nil {
		return nil, err
	}
	if p.Maintenance != nil {
		text, err := p.Maintenance.text()
		if err != nil {
			return nil, err
		}
		if text != row.Maintenance {
			row.Maintenance, changed["maintenance"] = text, p.Maintenance
		}
	}
	return changed, nil
}

func applyRunner(tx *database.Tx, row *settingRow, id *string, changed changes) error {
	was := ""
	if row.RunnerID != nil {
		was = *row.RunnerID
	}
	if id == nil || *id == was {
		return nil
	}
	row.RunnerID, changed["runner_id"] = id, *id
	if *id == "" {
		row.RunnerID = nil
		return nil
	}
	var found []string
	if err := tx.Raw("SELECT id FROM hosts WHERE id = ? AND revoked_at IS NULL", *id).Scan(&found).Error; err != nil {
		return fmt.Errorf("look for host %s: %w", *id, err)
	}
	if len(found) == 0 {
		return errNoRunner()
	}
	return nil
}

// keysOf are the keys in order, never nil.
func keysOf(env map[string]string) []string {
	return append([]string{}, slices.Sorted(maps.Keys(env))...)
}

// Delete forgets a repository that nothing uses. Its data stays where it is.
func (s *Store) Delete(ctx context.Context, actor database.Actor, id string) error {
	err := s.db.Write(ctx, func(tx *database.Tx) error {
		row, err := lockSetting(tx, id)
		if err != nil {
			return err
		}
		if err := unused(tx, id); err != nil {
			return err
		}
		if err := tx.Exec("DELETE FROM repository_settings WHERE id = ?", id).Error; err != nil {
			return err
		}
		tx.Notify(database.TopicRepositories)
		return tx.Audit(actor, "repository.delete", "repository:"+id, map[string]any{"name": row.Name, "url": row.URL})
	})
	if err != nil {
		return fmt.Errorf("delete repository %s: %w", id, err)
	}
	return nil
}

// unused is a conflict that names what still uses the repository.
func unused(tx *database.Tx, id string) error {
	var used struct{ Hosts, Policies, Jobs int64 }
	err := tx.Raw(`SELECT (SELECT count(*) FROM host_repositories WHERE setting_id = @id) AS hosts,
		(SELECT count(*) FROM policies WHERE spec LIKE @named) AS policies,
		(SELECT count(*) FROM jobs WHERE state IN ('queued', 'accepted', 'running') AND target_setting = @id) AS jobs`,
		map[string]any{"id": id, "named": "%" + id + "%"}).Scan(&used).Error
	if err != nil {
		return fmt.Errorf("look for what uses repository %s: %w", id, err)
	}
	var by []string
	for _, u := range []struct {
		n            int64
		one, several string
	}{{used.Hosts, "host", "hosts"}, {used.Policies, "policy", "policies"}, {used.Jobs, "job that has not ended", "jobs that have not ended"}} {
		switch {
		case u.n == 1:
			by = append(by, "1 "+u.one)
		case u.n > 1:
			by = append(by, fmt.Sprintf("%d %s", u.n, u.several))
		}
	}
	if len(by) > 0 {
		return fault.New(fault.Conflict, "repository_used", "this repository is used by %s; give them another one first", strings.Join(by, ", "))
	}
	return nil
}

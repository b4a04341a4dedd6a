package vault

import (
	"context"
	"encoding/json"
	"fmt"

	"restic-manager/server/database"
	"restic-manager/server/fleet"
	"restic-manager/shared/wire"
)

// open gives the secrets of a setting.
func (s *Store) open(row settingRow) (Secrets, error) {
	var o Secrets
	password, err := s.fleet.Unseal("repository_settings", row.ID, "sealed_password", row.SealedPassword)
	if err != nil {
		return o, err
	}
	o.Password = string(password)
	for _, e := range []struct {
		column string
		sealed []byte
		env    *map[string]string
	}{{"sealed_env", row.SealedEnv, &o.Env}, {"sealed_maintenance_env", row.SealedMaintenanceEnv, &o.MaintenanceEnv}} {
		raw, err := s.fleet.Unseal("repository_settings", row.ID, e.column, e.sealed)
		if err != nil {
			return o, err
		}
		if err := json.Unmarshal(raw, e.env); err != nil {
			return o, fmt.Errorf("read the environment of repository %s", row.ID) // its text is secret
		}
	}
	return o, nil
}

// Reveal gives what opens the repository to a person whose password was asked for again, and writes that down.
func (s *Store) Reveal(ctx context.Context, actor database.Actor, id string) (o Secrets, err error) {
	err = s.db.Write(ctx, func(tx *database.Tx) error {
		row, err := lockSetting(tx, id)
		if err != nil {
			return err
		}
		if o, err = s.open(row); err != nil {
			return err
		}
		return tx.Audit(actor, "repository.reveal", "repository:"+id, map[string]any{"name": row.Name})
	})
	if err != nil {
		return Secrets{}, fmt.Errorf("reveal repository %s: %w", id, err)
	}
	return o, nil
}

// targetSecrets is fleet.Hooks.TargetSecrets. The second set of credentials may remove what the first may not: it goes to
// the runner alone.
func (s *Store) targetSecrets(ctx context.Context, t fleet.Target, kind wire.Kind, by string) (*wire.Secrets, error) {
	var host *string
	if t.HostID != "" {
		host = &t.HostID
	}
	var rows []struct {
		Row      settingRow `gorm:"embedded"`
		HostName *string
		HostURL  *string
	}
	err := s.db.Read(ctx).Raw(`SELECT s.*, h.name AS host_name, hr.url AS host_url FROM repository_settings s
		LEFT JOIN hosts h ON h.id = ?
		LEFT JOIN host_repositories hr ON hr.host_id = h.id AND hr.setting_id = s.id
		WHERE s.id = ?`, host, t.SettingID).Scan(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("read repository %s: %w", t.SettingID, err)
	}
	if len(rows) == 0 {
		return nil, nil
	}
	row := rows[0]
	o, err := s.open(row.Row)
	if err != nil {
		return nil, err
	}
	secrets := &wire.Secrets{RepositoryURL: row.Row.URL, Password: o.Password, Env: o.Env}
	if perHost(row.Row.URL) {
		switch {
		case row.HostURL != nil:
			secrets.RepositoryURL = *row.HostURL // also of a host that was renamed
		case row.HostName != nil && folder(*row.HostName) != "":
			secrets.RepositoryURL = located(row.Row.URL, folder(*row.HostName))
		default:
			return nil, nil
		}
	}
	if row.Row.RunnerID != nil && *row.Row.RunnerID == by && len(o.MaintenanceEnv) > 0 {
		secrets.Env = o.MaintenanceEnv
	}
	if kind == wire.KindRotateKey {
		return s.withSecond(ctx, t.SettingID, secrets)
	}
	return secrets, nil
}

package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"
	"unicode/utf8"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"restic-manager/server/database"
	"restic-manager/server/fault"
	"restic-manager/shared/wire"
)

type repositoryRow struct {
	HostID         string    `gorm:"column:host_id;primaryKey"`
	URL            string    `gorm:"column:url"`
	EnvKeys        string    `gorm:"column:env_keys"`
	SealedPassword []byte    `gorm:"column:sealed_password"`
	SealedEnv      []byte    `gorm:"column:sealed_env"`
	UpdatedAt      time.Time `gorm:"column:updated_at;autoUpdateTime:false"`
}

// TableName is host_repositories.
func (repositoryRow) TableName() string { return "host_repositories" }

func passwordPlace(hostID string) place { return place{"host_repositories", hostID, "sealed_password"} }
func envPlace(hostID string) place      { return place{"host_repositories", hostID, "sealed_env"} }

// PutRepository has the server hold the host's repository: its agent then gets location, password and
// environment in memory with each job, in place of what its own configuration says. Password and environment
// are sealed.
func (s *Store) PutRepository(ctx context.Context, actor database.Actor, hostID string, c RepositoryConfig) error {
	url, err := wire.CheckRepositoryURL(c.URL)
	if err != nil {
		return fault.Invalidf("%v", err)
	}
	if err := wire.CheckRepositoryEnv(c.Env); err != nil {
		return fault.Invalidf("%v", err)
	}
	for k, v := range c.Env {
		if !utf8.ValidString(v) {
			return fault.Invalidf("environment: the value of %s is not UTF-8", k)
		}
	}
	if err := wire.CheckRepositoryPassword(c.Password); err != nil {
		return fault.Invalidf("%v", err)
	}
	if !utf8.ValidString(c.Password) {
		return fault.Invalidf("password: it is not UTF-8")
	}
	keys := append([]string{}, slices.Sorted(maps.Keys(c.Env))...)
	row, err := s.sealRepository(hostID, url, keys, c)
	if err != nil {
		return fmt.Errorf("seal the repository of host %s: %w", hostID, err)
	}
	err = s.db.Write(ctx, func(tx *database.Tx) error {
		host, err := lockHost(tx, hostID)
		if err != nil {
			return err
		}
		if host.RevokedAt != nil {
			return fault.New(fault.Conflict, "host_revoked", "this host is revoked; enroll the machine again and set the repository of the new host")
		}
		if err := leaveRepository(tx, host, &url); err != nil {
			return err
		}
		row.UpdatedAt = tx.Now
		if err := tx.Clauses(clause.OnConflict{UpdateAll: true}).Create(&row).Error; err != nil {
			return err
		}
		return tx.Audit(actor, "repository.put", "host:"+hostID, map[string]any{"url": url, "env_keys": keys})
	})
	if err != nil {
		return fmt.Errorf("store the repository of host %s: %w", hostID, err)
	}
	return nil
}

func (s *Store) sealRepository(hostID, url string, keys []string, c RepositoryConfig) (repositoryRow, error) {
	env := c.Env
	if env == nil {
		env = map[string]string{}
	}
	rawEnv, err := json.Marshal(env)
	if err != nil {
		return repositoryRow{}, err
	}
	rawKeys, err := json.Marshal(keys)
	if err != nil {
		return repositoryRow{}, err
	}
	return repositoryRow{
		HostID: hostID, URL: url, EnvKeys: string(rawKeys),
		SealedPassword: s.content.sealer.seal(passwordPlace(hostID), []byte(c.Password)),
		SealedEnv:      s.content.sealer.seal(envPlace(hostID), rawEnv),
	}, nil
}

// DeleteRepository has the host use the repository of its own configuration again.
func (s *Store) DeleteRepository(ctx context.Context, actor database.Actor, hostID string) error {
	err := s.db.Write(ctx, func(tx *database.Tx) error {
		host, err := lockHost(tx, hostID)
		if err != nil {
			return err
		}
		if err := leaveRepository(tx, host, nil); err != nil {
			return err
		}
		done := tx.Exec("DELETE FROM host_repositories WHERE host_id = ?", hostID)
		if done.Error != nil {
			return done.Error
		}
		if done.RowsAffected == 0 {
			return fault.NotFoundf("the server holds no repository for this host")
		}
		return tx.Audit(actor, "repository.delete", "host:"+hostID, nil)
	})
	if err != nil {
		return fmt.Errorf("delete the repository of host %s: %w", hostID, err)
	}
	return nil
}

// leaveRepository unties the host from the list it has shown when its repository becomes another one: the
// list would be a wrong one. The next listing ties it to the right one.
func leaveRepository(tx *database.Tx, host hostRow, url *string) error {
	tx.Notify(database.TopicHosts, database.TopicHost(host.ID))
	var old []string
	if err := tx.Raw("SELECT url FROM host_repositories WHERE host_id = ?", host.ID).Scan(&old).Error; err != nil {
		return err
	}
	if url != nil && len(old) > 0 && old[0] == *url || host.RepositoryID == nil {
		return nil
	}
	tx.Notify(database.TopicSnapshots(host.ID))
	return tx.Exec("UPDATE hosts SET repository_id = NULL, snapshot_count = 0, latest_size_bytes = success_bytes, listing_error = '' WHERE id = ?", host.ID).Error
}

// secretsFor is readSecrets in a transaction.
func (s *Store) secretsFor(tx *database.Tx, hostID string) (*wire.Secrets, error) {
	return s.readSecrets(tx.DB, hostID)
}

// readSecrets opens what the server holds of the host's repository; nil when it holds none.
func (s *Store) readSecrets(db *gorm.DB, hostID string) (*wire.Secrets, error) {
	var rows []repositoryRow
	if err := db.Raw("SELECT * FROM host_repositories WHERE host_id = ?", hostID).Scan(&rows).Error; err != nil {
		return nil, fmt.Errorf("read the repository of host %s: %w", hostID, err)
	}
	if len(rows) == 0 {
		return nil, nil
	}
	password, err := s.content.sealer.open(passwordPlace(hostID), rows[0].SealedPassword)
	if err != nil {
		return nil, err
	}
	rawEnv, err := s.content.sealer.open(envPlace(hostID), rows[0].SealedEnv)
	if err != nil {
		return nil, err
	}
	secrets := &wire.Secrets{RepositoryURL: rows[0].URL, Password: string(password)}
	if err := json.Unmarshal(rawEnv, &secrets.Env); err != nil {
		return nil, fmt.Errorf("read the environment of host %s's repository: %w", hostID, err)
	}
	return secrets, nil
}

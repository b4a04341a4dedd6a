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
	SettingID      *string   `gorm:"column:setting_id"` // nil: it was given to the host by hand
}

// TableName is host_repositories.
func (repositoryRow) TableName() string { return "host_repositories" }

func passwordPlace(hostID string) place { return place{"host_repositories", hostID, "sealed_password"} }
func envPlace(hostID string) place      { return place{"host_repositories", hostID, "sealed_env"} }

// Check gives the configuration in the form that restic gets, or an invalid fault. It repeats no secret.
func (c RepositoryConfig) Check() (RepositoryConfig, error) {
	var err error
	if c.URL, err = wire.CheckRepositoryURL(c.URL); err != nil {
		return c, fault.Invalidf("%v", err)
	}
	if err := CheckRepositoryEnv(c.Env); err != nil {
		return c, err
	}
	return c, CheckRepositoryPassword(c.Password)
}

// CheckRepositoryPassword refuses what restic would read as another password, as an invalid fault.
func CheckRepositoryPassword(password string) error {
	if err := wire.CheckRepositoryPassword(password); err != nil {
		return fault.Invalidf("%v", err)
	}
	if !utf8.ValidString(password) {
		return fault.Invalidf("password: it is not UTF-8")
	}
	return nil
}

// CheckRepositoryEnv refuses keys that a repository may not set, and values that cannot be one, as an invalid fault.
func CheckRepositoryEnv(env map[string]string) error {
	if err := wire.CheckRepositoryEnv(env); err != nil {
		return fault.Invalidf("%v", err)
	}
	for k, v := range env {
		if !utf8.ValidString(v) {
			return fault.Invalidf("environment: the value of %s is not UTF-8", k)
		}
	}
	return nil
}

// PutRepository has the server hold the host's repository: its agent then gets location, password and
// environment in memory with each job, in place of what its own configuration says. Password and environment
// are sealed.
func (s *Store) PutRepository(ctx context.Context, actor database.Actor, hostID string, c RepositoryConfig) error {
	c, err := c.Check()
	if err != nil {
		return err
	}
	err = s.db.Write(ctx, func(tx *database.Tx) error {
		host, err := lockHost(tx, hostID)
		if err != nil {
			return err
		}
		if host.RevokedAt != nil {
			return ErrHostRevoked()
		}
		if err := s.PutRepositories(tx, "", []ResolvedRepository{{HostID: hostID, RepositoryConfig: c}}); err != nil {
			return err
		}
		if err := s.HostChanged(tx, hostID); err != nil {
			return err
		}
		return tx.Audit(actor, "repository.put", "host:"+hostID, map[string]any{"url": c.URL, "env_keys": envKeys(c.Env)})
	})
	if err != nil {
		return fmt.Errorf("store the repository of host %s: %w", hostID, err)
	}
	return nil
}

// ErrHostRevoked is the refusal to give a revoked host a repository.
func ErrHostRevoked() *fault.Error {
	return fault.New(fault.Conflict, "host_revoked", "this host is revoked; enroll the machine again and set the repository of the new host")
}

// envKeys are the keys in order, never nil.
func envKeys(env map[string]string) []string {
	return append([]string{}, slices.Sorted(maps.Keys(env))...)
}

// ResolvedRepository is a repository for one host, checked.
type ResolvedRepository struct {
	HostID string
	RepositoryConfig
}

// repositoriesAtOnce bounds how many rows one statement writes.
const repositoriesAtOnce = 500

// PutRepositories writes what the server holds for many hosts, in portions: the setting that it comes from, or none.
// The caller has locked the hosts' rows, in the order of their ids, and writes the Audit row.
func (s *Store) PutRepositories(tx *database.Tx, settingID string, all []ResolvedRepository) error {
	var setting *string
	if settingID != "" {
		setting = &settingID
	}
	for some := range slices.Chunk(all, repositoriesAtOnce) {
		rows, urls := make([]repositoryRow, 0, len(some)), make(map[string]string, len(some))
		for _, r := range some {
			row, err := s.sealRepository(r)
			if err != nil {
				return fmt.Errorf("seal the repository of host %s: %w", r.HostID, err)
			}
			row.SettingID, row.UpdatedAt = setting, tx.Now
			rows, urls[r.HostID] = append(rows, row), row.URL
		}
		if err := leaveRepositories(tx, slices.Sorted(maps.Keys(urls)), urls); err != nil {
			return err
		}
		if err := tx.Clauses(clause.OnConflict{UpdateAll: true}).Create(&rows).Error; err != nil {
			return fmt.Errorf("store the repositories of %d hosts: %w", len(rows), err)
		}
	}
	return nil
}

func (s *Store) sealRepository(r ResolvedRepository) (repositoryRow, error) {
	env := r.Env
	if env == nil {
		env = map[string]string{}
	}
	rawEnv, err := json.Marshal(env)
	if err != nil {
		return repositoryRow{}, err
	}
	rawKeys, err := json.Marshal(envKeys(env))
	if err != nil {
		return repositoryRow{}, err
	}
	return repositoryRow{
		HostID: r.HostID, URL: r.URL, EnvKeys: string(rawKeys),
		SealedPassword: s.content.sealer.seal(passwordPlace(r.HostID), []byte(r.Password)),
		SealedEnv:      s.content.sealer.seal(envPlace(r.HostID), rawEnv),
	}, nil
}

// DeleteRepository has the host use the repository of its own configuration again.
func (s *Store) DeleteRepository(ctx context.Context, actor database.Actor, hostID string) error {
	err := s.db.Write(ctx, func(tx *database.Tx) error {
		if _, err := lockHost(tx, hostID); err != nil {
			return err
		}
		if err := leaveRepositories(tx, []string{hostID}, nil); err != nil {
			return err
		}
		done := tx.Exec("DELETE FROM host_repositories WHERE host_id = ?", hostID)
		if done.Error != nil {
			return done.Error
		}
		if done.RowsAffected == 0 {
			return fault.NotFoundf("the server holds no repository for this host")
		}
		if err := s.HostChanged(tx, hostID); err != nil {
			return err
		}
		return tx.Audit(actor, "repository.delete", "host:"+hostID, nil)
	})
	if err != nil {
		return fmt.Errorf("delete the repository of host %s: %w", hostID, err)
	}
	return nil
}

// leaveRepositories unties the hosts whose repository becomes another one, urls having the new locations of those that
// the server holds, from the list they have shown: it would be a wrong one. The next listing ties them to the right one.
// What all of the hosts are to do has changed, and their agents are woken.
func leaveRepositories(tx *database.Tx, hosts []string, urls map[string]string) error {
	var old []struct{ HostID, URL string }
	if err := tx.Raw("SELECT host_id, url FROM host_repositories WHERE host_id IN ?", hosts).Scan(&old).Error; err != nil {
		return fmt.Errorf("read the repositories of hosts: %w", err)
	}
	same := map[string]bool{}
	for _, o := range old {
		url, held := urls[o.HostID]
		same[o.HostID] = held && url == o.URL
	}
	tx.Notify(database.TopicHosts)
	var left []string
	for _, h := range hosts {
		tx.Notify(database.TopicHost(h), database.TopicWake(h))
		if !same[h] {
			left = append(left, h)
		}
	}
	if err := tx.Exec("UPDATE hosts SET schedule_version = schedule_version + 1 WHERE id IN ?", hosts).Error; err != nil {
		return fmt.Errorf("count what hosts are to do: %w", err)
	}
	return untieHosts(tx, left)
}

// untieHosts takes from the hosts the list of snapshots that they have shown.
func untieHosts(tx *database.Tx, hosts []string) error {
	if len(hosts) == 0 {
		return nil
	}
	var tied []string
	err := tx.Raw("SELECT id FROM hosts WHERE id IN ? AND repository_id IS NOT NULL", hosts).Scan(&tied).Error
	if err != nil || len(tied) == 0 {
		return err
	}
	for _, h := range tied {
		tx.Notify(database.TopicHosts, database.TopicHost(h), database.TopicSnapshots(h))
	}
	err = tx.Exec("UPDATE hosts SET repository_id = NULL, snapshot_count = 0, latest_size_bytes = success_bytes, listing_error = '' WHERE id IN ?", tied).Error
	if err != nil {
		return fmt.Errorf("untie hosts from their repositories: %w", err)
	}
	return nil
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

package vault

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"restic-manager/server/database"
	"restic-manager/server/fault"
	"restic-manager/server/fleet"
	"restic-manager/shared/wire"
)

// Use has the host use the repository from now on.
func (s *Store) Use(ctx context.Context, actor database.Actor, hostID, id string) error {
	err := s.db.Write(ctx, func(tx *database.Tx) error {
		row, err := lockSetting(tx, id)
		if fault.As(err) != nil {
			return fault.Invalidf("setting_id: there is no such repository")
		}
		if err != nil {
			return err
		}
		if _, err := s.hostOf(tx, hostID); err != nil {
			return err
		}
		if err := s.Assign(tx, id, []string{hostID}); err != nil {
			return err
		}
		if err := s.fleet.HostChanged(tx, hostID); err != nil {
			return err
		}
		return tx.Audit(actor, "repository.put", "host:"+hostID, map[string]any{"repository": row.Name, "setting_id": id})
	})
	if err != nil {
		return fmt.Errorf("give host %s a repository: %w", hostID, err)
	}
	return nil
}

// hostOf is a host of that id, or not_found.
func (s *Store) hostOf(tx *database.Tx, id string) (lockedHost, error) {
	errNoHost := fault.NotFoundf("there is no such host")
	if !wire.IsUUID(id) {
		return lockedHost{}, errNoHost
	}
	hosts, err := lockHosts(tx, []string{id})
	if err != nil {
		return lockedHost{}, err
	}
	if len(hosts) == 0 {
		return lockedHost{}, errNoHost
	}
	return hosts[0], nil
}

// Assign has the hosts use the repository from now on; those that do already are left as they are. It is all of them or
// a conflict that says which host cannot. The caller writes the Audit row.
func (s *Store) Assign(tx *database.Tx, settingID string, hostIDs []string) error {
	problems, err := s.TryAssign(tx, settingID, hostIDs)
	if err != nil {
		return err
	}
	for _, id := range hostIDs {
		if problem := problems[id]; problem != nil {
			return problem
		}
	}
	return nil
}

// TryAssign is Assign for those hosts that can use the repository; it tells what is wrong with each of the others. A host
// that is not there is passed over. Until the transaction ends, nobody deletes the repository.
func (s *Store) TryAssign(tx *database.Tx, settingID string, hostIDs []string) (problems map[string]*fault.Error, err error) {
	row, err := lockSetting(tx, settingID)
	if err != nil {
		return nil, err
	}
	secrets, err := s.open(row)
	if err != nil {
		return nil, err
	}
	a := assignment{row: row, secrets: secrets, taken: map[string]string{}, problems: map[string]*fault.Error{}}
	if perHost(row.URL) {
		if err := a.readTaken(tx); err != nil {
			return nil, err
		}
	}
	for some := range slices.Chunk(slices.Sorted(slices.Values(hostIDs)), hostsAtOnce) {
		hosts, err := lockHosts(tx, some)
		if err != nil {
			return nil, err
		}
		var all []fleet.ResolvedRepository
		for _, h := range hosts {
			if h.SettingID != nil && *h.SettingID == settingID {
				continue
			}
			if h.RevokedAt != nil {
				a.refuse(h, fleet.ErrHostRevoked())
				continue
			}
			if r, ok := a.resolve(h, ""); ok {
				all = append(all, r)
			}
		}
		if err := s.fleet.PutRepositories(tx, settingID, all); err != nil {
			return nil, err
		}
	}
	tx.Notify(database.TopicRepositories)
	return a.problems, nil
}

// rewrite hands all hosts of a setting what it says now. Each host keeps its folder, also one that was renamed.
func (s *Store) rewrite(tx *database.Tx, was, row settingRow, secrets Secrets) error {
	var ids []string
	if err := tx.Raw("SELECT host_id FROM host_repositories WHERE setting_id = ? ORDER BY host_id", row.ID).Scan(&ids).Error; err != nil {
		return fmt.Errorf("find the hosts of repository %s: %w", row.ID, err)
	}
	a := assignment{row: row, secrets: secrets, taken: map[string]string{}, problems: map[string]*fault.Error{}}
	for some := range slices.Chunk(ids, hostsAtOnce) {
		hosts, err := lockHosts(tx, some)
		if err != nil {
			return err
		}
		var all []fleet.ResolvedRepository
		for _, h := range hosts {
			if h.SettingID == nil || *h.SettingID != row.ID { // it left meanwhile
				continue
			}
			r, ok := a.resolve(h, folderIn(was.URL, *h.URL))
			if !ok {
				return a.problems[h.ID]
			}
			all = append(all, r)
		}
		if err := s.fleet.PutRepositories(tx, row.ID, all); err != nil {
			return err
		}
	}
	return nil
}

// hostsAtOnce bounds how many hosts one statement locks.
const hostsAtOnce = 500

// lockedHost is a host with the repository that the server holds for it.
type lockedHost struct {
	ID        string
	Name      string
	RevokedAt *time.Time
	SettingID *string
	URL       *string
}

// lockHosts reads and locks hosts in the order of their ids. What is joined is read once they are locked: a change of a
// host's repository waits for that lock.
func lockHosts(tx *database.Tx, ids []string) ([]lockedHost, error) {
	if tx.Postgres() {
		if err := tx.Exec("SELECT id FROM hosts WHERE id IN ? ORDER BY id FOR NO KEY UPDATE", ids).Error; err != nil {
			return nil, fmt.Errorf("lock %d hosts: %w", len(ids), err)
		}
	}
	var hosts []lockedHost
	err := tx.Raw(`SELECT h.id, h.name, h.revoked_at, hr.setting_id, hr.url FROM hosts h LEFT JOIN host_repositories hr ON hr.host_id = h.id
		WHERE h.id IN ? ORDER BY h.id`, ids).Scan(&hosts).Error
	if err != nil {
		return nil, fmt.Errorf("read %d hosts: %w", len(ids), err)
	}
	return hosts, nil
}

// assignment turns one setting into the rows of hosts.
type assignment struct {
	row      settingRow
	secrets  Secrets
	taken    map[string]string // location in small letters, as some storage compares them -> the host's name
	problems map[string]*fault.Error
}

// readTaken reads which locations the setting's hosts have.
func (a *assignment) readTaken(tx *database.Tx) error {
	var rows []struct{ URL, Name string }
	err := tx.Raw("SELECT hr.url, h.name FROM host_repositories hr JOIN hosts h ON h.id = hr.host_id WHERE hr.setting_id = ?", a.row.ID).Scan(&rows).Error
	if err != nil {
		return fmt.Errorf("read the locations of repository %s: %w", a.row.ID, err)
	}
	for _, r := range rows {
		a.taken[strings.ToLower(r.URL)] = r.Name
	}
	return nil
}

// resolve gives what the host is handed; ok is false with a problem. Its folder is the one it has, or its name.
func (a *assignment) resolve(h lockedHost, has string) (r fleet.ResolvedRepository, ok bool) {
	r = fleet.ResolvedRepository{HostID: h.ID, RepositoryConfig: fleet.RepositoryConfig{URL: a.row.URL, Password: a.secrets.Password, Env: a.secrets.Env}}
	if !perHost(a.row.URL) {
		return r, true
	}
	if has == "" {
		has = folder(h.Name)
	}
	if has == "" {
		return r, a.refuse(h, fault.New(fault.Conflict, "no_folder", "the name of host %q has no letter or digit that a path may hold: rename the host, or use a repository without {host}", h.Name))
	}
	r.URL = located(a.row.URL, has)
	if other, is := a.taken[strings.ToLower(r.URL)]; is {
		return r, a.refuse(h, fault.New(fault.Conflict, "folder_taken", "host %q would use %s, which is host %q's: rename one of them first", h.Name, r.URL, other))
	}
	a.taken[strings.ToLower(r.URL)] = h.Name
	return r, true
}

func (a *assignment) refuse(h lockedHost, why *fault.Error) bool {
	a.problems[h.ID] = why
	return false
}

// Target is the repository as the order of a job by that host names it: its own folder where the setting has one a host.
func (s *Store) Target(ctx context.Context, id, hostID string) (fleet.Target, error) {
	if !wire.IsUUID(id) {
		return fleet.Target{}, errNoRepository
	}
	var rows []struct{ URL, RepositoryID string }
	err := s.db.Read(ctx).Raw(`SELECT s.url, coalesce(m.repository_id, '') AS repository_id FROM repository_settings s
		LEFT JOIN repository_maintenance m ON m.setting_id = s.id AND m.host_id IS NULL WHERE s.id = ?`, id).Scan(&rows).Error
	if err != nil {
		return fleet.Target{}, fmt.Errorf("read repository %s: %w", id, err)
	}
	if len(rows) == 0 {
		return fleet.Target{}, errNoRepository
	}
	t := fleet.Target{SettingID: id}
	switch {
	case perHost(rows[0].URL):
		t.HostID = hostID
	case len(rows) == 1:
		t.RepositoryID = rows[0].RepositoryID
	}
	return t, nil
}

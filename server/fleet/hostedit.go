package fleet

import (
	"context"
	"errors"
	"fmt"

	"gorm.io/gorm"

	"restic-manager/server/database"
	"restic-manager/server/fault"
	"restic-manager/server/fleet/job"
	"restic-manager/shared/wire"
)

// lockHost reads and locks a host's row, or not_found.
func lockHost(tx *database.Tx, id string) (hostRow, error) {
	if !wire.IsUUID(id) {
		return hostRow{}, errNoHost
	}
	var rows []hostRow
	if err := tx.Raw("SELECT * FROM hosts WHERE id = ?"+forUpdate(tx), id).Scan(&rows).Error; err != nil {
		return hostRow{}, err
	}
	if len(rows) == 0 {
		return hostRow{}, errNoHost
	}
	return rows[0], nil
}

// UpdateHost renames or labels a host.
func (s *Store) UpdateHost(ctx context.Context, actor database.Actor, id string, p HostPatch) (Host, error) {
	set := map[string]any{}
	detail := map[string]any{}
	if p.Name != nil {
		name, err := checkHostName(*p.Name)
		if err != nil {
			return Host{}, err
		}
		set["name"], set["name_key"], detail["name"] = name, nameKey(name), name
	}
	if p.Labels != nil {
		labels, err := encodeLabels(*p.Labels)
		if err != nil {
			return Host{}, err
		}
		set["labels"], detail["labels"] = labels, *p.Labels
	}
	if len(set) == 0 {
		return s.HostByID(ctx, id)
	}
	err := s.db.Write(ctx, func(tx *database.Tx) error {
		if _, err := lockHost(tx, id); err != nil {
			return err
		}
		err := tx.Table("hosts").Where("id = ?", id).Updates(set).Error
		if errors.Is(err, gorm.ErrDuplicatedKey) {
			return fault.New(fault.Conflict, "name_taken", "another host has this name (upper and lower case count as the same); give another one")
		}
		if err != nil {
			return err
		}
		tx.Notify(database.TopicHosts, database.TopicHost(id))
		if err := s.HostChanged(tx, id); err != nil {
			return err
		}
		return tx.Audit(actor, "host.update", "host:"+id, detail)
	})
	if err != nil {
		return Host{}, fmt.Errorf("update host %s: %w", id, err)
	}
	return s.HostByID(ctx, id)
}

// RevokeHost voids the agent's bearer and ends the host's jobs, in one transaction. A revoked host stays so;
// doing it again changes nothing.
func (s *Store) RevokeHost(ctx context.Context, actor database.Actor, id string) (Host, error) {
	var ended []job.Job
	err := s.db.Write(ctx, func(tx *database.Tx) (err error) {
		ended, err = s.revoke(tx, actor, id)
		return err
	})
	if err != nil {
		return Host{}, fmt.Errorf("revoke host %s: %w", id, err)
	}
	s.figures.ended(ended...)
	return s.HostByID(ctx, id)
}

func (s *Store) revoke(tx *database.Tx, actor database.Actor, id string) (ended []job.Job, err error) {
	host, err := lockHost(tx, id)
	if err != nil || host.RevokedAt != nil {
		return nil, err
	}
	if err := tx.Exec("UPDATE hosts SET status = 'revoked', revoked_at = ? WHERE id = ?", tx.Now, id).Error; err != nil {
		return nil, err
	}
	if ended, err = s.revokeJobs(tx, id); err != nil {
		return nil, err
	}
	if err := s.HostChanged(tx, id); err != nil {
		return nil, err
	}
	if err := tx.Audit(actor, "host.revoke", "host:"+id, map[string]any{"name": host.Name}); err != nil {
		return nil, err
	}
	tx.Notify(database.TopicHosts, database.TopicHost(id), database.TopicJobs, database.TopicWake(id))
	return ended, bumpIdentities(tx, id)
}

// DeleteHost removes a host with all its jobs and logs; its id is never used again. The host is revoked
// first. Its logs go in portions, each a transaction of its own; if the server stops in the middle, the host
// is still there, revoked, and can be deleted again.
func (s *Store) DeleteHost(ctx context.Context, actor database.Actor, id string) error {
	if _, err := s.RevokeHost(ctx, actor, id); err != nil {
		return err
	}
	if err := s.deleteLogsOf(ctx, id); err != nil {
		return fmt.Errorf("delete the logs of host %s: %w", id, err)
	}
	err := s.db.Write(ctx, func(tx *database.Tx) error {
		host, err := lockHost(tx, id)
		if err != nil {
			return err
		}
		if err := tx.Exec("DELETE FROM hosts WHERE id = ?", id).Error; err != nil {
			return err
		}
		tx.Notify(database.TopicHosts, database.TopicHost(id), database.TopicJobs)
		if err := bumpIdentities(tx, id); err != nil {
			return err
		}
		return tx.Audit(actor, "host.delete", "host:"+id, map[string]any{"name": host.Name})
	})
	if err != nil {
		return fmt.Errorf("delete host %s: %w", id, err)
	}
	return nil
}

// ClearCloneAlarm says that one of the two copies was switched off: all boots are forgotten, and the host
// gets new jobs again.
func (s *Store) ClearCloneAlarm(ctx context.Context, actor database.Actor, id string) (Host, error) {
	err := s.db.Write(ctx, func(tx *database.Tx) error {
		host, err := lockHost(tx, id)
		if err != nil || host.CloneAlarmAt == nil {
			return err
		}
		if err := s.forgetBoots(tx, id); err != nil {
			return err
		}
		tx.Notify(database.TopicHosts, database.TopicHost(id), database.TopicWake(id))
		return tx.Audit(actor, "host.clear_clone_alarm", "host:"+id, map[string]any{"name": host.Name})
	})
	if err != nil {
		return Host{}, fmt.Errorf("clear the clone alarm of host %s: %w", id, err)
	}
	return s.HostByID(ctx, id)
}

package madeup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"restic-manager/server/database"
	"restic-manager/shared/wire"
)

// Host is what somebody must know of a made-up host to speak as its agent.
type Host struct {
	ID           string
	Name         string
	BootID       string
	BootNumber   int64
	Facts        wire.Facts
	Guard        wire.GuardReport
	Kinds        []wire.Kind
	Repositories []wire.RepositoryReport
	Repository   string // restic's id; empty: not known
	Bytes, Files int64  // of its newest backup
	CloneAlarm   bool   // two machines use its identity: it gets no jobs
}

// OnlineHosts are the hosts that are online. The database is only read; a server may run on it.
func OnlineHosts(ctx context.Context, target string) (hosts []Host, err error) {
	db, err := database.Open(ctx, database.Options{URL: target, MaxConnections: 1})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	rows, err := db.Read(ctx).Raw(`SELECT id, name, boot_id, boot_number, facts, guard, kinds, reported_repositories, coalesce(repository_id, ''), latest_size_bytes,
		coalesce((SELECT files_processed FROM jobs WHERE jobs.id = hosts.last_backup_job_id), 0), clone_alarm_at IS NOT NULL
		FROM hosts WHERE status = 'online' ORDER BY name_key`).Rows()
	if err != nil {
		return nil, fmt.Errorf("read the hosts: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var h Host
		var facts, guard, kinds, repositories []byte
		if err := rows.Scan(&h.ID, &h.Name, &h.BootID, &h.BootNumber, &facts, &guard, &kinds, &repositories, &h.Repository, &h.Bytes, &h.Files, &h.CloneAlarm); err != nil {
			return nil, fmt.Errorf("read the hosts: %w", err)
		}
		err := errors.Join(json.Unmarshal(facts, &h.Facts), json.Unmarshal(guard, &h.Guard), json.Unmarshal(kinds, &h.Kinds), json.Unmarshal(repositories, &h.Repositories))
		if err != nil {
			return nil, fmt.Errorf("read host %s: %w", h.Name, err)
		}
		hosts = append(hosts, h)
	}
	return hosts, rows.Err()
}

// Lists reads the lists of snapshots as a server has them, which stand for what is in the repositories.
type Lists struct{ db *database.DB }

// OpenLists opens the database for reading.
func OpenLists(ctx context.Context, target string) (*Lists, error) {
	db, err := database.Open(ctx, database.Options{URL: target, MaxConnections: 2})
	return &Lists{db}, err
}

// Close ends it.
func (l *Lists) Close() error { return l.db.Close() }

// Of is the list of one repository.
func (l *Lists) Of(ctx context.Context, repository string) (list []wire.Snapshot, err error) {
	rows, err := l.db.Read(ctx).Raw(`SELECT id, time, hostname, username, paths, tags, excludes, parent, tree, program_version, summary
		FROM snapshots WHERE repository_id = ? ORDER BY time, id`, repository).Rows()
	if err != nil {
		return nil, fmt.Errorf("read the snapshots of %s: %w", repository, err)
	}
	defer rows.Close()
	for rows.Next() {
		var s wire.Snapshot
		var paths, tags, excludes, summary []byte
		if err := rows.Scan(&s.ID, &s.Time, &s.Hostname, &s.Username, &paths, &tags, &excludes, &s.Parent, &s.Tree, &s.ProgramVersion, &summary); err != nil {
			return nil, fmt.Errorf("read the snapshots of %s: %w", repository, err)
		}
		err := errors.Join(json.Unmarshal(paths, &s.Paths), json.Unmarshal(tags, &s.Tags), json.Unmarshal(excludes, &s.Excludes))
		if len(summary) > 0 {
			err = errors.Join(err, json.Unmarshal(summary, &s.Summary))
		}
		if err != nil {
			return nil, fmt.Errorf("read snapshot %s: %w", s.ID, err)
		}
		list = append(list, s)
	}
	return list, rows.Err()
}

// OpenJob is one that an agent has taken and not ended.
type OpenJob struct {
	JobID   string `gorm:"column:id"`
	HostID  string
	Lease   string
	Started bool
	Lines   int64 // of its log, as far as the server has them
}

// Open are the jobs under way.
func (l *Lists) Open(ctx context.Context) (jobs []OpenJob, err error) {
	err = l.db.Read(ctx).Raw(`SELECT jobs.id, jobs.host_id, jobs.lease, jobs.state = 'running' AS started, coalesce(logs.next_line, 1) - 1 AS lines
		FROM jobs LEFT JOIN logs ON logs.job_id = jobs.id WHERE jobs.state IN ('accepted', 'running')`).Scan(&jobs).Error
	if err != nil {
		return nil, fmt.Errorf("read the jobs under way: %w", err)
	}
	return jobs, nil
}

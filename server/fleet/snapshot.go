package fleet

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"gorm.io/gorm"

	"restic-manager/server/fault"
	"restic-manager/shared/wire"
)

// snapshotRow is a snapshot as it is stored; lists and the summary are JSON.
type snapshotRow struct {
	RepositoryID   string    `gorm:"column:repository_id;primaryKey"`
	ID             string    `gorm:"column:id;primaryKey"`
	Time           time.Time `gorm:"column:time"`
	Hostname       string    `gorm:"column:hostname"`
	Username       string    `gorm:"column:username"`
	Paths          string    `gorm:"column:paths"`
	Tags           string    `gorm:"column:tags"`
	Excludes       string    `gorm:"column:excludes"`
	Parent         string    `gorm:"column:parent"`
	Tree           string    `gorm:"column:tree"`
	Original       string    `gorm:"column:original"`
	ProgramVersion string    `gorm:"column:program_version"`
	SizeBytes      int64     `gorm:"column:size_bytes"`
	FileCount      int64     `gorm:"column:file_count"`
	DataAdded      int64     `gorm:"column:data_added"`
	Summary        string    `gorm:"column:summary"`
}

// TableName is snapshots.
func (snapshotRow) TableName() string { return "snapshots" }

func newSnapshotRow(repository string, w wire.Snapshot) (snapshotRow, error) {
	r := snapshotRow{
		RepositoryID: repository, ID: w.ID, Time: saneTime(w.Time), Hostname: cleanLine(w.Hostname, maxHostname),
		Username: cleanLine(w.Username, 255), Parent: cleanLine(w.Parent, 64), Tree: cleanLine(w.Tree, 64),
		Original: cleanLine(w.Original, 64), ProgramVersion: cleanLine(w.ProgramVersion, 64),
	}
	for _, list := range []struct {
		to   *string
		from []string
	}{{&r.Paths, w.Paths}, {&r.Tags, w.Tags}, {&r.Excludes, w.Excludes}} {
		clean := []string{}
		for _, one := range list.from {
			clean = append(clean, cleanLine(one, 8192))
		}
		raw, err := json.Marshal(clean)
		if err != nil {
			return r, err
		}
		*list.to = string(raw)
	}
	if w.Summary != nil {
		r.SizeBytes, r.FileCount, r.DataAdded = w.Summary.TotalBytesProcessed, w.Summary.TotalFilesProcessed, w.Summary.DataAdded
		raw, err := json.Marshal(w.Summary)
		if err != nil {
			return r, fault.Invalidf("a snapshot's summary: %v", err)
		}
		r.Summary = string(raw)
	}
	return r, nil
}

// snapshot is the row as people see it.
func (r snapshotRow) snapshot() (Snapshot, error) {
	o := Snapshot{
		ID: r.ID, ShortID: r.ID[:8], Time: r.Time.UTC(), Hostname: r.Hostname, Username: r.Username, Parent: r.Parent, Tree: r.Tree,
		Original: r.Original, ProgramVersion: r.ProgramVersion, SizeBytes: r.SizeBytes, FileCount: r.FileCount, DataAdded: r.DataAdded,
	}
	for _, list := range []struct {
		from string
		to   any
	}{{r.Paths, &o.Paths}, {r.Tags, &o.Tags}, {r.Excludes, &o.Excludes}, {r.Summary, &o.Summary}} {
		if list.from == "" {
			continue
		}
		if err := json.Unmarshal([]byte(list.from), list.to); err != nil {
			return o, fmt.Errorf("read snapshot %s: %w", r.ID, err)
		}
	}
	return o, nil
}

// Snapshots is a page of the list of the host's repository, newest first: those whose hostname is one that
// the host has had, or all of them.
func (s *Store) Snapshots(ctx context.Context, hostID string, all bool, p Page) (SnapshotPage, error) {
	page := SnapshotPage{Snapshots: []Snapshot{}}
	if !wire.IsUUID(hostID) {
		return page, fault.NotFoundf("there is no such host")
	}
	// One view of the database for the list and its date: a commit between two reads would mix them.
	view := &sql.TxOptions{ReadOnly: true}
	if s.db.Postgres() {
		view.Isolation = sql.LevelRepeatableRead
	}
	err := s.db.Read(ctx).Transaction(func(db *gorm.DB) error { return readSnapshots(db, &page, hostID, all, p) }, view)
	return page, err
}

func readSnapshots(db *gorm.DB, page *SnapshotPage, hostID string, all bool, p Page) error {
	var heads []struct {
		RepositoryID *string
		RefreshedAt  *time.Time
	}
	err := db.Raw(`SELECT hosts.repository_id, repositories.refreshed_at FROM hosts LEFT JOIN repositories ON repositories.id = hosts.repository_id
		WHERE hosts.id = ?`, hostID).Scan(&heads).Error
	if err != nil {
		return fmt.Errorf("read the repository of host %s: %w", hostID, err)
	}
	if len(heads) == 0 {
		return fault.NotFoundf("there is no such host")
	}
	page.RefreshedAt = inUTC(heads[0].RefreshedAt)
	if heads[0].RepositoryID == nil {
		return nil
	}
	if err := walkIndexes(db); err != nil {
		return err
	}
	query, args, err := selectSnapshots(db, hostID, *heads[0].RepositoryID, all, p)
	if err != nil || query == "" {
		return err
	}
	var rows []snapshotRow
	if err := db.Raw(query, args...).Scan(&rows).Error; err != nil {
		return fmt.Errorf("list the snapshots of host %s: %w", hostID, err)
	}
	if len(rows) > p.limit() {
		rows = rows[:p.limit()]
		last := rows[len(rows)-1]
		page.NextCursor = encodeCursor(last.Time.UTC(), last.ID)
	}
	for _, r := range rows {
		o, err := r.snapshot()
		if err != nil {
			return err
		}
		page.Snapshots = append(page.Snapshots, o)
	}
	return nil
}

// walkIndexes keeps PostgreSQL, for this transaction, from reading all of a list to sort it. It would where it
// takes a list for a short one, as it does until it has counted a new one by itself, a minute later.
func walkIndexes(db *gorm.DB) error {
	if db.Name() != "postgres" {
		return nil
	}
	err := db.Exec("SELECT set_config('enable_sort', 'off', true), set_config('enable_bitmapscan', 'off', true)").Error
	if err != nil {
		return fmt.Errorf("choose how to read snapshots: %w", err)
	}
	return nil
}

// selectSnapshots is the query for one page and the row after it; no query means no rows. Each part of it is a walk
// along an index that ends at its limit: a database that is free to choose reads and sorts the whole list.
func selectSnapshots(db *gorm.DB, hostID, repository string, all bool, p Page) (query string, args []any, err error) {
	after, cursor := "", []any{}
	if p.Cursor != "" {
		var at time.Time
		var id string
		if err := decodeCursor(p.Cursor, &at, &id); err != nil {
			return "", nil, err
		}
		after, cursor = " AND (time, id) < (?, ?)", []any{at.UTC(), id}
	}
	const order = " ORDER BY time DESC, id DESC LIMIT ?"
	if all {
		args = append(append([]any{repository}, cursor...), p.limit()+1)
		return "SELECT * FROM snapshots WHERE repository_id = ?" + after + order, args, nil
	}
	var hostnames []string
	if err := db.Raw("SELECT hostname FROM host_names WHERE host_id = ? ORDER BY hostname", hostID).Scan(&hostnames).Error; err != nil {
		return "", nil, fmt.Errorf("read the hostnames of host %s: %w", hostID, err)
	}
	var parts []string
	for _, h := range hostnames {
		parts = append(parts, "SELECT * FROM (SELECT * FROM snapshots WHERE repository_id = ? AND hostname = ?"+after+order+") x")
		args = append(append(append(args, repository, h), cursor...), p.limit()+1)
	}
	if len(parts) < 2 {
		return strings.Join(parts, ""), args, nil
	}
	return strings.Join(parts, " UNION ALL ") + order, append(args, p.limit()+1), nil
}

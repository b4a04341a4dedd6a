package fleet

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"gorm.io/gorm"

	"restic-manager/server/database"
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
func (s *Store) Snapshots(ctx context.Context, hostID string, f SnapshotFilter, p Page) (SnapshotPage, error) {
	page := SnapshotPage{Snapshots: []Snapshot{}}
	err := s.viewList(ctx, hostID, func(db *gorm.DB, l hostList) error {
		page.RefreshedAt = database.InUTC(l.RefreshedAt)
		if l.RepositoryID == nil {
			return nil
		}
		return readSnapshots(db, &page, l, f, p)
	})
	return page, err
}

// hostList is the list of a host's repository, as far as the host's row tells.
type hostList struct {
	HostID        string
	RepositoryID  *string
	RefreshedAt   *time.Time
	SnapshotCount int64 // of the host
	AllCount      int64 // of the repository
}

// viewList has fn look at a host's list. It is one view of the database for the list and its date: a commit between two
// reads would mix them.
func (s *Store) viewList(ctx context.Context, hostID string, fn func(db *gorm.DB, l hostList) error) error {
	if !wire.IsUUID(hostID) {
		return errNoHost
	}
	view := &sql.TxOptions{ReadOnly: true}
	if s.db.Postgres() {
		view.Isolation = sql.LevelRepeatableRead
	}
	return s.db.Read(ctx).Transaction(func(db *gorm.DB) error {
		var lists []hostList
		err := db.Raw(`SELECT hosts.id AS host_id, hosts.repository_id, hosts.snapshot_count, repositories.refreshed_at,
				coalesce(repositories.snapshot_count, 0) AS all_count
			FROM hosts LEFT JOIN repositories ON repositories.id = hosts.repository_id WHERE hosts.id = ?`, hostID).Scan(&lists).Error
		if err != nil {
			return fmt.Errorf("read the repository of host %s: %w", hostID, err)
		}
		if len(lists) == 0 {
			return errNoHost
		}
		return fn(db, lists[0])
	}, view)
}

func readSnapshots(db *gorm.DB, page *SnapshotPage, l hostList, f SnapshotFilter, p Page) error {
	if err := walkIndexes(db); err != nil {
		return err
	}
	parts, err := partsOf(db, l, f)
	if err != nil {
		return err
	}
	if page.Total, err = countParts(db, l, f, parts); err != nil {
		return err
	}
	query, args, err := selectSnapshots(parts, p)
	if err != nil || query == "" || page.Total == 0 {
		return err
	}
	var rows []snapshotRow
	if err := db.Raw(query, args...).Scan(&rows).Error; err != nil {
		return fmt.Errorf("list the snapshots of host %s: %w", l.HostID, err)
	}
	if len(rows) > p.limit() {
		rows = rows[:p.limit()]
		last := rows[len(rows)-1]
		page.NextCursor = encodeCursor(last.Time.UTC(), last.ID)
	}
	page.Snapshots, err = shownSnapshots(db, *l.RepositoryID, rows)
	return err
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

// snapshotPart is one stretch of an index: the condition of its rows.
type snapshotPart struct {
	where string
	args  []any
}

// partsOf are the stretches that a filtered list consists of: one for each hostname that the host has had, or the whole
// repository.
func partsOf(db *gorm.DB, l hostList, f SnapshotFilter) (parts []snapshotPart, err error) {
	matches, args, err := f.conditions(db.Name() == "postgres")
	if err != nil {
		return nil, err
	}
	if f.All {
		return []snapshotPart{{"repository_id = ?" + matches, append([]any{*l.RepositoryID}, args...)}}, nil
	}
	var hostnames []string
	if err := db.Raw("SELECT hostname FROM host_names WHERE host_id = ? ORDER BY hostname", l.HostID).Scan(&hostnames).Error; err != nil {
		return nil, fmt.Errorf("read the hostnames of host %s: %w", l.HostID, err)
	}
	for _, h := range hostnames {
		parts = append(parts, snapshotPart{"repository_id = ? AND hostname = ?" + matches, append([]any{*l.RepositoryID, h}, args...)})
	}
	return parts, nil
}

// conditions find the filter's texts in the lists as encoding/json writes them.
func (f SnapshotFilter) conditions(postgres bool) (and string, args []any, err error) {
	path, tag := " AND instr(paths, ?) > 0", " AND (instr(tags, ?) > 0 OR instr(tags, ?) > 0)"
	if postgres {
		path, tag = " AND strpos(paths, ?) > 0", " AND (strpos(tags, ?) > 0 OR strpos(tags, ?) > 0)"
	}
	if f.Path != "" {
		text, err := jsonText(f.Path)
		if err != nil {
			return "", nil, err
		}
		and, args = and+path, append(args, text[1:len(text)-1])
	}
	if f.Tag != "" {
		text, err := jsonText(f.Tag)
		if err != nil {
			return "", nil, err
		}
		// The first of the list or a later one: within a text its quotes would be escaped.
		and, args = and+tag, append(args, "["+text, ","+text)
	}
	return and, args, nil
}

// jsonText is a text as it stands in a list.
func jsonText(s string) (string, error) {
	raw, err := json.Marshal(cleanLine(s, 8192))
	return string(raw), err
}

// countParts is how many snapshots the whole filtered list has. Without a filter that is known.
func countParts(db *gorm.DB, l hostList, f SnapshotFilter, parts []snapshotPart) (total int64, err error) {
	if f.Path == "" && f.Tag == "" {
		if f.All {
			return l.AllCount, nil
		}
		return l.SnapshotCount, nil
	}
	for _, part := range parts {
		var n int64
		if err := db.Raw("SELECT count(*) FROM snapshots WHERE "+part.where, part.args...).Scan(&n).Error; err != nil {
			return 0, fmt.Errorf("count the snapshots of host %s: %w", l.HostID, err)
		}
		total += n
	}
	return total, nil
}

// selectSnapshots is the query for one page and the row after it; no query means no rows. Each part of it is a walk
// along an index that ends at its limit: a database that is free to choose reads and sorts the whole list.
func selectSnapshots(parts []snapshotPart, p Page) (query string, args []any, err error) {
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
	var queries []string
	for _, part := range parts {
		queries = append(queries, "SELECT * FROM (SELECT * FROM snapshots WHERE "+part.where+after+order+") x")
		args = append(append(append(args, part.args...), cursor...), p.limit()+1)
	}
	if len(queries) < 2 {
		return strings.Join(queries, ""), args, nil
	}
	return strings.Join(queries, " UNION ALL ") + order, append(args, p.limit()+1), nil
}

// makerRow is the backup that made a snapshot.
type makerRow struct {
	ID         string
	Kind       wire.Kind
	SnapshotID string
	Summary    *string
}

// shownSnapshots are the rows as people see them, each with the backup that made it.
func shownSnapshots(db *gorm.DB, repository string, rows []snapshotRow) ([]Snapshot, error) {
	list := make([]Snapshot, 0, len(rows))
	ids := make([]string, 0, len(rows))
	for _, r := range rows {
		ids = append(ids, r.ID)
	}
	makers := map[string]makerRow{}
	for part := range slices.Chunk(ids, atOnce) {
		var found []makerRow
		// In no order: to give one, a database that may not sort (see walkIndexes) reads all jobs. And of no kind: by
		// that index SQLite would read all backups.
		err := db.Raw("SELECT id, kind, snapshot_id, summary FROM jobs WHERE snapshot_id IN ? AND snapshot_id <> '' AND repository_id = ?",
			part, repository).Scan(&found).Error
		if err != nil {
			return nil, fmt.Errorf("find the backups that made snapshots: %w", err)
		}
		for _, m := range found { // the oldest is the one: a later one can only repeat the id
			if known, ok := makers[m.SnapshotID]; m.Kind == wire.KindBackup && (!ok || m.ID < known.ID) {
				makers[m.SnapshotID] = m
			}
		}
	}
	for _, r := range rows {
		o, err := r.snapshot()
		if err != nil {
			return nil, err
		}
		if m, ok := makers[r.ID]; ok {
			if err := o.madeBy(m); err != nil {
				return nil, err
			}
		}
		list = append(list, o)
	}
	return list, nil
}

// madeBy adds the backup that made the snapshot, and its figures where restic stored none.
func (o *Snapshot) madeBy(m makerRow) error {
	o.JobID = m.ID
	var s *wire.Summary
	if err := decode(m.Summary, &s); err != nil {
		return fmt.Errorf("read the summary of job %s: %w", m.ID, err)
	}
	if o.Summary != nil || s == nil {
		return nil
	}
	o.SizeBytes, o.FileCount, o.DataAdded = s.TotalBytesProcessed, s.TotalFilesProcessed, s.DataAdded
	o.Summary = &wire.SnapshotSummary{
		FilesNew: s.FilesNew, FilesChanged: s.FilesChanged, FilesUnmodified: s.FilesUnmodified, DataAdded: s.DataAdded,
		DataAddedPacked: s.DataAddedPacked, TotalFilesProcessed: s.TotalFilesProcessed, TotalBytesProcessed: s.TotalBytesProcessed,
	}
	return nil
}

// minShortID is the least that a short id has: as many digits as restic shows.
const minShortID = 8

// SnapshotByID is one snapshot of the host's repository, by its id or a part of that, from the beginning on, that no
// other one has.
func (s *Store) SnapshotByID(ctx context.Context, hostID, id string) (Snapshot, error) {
	missing := fault.NotFoundf("there is no such snapshot")
	var one Snapshot
	err := s.viewList(ctx, hostID, func(db *gorm.DB, l hostList) error {
		if l.RepositoryID == nil || len(id) < minShortID || len(id) > 2*idSize || strings.Trim(id, "0123456789abcdef") != "" {
			return missing
		}
		var rows []snapshotRow
		// No digit is as large as a g.
		err := db.Raw("SELECT * FROM snapshots WHERE repository_id = ? AND id >= ? AND id < ? ORDER BY id LIMIT 2", *l.RepositoryID, id, id+"g").Scan(&rows).Error
		if err != nil {
			return fmt.Errorf("read a snapshot of host %s: %w", hostID, err)
		}
		if len(rows) != 1 {
			return missing
		}
		list, err := shownSnapshots(db, *l.RepositoryID, rows)
		if err == nil {
			one = list[0]
		}
		return err
	})
	return one, err
}

package fleet

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"gorm.io/gorm"

	"restic-manager/server/database"
	"restic-manager/server/fault"
	"restic-manager/shared/wire"
)

// write brings the stored list to the new one: removes what is gone, adds what is new from its lines. touched is
// false when nothing changed.
func (d diff) write(tx *database.Tx, repository string, fresh []byte) (touched bool, err error) {
	for ids := range slices.Chunk(d.removed, 500) {
		hexes := make([]string, len(ids))
		for i, id := range ids {
			hexes[i] = hex.EncodeToString(id[:])
		}
		if err := tx.Exec("DELETE FROM snapshots WHERE repository_id = ? AND id IN ?", repository, hexes).Error; err != nil {
			return false, fmt.Errorf("remove snapshots of repository %s: %w", repository, err)
		}
	}
	missing := make(map[[32]byte]struct{}, len(d.added))
	for k := range d.added {
		missing[k] = struct{}{}
	}
	var rows []snapshotRow
	flush := func() error {
		if len(rows) == 0 {
			return nil
		}
		err := tx.CreateInBatches(rows, 500).Error
		rows = rows[:0]
		if err != nil {
			return fmt.Errorf("add snapshots of repository %s: %w", repository, err)
		}
		return nil
	}
	for line := range bytes.Lines(fresh) {
		var w wire.Snapshot
		if err := json.Unmarshal(line, &w); err != nil {
			return false, fault.Invalidf("a line of the list is not a snapshot")
		}
		if !wire.IsSHA256(w.ID) {
			return false, fault.Invalidf("a snapshot's id is not 64 hex digits")
		}
		var id [32]byte
		if _, err := hex.Decode(id[:], []byte(w.ID)); err != nil {
			return false, err
		}
		if _, ok := missing[id]; !ok {
			continue
		}
		delete(missing, id)
		row, err := newSnapshotRow(repository, w)
		if err != nil {
			return false, err
		}
		if rows = append(rows, row); len(rows) == 500 {
			if err := flush(); err != nil {
				return false, err
			}
		}
	}
	if len(missing) > 0 {
		return false, errListing // a line was left out as known, and is not known any more
	}
	if err := flush(); err != nil {
		return false, err
	}
	if len(d.added) == 0 && len(d.removed) == 0 {
		return false, nil
	}
	return true, countHostnames(tx, repository)
}

// countHostnames counts a repository's snapshots of each hostname, from the index alone.
func countHostnames(tx *database.Tx, repository string) error {
	if err := tx.Exec("DELETE FROM repository_hostnames WHERE repository_id = ?", repository).Error; err != nil {
		return fmt.Errorf("count the snapshots of repository %s: %w", repository, err)
	}
	err := tx.Exec(`INSERT INTO repository_hostnames (repository_id, hostname, snapshot_count)
		SELECT repository_id, hostname, count(*) FROM snapshots WHERE repository_id = ? GROUP BY repository_id, hostname`, repository).Error
	if err != nil {
		return fmt.Errorf("count the snapshots of repository %s: %w", repository, err)
	}
	return nil
}

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
	q := db.Table("snapshots").Where("repository_id = ?", *heads[0].RepositoryID)
	if !all {
		q = q.Where("hostname IN (SELECT hostname FROM host_names WHERE host_id = ?)", hostID)
	}
	if p.Cursor != "" {
		var at time.Time
		var id string
		if err := decodeCursor(p.Cursor, &at, &id); err != nil {
			return err
		}
		q = q.Where("(time, id) < (?, ?)", at.UTC(), id)
	}
	var rows []snapshotRow
	if err := q.Order("time DESC, id DESC").Limit(p.limit() + 1).Scan(&rows).Error; err != nil {
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

// knownSnapshots remembers the ids of a few repositories' lists, each under the order of its last commit:
// another order is another list.
type knownSnapshots struct {
	mu    sync.Mutex // guards lists
	lists map[string]knownList
}

type knownList struct {
	order int64
	used  time.Time
	ids   map[[32]byte]struct{}
}

// rememberedLists bounds the memory: a list of 100,000 takes about 5 MB.
const rememberedLists = 8

func newKnownSnapshots() *knownSnapshots { return &knownSnapshots{lists: map[string]knownList{}} }

// of is the list of ids as of that commit; errListing when there was a later one. The map is not to be
// changed. No repository is the empty list.
func (k *knownSnapshots) of(tx *database.Tx, repository string, order int64) (map[[32]byte]struct{}, error) {
	if repository == "" {
		return nil, nil
	}
	k.mu.Lock()
	l, ok := k.lists[repository]
	k.mu.Unlock()
	if ok && l.order == order { // the table may be further on; then the commit is refused
		return l.ids, nil
	}
	var orders []int64
	if err := tx.Raw("SELECT listing_order FROM repositories WHERE id = ?", repository).Scan(&orders).Error; err != nil {
		return nil, fmt.Errorf("read repository %s: %w", repository, err)
	}
	if len(orders) != 1 || orders[0] != order {
		return nil, errListing
	}
	var hexes []string
	if err := tx.Raw("SELECT id FROM snapshots WHERE repository_id = ?", repository).Scan(&hexes).Error; err != nil {
		return nil, fmt.Errorf("read the list of repository %s: %w", repository, err)
	}
	ids := make(map[[32]byte]struct{}, len(hexes))
	for _, h := range hexes {
		var id [32]byte
		if _, err := hex.Decode(id[:], []byte(h)); err != nil {
			return nil, fmt.Errorf("the list of repository %s holds a strange id: %w", repository, err)
		}
		ids[id] = struct{}{}
	}
	k.offer(repository, order, ids)
	return ids, nil
}

// offer remembers a committed list. One that might still be rolled back must not come here: its order would
// be given to another list.
func (k *knownSnapshots) offer(repository string, order int64, ids map[[32]byte]struct{}) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	k.lists[repository] = knownList{order: order, used: now, ids: ids}
	for len(k.lists) > rememberedLists {
		oldest := ""
		for r, l := range k.lists {
			if oldest == "" || l.used.Before(k.lists[oldest].used) {
				oldest = r
			}
		}
		delete(k.lists, oldest)
	}
}

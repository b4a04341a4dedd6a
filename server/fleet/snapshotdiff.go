package fleet

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"restic-manager/server/database"
	"restic-manager/server/fault"
	"restic-manager/shared/wire"
)

// atOnce is how many snapshots one statement writes.
const atOnce = 500

// difference brings a stored list to a new one that comes part by part: it adds what is new, and at the end
// removes what is gone. Of the lists it holds the ids alone.
type difference struct {
	tx         *database.Tx
	repository string
	had        idSet
	all        idSet // the new list, as far as it has come
	added      int
	rows       []snapshotRow  // to be added
	hostnames  map[string]int // how many more snapshots each has, or fewer
}

func newDifference(tx *database.Tx, repository string, had idSet) *difference {
	return &difference{tx: tx, repository: repository, had: had, all: make(idSet, len(had)), hostnames: map[string]int{}}
}

// add takes one part. Its lines are those of its ids that were not known when it came, or more, in their order.
func (d *difference) add(p listingPart) error {
	line, lineOf, rest, err := cutLine(p.Fresh)
	for raw := range slices.Chunk(p.IDs, idSize) {
		if err != nil {
			return err
		}
		id := snapshotID(raw)
		own := line != nil && lineOf == id
		switch {
		case d.all.has(id): // named twice
		case d.had.has(id):
			d.all[id] = struct{}{}
		case !own:
			return errListing // its line was left out as known, and it is not known any more
		default:
			d.all[id] = struct{}{}
			if err := d.addLine(id, line); err != nil {
				return err
			}
		}
		if own {
			line, lineOf, rest, err = cutLine(rest)
		}
	}
	return err
}

// cutLine takes the first line of a part off; nil is the end.
func cutLine(text []byte) (line []byte, id snapshotID, rest []byte, err error) {
	end := bytes.IndexByte(text, '\n') + 1
	if end == 0 {
		return nil, id, nil, nil
	}
	id, err = lineID(text[:end])
	return text[:end], id, text[end:], err
}

func (d *difference) addLine(id snapshotID, line []byte) error {
	var w wire.Snapshot
	if err := json.Unmarshal(line, &w); err != nil {
		return fault.Invalidf("a line of the list is not a snapshot")
	}
	if w.ID != id.String() {
		return fault.Invalidf("a snapshot of the list names two ids")
	}
	row, err := newSnapshotRow(d.repository, w)
	if err != nil {
		return err
	}
	d.added++
	d.hostnames[row.Hostname]++
	if d.rows = append(d.rows, row); len(d.rows) < atOnce {
		return nil
	}
	return d.flush()
}

func (d *difference) flush() error {
	if len(d.rows) == 0 {
		return nil
	}
	err := insertSnapshots(d.tx, d.rows)
	d.rows = d.rows[:0]
	if err != nil {
		return fmt.Errorf("add snapshots of repository %s: %w", d.repository, err)
	}
	return nil
}

// end removes what is gone, and counts. touched is false when nothing changed.
func (d *difference) end() (touched bool, err error) {
	if err := d.flush(); err != nil {
		return false, err
	}
	removed := len(d.had) - (len(d.all) - d.added)
	if err := d.remove(removed); err != nil {
		return false, err
	}
	if d.added == 0 && removed == 0 {
		return false, nil
	}
	return true, d.countHostnames()
}

// remove deletes the snapshots that are not in the new list; there are so many.
func (d *difference) remove(count int) error {
	if count == 0 {
		return nil
	}
	gone := make([]string, 0, min(count, atOnce))
	for id := range d.had {
		if d.all.has(id) {
			continue
		}
		if gone = append(gone, id.String()); len(gone) == atOnce {
			if err := d.delete(gone); err != nil {
				return err
			}
			gone = gone[:0]
		}
	}
	if len(gone) == 0 {
		return nil
	}
	return d.delete(gone)
}

func (d *difference) delete(ids []string) error {
	hostnames, err := deleteSnapshots(d.tx, d.repository, ids)
	if err != nil {
		return fmt.Errorf("remove snapshots of repository %s: %w", d.repository, err)
	}
	for _, h := range hostnames {
		d.hostnames[h]--
	}
	return nil
}

// hostnameRow is how many snapshots of a hostname a repository holds.
type hostnameRow struct {
	RepositoryID  string `gorm:"column:repository_id;primaryKey"`
	Hostname      string `gorm:"column:hostname;primaryKey"`
	SnapshotCount int    `gorm:"column:snapshot_count"`
}

// TableName is repository_hostnames.
func (hostnameRow) TableName() string { return "repository_hostnames" }

// countHostnames brings the counts to the new list: to count a list of 100,000 anew would take longer than all
// the rest of its replacement.
func (d *difference) countHostnames() error {
	var rows []hostnameRow
	for _, h := range slices.Sorted(maps.Keys(d.hostnames)) {
		if more := d.hostnames[h]; more != 0 {
			rows = append(rows, hostnameRow{d.repository, h, more})
		}
	}
	if len(rows) == 0 {
		return nil
	}
	sum := clause.OnConflict{
		Columns:   []clause.Column{{Name: "repository_id"}, {Name: "hostname"}},
		DoUpdates: clause.Assignments(map[string]any{"snapshot_count": gorm.Expr("repository_hostnames.snapshot_count + excluded.snapshot_count")}),
	}
	if err := d.tx.Clauses(sum).CreateInBatches(rows, atOnce).Error; err != nil {
		return fmt.Errorf("count the snapshots of repository %s: %w", d.repository, err)
	}
	if err := d.tx.Exec("DELETE FROM repository_hostnames WHERE repository_id = ? AND snapshot_count <= 0", d.repository).Error; err != nil {
		return fmt.Errorf("count the snapshots of repository %s: %w", d.repository, err)
	}
	return nil
}

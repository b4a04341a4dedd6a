package fleet

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"gorm.io/gorm"

	"restic-manager/server/database"
	"restic-manager/server/fault"
	"restic-manager/shared/wire"
)

// plan is how the engine would answer a query.
func (x *fixture) plan(query string, args ...any) string {
	x.t.Helper()
	return x.planAfter(walkIndexes, query, args...)
}

// planAfter is the same, after a setting of the transaction.
func (x *fixture) planAfter(set func(*gorm.DB) error, query string, args ...any) string {
	x.t.Helper()
	explain := "EXPLAIN QUERY PLAN "
	if x.db.Postgres() {
		explain = "EXPLAIN "
	}
	var words []string
	err := x.db.Read(x.t.Context()).Transaction(func(db *gorm.DB) error {
		if err := set(db); err != nil {
			return err
		}
		rows, err := db.Raw(explain+query, args...).Rows()
		if err != nil {
			return err
		}
		defer rows.Close()
		columns, err := rows.Columns()
		if err != nil {
			return err
		}
		for rows.Next() {
			cells := make([]any, len(columns))
			for i := range cells {
				cells[i] = new(any)
			}
			if err := rows.Scan(cells...); err != nil {
				return err
			}
			words = append(words, fmt.Sprint(*cells[len(cells)-1].(*any)))
		}
		return rows.Err()
	})
	if err != nil {
		x.t.Fatal(err)
	}
	return strings.Join(words, "\n")
}

func TestPageOfSnapshotsIsAWalkAlongAnIndex(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		host := x.host("a")
		if err := x.list(host, x.draw(host, x.queue(host, wire.KindSnapshots)), repo(5), snapshotLines(1, 900, "h"), 1000); err != nil {
			t.Fatal(err)
		}
		first, err := x.Snapshots(t.Context(), host, SnapshotFilter{}, Page{Limit: 10})
		if err != nil {
			t.Fatal(err)
		}
		for all, index := range map[bool]string{false: "snapshots_hostname", true: "snapshots_time"} {
			for _, p := range []Page{{Limit: 10}, {Limit: 10, Cursor: first.NextCursor}} {
				id := repo(5)
				parts, err := partsOf(x.db.Read(t.Context()), hostList{HostID: host, RepositoryID: &id}, SnapshotFilter{All: all})
				if err != nil {
					t.Fatal(err)
				}
				query, args, err := selectSnapshots(parts, p)
				if err != nil {
					t.Fatal(err)
				}
				got := x.plan(query, args...)
				if !strings.Contains(got, index) || strings.Contains(got, "Sort") || strings.Contains(got, "TEMP B-TREE") {
					t.Errorf("all %v, cursor %v: got the plan\n%s\nwant a walk along %s", all, p.Cursor != "", got, index)
				}
			}
		}
	})
}

// TestPagesOfAHostWithManyHostnamesAreOneList gives the host three names, its snapshots in turn, two of each
// second: the pages are the whole list, newest first, without what belongs to others.
func TestPagesOfAHostWithManyHostnamesAreOneList(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		host := x.host("a")
		names := []string{"h", "old", "older"}
		var lines [][]byte
		var want []int
		for n := 60; n > 0; n-- {
			name := append(names, "another")[n%4]
			line := strings.Replace(string(snapshotLine(n, name)), fmt.Sprintf("00:%02d:%02dZ", n/60, n%60), fmt.Sprintf("00:00:%02dZ", n/2), 1)
			lines = append(lines, []byte(line))
			if name != "another" {
				want = append(want, n)
			}
		}
		if err := x.list(host, x.draw(host, x.queue(host, wire.KindSnapshots)), repo(5), lines, 1000); err != nil {
			t.Fatal(err)
		}
		if ids, _ := x.shown(host, false); len(ids) != 15 {
			t.Errorf("with one name: got %v, want 15", ids)
		}
		err := x.db.Write(t.Context(), func(tx *database.Tx) error {
			if err := x.recordHostname(tx, host, "old"); err != nil {
				return err
			}
			return x.recordHostname(tx, host, "older")
		})
		if err != nil {
			t.Fatal(err)
		}
		if ids, _ := x.shown(host, false); !slices.Equal(ids, want) {
			t.Errorf("with three names: got %v, want %v", ids, want)
		}
		if ids, _ := x.shown(host, true); len(ids) != 60 {
			t.Errorf("the whole repository: got %d, want 60", len(ids))
		}
		if h, err := x.HostByID(t.Context(), host); err != nil || h.SnapshotCount != int64(len(want)) {
			t.Errorf("got a count of %d, %v, want %d", h.SnapshotCount, err, len(want))
		}
	})
}

func TestSnapshotsOfUnknownHostsAndBadCursors(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		host := x.host("a")
		if page, err := x.Snapshots(t.Context(), host, SnapshotFilter{}, Page{}); err != nil || page.RefreshedAt != nil || len(page.Snapshots) != 0 {
			t.Errorf("never listed: got %+v, %v, want nothing and no date", page, err)
		}
		if err := x.list(host, x.draw(host, x.queue(host, wire.KindSnapshots)), repo(5), nil, 1); err != nil {
			t.Fatal(err)
		}
		if page, err := x.Snapshots(t.Context(), host, SnapshotFilter{}, Page{}); err != nil || page.RefreshedAt == nil || len(page.Snapshots) != 0 {
			t.Errorf("an empty list: got %+v, %v, want a date", page, err)
		}
		for what, id := range map[string]string{"an unknown host": database.NewID(), "no id": "x"} {
			if _, err := x.Snapshots(t.Context(), id, SnapshotFilter{}, Page{}); !fault.Is(err, "not_found") {
				t.Errorf("%s: got %v, want not_found", what, err)
			}
		}
		for _, cursor := range []string{"x", encodeCursor("x"), encodeCursor("yesterday", "x")} {
			if _, err := x.Snapshots(t.Context(), host, SnapshotFilter{}, Page{Cursor: cursor}); !fault.Is(err, "invalid") {
				t.Errorf("cursor %q: got %v, want invalid", cursor, err)
			}
		}
	})
}

// TestHostnameCountsFollowEveryDifference compares the kept counts with a count of the rows, after lists in which
// hostnames come, go and are named twice.
func TestHostnameCountsFollowEveryDifference(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		host := x.host("a")
		job := x.queue(host, wire.KindSnapshots)
		for round, lines := range [][][]byte{
			append(snapshotLines(1, 5, "h"), snapshotLines(6, 9, "b")...),
			append(snapshotLines(4, 5, "h"), snapshotLines(6, 8, "b")...),
			append(snapshotLines(4, 5, "h"), snapshotLines(4, 5, "h")...),
			append(snapshotLines(20, 21, "c"), snapshotLines(20, 22, "c")...),
			nil,
		} {
			if err := x.list(host, x.draw(host, job), repo(5), lines, 3); err != nil {
				t.Fatal(err)
			}
			type count struct {
				Hostname      string
				SnapshotCount int
			}
			var got, want []count
			db := x.db.Read(t.Context())
			if err := db.Raw("SELECT hostname, snapshot_count FROM repository_hostnames ORDER BY hostname").Scan(&got).Error; err != nil {
				t.Fatal(err)
			}
			if err := db.Raw("SELECT hostname, count(*) AS snapshot_count FROM snapshots GROUP BY hostname ORDER BY hostname").Scan(&want).Error; err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got, want) {
				t.Errorf("round %d: got %v, want %v", round, got, want)
			}
			var total int
			if err := db.Raw("SELECT snapshot_count FROM repositories WHERE id = ?", repo(5)).Scan(&total).Error; err != nil {
				t.Fatal(err)
			}
			sum := 0
			for _, c := range want {
				sum += c.SnapshotCount
			}
			if total != sum {
				t.Errorf("round %d: the repository counts %d, want %d", round, total, sum)
			}
		}
	})
}

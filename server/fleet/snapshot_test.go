package fleet

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

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

func TestSnapshotsAreFilteredAndCounted(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		host := x.host("a")
		var lines [][]byte
		for n, s := range []wire.Snapshot{
			{Hostname: "h", Paths: []string{"/etc", "/home/ann"}, Tags: []string{"daily"}},
			{Hostname: "h", Paths: []string{"/home/bob"}, Tags: []string{"x", "daily"}},
			{Hostname: "h", Paths: []string{`/home/"q"<`}, Tags: []string{"daily-2"}},
			{Hostname: "other", Paths: []string{"/etc"}, Tags: []string{"daily"}},
			{Hostname: "old", Paths: []string{"/etc"}, Tags: []string{`"daily"`, `x,"daily`}},
		} {
			s.ID, s.Time, s.Tree = fmt.Sprintf("%064x", n+1), time.Date(2026, 1, 1, 0, n, 0, 0, time.UTC), repo(1)
			lines = append(lines, append(mustJSON(s), '\n'))
		}
		if err := x.list(host, x.draw(host, x.queue(host, wire.KindSnapshots)), repo(5), lines, 1000); err != nil {
			t.Fatal(err)
		}
		x.write(t, func(tx *database.Tx) error { return x.recordHostname(tx, host, "old") })
		for _, c := range []struct {
			filter SnapshotFilter
			want   []int
		}{
			{SnapshotFilter{}, []int{5, 3, 2, 1}},
			{SnapshotFilter{All: true}, []int{5, 4, 3, 2, 1}},
			{SnapshotFilter{Path: "/etc"}, []int{5, 1}},
			{SnapshotFilter{Path: "/etc", All: true}, []int{5, 4, 1}},
			{SnapshotFilter{Path: "ome/"}, []int{3, 2, 1}},
			{SnapshotFilter{Path: `"q"<`}, []int{3}},
			{SnapshotFilter{Path: `","`}, nil},
			{SnapshotFilter{Path: "%"}, nil},
			{SnapshotFilter{Tag: "daily"}, []int{2, 1}},
			{SnapshotFilter{Tag: "daily", All: true}, []int{4, 2, 1}},
			{SnapshotFilter{Tag: "dail"}, nil},
			{SnapshotFilter{Tag: `"daily"`}, []int{5}},
			{SnapshotFilter{Tag: "daily", Path: "/etc"}, []int{1}},
		} {
			got := []int{}
			for p := (Page{Limit: 2}); ; {
				page, err := x.Snapshots(t.Context(), host, c.filter, p)
				if err != nil {
					t.Fatal(err)
				}
				for _, s := range page.Snapshots {
					n := 0
					fmt.Sscanf(s.ID, "%x", &n)
					got = append(got, n)
				}
				if page.Total != int64(len(c.want)) {
					t.Errorf("%+v: got a total of %d, want %d", c.filter, page.Total, len(c.want))
				}
				if p.Cursor = page.NextCursor; p.Cursor == "" {
					break
				}
			}
			if !slices.Equal(got, append([]int{}, c.want...)) {
				t.Errorf("%+v: got %v, want %v", c.filter, got, c.want)
			}
		}
	})
}

func TestOneSnapshotAndTheBackupThatMadeIt(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		host, stranger := x.host("h"), x.host("stranger")
		id, twin := strings.Repeat("ab", 32), strings.Repeat("ab", 31)+"cd"
		made := func(h, snapshot, repository string) string {
			j := x.queue(h, wire.KindBackup)
			x.take(h, j, 1)
			if err := x.Start(t.Context(), h, j, hex32(1), wire.StartRequest{StartNonce: hex32(1), RepositoryID: repository}); err != nil {
				t.Fatal(err)
			}
			r := wire.FinishRequest{State: wire.StateSucceeded, Summary: &wire.Summary{SnapshotID: snapshot, TotalBytesProcessed: 900, TotalFilesProcessed: 9, DataAdded: 90, FilesNew: 4}}
			if _, err := x.Finish(t.Context(), h, j, hex32(1), mustJSON(r), r); err != nil {
				t.Fatal(err)
			}
			return j
		}
		made(stranger, id, repo(6)) // of another repository: it can say what it likes
		j := made(host, id, repo(5))
		lines := [][]byte{[]byte(`{"id":"` + id + `","time":"2026-01-01T00:00:00Z","tree":"t","paths":["/a"],"hostname":"h"}` + "\n"),
			[]byte(`{"id":"` + twin + `","time":"2026-01-02T00:00:00Z","tree":"t","paths":["/a"],"hostname":"h","summary":{"total_bytes_processed":5}}` + "\n"), snapshotLine(7, "other")}
		if err := x.list(host, x.draw(host, j), repo(5), lines, 2000); err != nil {
			t.Fatal(err)
		}
		one, err := x.SnapshotByID(t.Context(), host, id)
		if err != nil || one.JobID != j || one.SizeBytes != 900 || one.FileCount != 9 || one.DataAdded != 90 || one.Summary == nil || one.Summary.FilesNew != 4 {
			t.Errorf("got %+v, %v, want the figures of job %s", one, err, j)
		}
		if two, err := x.SnapshotByID(t.Context(), host, twin); err != nil || two.JobID != "" || two.SizeBytes != 5 {
			t.Errorf("got %+v, %v, want its own figures and no job", two, err)
		}
		if short, err := x.SnapshotByID(t.Context(), host, repo(7)[:63]); err != nil || short.ID != repo(7) {
			t.Errorf("of another hostname, by a part: got %+v, %v, want it", short, err)
		}
		for _, bad := range []string{"abababab", strings.Repeat("ab", 31), repo(7)[:7], "", "g", id + "0", strings.ToUpper(id), "ababab%", repo(8)} {
			if _, err := x.SnapshotByID(t.Context(), host, bad); !fault.Is(err, "not_found") {
				t.Errorf("%q: got %v, want not_found", bad, err)
			}
		}
		if _, err := x.SnapshotByID(t.Context(), stranger, id); !fault.Is(err, "not_found") {
			t.Errorf("of a host of another repository: got %v, want not_found", err)
		}
		page, err := x.Snapshots(t.Context(), host, SnapshotFilter{}, Page{})
		if err != nil || len(page.Snapshots) != 2 || page.Snapshots[1].JobID != j || page.Snapshots[1].SizeBytes != 900 {
			t.Errorf("got %+v, %v, want the job in the list too", page.Snapshots, err)
		}
	})
}

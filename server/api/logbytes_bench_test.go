package api

import (
	"fmt"
	"testing"

	"restic-manager/server/access"
)

// sqliteBytes is what an SQLite file holds, its free pages left out (sqlite.org/pragma.html).
const sqliteBytes = "SELECT (page_count - freelist_count) * page_size FROM pragma_page_count, pragma_freelist_count, pragma_page_size"

// BenchmarkLogBytes is what a log line takes in the database, with index and TOAST, an hour after its job's end,
// beside a row per line with a primary key. whole-batches: 500 lines each. slow-job: 5 lines a second, which an
// agent sends every second, too short to be compressed; the jobs come one after the other, and each is compacted
// and vacuumed before the next one. Their number decides how much the pages of the one that is written weigh.
func BenchmarkLogBytes(b *testing.B) {
	for _, engine := range []string{"postgres", "sqlite"} {
		for _, c := range []struct {
			name, encoding       string
			jobs, batches, lines int
		}{
			{"whole-batches", "zstd", benchAgents, 20, benchLines},
			{"slow-job", "plain", 80, 400, 5},
		} {
			b.Run(engine+"/"+c.name, func(b *testing.B) {
				r := newRig(b, engine, nil)
				if err := r.access.EnsureAdmin(b.Context(), adminName, goodSecret); err != nil {
					b.Fatal(err)
				}
				order := r.operator("otto", access.Operator)
				baseline := copyBaseline
				if engine == "sqlite" {
					baseline = loopBaseline
				}
				all, sum := logOf(b, c.encoding, c.batches, c.lines)
				plain, _ := logOf(b, "plain", c.batches, c.lines)
				write, size := baseline(b, rowsOf(b, plain))
				begin := size()
				write()
				theirs := float64(size()-begin) / float64(benchAgents*c.batches*c.lines)
				for b.Loop() {
					begin := r.logBytes(b)
					for range c.jobs {
						r.logged(b, order, all, c.encoding, c.lines, sum)
						r.tidy(b)
					}
					ours := float64(r.logBytes(b)-begin) / float64(c.jobs*c.batches*c.lines)
					b.ReportMetric(ours, "B/line")
					b.ReportMetric(theirs, "baseline-B/line")
					b.ReportMetric(ours/theirs, "ratio")
				}
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

// logged runs a job that sends the log, to its end.
func (r *rig) logged(b *testing.B, order principal, all []batch, encoding string, lines int, sum string) {
	b.Helper()
	a := r.enroll("host-" + hexOf(4))
	a.hello()
	j := a.running(order)
	for _, one := range all {
		q := j.request("log?"+one.query, "")
		if q.bytes = one.body; encoding != "plain" {
			q.header = map[string][]string{"Content-Encoding": {encoding}}
		}
		r.must(q, nil)
	}
	j.finish(b, int64(len(all)*lines), sum)
}

// tidy does what the server's duties and PostgreSQL's autovacuum do within the hour.
func (r *rig) tidy(b *testing.B) {
	b.Helper()
	for {
		did, err := r.fleet.CompactLogs(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		if did.Jobs == 0 {
			break
		}
	}
	if r.db.Postgres() {
		if err := r.db.Read(b.Context()).Exec("VACUUM logs, log_chunks").Error; err != nil {
			b.Fatal(fmt.Errorf("vacuum: %w", err))
		}
	}
}

// logBytes is what logs take in the database.
func (r *rig) logBytes(b *testing.B) (bytes int64) {
	b.Helper()
	query := sqliteBytes
	if r.db.Postgres() {
		query = "SELECT sum(pg_total_relation_size(name)) FROM unnest('{logs,log_chunks}'::regclass[]) AS name"
	}
	if err := r.db.Read(b.Context()).Raw(query).Scan(&bytes).Error; err != nil {
		b.Fatal(err)
	}
	return bytes
}

package fleet

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"restic-manager/shared/wire"
)

// benchSnapshots is the length of the list.
const benchSnapshots = 100_000

// benchSnapshot is a snapshot as restic 0.17 and newer lists it; n makes its id, its time and its figures.
func benchSnapshot(n int) wire.Snapshot {
	draw := rand.New(rand.NewPCG(uint64(n), 9))
	hex64 := func() string {
		return fmt.Sprintf("%016x%016x%016x%016x", draw.Uint64(), draw.Uint64(), draw.Uint64(), draw.Uint64())
	}
	at := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(n) * 13 * time.Minute)
	return wire.Snapshot{
		ID: hex64(), Time: at, Parent: hex64(), Tree: hex64(), Paths: []string{"/etc", "/home", "/srv/data"},
		Hostname: fmt.Sprintf("web-%02d", n%20), Username: "root", Tags: []string{"daily"}, ProgramVersion: "restic 0.18.0",
		Summary: &wire.SnapshotSummary{
			BackupStart: at, BackupEnd: at.Add(93 * time.Second), FilesNew: draw.Int64N(100), FilesChanged: draw.Int64N(100),
			FilesUnmodified: 200_000 + draw.Int64N(1000), DataAdded: draw.Int64N(1 << 30), DataAddedPacked: draw.Int64N(1 << 29),
			TotalFilesProcessed: 200_000 + draw.Int64N(1000), TotalBytesProcessed: draw.Int64N(1 << 40),
		},
	}
}

// benchLines are snapshots from..to as lines of a listing.
func benchLines(b *testing.B, from, to int) [][]byte {
	lines := make([][]byte, 0, to-from)
	for n := from; n < to; n++ {
		raw, err := json.Marshal(benchSnapshot(n))
		if err != nil {
			b.Fatal(err)
		}
		lines = append(lines, append(raw, '\n'))
	}
	return lines
}

// benchParts cuts a list as an agent does: parts of at most wire.MaxBody.
func benchParts(lines [][]byte) (parts [][]byte) {
	var part []byte
	for _, l := range lines {
		if len(part)+len(l) > wire.MaxBody {
			parts, part = append(parts, part), nil
		}
		part = append(part, l...)
	}
	return append(parts, part)
}

// BenchmarkReplaceSnapshots is the steady replacement of 100,000 snapshots, one new and one gone, from the first
// part to the commit, beside the deletion of all and COPY of the same rows, ready made, in turn. The sum that
// the agent would send is taken before the clock runs.
func BenchmarkReplaceSnapshots(b *testing.B) {
	const rounds = 5
	x := newFixture(b, "postgres")
	host := x.host("a")
	job := x.queue(host, wire.KindSnapshots)
	lines := benchLines(b, 0, benchSnapshots+1000)
	var rows [][]any
	for n := range benchSnapshots {
		r, err := newSnapshotRow(repo(5), benchSnapshot(n))
		if err != nil {
			b.Fatal(err)
		}
		rows = append(rows, []any{r.RepositoryID, r.ID, r.Time, r.Hostname, r.Username, r.Paths, r.Tags, r.Excludes, r.Parent, r.Tree,
			r.Original, r.ProgramVersion, r.SizeBytes, r.FileCount, r.DataAdded, r.Summary})
	}
	conn, err := pgx.Connect(b.Context(), x.url)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close(b.Context()) })
	if _, err := conn.Exec(b.Context(), "CREATE TABLE baseline (LIKE snapshots INCLUDING ALL)"); err != nil {
		b.Fatal(err)
	}
	columns := []string{"repository_id", "id", "time", "hostname", "username", "paths", "tags", "excludes", "parent", "tree", "original",
		"program_version", "size_bytes", "file_count", "data_added", "summary"}
	theirs := func() {
		err := pgx.BeginFunc(b.Context(), conn, func(tx pgx.Tx) error {
			if _, err := tx.Exec(b.Context(), "DELETE FROM baseline WHERE repository_id = $1", repo(5)); err != nil {
				return err
			}
			_, err := tx.CopyFrom(b.Context(), pgx.Identifier{"baseline"}, columns, pgx.CopyFromRows(rows))
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	at := 0
	replace := func() time.Duration {
		list := lines[at : at+benchSnapshots]
		at = (at + 1) % 1000
		token := x.draw(host, job)
		parts := benchParts(list)
		sum := shaHex(bytes.Join(parts, nil))
		begin := time.Now()
		for n, p := range parts {
			if err := x.PutListingPart(b.Context(), host, token, n, p); err != nil {
				b.Fatal(err)
			}
		}
		r := wire.CommitRequest{Parts: len(parts), Count: len(list), SHA256: sum, RepositoryID: repo(5)}
		if err := x.CommitListing(b.Context(), host, token, r); err != nil {
			b.Fatal(err)
		}
		return time.Since(begin)
	}
	first := replace()
	theirs()
	for b.Loop() {
		var mine, base []float64
		for range rounds {
			begin := time.Now()
			theirs()
			base = append(base, float64(time.Since(begin).Microseconds())/1000)
			mine = append(mine, float64(replace().Microseconds())/1000)
		}
		slices.Sort(mine)
		slices.Sort(base)
		b.ReportMetric(mine[rounds/2], "ms")
		b.ReportMetric(base[rounds/2], "baseline-ms")
		b.ReportMetric(mine[rounds/2]/base[rounds/2], "ratio")
	}
	b.ReportMetric(float64(first.Milliseconds()), "first-list-ms")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkFirstListing is the most memory that a first list of 100,000 snapshots takes in the server from its
// first part to its commit, beside the length of the list itself. The parts are made on the way.
func BenchmarkFirstListing(b *testing.B) {
	for _, engine := range []string{"postgres", "sqlite"} {
		b.Run(engine, func(b *testing.B) {
			for b.Loop() {
				x := newFixture(b, engine)
				host := x.host("a")
				token := x.draw(host, x.queue(host, wire.KindSnapshots))
				stop := watchHeap()
				size := x.streamList(host, token, benchSnapshots)
				peak := stop()
				b.ReportMetric(float64(peak)/(1<<20), "peak-MiB")
				b.ReportMetric(float64(size)/(1<<20), "list-MiB")
				b.ReportMetric(float64(peak)/float64(size), "ratio")
			}
		})
	}
}

// streamList sends and commits a list of so many without ever holding it, and gives its bytes.
func (x *fixture) streamList(host, token string, count int) (size int) {
	x.t.Helper()
	sum, part, n := sha256.New(), []byte{}, 0
	put := func() {
		if err := x.PutListingPart(x.t.Context(), host, token, n, part); err != nil {
			x.t.Fatal(err)
		}
		sum.Write(part)
		size += len(part)
		part, n = part[:0], n+1
	}
	for i := range count {
		line := append(mustJSON(benchSnapshot(i)), '\n')
		if len(part)+len(line) > wire.MaxBody {
			put()
		}
		part = append(part, line...)
	}
	put()
	r := wire.CommitRequest{Parts: n, Count: count, SHA256: hex.EncodeToString(sum.Sum(nil)), RepositoryID: repo(5)}
	if err := x.CommitListing(x.t.Context(), host, token, r); err != nil {
		x.t.Fatal(err)
	}
	return size
}

// watchHeap gives a function that tells by how much the heap grew at most since; garbage is collected early.
func watchHeap() func() uint64 {
	was := debug.SetGCPercent(10)
	runtime.GC()
	runtime.GC() // what had finalizers
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	before, most := sample[0].Value.Uint64(), uint64(0)
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for {
			metrics.Read(sample)
			most = max(most, sample[0].Value.Uint64())
			select {
			case <-done:
				return
			case <-tick.C:
			}
		}
	}()
	return func() uint64 {
		close(done)
		<-ended
		debug.SetGCPercent(was)
		return most - min(most, before)
	}
}

package api

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	_ "github.com/glebarez/sqlite"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"restic-manager/server/access"
	"restic-manager/server/database"
	"restic-manager/server/database/databasetest"
	"restic-manager/shared/wire"
)

const (
	benchAgents  = 8
	benchBatches = 100 // of each agent, a round
	benchLines   = 500 // in a batch
	benchRounds  = 3
)

// batch is one log request, made before the clock runs.
type batch struct {
	query string
	body  []byte
}

// batches are a job's log of lines like those restic writes with --json --verbose: about 134 bytes each, names,
// times and sizes as random as real ones, so that they compress no better. They are compressed as an agent does it.
func batches(b *testing.B, encoding string) []batch {
	all, _ := logOf(b, encoding, benchBatches, benchLines)
	return all
}

// logOf is a log of so many batches of so many lines, and the sum of its records.
func logOf(b *testing.B, encoding string, count, lines int) (all []batch, logSHA256 string) {
	all = make([]batch, count)
	sum := sha256.New()
	draw, at := rand.New(rand.NewPCG(1, 1)), time.Unix(1e9, 0)
	for i := range all {
		var records []byte
		for range lines {
			line := fmt.Appendf(nil, `{"message_type":"verbose_status","action":"new","item":"/home/user/work/%03x/%012x.jpg","duration":0.%09d,"data_size":%d}`,
				draw.IntN(64), draw.Uint64()>>16, draw.IntN(1e9), draw.IntN(1e7))
			at = at.Add(time.Duration(draw.IntN(2e6)) * time.Microsecond / 1000)
			records = wire.AppendRecord(records, at, wire.StreamOut, line, wire.MaxRecord)
		}
		q := wire.LogQuery{FirstLine: int64(i*lines + 1), Lines: int64(lines), SumBefore: hex.EncodeToString(sum.Sum(nil))}
		sum.Write(records)
		body := records
		switch encoding {
		case "gzip":
			body = gzipOf(b, records)
		case "zstd":
			body = zstdOf(b, records)
		}
		all[i] = batch{q.Encode(), body}
	}
	return all, hex.EncodeToString(sum.Sum(nil))
}

// BenchmarkLog is log lines a second through the real endpoint (token, lease and sum checked) beside the same
// lines written a row each by the fastest plain means, in turn, in one run.
func BenchmarkLog(b *testing.B) {
	for _, engine := range []string{"postgres", "sqlite"} {
		for _, encoding := range []string{"gzip", "zstd", "plain"} {
			b.Run(engine+"/"+encoding, func(b *testing.B) {
				r := newRig(b, engine, nil)
				if err := r.access.EnsureAdmin(b.Context(), adminName, goodSecret); err != nil {
					b.Fatal(err)
				}
				order := r.operator("otto", access.Operator)
				all := batches(b, encoding)
				rows := rowsOf(b, batches(b, "plain"))
				baseline := copyBaseline
				if engine == "sqlite" {
					baseline = loopBaseline
				}
				base, _ := baseline(b, rows)
				for b.Loop() {
					var ours, theirs []float64
					for round := range benchRounds {
						jobs := make([]*running, benchAgents)
						for i := range jobs {
							a := r.enroll(fmt.Sprintf("host-%d-%d-%s", round, i, hexOf(4)))
							a.hello()
							jobs[i] = a.running(order)
						}
						theirs = append(theirs, perSecond(base))
						ours = append(ours, perSecond(func() { r.ship(b, jobs, all, encoding) }))
					}
					b.ReportMetric(median(ours), "lines/s")
					b.ReportMetric(median(theirs), "baseline-lines/s")
					b.ReportMetric(median(ours)/median(theirs), "ratio")
				}
				b.ReportMetric(float64(size(all))/benchBatches/benchLines, "sent-B/line")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

func size(all []batch) (n int) {
	for _, one := range all {
		n += len(one.body)
	}
	return n
}

// ship has every agent send all its batches, one after the other, on a connection of its own. The requests are
// written by hand, so that little of what is measured is the clients' work: agents are other machines.
func (r *rig) ship(b *testing.B, jobs []*running, all []batch, encoding string) {
	address := strings.TrimPrefix(r.url, "http://")
	var wait sync.WaitGroup
	for _, j := range jobs {
		head := fmt.Sprintf("Host: %s\r\nAuthorization: %s\r\n%s: 1\r\n%s: %s\r\n", address, j.as["Authorization"][0], wire.HeaderProtocol, wire.HeaderLease, j.lease)
		if encoding != "plain" {
			head += "Content-Encoding: " + encoding + "\r\n"
		}
		wait.Go(func() {
			c, err := net.Dial("tcp", address)
			if err != nil {
				b.Error(err)
				return
			}
			defer c.Close()
			answers := bufio.NewReader(c)
			for i, one := range all {
				q := fmt.Appendf(nil, "POST /api/agents/jobs/%s/log?%s HTTP/1.1\r\n%sContent-Length: %d\r\n\r\n", j.id, one.query, head, len(one.body))
				if _, err := c.Write(append(q, one.body...)); err != nil {
					b.Error(err)
					return
				}
				if err := stored(answers, int64((i+1)*benchLines+1)); err != nil {
					b.Errorf("batch %d: %v", i, err)
					return
				}
			}
		})
	}
	wait.Wait()
}

// stored reads one answer: 200 with the cursor.
func stored(r *bufio.Reader, next int64) error {
	a, err := http.ReadResponse(r, nil)
	if err != nil {
		return err
	}
	defer a.Body.Close()
	body, err := io.ReadAll(a.Body)
	if err != nil {
		return err
	}
	var got wire.LogReply
	if err := json.Unmarshal(body, &got); err != nil || a.StatusCode != 200 || got.NextLine != next {
		return fmt.Errorf("got %d %s, want next_line %d", a.StatusCode, body, next)
	}
	return nil
}

func perSecond(f func()) float64 {
	begin := time.Now()
	f()
	return benchAgents * benchBatches * benchLines / time.Since(begin).Seconds()
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}

// rowsOf are the decoded lines of one agent.
func rowsOf(b *testing.B, all []batch) []wire.Record {
	var rows []wire.Record
	for _, one := range all {
		for line := range bytes.Lines(one.body) {
			r, err := wire.ParseRecord(bytes.TrimSuffix(line, []byte("\n")))
			if err != nil {
				b.Fatal(err)
			}
			rows = append(rows, r)
		}
	}
	return rows
}

// copyBaseline is COPY of the same lines into one table with a primary key, in one go; size is what the table with
// its index takes, in bytes.
func copyBaseline(b *testing.B, rows []wire.Record) (write func(), size func() int64) {
	pool, err := pgxpool.New(b.Context(), databasetest.New(b, "postgres"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(pool.Close)
	if _, err := pool.Exec(b.Context(), "CREATE TABLE lines (job uuid, n bigint, t timestamptz, s text, line text, PRIMARY KEY (job, n))"); err != nil {
		b.Fatal(err)
	}
	write = func() {
		total := benchAgents * len(rows)
		i := 0
		var job [16]byte       // not text: the driver would take half its time to convert it
		copy(job[:], hexOf(8)) // 16 characters
		_, err := pool.CopyFrom(b.Context(), pgx.Identifier{"lines"}, []string{"job", "n", "t", "s", "line"}, pgx.CopyFromFunc(func() ([]any, error) {
			if i == total {
				return nil, nil
			}
			r := rows[i%len(rows)]
			i++
			return []any{job, int64(i), r.Time, string(r.Stream), r.Text}, nil
		}))
		if err != nil {
			b.Fatal(err)
		}
	}
	size = func() (bytes int64) {
		if err := pool.QueryRow(b.Context(), "SELECT pg_total_relation_size('lines')").Scan(&bytes); err != nil {
			b.Fatal(err)
		}
		return bytes
	}
	return write, size
}

// loopBaseline is a prepared statement per line, a transaction per batch, with the durability of ours; size is what
// the file takes, in bytes.
func loopBaseline(b *testing.B, rows []wire.Record) (write func(), size func() int64) {
	db, err := sql.Open("sqlite", "file:"+databasetest.New(b, "sqlite")+"?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_txlock=immediate")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { db.Close() })
	db.SetMaxOpenConns(1)
	if _, err := db.Exec("CREATE TABLE lines (job TEXT, n INTEGER, t TEXT, s TEXT, line TEXT, PRIMARY KEY (job, n)) WITHOUT ROWID"); err != nil {
		b.Fatal(err)
	}
	const insert = "INSERT INTO lines (job, n, t, s, line) VALUES (?, ?, ?, ?, ?)"
	write = func() {
		n := 0
		job := database.NewID()
		for range benchAgents {
			for part := range slices.Chunk(rows, benchLines) {
				if err := inTx(db, func(tx *sql.Tx) error {
					st, err := tx.PrepareContext(context.Background(), insert)
					if err != nil {
						return err
					}
					defer st.Close()
					for _, r := range part {
						n++
						if _, err := st.Exec(job, n, r.Time.Format(time.RFC3339Nano), string(r.Stream), r.Text); err != nil {
							return err
						}
					}
					return nil
				}); err != nil {
					b.Fatal(err)
				}
			}
		}
	}
	size = func() (bytes int64) {
		if err := db.QueryRow(sqliteBytes).Scan(&bytes); err != nil {
			b.Fatal(err)
		}
		return bytes
	}
	return write, size
}

func inTx(db *sql.DB, f func(*sql.Tx) error) error {
	tx, err := db.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if err := f(tx); err != nil {
		return err
	}
	return tx.Commit()
}

// BenchmarkInflate is what reading a batch costs before anything is stored.
func BenchmarkInflate(b *testing.B) {
	s := testServer(b)
	for _, encoding := range []string{"gzip", "zstd", "plain"} {
		b.Run(encoding, func(b *testing.B) {
			one := batches(b, encoding)[3].body
			b.ReportAllocs()
			for b.Loop() {
				body, err := readTestBody(s, one, strings.TrimSuffix(encoding, "plain"), wire.MaxBody)
				if err != nil {
					b.Fatal(err)
				}
				body.release()
			}
		})
	}
}

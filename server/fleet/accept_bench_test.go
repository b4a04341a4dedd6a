package fleet

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/glebarez/sqlite"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"restic-manager/server/database"
	"restic-manager/server/database/databasetest"
	"restic-manager/shared/wire"
)

const (
	acceptWorkers = 64
	acceptHosts   = 1000
)

// BenchmarkAccept compares taking an offered job, with its lane and its repository's hold, with the plainest
// way to take one from a queue: a single UPDATE … RETURNING of whatever is next, on a table with nothing behind
// it. Both at 64 workers over as many connections, in turn.
func BenchmarkAccept(b *testing.B) {
	for _, engine := range databasetest.Engines {
		for _, repositories := range []int{1000, 20} {
			b.Run(fmt.Sprintf("%s/repositories=%d", engine, repositories), func(b *testing.B) { benchmarkAccept(b, engine, repositories) })
		}
	}
}

type acceptBench struct {
	*fixture
	b     *testing.B
	bare  *gorm.DB
	jobs  []offered
	ours  figure
	plain figure
}

type offered struct{ host, id string }

// figure is how much was done in how long.
type figure struct {
	count int
	took  time.Duration
}

func (f figure) rate() float64 { return float64(f.count) / f.took.Seconds() }

func benchmarkAccept(b *testing.B, engine string, repositories int) {
	x := &acceptBench{fixture: newFixture(b, engine), b: b}
	x.fill(repositories)
	x.openBare()
	b.ResetTimer()
	for range b.N {
		x.reset()
		x.ours.add(x.together(len(x.jobs), x.accept))
		x.plain.add(x.together(len(x.jobs), x.claim))
	}
	b.StopTimer()
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(x.ours.rate(), "accepts/s")
	b.ReportMetric(x.plain.rate(), "baseline-accepts/s")
	b.ReportMetric(x.ours.rate()/x.plain.rate(), "ratio")
	x.t = b
	x.whole()
	if x.db.Postgres() {
		b.ReportMetric(float64(deadlocks(b, x.fixture)), "deadlocks")
	}
}

func (f *figure) add(count int, took time.Duration) { f.count, f.took = f.count+count, f.took+took }

// fill makes hosts, each with one job per lane, all with shared holds: what is measured is taking, not
// waiting.
func (x *acceptBench) fill(repositories int) {
	x.exec(func(tx *database.Tx) {
		for n := range acceptHosts {
			h := database.NewID()
			if err := x.insertHost(tx, h, repo(n%repositories)); err != nil {
				x.b.Fatal(err)
			}
			for _, kind := range []wire.Kind{wire.KindBackup, wire.KindSnapshots} {
				id, err := x.insertJob(tx, h, kind)
				if err != nil {
					x.b.Fatal(err)
				}
				x.jobs = append(x.jobs, offered{h, id})
			}
		}
		rand.New(rand.NewPCG(1, 1)).Shuffle(len(x.jobs), func(i, j int) { x.jobs[i], x.jobs[j] = x.jobs[j], x.jobs[i] })
		x.run(tx, "CREATE TABLE plain_queue (id text PRIMARY KEY, state text NOT NULL, lease text NOT NULL, spec text NOT NULL)")
		x.run(tx, "CREATE INDEX plain_queued ON plain_queue (id) WHERE state = 'queued'")
		x.run(tx, "INSERT INTO plain_queue (id, state, lease, spec) SELECT id, 'queued', '', spec FROM jobs")
	})
	x.analyze()
}

// reset queues all again, and leaves no dead rows to either side.
func (x *acceptBench) reset() {
	x.exec(func(tx *database.Tx) {
		x.run(tx, `UPDATE jobs SET state = 'queued', lease = '', holding = false, hold_key = '', repository_id = '', repository_name = '',
			accepted_at = NULL, lease_expires_at = NULL, heard_at = NULL WHERE state <> 'queued'`)
		x.run(tx, "UPDATE plain_queue SET state = 'queued', lease = '' WHERE state <> 'queued'")
	})
	x.analyze()
}

func (x *acceptBench) analyze() {
	if !x.db.Postgres() {
		return
	}
	for _, q := range []string{"VACUUM ANALYZE jobs", "VACUUM ANALYZE plain_queue", "VACUUM ANALYZE hosts"} {
		if err := x.db.Read(x.b.Context()).Exec(q).Error; err != nil {
			x.b.Fatal(err)
		}
	}
}

func (x *acceptBench) exec(fn func(tx *database.Tx)) {
	if err := x.db.Write(x.b.Context(), func(tx *database.Tx) error { fn(tx); return nil }); err != nil {
		x.b.Fatal(err)
	}
}

func (x *acceptBench) run(tx *database.Tx, query string, args ...any) {
	if err := tx.Exec(query, args...).Error; err != nil {
		x.b.Fatal(err)
	}
}

// together has the workers share the work.
func (x *acceptBench) together(n int, one func(ctx context.Context, i int) error) (int, time.Duration) {
	var next atomic.Int64
	var wg sync.WaitGroup
	begun := time.Now()
	for range acceptWorkers {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if err := one(x.b.Context(), i); err != nil {
					x.b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return n, time.Since(begun)
}

func (x *acceptBench) accept(ctx context.Context, i int) error {
	_, err := x.Accept(ctx, x.jobs[i].host, x.jobs[i].id, wire.AcceptRequest{Lease: hex32(i + 1), Delivery: 1})
	return err
}

// claim is the baseline: it takes whatever is next.
func (x *acceptBench) claim(ctx context.Context, i int) error {
	var got []struct{ ID, Spec string }
	lock := ""
	if x.db.Postgres() {
		lock = " FOR UPDATE SKIP LOCKED"
	}
	err := x.bare.WithContext(ctx).Raw(`UPDATE plain_queue SET state = 'accepted', lease = ? WHERE id = (
		SELECT id FROM plain_queue WHERE state = 'queued' ORDER BY id LIMIT 1`+lock+`) RETURNING id, spec`, hex32(i+1)).Scan(&got).Error
	if err == nil && len(got) != 1 {
		return fmt.Errorf("claimed %d", len(got))
	}
	return err
}

// openBare opens the database as package database does, and nothing more.
func (x *acceptBench) openBare() {
	dialector, connections := postgres.Open(x.url), 20
	if !x.db.Postgres() {
		dialector, connections = sqlite.Open("file:"+x.url+"?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)"), 1
	}
	db, err := gorm.Open(dialector, &gorm.Config{SkipDefaultTransaction: true, Logger: logger.Discard})
	if err != nil {
		x.b.Fatal(err)
	}
	pool, err := db.DB()
	if err != nil {
		x.b.Fatal(err)
	}
	pool.SetMaxOpenConns(connections)
	pool.SetMaxIdleConns(connections)
	x.b.Cleanup(func() { pool.Close() })
	x.bare = db
}

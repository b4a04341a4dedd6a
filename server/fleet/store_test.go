package fleet

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"restic-manager/server/database"
	"restic-manager/server/database/databasetest"
	"restic-manager/server/fault"
	"restic-manager/server/fleet/job"
	"restic-manager/shared/wire"
)

func newClock() *databasetest.Clock {
	return databasetest.NewClock(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
}

// fixture is a store on an empty database with a clock of its own.
type fixture struct {
	*Store
	t     testing.TB
	db    *database.DB
	clock *databasetest.Clock
	url   string
}

// each runs the test on both engines.
func each(t *testing.T, fn func(t *testing.T, x *fixture)) {
	t.Helper()
	for _, engine := range databasetest.Engines {
		t.Run(engine, func(t *testing.T) { fn(t, newFixture(t, engine)) })
	}
}

func newFixture(t testing.TB, engine string) *fixture {
	t.Helper()
	x := &fixture{t: t, clock: newClock(), url: databasetest.Migrated(t, engine)}
	x.Store, x.db = x.open(t)
	return x
}

// open is one more replica on the fixture's database.
func (x *fixture) open(t testing.TB) (*Store, *database.DB) {
	t.Helper()
	db, err := database.Open(t.Context(), database.Options{URL: x.url, Now: x.clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	if err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	s, err := Open(t.Context(), Options{DB: db, Key: make([]byte, 32), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return s, db
}

// replica is a second store: on PostgreSQL with connections of its own, on SQLite over the same ones.
func (x *fixture) replica() *fixture {
	r := *x
	if x.db.Postgres() {
		r.Store, r.db = x.open(x.t)
		return &r
	}
	s, err := Open(x.t.Context(), Options{DB: x.db, Key: make([]byte, 32)})
	if err != nil {
		x.t.Fatal(err)
	}
	r.Store = s
	return &r
}

// memoryFolder is where there is no disk to wait for, if the machine has such a place.
func memoryFolder(t testing.TB) string {
	dir, err := os.MkdirTemp("/dev/shm", "restic-manager-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

var tester = database.Actor{Kind: "operator", ID: "0190a000-0000-7000-8000-000000000001", Name: "tester"}

// host is an enrolled host that has said hello as process "b1" and is online.
func (x *fixture) host(name string) string {
	x.t.Helper()
	id := database.NewID()
	sum := sha256.Sum256([]byte(id))
	err := x.db.Write(x.t.Context(), func(tx *database.Tx) error {
		return tx.Exec(`INSERT INTO hosts (id, name, name_key, labels, status, created_at, token_sha256, hostname, facts, guard, kinds,
			reported_repositories, agent_version, restic_version, protocol_version) VALUES (?, ?, ?, '{}', 'never_seen', ?, ?, ?, '{}', '{}', '[]', '[]', '1', '', 1)`,
			id, name, strings.ToLower(name), tx.Now, hex.EncodeToString(sum[:]), name).Error
	})
	if err != nil {
		x.t.Fatal(err)
	}
	x.hello(id, "b1", 1, 1)
	x.flush()
	return id
}

// hello gives the mark.
func (x *fixture) hello(host, boot string, number, seq int64) string {
	x.t.Helper()
	reply, err := x.Hello(x.t.Context(), host, helloOf(boot, number, seq, x.clock.Now()))
	if err != nil {
		x.t.Fatal(err)
	}
	return reply.Mark
}

func helloOf(boot string, number, seq int64, now time.Time) wire.HelloRequest {
	return wire.HelloRequest{BootID: boot, BootNumber: number, Seq: seq, ProtocolVersion: 1, AgentVersion: "1", Now: now, Facts: wire.Facts{Hostname: "h"}, Features: []string{wire.FeatureTarget, wire.FeatureEstimate}}
}

func (x *fixture) flush() {
	x.t.Helper()
	if err := x.Flush(x.t.Context()); err != nil {
		x.t.Fatal(err)
	}
}

// sweep sweeps.
func (x *fixture) sweep() SweepReport {
	x.t.Helper()
	r, err := x.Sweep(x.t.Context())
	if err != nil {
		x.t.Fatal(err)
	}
	return r
}

// settle sweeps until the first amnesty is over.
func (x *fixture) settle() {
	for range 7 {
		x.sweep()
		x.clock.Advance(job.SweepAway)
	}
	x.sweep()
}

// pass lets time pass with the sweeper alive.
func (x *fixture) pass(d time.Duration) SweepReport {
	var sum SweepReport
	for ; d > 0; d -= job.SweepAway {
		x.clock.Advance(min(d, job.SweepAway))
		sum.add(x.sweep())
	}
	return sum
}

// queue queues a job; backups of different paths do not coalesce.
func (x *fixture) queue(host string, kind wire.Kind) string {
	x.t.Helper()
	n := NewJob{HostID: host, Kind: kind}
	switch kind {
	case wire.KindBackup:
		n.Spec = &wire.BackupSpec{Paths: []string{fmt.Sprintf("/data/%d", rand.Uint64())}}
	case wire.KindEstimate:
		n.Spec = &wire.EstimateSpec{Paths: []string{"/data"}}
	case wire.KindForget:
		n.Spec = &wire.ForgetSpec{SnapshotIDs: []string{strings.Repeat("a", 64)}}
	}
	j, _, err := x.CreateJob(x.t.Context(), tester, n)
	if err != nil {
		x.t.Fatal(err)
	}
	return j.ID
}

// hex32 is a lease, a nonce.
func hex32(n int) string { return fmt.Sprintf("%032x", n) }

// repo is a repository's id.
func repo(n int) string { return fmt.Sprintf("%064x", n) }

// use ties the host to a repository.
func (x *fixture) use(host, id string) {
	x.t.Helper()
	err := x.db.Write(x.t.Context(), func(tx *database.Tx) error {
		if err := lockRepository(tx, id); err != nil {
			return err
		}
		return tx.Exec("UPDATE hosts SET repository_id = ? WHERE id = ?", id, host).Error
	})
	if err != nil {
		x.t.Fatal(err)
	}
}

// poll asks without waiting, as the newest process.
func (x *fixture) poll(host string, seq int64, jobs ...wire.JobRef) wire.PollReply {
	x.t.Helper()
	r, err := x.Poll(x.t.Context(), host, wire.PollQuery{Boot: "b1", Seq: seq, FreeLong: 1, FreeShort: 1, Jobs: jobs, Config: x.configVersion()})
	if err != nil {
		x.t.Fatal(err)
	}
	return r
}

// take accepts delivery 1 of a job.
func (x *fixture) take(host, id string, lease int) {
	x.t.Helper()
	if _, err := x.Accept(x.t.Context(), host, id, wire.AcceptRequest{Lease: hex32(lease), Delivery: 1}); err != nil {
		x.t.Fatal(err)
	}
}

// begin accepts and starts it, the nonce being the lease.
func (x *fixture) begin(host, id string, lease int) {
	x.t.Helper()
	x.take(host, id, lease)
	if err := x.Start(x.t.Context(), host, id, hex32(lease), wire.StartRequest{StartNonce: hex32(lease)}); err != nil {
		x.t.Fatal(err)
	}
}

// end finishes it.
func (x *fixture) end(host, id string, lease int, state wire.State) wire.FinishReply {
	x.t.Helper()
	r := wire.FinishRequest{State: state}
	reply, err := x.Finish(x.t.Context(), host, id, hex32(lease), mustJSON(r), r)
	if err != nil {
		x.t.Fatal(err)
	}
	return reply
}

func mustJSON(v any) []byte {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return raw
}

func (x *fixture) job(id string) Job {
	x.t.Helper()
	j, err := x.JobByID(x.t.Context(), id)
	if err != nil {
		x.t.Fatal(err)
	}
	return j
}

// wantState fails unless the job is in the state.
func (x *fixture) wantState(id string, want wire.State) {
	x.t.Helper()
	if got := x.job(id).State; got != want {
		x.t.Fatalf("state of the job: got %s, want %s", got, want)
	}
}

// wantCode fails unless the error is the coded one; "" is none.
func wantCode(t testing.TB, err error, want string) {
	t.Helper()
	got := ""
	if e := fault.As(err); e != nil {
		got = e.Code
	} else if err != nil {
		got = err.Error()
	}
	if got != want {
		t.Fatalf("error: got %q, want %q", got, want)
	}
}

// whole fails when an invariant is broken.
func (x *fixture) whole() {
	x.t.Helper()
	found, err := x.CheckInvariants(x.t.Context())
	if err != nil {
		x.t.Fatal(err)
	}
	for _, v := range found {
		x.t.Errorf("invariant broken: %s: %s", v.Rule, v.Detail)
	}
}

package vault

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"restic-manager/server/database"
	"restic-manager/server/database/databasetest"
	"restic-manager/server/fault"
	"restic-manager/server/fleet"
	"restic-manager/shared/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var tester = database.Actor{Kind: "operator", ID: "0190a000-0000-7000-8000-000000000001", Name: "tester"}

// rig is a vault and its fleet on an empty database with a clock of its own.
type rig struct {
	*Store
	t     testing.TB
	db    *database.DB
	fleet *fleet.Store
	clock *databasetest.Clock
	url   string
	n     int
}

// each runs the test on both engines.
func each(t *testing.T, fn func(t *testing.T, r *rig)) {
	t.Helper()
	for _, engine := range databasetest.Engines {
		t.Run(engine, func(t *testing.T) {
			r := &rig{t: t, clock: databasetest.NewClock(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)), url: databasetest.Migrated(t, engine)}
			r.open()
			fn(t, r)
		})
	}
}

// open opens the database as it is, and brings it up to date.
func (r *rig) open() {
	r.t.Helper()
	var err error
	if r.db, err = database.Open(r.t.Context(), database.Options{URL: r.url, Now: r.clock.Now}); err != nil {
		r.t.Fatal(err)
	}
	db := r.db
	r.t.Cleanup(func() { db.Close() })
	if err := r.db.Migrate(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
	if r.fleet, err = fleet.Open(r.t.Context(), fleet.Options{DB: r.db, Key: make([]byte, 32)}); err != nil {
		r.t.Fatal(err)
	}
	r.Store = Open(Options{DB: r.db, Fleet: r.fleet})
}

func (r *rig) write(fn func(tx *database.Tx) error) {
	r.t.Helper()
	if err := r.db.Write(r.t.Context(), fn); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) read(to any, query string, args ...any) {
	r.t.Helper()
	if err := r.db.Read(r.t.Context()).Raw(query, args...).Scan(to).Error; err != nil {
		r.t.Fatal(err)
	}
}

// host is enrolled.
func (r *rig) host(name string) string {
	r.t.Helper()
	id := database.NewID()
	r.write(func(tx *database.Tx) error { return insertHosts(tx, []string{id}, []string{name}) })
	return id
}

func insertHosts(tx *database.Tx, ids, names []string) error {
	for i, id := range ids {
		sum := sha256.Sum256([]byte(id))
		err := tx.Exec(`INSERT INTO hosts (id, name, name_key, labels, status, created_at, token_sha256, hostname, facts, guard, kinds,
			reported_repositories, agent_version, restic_version, protocol_version, features) VALUES (?, ?, ?, '{}', 'online', ?, ?, ?, '{}', '{}', '[]', '[]', '1', '', 1, '["target"]')`,
			id, names[i], strings.ToLower(names[i]), tx.Now, hex.EncodeToString(sum[:]), names[i]).Error
		if err != nil {
			return err
		}
	}
	return nil
}

// create sets a repository up under a new name.
func (r *rig) create(url string, change ...func(*New)) Repository {
	r.t.Helper()
	r.n++
	n := New{Name: fmt.Sprint("repository ", r.n), URL: url}
	for _, c := range change {
		c(&n)
	}
	o, err := r.Create(r.t.Context(), tester, n)
	if err != nil {
		r.t.Fatal(err)
	}
	return o
}

func (r *rig) use(host, id string) {
	r.t.Helper()
	if err := r.Use(r.t.Context(), tester, host, id); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) update(id string, p Patch) Repository {
	r.t.Helper()
	o, err := r.Update(r.t.Context(), tester, id, p)
	if err != nil {
		r.t.Fatal(err)
	}
	return o
}

func (r *rig) get(id string) Repository {
	r.t.Helper()
	o, err := r.ByID(r.t.Context(), id)
	if err != nil {
		r.t.Fatal(err)
	}
	return o
}

// handed is what an agent gets with a job about its own repository.
func (r *rig) handed(host string) wire.Secrets {
	r.t.Helper()
	return r.accept(host, fleet.NewJob{HostID: host, Kind: wire.KindSnapshots, Spec: &wire.SnapshotsSpec{}})
}

// accept orders a job, takes it and ends it.
func (r *rig) accept(host string, n fleet.NewJob) wire.Secrets {
	r.t.Helper()
	j, _, err := r.fleet.CreateJob(r.t.Context(), tester, n)
	if err != nil {
		r.t.Fatal(err)
	}
	lease := strings.ReplaceAll(j.ID, "-", "")
	a, err := r.fleet.Accept(r.t.Context(), host, j.ID, wire.AcceptRequest{Lease: lease, Delivery: 1})
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := r.fleet.CancelJob(r.t.Context(), tester, j.ID); err != nil {
		r.t.Fatal(err)
	}
	if a.Secrets == nil {
		return wire.Secrets{}
	}
	return *a.Secrets
}

// dump is every row of every table as text, sealed columns as they are.
func (r *rig) dump() string {
	r.t.Helper()
	query := "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
	if r.db.Postgres() {
		query = "SELECT table_name FROM information_schema.tables WHERE table_schema = current_schema() AND table_type = 'BASE TABLE'"
	}
	var tables []string
	r.read(&tables, query)
	var b strings.Builder
	for _, table := range tables {
		var rows []map[string]any
		if err := r.db.Read(r.t.Context()).Table(table).Find(&rows).Error; err != nil {
			r.t.Fatal(err)
		}
		for _, row := range rows {
			for column, v := range row {
				if raw, ok := v.([]byte); ok {
					v = string(raw)
				}
				fmt.Fprintf(&b, "%s.%s=%v\n", table, column, v)
			}
		}
	}
	return b.String()
}

// wantCode fails unless the error is the coded one; "" is none.
func wantCode(t testing.TB, err error, want string) *fault.Error {
	t.Helper()
	f := fault.As(err)
	got := ""
	if f != nil {
		got = f.Code
	} else if err != nil {
		got = err.Error()
	}
	if got != want {
		t.Fatalf("error: got %q (%v), want %q", got, err, want)
	}
	return f
}

func of[T any](v T) *T { return &v }

// resticPath is a real restic.
func resticPath(t testing.TB) string {
	t.Helper()
	tools := os.Getenv("RESTIC_MANAGER_TEST_TOOLS")
	if tools == "" {
		t.Fatal("RESTIC_MANAGER_TEST_TOOLS is not set: run make test")
	}
	return filepath.Join(tools, "restic-0.18.0")
}

func execs(query string, args ...any) func(tx *database.Tx) error {
	return func(tx *database.Tx) error { return tx.Exec(query, args...).Error }
}

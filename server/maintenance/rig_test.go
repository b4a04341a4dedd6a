package maintenance

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"restic-manager/server/database"
	"restic-manager/server/database/databasetest"
	"restic-manager/server/fault"
	"restic-manager/server/fleet"
	"restic-manager/shared/wire"
)

var tester = database.Actor{Kind: "operator", ID: "0190a000-0000-7000-8000-000000000001", Name: "tester"}

// rig is a store on a database with a turned clock, and a storage that hosts back up to, beside what the server knows of
// it: snapshots come and go there without its knowledge.
type rig struct {
	*Store
	t     testing.TB
	db    *database.DB
	fleet *fleet.Store
	clock *databasetest.Clock
	url   string

	storage    map[string]wire.Snapshot
	appendOnly bool
	n          int
	setting    string
	runner     string
}

const repositoryID = "00000000000000000000000000000000000000000000000000000000000000aa"

// each runs the test on both engines.
func each(t *testing.T, test func(t *testing.T, r *rig)) {
	t.Helper()
	for _, engine := range databasetest.Engines {
		t.Run(engine, func(t *testing.T) { test(t, newRig(t, engine)) })
	}
}

func newRig(t testing.TB, engine string) *rig {
	t.Helper()
	r := &rig{t: t, url: databasetest.Migrated(t, engine), storage: map[string]wire.Snapshot{},
		clock: databasetest.NewClock(time.Date(2026, 11, 20, 1, 0, 0, 0, time.UTC))}
	r.Store, r.fleet, r.db = r.open()
	r.runner = r.host("runner", wire.KindBackup, wire.KindSnapshots, wire.KindForget, wire.KindPrune, wire.KindCheck)
	r.setting = r.addSetting("store", `{"zone":"Europe/Berlin","enabled":true,"forget":"30 4 * * *"}`)
	r.exec("INSERT INTO repositories (id, created_at) VALUES (?, ?)", repositoryID, r.clock.Now())
	r.exec("INSERT INTO repository_maintenance (repository_id, setting_id) VALUES (?, ?)", repositoryID, r.setting)
	return r
}

// open is one more replica.
func (r *rig) open() (*Store, *fleet.Store, *database.DB) {
	r.t.Helper()
	db, err := database.Open(r.t.Context(), database.Options{URL: r.url, Now: r.clock.Now})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { db.Close() })
	if err := db.Migrate(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
	f, err := fleet.Open(r.t.Context(), fleet.Options{DB: db, Key: make([]byte, 32)})
	if err != nil {
		r.t.Fatal(err)
	}
	f.Use(fleet.Hooks{TargetSecrets: func(context.Context, fleet.Target, wire.Kind, string) (*wire.Secrets, error) {
		return &wire.Secrets{RepositoryURL: "/srv/store", Password: "x"}, nil
	}})
	return Open(Options{DB: db, Fleet: f}), f, db
}

func (r *rig) exec(sql string, args ...any) {
	r.t.Helper()
	if err := r.db.Write(r.t.Context(), func(tx *database.Tx) error { return tx.Exec(sql, args...).Error }); err != nil {
		r.t.Fatal(err)
	}
}

// count is the one number that a query gives.
func (r *rig) count(sql string, args ...any) int64 {
	r.t.Helper()
	var n int64
	if err := r.db.Read(r.t.Context()).Raw(sql, args...).Scan(&n).Error; err != nil {
		r.t.Fatal(err)
	}
	return n
}

func (r *rig) addSetting(name, maintenance string) string {
	r.t.Helper()
	id := database.NewID()
	now := r.clock.Now()
	r.exec(`INSERT INTO repository_settings (id, name, name_key, url, sealed_password, env_keys, sealed_env, maintenance_env_keys, sealed_maintenance_env,
		runner_id, maintenance, created_at, updated_at, secrets_changed_at) VALUES (?, ?, ?, '/srv/store', '', '[]', '', '[]', '', ?, ?, ?, ?, ?)`,
		id, name, name, r.runner, maintenance, now, now, now)
	return id
}

func (r *rig) setMaintenance(text string) {
	r.t.Helper()
	r.exec("UPDATE repository_settings SET maintenance = ? WHERE id = ?", text, r.setting)
}

// host is enrolled, has the repository as its own, and its guard allows the kinds.
func (r *rig) host(name string, kinds ...wire.Kind) string {
	r.t.Helper()
	id := database.NewID()
	sum := sha256.Sum256([]byte(id))
	r.exec(`INSERT INTO hosts (id, name, name_key, labels, status, created_at, token_sha256, hostname, facts, guard, kinds, reported_repositories, agent_version,
		restic_version, protocol_version) VALUES (?, ?, ?, '{}', 'never_seen', ?, ?, ?, '{}', '{}', '[]', '[]', '1', '', 1)`,
		id, name, name, r.clock.Now(), hex.EncodeToString(sum[:]), name)
	r.hello(id, name, kinds...)
	return id
}

func (r *rig) hello(id, name string, kinds ...wire.Kind) {
	r.t.Helper()
	r.n++
	_, err := r.fleet.Hello(r.t.Context(), id, wire.HelloRequest{BootID: fmt.Sprintf("b%d", r.n), BootNumber: int64(r.n), Seq: 1, ProtocolVersion: 1, AgentVersion: "1",
		Now: r.clock.Now(), Facts: wire.Facts{Hostname: name}, Features: []string{wire.FeatureTarget}, Guard: wire.GuardReport{Kinds: kinds}})
	if err != nil {
		r.t.Fatal(err)
	}
	if err := r.fleet.Flush(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
}

// policy has a rule.
func (r *rig) policy(name, keep string) string {
	r.t.Helper()
	id := database.NewID()
	now := r.clock.Now()
	r.exec("INSERT INTO policies (id, name, name_key, enabled, version, spec, created_at, updated_at) VALUES (?, ?, ?, ?, 1, ?, ?, ?)",
		id, name, name, true, `{"hosts":{"all":true},"backup":{"paths":["/home"]},"schedule":{"cron":"0 2 * * *","zone":"Europe/Berlin"},"keep":`+keep+`}`, now, now)
	return id
}

func (r *rig) hex(size int) string {
	r.n++
	sum := sha256.Sum256(fmt.Appendf(nil, "%d", r.n))
	return hex.EncodeToString(sum[:])[:size]
}

// put has a snapshot appear in the storage.
func (r *rig) put(hostname string, at time.Time, tags ...string) string {
	id := r.hex(64)
	r.storage[id] = wire.Snapshot{ID: id, Time: at, Tree: r.hex(64), Paths: []string{"/home"}, Hostname: hostname, Tags: tags}
	return id
}

// listing is what is in the storage now.
func (r *rig) listing(host, job string) *wire.Listing {
	r.t.Helper()
	l, err := r.fleet.BeginListing(r.t.Context(), host, job)
	if err != nil {
		r.t.Fatal(err)
	}
	list := &wire.Listing{Token: l.Token, RepositoryID: repositoryID, Snapshots: []json.RawMessage{}}
	for _, s := range r.storage {
		raw, err := json.Marshal(s)
		if err != nil {
			r.t.Fatal(err)
		}
		list.Snapshots = append(list.Snapshots, raw)
	}
	return list
}

// begin takes and starts a job.
func (r *rig) begin(host, job string) (lease string) {
	r.t.Helper()
	lease = r.hex(32)
	if _, err := r.fleet.Accept(r.t.Context(), host, job, wire.AcceptRequest{Lease: lease, Delivery: 1}); err != nil {
		r.t.Fatal(err)
	}
	if err := r.fleet.Start(r.t.Context(), host, job, lease, wire.StartRequest{StartNonce: lease, RepositoryID: repositoryID}); err != nil {
		r.t.Fatal(err)
	}
	return lease
}

func (r *rig) finish(host, job, lease string, f wire.FinishRequest) {
	r.t.Helper()
	raw, err := json.Marshal(f)
	if err != nil {
		r.t.Fatal(err)
	}
	reply, err := r.fleet.Finish(r.t.Context(), host, job, lease, raw, f)
	if err != nil || reply.ListingRefused {
		r.t.Fatalf("finish: %+v, %v", reply, err)
	}
}

// backup is a backup of half an hour at the host; policy empty: by hand.
func (r *rig) backup(host, hostname, policy string) (snapshot string) {
	r.t.Helper()
	j, _, err := r.fleet.CreateJob(r.t.Context(), tester, fleet.NewJob{HostID: host, Kind: wire.KindBackup, PolicyID: policy, Spec: &wire.BackupSpec{Paths: []string{"/home"}}})
	if err != nil {
		r.t.Fatal(err)
	}
	lease := r.begin(host, j.ID)
	snapshot = r.put(hostname, r.clock.Now().Add(time.Second))
	r.clock.Advance(30 * time.Minute)
	r.finish(host, j.ID, lease, wire.FinishRequest{State: wire.StateSucceeded, Summary: &wire.Summary{SnapshotID: snapshot}, Listing: r.listing(host, j.ID)})
	return snapshot
}

// ordered are the runner's queued jobs.
func (r *rig) ordered(kinds ...wire.Kind) (jobs []fleet.Job) {
	r.t.Helper()
	var ids []string
	if err := r.db.Read(r.t.Context()).Raw("SELECT id FROM jobs WHERE state = 'queued' ORDER BY number").Scan(&ids).Error; err != nil {
		r.t.Fatal(err)
	}
	for _, id := range ids {
		j, err := r.fleet.JobByID(r.t.Context(), id)
		if err != nil {
			r.t.Fatal(err)
		}
		if len(kinds) == 0 || slices.Contains(kinds, j.Kind) {
			jobs = append(jobs, j)
		}
	}
	return jobs
}

// work has the runner do all that is ordered, one minute each.
func (r *rig) work() {
	r.t.Helper()
	for _, j := range r.ordered() {
		lease := r.begin(j.HostID, j.ID)
		r.clock.Advance(time.Minute)
		f := wire.FinishRequest{State: wire.StateSucceeded}
		if j.Kind == wire.KindPrune {
			f.Summary = &wire.Summary{StoredBytes: 4711}
		}
		if j.Kind == wire.KindForget && !r.appendOnly {
			var spec wire.ForgetSpec
			if err := json.Unmarshal(j.Spec, &spec); err != nil {
				r.t.Fatal(err)
			}
			for _, id := range spec.SnapshotIDs {
				delete(r.storage, id)
			}
		}
		if info, _ := j.Kind.Info(); info.Lists {
			f.Listing = r.listing(j.HostID, j.ID)
		}
		r.finish(j.HostID, j.ID, lease, f)
	}
}

func (r *rig) duty() {
	r.t.Helper()
	if err := r.Duty(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
}

// night turns the clock to the next time that forget is due, 04:30 in Berlin, and does what comes then.
func (r *rig) night() {
	r.t.Helper()
	r.duty()
	at := r.clock.Now().Truncate(24 * time.Hour).Add(3*time.Hour + 30*time.Minute)
	if !at.After(r.clock.Now()) {
		at = at.AddDate(0, 0, 1)
	}
	r.clock.Set(at)
	r.hello(r.runner, "runner", wire.KindBackup, wire.KindSnapshots, wire.KindForget, wire.KindPrune, wire.KindCheck)
	r.duty() // the list is old: it is asked for
	r.work()
	r.duty()
	r.work()
	r.duty()
}

func (r *rig) removals() []Removal {
	r.t.Helper()
	all, err := r.Removals(r.t.Context(), r.setting)
	if err != nil {
		r.t.Fatal(err)
	}
	return all
}

func (r *rig) frozen() string {
	r.t.Helper()
	var why []string
	if err := r.db.Read(r.t.Context()).Raw("SELECT frozen FROM repository_maintenance WHERE repository_id = ?", repositoryID).Scan(&why).Error; err != nil || len(why) != 1 {
		r.t.Fatal(why, err)
	}
	return why[0]
}

// wantCode fails unless the error is the coded one, and its words hold what is wanted.
func wantCode(t testing.TB, err error, code, words string) {
	t.Helper()
	f := fault.As(err)
	if f == nil || f.Code != code || !strings.Contains(f.Message, words) {
		t.Errorf("error: got %v, want %s with %q", err, code, words)
	}
}

// wantThere fails unless the storage holds exactly these.
func (r *rig) wantThere(want ...string) {
	r.t.Helper()
	for _, id := range want {
		if _, ok := r.storage[id]; !ok {
			r.t.Errorf("snapshot %.8s is gone", id)
		}
	}
	if len(r.storage) != len(want) {
		r.t.Errorf("got %d snapshots in the storage, want %d", len(r.storage), len(want))
	}
}

// whole fails when an invariant is broken.
func (r *rig) whole() {
	r.t.Helper()
	found, err := r.fleet.CheckInvariants(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	for _, v := range found {
		r.t.Errorf("invariant broken: %s: %s", v.Rule, v.Detail)
	}
}

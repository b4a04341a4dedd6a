package policy

import (
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

// fixture is a store on an empty database with a clock of its own.
type fixture struct {
	*Store
	t     testing.TB
	db    *database.DB
	fleet *fleet.Store
	clock *databasetest.Clock
	url   string
	n     int // names things
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
	x := &fixture{t: t, clock: databasetest.NewClock(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)), url: databasetest.Migrated(t, engine)}
	x.open()
	return x
}

// open is one more replica on the fixture's database.
func (x *fixture) open() {
	x.t.Helper()
	db, err := database.Open(x.t.Context(), database.Options{URL: x.url, Now: x.clock.Now})
	if err != nil {
		x.t.Fatal(err)
	}
	x.t.Cleanup(func() { db.Close() })
	if err := db.Migrate(x.t.Context()); err != nil {
		x.t.Fatal(err)
	}
	x.on(db)
}

func (x *fixture) on(db *database.DB) {
	x.t.Helper()
	f, err := fleet.Open(x.t.Context(), fleet.Options{DB: db, Key: make([]byte, 32)})
	if err != nil {
		x.t.Fatal(err)
	}
	x.db, x.fleet = db, f
	x.Store = Open(Options{DB: db, Fleet: f, Assign: giveSetting})
}

// replica is a second store: on PostgreSQL with connections of its own, on SQLite over the same ones.
func (x *fixture) replica() *fixture {
	r := *x
	if x.db.Postgres() {
		r.open()
	} else {
		r.on(x.db)
	}
	return &r
}

// giveSetting is what the room of repositories does: the hosts use the setting.
func giveSetting(tx *database.Tx, settingID string, hostIDs []string) (map[string]*fault.Error, error) {
	problems := map[string]*fault.Error{}
	for _, id := range hostIDs {
		var names []string
		if err := tx.Raw("SELECT name FROM hosts WHERE id = ?", id).Scan(&names).Error; err != nil {
			return nil, err
		}
		if names[0] == clashing {
			problems[id] = fault.Invalidf("its place is another machine's")
			continue
		}
		err := tx.Exec(`INSERT INTO host_repositories (host_id, url, env_keys, sealed_password, sealed_env, updated_at, setting_id)
			SELECT ?, url, '[]', sealed_password, sealed_env, ?, id FROM repository_settings WHERE id = ?`, id, tx.Now, settingID).Error
		if err != nil {
			return nil, err
		}
	}
	return problems, nil
}

// clashing is a host that can use no setting.
const clashing = "clashing"

var tester = database.Actor{Kind: "operator", ID: "0190a000-0000-7000-8000-000000000001", Name: "tester"}

func (x *fixture) write(fn func(tx *database.Tx) error) {
	x.t.Helper()
	if err := x.db.Write(x.t.Context(), fn); err != nil {
		x.t.Fatal(err)
	}
}

func (x *fixture) read(to any, query string, args ...any) {
	x.t.Helper()
	if err := x.db.Read(x.t.Context()).Raw(query, args...).Scan(to).Error; err != nil {
		x.t.Fatal(err)
	}
}

// setting is a repository as people set it up.
func (x *fixture) setting(name string) string {
	x.t.Helper()
	id := database.NewID()
	x.write(func(tx *database.Tx) error {
		return tx.Exec(`INSERT INTO repository_settings (id, name, name_key, url, sealed_password, env_keys, sealed_env, maintenance_env_keys,
			sealed_maintenance_env, created_at, updated_at, secrets_changed_at) VALUES (?, ?, ?, ?, ?, '[]', ?, '[]', ?, ?, ?, ?)`,
			id, name, strings.ToLower(name), "/srv/"+name, []byte{}, []byte{}, []byte{}, tx.Now, tx.Now, tx.Now).Error
	})
	return id
}

// hosts are enrolled ones that have not said a word, in one statement each 500. No policy is told of them.
func (x *fixture) hosts(n int, labels func(i int) string) []string {
	x.t.Helper()
	type host struct {
		ID, Name, NameKey, Labels, Status, TokenSHA256, Hostname, Facts, Guard, Kinds, ReportedRepositories, AgentVersion, ResticVersion string
		ProtocolVersion                                                                                                                  int
		CreatedAt                                                                                                                        time.Time
	}
	var rows []host
	var ids []string
	for i := range n {
		x.n++
		id := database.NewID()
		sum := sha256.Sum256([]byte(id))
		name := fmt.Sprintf("host-%05d", x.n)
		rows = append(rows, host{ID: id, Name: name, NameKey: name, Labels: labels(i), Status: "online", TokenSHA256: hex.EncodeToString(sum[:]), Hostname: name,
			Facts: "{}", Guard: "{}", Kinds: "[]", ReportedRepositories: "[]", AgentVersion: "1", ProtocolVersion: 1, CreatedAt: x.clock.Now()})
		ids = append(ids, id)
	}
	x.write(func(tx *database.Tx) error {
		for some := range slices.Chunk(rows, 500) {
			if err := tx.Table("hosts").Create(&some).Error; err != nil {
				return err
			}
		}
		return nil
	})
	return ids
}

// host is one that is online.
func (x *fixture) host() string {
	x.t.Helper()
	return x.hosts(1, func(int) string { return "{}" })[0]
}

// keeper is a host whose agent keeps the schedule.
func (x *fixture) keeper() string {
	x.t.Helper()
	id := x.host()
	x.hello(id, wire.FeatureSchedule)
	return id
}

func (x *fixture) hello(host string, features ...string) {
	x.t.Helper()
	_, err := x.fleet.Hello(x.t.Context(), host, wire.HelloRequest{BootID: "b1", BootNumber: 1, Seq: 1, ProtocolVersion: 1, AgentVersion: "1",
		Now: x.clock.Now(), Features: features, Facts: wire.Facts{Hostname: "h"}})
	if err != nil {
		x.t.Fatal(err)
	}
	if err := x.fleet.Flush(x.t.Context()); err != nil {
		x.t.Fatal(err)
	}
}

// draft is a daily policy of all machines.
func (x *fixture) draft() Draft {
	x.n++
	return Draft{Name: fmt.Sprintf("policy %d", x.n), Enabled: true, Spec: Spec{
		Hosts: Selector{All: true}, Backup: wire.BackupSpec{Paths: []string{"/home"}}, Schedule: Timing{Cron: "30 2 * * *", Zone: "UTC"},
	}}
}

func (x *fixture) create(d Draft) Policy {
	x.t.Helper()
	p, err := x.Create(x.t.Context(), tester, d)
	if err != nil {
		x.t.Fatal(err)
	}
	return p
}

// change saves the policy after fn.
func (x *fixture) change(p Policy, fn func(d *Draft)) Policy {
	x.t.Helper()
	d := Draft{p.Name, p.Enabled, p.Spec}
	fn(&d)
	p, err := x.Put(x.t.Context(), tester, p.ID, d, p.Version)
	if err != nil {
		x.t.Fatal(err)
	}
	return p
}

// assignment is that of the policy at the host; nil when it does not apply.
func (x *fixture) assignment(policy, host string) *assignment {
	x.t.Helper()
	var rows []assignment
	x.read(&rows, "SELECT * FROM assignments WHERE policy_id = ? AND host_id = ?", policy, host)
	if len(rows) == 0 {
		return nil
	}
	return &rows[0]
}

// scheduleVersion is that of the host.
func (x *fixture) scheduleVersion(host string) (version int64) {
	x.t.Helper()
	x.read(&version, "SELECT schedule_version FROM hosts WHERE id = ?", host)
	return version
}

// ticks are all of a policy and host, the oldest first.
func (x *fixture) ticks(policy, host string) (rows []tickRow) {
	x.t.Helper()
	x.read(&rows, "SELECT * FROM ticks WHERE policy_id = ? AND host_id = ? ORDER BY due_at", policy, host)
	return rows
}

// told is what became of them, in short.
func (x *fixture) told(policy, host string) string {
	x.t.Helper()
	var words []string
	for _, r := range x.ticks(policy, host) {
		words = append(words, r.DueAt.UTC().Format("02T15:04")+" "+string(r.Outcome))
	}
	return strings.Join(words, ", ")
}

// tell has an agent account for due times.
func (x *fixture) tell(host string, ticks ...wire.Tick) ([]wire.TickAnswer, error) {
	x.t.Helper()
	r, err := x.RecordTicks(x.t.Context(), host, wire.TicksRequest{Ticks: ticks})
	return r.Ticks, err
}

// asks has it ask for the run of a due time.
func (x *fixture) asks(host, policy string, due time.Time) wire.TickAnswer {
	x.t.Helper()
	a, err := x.tell(host, wire.Tick{PolicyID: policy, DueAt: due})
	if err != nil {
		x.t.Fatal(err)
	}
	return a[0]
}

// look has the server's scheduler look once.
func (x *fixture) look() Report {
	x.t.Helper()
	r, err := x.RunSchedules(x.t.Context())
	if err != nil {
		x.t.Fatal(err)
	}
	return r
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
	found, err := x.fleet.CheckInvariants(x.t.Context())
	if err != nil {
		x.t.Fatal(err)
	}
	for _, v := range found {
		x.t.Errorf("invariant broken: %s: %s", v.Rule, v.Detail)
	}
}

func mustJSON(v any) []byte {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return raw
}

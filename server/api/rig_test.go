package api

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"restic-manager/server/access"
	"restic-manager/server/database"
	"restic-manager/server/database/databasetest"
	"restic-manager/server/fleet"
	"restic-manager/server/maintenance"
	"restic-manager/server/policy"
	"restic-manager/server/vault"
	"restic-manager/shared/wire"
)

func TestMain(m *testing.M) {
	if where := os.Getenv(waitClient); where != "" {
		holdConnections(where)
		return
	}
	goleak.VerifyTestMain(m)
}

// clock is turned by hand; it begins at the real time, so that agents' clocks agree with it.
type clock struct {
	mu    sync.Mutex
	ahead time.Duration
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.ahead)
}

func (c *clock) turn(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += d
}

// rig is the real server over HTTP on a real database.
type rig struct {
	*Server
	t        testing.TB
	url      string
	db       *database.DB
	fleet    *fleet.Store
	access   *access.Access
	policies *policy.Store
	clock    *clock
	words    *words
	http     *http.Server
	client   *http.Client // the rig's own: httptest.Server.Close cuts what others have under way through http.DefaultTransport
}

// words keeps what was logged.
type words struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (w *words) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(b)
}

func (w *words) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.String()
}

const (
	adminName  = "ada"
	goodSecret = "teacup granite otter"
)

// each runs the test on both engines, with an administrator there.
func each(t *testing.T, change func(*Options), test func(t *testing.T, r *rig)) {
	t.Parallel()
	for _, engine := range databasetest.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, engine, change)
			if err := r.access.EnsureAdmin(t.Context(), adminName, goodSecret); err != nil {
				t.Fatal(err)
			}
			test(t, r)
		})
	}
}

func newRig(t testing.TB, engine string, change func(*Options)) *rig {
	t.Helper()
	r := &rig{t: t, clock: &clock{}, words: &words{}}
	log := slog.New(slog.NewTextHandler(r.words, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if _, ok := t.(*testing.B); ok {
		log = slog.New(slog.DiscardHandler)
	}
	var err error
	if r.db, err = database.Open(t.Context(), database.Options{URL: databasetest.Migrated(t, engine), Now: r.clock.now, Log: log}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.db.Close() })
	if err := r.db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r.fleet, err = fleet.Open(t.Context(), fleet.Options{DB: r.db, Key: make([]byte, 32), Log: log}); err != nil {
		t.Fatal(err)
	}
	r.access = access.Open(access.Options{DB: r.db, Log: log, Now: r.clock.now, Cheap: true})
	repositories := vault.Open(vault.Options{DB: r.db, Fleet: r.fleet, Log: log})
	r.policies = policy.Open(policy.Options{DB: r.db, Fleet: r.fleet, Assign: repositories.TryAssign, Log: log})
	o := Options{Fleet: r.fleet, Access: r.access, Vault: repositories, Policies: r.policies,
		Maintenance: maintenance.Open(maintenance.Options{DB: r.db, Fleet: r.fleet, Log: log}), Log: log, Now: r.clock.now, Version: "test",
		Limits: Limits{HostPerSecond: -1}}
	if change != nil {
		change(&o)
	}
	if r.Server, err = New(o); err != nil {
		t.Fatal(err)
	}
	ts := httptest.NewUnstartedServer(nil)
	r.Attach(ts.Config)
	ts.Start()
	r.url, r.http, r.client = ts.URL, ts.Config, ts.Client()
	t.Cleanup(func() {
		r.Stop()
		r.client.CloseIdleConnections()
		ts.Close()
		if t.Failed() {
			t.Logf("the server's last words:\n%s", lastLines(r.words.String(), 15))
		}
	})
	return r
}

func lastLines(s string, n int) string {
	lines := strings.Split(s, "\n")
	return strings.Join(lines[max(0, len(lines)-n-1):], "\n")
}

// request is one call.
type request struct {
	method, path string
	body         string // or:
	bytes        []byte
	header       http.Header
	as           principal
}

// principal is who calls: the headers that say so.
type principal http.Header

// answered is what came back.
type answered struct {
	status int
	header http.Header
	body   []byte
}

func (a answered) problem(t testing.TB) wire.Problem {
	t.Helper()
	var p wire.Problem
	if err := json.Unmarshal(a.body, &p); err != nil {
		t.Fatalf("status %d without a problem: %.200q", a.status, a.body)
	}
	return p
}

// code is the problem's, or empty.
func (a answered) code() string {
	var p wire.Problem
	_ = json.Unmarshal(a.body, &p)
	return p.Code
}

// withoutID is the body but for the request's id.
func (a answered) withoutID(t testing.TB) string {
	t.Helper()
	p := a.problem(t)
	return strings.ReplaceAll(string(a.body), p.RequestID, "")
}

func (r *rig) call(q request) answered {
	r.t.Helper()
	a, err := r.try(context.Background(), q)
	if err != nil {
		r.t.Fatalf("%s %s: %v", q.method, q.path, err)
	}
	return a
}

func (r *rig) try(ctx context.Context, q request) (answered, error) {
	b := q.bytes
	if b == nil && q.body != "" {
		b = []byte(q.body)
	}
	h, err := http.NewRequestWithContext(ctx, q.method, r.url+q.path, bytes.NewReader(b))
	if err != nil {
		return answered{}, err
	}
	if q.body != "" {
		h.Header.Set("Content-Type", "application/json")
	}
	for _, more := range []http.Header{http.Header(q.as), q.header} {
		for k, v := range more {
			h.Header[k] = v
		}
	}
	a, err := r.client.Do(h)
	if err != nil {
		return answered{}, err
	}
	defer a.Body.Close()
	body, err := io.ReadAll(a.Body)
	return answered{a.StatusCode, a.Header, body}, err
}

// must is a call that succeeds; out gets its answer unless nil.
func (r *rig) must(q request, out any) answered {
	r.t.Helper()
	a := r.call(q)
	if a.status >= 300 {
		r.t.Fatalf("%s %s: got %d: %s", q.method, q.path, a.status, a.body)
	}
	if out != nil {
		if err := json.Unmarshal(a.body, out); err != nil {
			r.t.Fatalf("%s %s: %v in %.300s", q.method, q.path, err, a.body)
		}
	}
	return a
}

func toJSON(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// signIn gives the session of an operator.
func (r *rig) signIn(name string) principal {
	r.t.Helper()
	a := r.must(request{method: "POST", path: "/api/auth/login", body: toJSON(r.t, map[string]string{"username": name, "password": goodSecret})}, nil)
	cookie, _, _ := strings.Cut(a.header.Get("Set-Cookie"), ";")
	if cookie == "" {
		r.t.Fatal("signing in gave no cookie")
	}
	return principal{"Cookie": {cookie}}
}

func (r *rig) operator(name string, role access.Role) principal {
	r.t.Helper()
	if _, err := r.access.CreateOperator(r.t.Context(), database.System, access.NewOperator{Username: name, Password: goodSecret, Role: role}); err != nil {
		r.t.Fatal(err)
	}
	return r.signIn(name)
}

// agent is an enrolled agent.
type agent struct {
	r      *rig
	id     string
	as     principal
	boot   string
	number int64 // of the boot
	seq    int64
	mark   string
	config string // version of the settings it has
}

func hexOf(n int) string {
	b := make([]byte, n)
	rand.Read(b)
	return hex.EncodeToString(b)
}

func sha(s string) string { h := sha256.Sum256([]byte(s)); return hex.EncodeToString(h[:]) }

func (r *rig) enroll(name string) *agent {
	r.t.Helper()
	_, token, err := r.fleet.CreateEnrollmentToken(r.t.Context(), database.System, fleet.NewEnrollmentToken{Name: name})
	if err != nil {
		r.t.Fatal(err)
	}
	secret := wire.AgentTokenPrefix + hexOf(32)
	var e wire.EnrollReply
	r.must(request{method: "POST", path: "/api/agents/enroll", body: toJSON(r.t, wire.EnrollRequest{
		Token: token, AgentTokenSHA256: sha(secret), Hostname: name, OS: "linux", Arch: "amd64", AgentVersion: "1", ProtocolVersion: 1})}, &e)
	return &agent{r: r, id: e.HostID, boot: hexOf(16), number: 1, as: principal{"Authorization": {"Bearer " + secret}, wire.HeaderProtocol: {"1"}}}
}

func (a *agent) helloBody() wire.HelloRequest {
	a.seq++
	return wire.HelloRequest{
		BootID: a.boot, BootNumber: a.number, Seq: a.seq, ProtocolVersion: 1, AgentVersion: "1", ResticVersion: "0.18.0", Now: a.r.clock.now(),
		Facts: wire.Facts{Hostname: "machine", OS: "linux", OSVersion: "Debian", Arch: "amd64", CPUs: 2, MemoryBytes: 1 << 30,
			AgentVersion: "1", ResticVersion: "0.18.0", ResticPath: "/usr/bin/restic", TimeZone: "UTC", RestoreRoot: "/restore"},
		Kinds: kinds(), Features: []string{wire.FeatureTarget}, Guard: wire.GuardReport{Summary: "defaults", Kinds: kinds()},
		Repositories: []wire.RepositoryReport{{Name: wire.RepositoryLocal, ID: sha(a.id), Location: "/repo"}}, Jobs: []wire.JobReport{},
	}
}

func (a *agent) hello() {
	a.r.t.Helper()
	var h wire.HelloReply
	a.r.must(request{method: "POST", path: "/api/agents/hello", as: a.as, body: toJSON(a.r.t, a.helloBody())}, &h)
	a.mark = h.Mark
	var p wire.PollReply
	a.r.must(request{method: "GET", path: a.pollPath(0), as: a.as}, &p)
	if p.Configure != nil {
		a.config = p.Configure.Version
	}
}

func (a *agent) pollPath(wait time.Duration) string {
	a.seq++
	q := wire.PollQuery{Wait: wait, Boot: a.boot, Seq: a.seq, Mark: a.mark, FreeLong: 1, FreeShort: 1, Config: a.config}
	return "/api/agents/next-command?" + q.Encode()
}

// running is a job that the agent has started.
type running struct {
	a         *agent
	id, lease string
	as        principal
}

// accepted orders a backup, and has the agent fetch and accept it.
func (a *agent) accepted(order principal) *running {
	a.r.t.Helper()
	var j fleet.Job
	a.r.must(request{method: "POST", path: "/api/hosts/" + a.id + "/jobs", as: order, body: `{"kind":"backup","args":["/etc"]}`}, &j)
	var p wire.PollReply
	a.r.must(request{method: "GET", path: a.pollPath(5 * time.Second), as: a.as}, &p)
	if p.Offer == nil || p.Offer.JobID != j.ID {
		a.r.t.Fatalf("got %+v, want the offer of %s", p, j.ID)
	}
	job := &running{a: a, id: j.ID, lease: hexOf(16), as: principal{}}
	for k, v := range a.as {
		job.as[k] = v
	}
	job.as[wire.HeaderLease] = []string{job.lease}
	a.r.must(job.request("accept", toJSON(a.r.t, wire.AcceptRequest{Lease: job.lease, Delivery: p.Offer.Delivery})), nil)
	return job
}

func (a *agent) running(order principal) *running {
	a.r.t.Helper()
	j := a.accepted(order)
	a.r.must(j.request("start", toJSON(a.r.t, wire.StartRequest{StartNonce: hexOf(16), RepositoryID: sha(a.id)})), nil)
	return j
}

func (j *running) request(call, body string) request {
	return request{method: "POST", path: "/api/agents/jobs/" + j.id + "/" + call, as: j.as, body: body}
}

func (j *running) finish(t testing.TB, lines int64, sum string) {
	t.Helper()
	zero := 0
	j.a.r.must(j.request("finish", toJSON(t, wire.FinishRequest{State: wire.StateSucceeded, ExitCode: &zero, ElapsedSeconds: 1,
		StartedAt: j.a.r.clock.now(), EndedAt: j.a.r.clock.now(), LogLines: lines, LogSHA256: sum, Summary: &wire.Summary{FilesNew: 1}})), nil)
}

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"restic-manager/server/database/databasetest"
	"restic-manager/shared/failpoint"
	"restic-manager/shared/wire"
)

// tool is a path that `make test` gives; without it nothing here can be shown, so the test fails.
func tool(t testing.TB, variable, below string) string {
	t.Helper()
	dir := os.Getenv(variable)
	if dir == "" {
		t.Fatalf("%s is not set: run make test", variable)
	}
	p := filepath.Join(dir, below)
	if _, err := os.Stat(p); err != nil {
		t.Fatalf("%v: run make test", err)
	}
	return p
}

// program is the path of one of ours: the one with failpoints when its environment arms them, or the one of an earlier
// version when it says so.
func program(t testing.TB, name string, env []string) string {
	if slices.Contains(env, older) {
		name = "older/" + name
	}
	if slices.ContainsFunc(env, arms) {
		name = "failpoint/" + name
	}
	return tool(t, "RESTIC_MANAGER_TEST_BIN", name)
}

func arms(variable string) bool { return strings.HasPrefix(variable, failpoint.Variable+"=") }

// older in a program's environment has it be the one that tools/older built.
const older = "RESTIC_MANAGER_TEST_OLDER=1"

func resticPath(t testing.TB, version string) string {
	return tool(t, "RESTIC_MANAGER_TEST_TOOLS", "restic-"+version+"/restic")
}

// variant is one cell of the matrix.
type variant struct{ database, restic string }

func (v variant) String() string { return v.database + "/restic-" + v.restic }

var (
	databases = databasetest.Engines
	restics   = []string{"0.14.0", "0.18.0"}
)

// each runs the test for every database and restic version, beside other tests.
func each(t *testing.T, test func(t *testing.T, v variant)) {
	t.Parallel()
	for _, db := range databases {
		for _, r := range restics {
			v := variant{db, r}
			t.Run(v.String(), func(t *testing.T) { t.Parallel(); test(t, v) })
		}
	}
}

// patience stretches every limit below: a limit is there to end a hang, not to time a machine that has more to do.
const patience = 3

// eventually waits until check gives no error, asking again every 50 ms.
func eventually(t testing.TB, limit time.Duration, what string, check func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience*limit)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not within %s: %v", what, patience*limit, err)
		case <-tick.C:
		}
	}
}

// process is one running program of ours, its words kept in a file.
type process struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{}
}

func startProcess(t testing.TB, log string, env []string, name string, args ...string) *process {
	t.Helper()
	f, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p := &process{cmd: exec.Command(name, args...), log: log, done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = f, f
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}, env...)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = p.cmd.Wait(); close(p.done) }()
	return p
}

// kill is kill -9, and waits until the process is gone.
func (p *process) kill() { _ = p.cmd.Process.Kill(); <-p.done }

// terminate is SIGTERM; the exit code tells whether it went well.
func (p *process) terminate(t testing.TB, limit time.Duration) int {
	t.Helper()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(limit):
		t.Fatalf("%s did not end within %s of SIGTERM", p.cmd.Path, limit)
	}
	return p.cmd.ProcessState.ExitCode()
}

func (p *process) words() string { b, _ := os.ReadFile(p.log); return string(b) }

// server is the real server on one database.
type server struct {
	*process
	t        testing.TB
	dir, url string
	logFile  string
	listen   string
	database string // URL, or empty for SQLite
	env      []string
	http     *http.Client
	cookie   string
}

const (
	adminUser     = "operator"
	adminPassword = "a password for tests only"
)

// newServer starts a server on a new database of that engine and signs in.
func newServer(t testing.TB, engine string, env ...string) *server {
	t.Helper()
	url := ""
	if engine == "postgres" {
		url = databasetest.New(t, "postgres")
	}
	return newServerOn(t, url, env...)
}

func newServerOn(t testing.TB, database string, env ...string) *server {
	t.Helper()
	dir := t.TempDir()
	return newServerIn(t, dir, filepath.Join(dir, "server.log"), database, env...)
}

// newServerIn has its data in dir and its words in a file that may be elsewhere.
func newServerIn(t testing.TB, dir, log, database string, env ...string) *server {
	t.Helper()
	s := &server{t: t, dir: dir, logFile: log, database: database, env: env, listen: freeAddress(t),
		// A transport of its own: httptest.Server.Close cuts what others have under way through http.DefaultTransport.
		http: &http.Client{Timeout: 90 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 4, IdleConnTimeout: time.Minute}}}
	s.url = "http://" + s.listen
	s.start()
	t.Cleanup(func() {
		s.kill()
		if t.Failed() {
			t.Logf("words of the server:\n%s", tail(s.words(), 60))
		}
	})
	s.signIn()
	return s
}

func freeAddress(t testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func (s *server) start() {
	s.t.Helper()
	env := append([]string{
		"RESTIC_MANAGER_ADMIN_USER=" + adminUser, "RESTIC_MANAGER_ADMIN_PASSWORD=" + adminPassword,
	}, s.env...)
	if s.database != "" {
		env = append(env, "DATABASE_URL="+s.database)
	}
	s.process = startProcess(s.t, s.logFile, env,
		program(s.t, "restic-manager", s.env), "serve", "--listen", s.listen, "--data-dir", s.dir, "--public-url", s.url)
	eventually(s.t, 60*time.Second, "the server is ready", func() error {
		select {
		case <-s.done:
			s.t.Fatalf("the server ended:\n%s", tail(s.words(), 30))
		default:
		}
		answer, err := s.http.Get(s.url + "/readyz")
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		if answer.StatusCode != 200 {
			return fmt.Errorf("readyz: %s", answer.Status)
		}
		return nil
	})
}

// restart is kill -9 and a new start on the same data.
func (s *server) restart() { s.kill(); s.start() }

func (s *server) signIn() {
	s.t.Helper()
	answer := s.do("POST", "/api/auth/login", map[string]string{"username": adminUser, "password": adminPassword}, nil)
	if answer.StatusCode != 204 {
		s.t.Fatalf("sign in: %s", answer.Status)
	}
	for _, c := range answer.Cookies() {
		s.cookie = c.Name + "=" + c.Value
	}
}

// try is one call of the API; out gets the decoded answer unless nil.
func (s *server) try(method, path string, in, out any) (*http.Response, error) {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(b)
	}
	q, err := http.NewRequest(method, s.url+path, body)
	if err != nil {
		return nil, err
	}
	if in != nil {
		q.Header.Set("Content-Type", "application/json")
	}
	if s.cookie != "" {
		q.Header.Set("Cookie", s.cookie)
	}
	a, err := s.http.Do(q)
	if err != nil {
		return nil, err
	}
	defer a.Body.Close()
	b, err := io.ReadAll(a.Body)
	if err != nil {
		return nil, err
	}
	a.Body = io.NopCloser(bytes.NewReader(b))
	if a.StatusCode >= 300 {
		var p wire.Problem
		if json.Unmarshal(b, &p) == nil && p.Code != "" {
			return a, &p
		}
		return a, fmt.Errorf("%s %s: %s: %.500s", method, path, a.Status, b)
	}
	if out != nil {
		if raw, ok := out.(*[]byte); ok {
			*raw = b
		} else if err := json.Unmarshal(b, out); err != nil {
			return a, fmt.Errorf("%s %s: %w in %.300s", method, path, err, b)
		}
	}
	return a, nil
}

// do is try that must succeed.
func (s *server) do(method, path string, in, out any) *http.Response {
	s.t.Helper()
	a, err := s.try(method, path, in, out)
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, path, err)
	}
	return a
}

// job is what the API tells of a job.
type job struct {
	ID          string          `json:"id"`
	HostID      string          `json:"host_id"`
	Kind        wire.Kind       `json:"kind"`
	State       wire.State      `json:"state"`
	Error       *wire.JobError  `json:"error"`
	ExitCode    *int            `json:"exit_code"`
	Progress    *wire.Progress  `json:"progress"`
	Summary     *wire.Summary   `json:"summary"`
	Estimate    *wire.Estimate  `json:"estimate"`
	Issues      []wire.Issue    `json:"issues"`
	RetryOf     *string         `json:"retry_of"`
	LogLines    *int64          `json:"log_lines"`
	LogComplete bool            `json:"log_complete"`
	LogProblem  string          `json:"log_problem"`
	StartedAt   *time.Time      `json:"started_at"`
	EndedAt     *time.Time      `json:"ended_at"`
	Spec        json.RawMessage `json:"spec"`
}

func (j job) String() string { b, _ := json.Marshal(j); return string(b) }

func (s *server) order(host string, kind wire.Kind, spec any) job {
	s.t.Helper()
	var j job
	s.do("POST", "/api/hosts/"+host+"/jobs", map[string]any{"kind": kind, "spec": spec}, &j)
	return j
}

func (s *server) job(id string) job {
	s.t.Helper()
	var j job
	s.do("GET", "/api/jobs/"+id, nil, &j)
	return j
}

// reaches waits for a state; another terminal one is a failure.
func (s *server) reaches(id string, limit time.Duration, want ...wire.State) (j job) {
	s.t.Helper()
	eventually(s.t, limit, fmt.Sprintf("job %s becomes %v", id, want), func() error {
		var next job
		if _, err := s.try("GET", "/api/jobs/"+id, nil, &next); err != nil {
			return err
		}
		j = next
		for _, w := range want {
			if j.State == w {
				return nil
			}
		}
		if j.State.Terminal() {
			s.t.Fatalf("got a job that ended as %s, want %v: %s\n%s", j.State, want, j, s.log(id))
		}
		return fmt.Errorf("it is %s", j.State)
	})
	return j
}

// complete waits until the server has the whole log.
func (s *server) complete(id string) job {
	s.t.Helper()
	var j job
	eventually(s.t, 60*time.Second, "the log of "+id+" is complete", func() error {
		if j = s.job(id); !j.LogComplete {
			return fmt.Errorf("not yet: %s", j.LogProblem)
		}
		return nil
	})
	return j
}

func (s *server) log(id string) string {
	var b []byte
	if _, err := s.try("GET", "/api/jobs/"+id+"/log.txt", nil, &b); err != nil {
		return err.Error()
	}
	return string(b)
}

// run orders a job and waits for one of the states.
func (s *server) run(host string, kind wire.Kind, spec any, want ...wire.State) job {
	s.t.Helper()
	return s.reaches(s.order(host, kind, spec).ID, 2*time.Minute, want...)
}

type hostView struct {
	ID            string `json:"id"`
	Name          string `json:"name"`
	Status        string `json:"status"`
	SnapshotCount int64  `json:"snapshot_count"`
	ListingError  string `json:"listing_error"`
}

func (s *server) host(id string) hostView {
	s.t.Helper()
	var h hostView
	s.do("GET", "/api/hosts/"+id, nil, &h)
	return h
}

type snapshot struct {
	ID        string    `json:"id"`
	ShortID   string    `json:"short_id"`
	Time      time.Time `json:"time"`
	Paths     []string  `json:"paths"`
	Tags      []string  `json:"tags"`
	Hostname  string    `json:"hostname"`
	SizeBytes int64     `json:"size_bytes"`
	JobID     string    `json:"job_id"`
	FileCount int64     `json:"file_count"`
}

type snapshotPage struct {
	Snapshots   []snapshot `json:"snapshots"`
	RefreshedAt *time.Time `json:"refreshed_at"`
	NextCursor  string     `json:"next_cursor"`
}

func (s *server) snapshots(host string) snapshotPage {
	s.t.Helper()
	var p snapshotPage
	s.do("GET", "/api/hosts/"+host+"/snapshots?limit=1000", nil, &p)
	return p
}

// agent is the real agent of one host, in folders of its own.
type agent struct {
	*process
	t            testing.TB
	server       *server
	restic       string
	dir          string
	repository   string
	password     string
	hostID       string
	env          []string
	config, data string
}

// newAgent enrolls an agent whose owner has named a repository, and starts it. The repository is not made.
func newAgent(t testing.TB, s *server, restic string, yaml ...string) *agent {
	t.Helper()
	a := enrollAgent(t, s, restic)
	a.repository = filepath.Join(a.dir, "repository")
	a.own("repo_url: "+a.repository, "repo_password: "+a.password)
	a.own(yaml...)
	a.start()
	return a
}

// enrollAgent does what the pasted command does.
func enrollAgent(t testing.TB, s *server, restic string, args ...string) *agent {
	t.Helper()
	dir := t.TempDir()
	a := &agent{t: t, server: s, restic: restic, dir: dir, password: "correct horse battery",
		config: filepath.Join(dir, "etc", "agent.yaml"), data: filepath.Join(dir, "state")}
	a.env = []string{"STATE_DIRECTORY=" + a.data, "CACHE_DIRECTORY=" + filepath.Join(dir, "cache"), "RUNTIME_DIRECTORY=" + filepath.Join(dir, "run")}
	if i := slices.IndexFunc(s.env, arms); i >= 0 {
		a.env = append(a.env, s.env[i])
	}
	var token struct {
		Token string `json:"token"`
	}
	s.do("POST", "/api/enrollment-tokens", map[string]any{"name": "host-" + filepath.Base(dir)}, &token)
	cmd := exec.Command(program(t, "restic-manager-agent", a.env),
		append([]string{"enroll", "--server", s.url, "--config", a.config}, args...)...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "RESTIC_MANAGER_TOKEN=" + token.Token}, a.env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("enroll: %v\n%s", err, out)
	}
	var y struct{ id string }
	for line := range strings.Lines(a.read()) {
		if v, ok := strings.CutPrefix(line, "host_id:"); ok {
			y.id = strings.Trim(strings.TrimSpace(v), `"`)
		}
	}
	if !wire.IsUUID(y.id) {
		t.Fatalf("no host_id in agent.yaml:\n%s", a.read())
	}
	a.hostID = y.id
	if restic != "" {
		a.own("restic_path: " + resticPath(t, restic))
	}
	return a
}

func (a *agent) read() string {
	b, err := os.ReadFile(a.config)
	if err != nil {
		a.t.Fatal(err)
	}
	return string(b)
}

// own adds lines to agent.yaml, as the host's owner does.
func (a *agent) own(lines ...string) {
	a.t.Helper()
	f, err := os.OpenFile(a.config, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		a.t.Fatal(err)
	}
	defer f.Close()
	for _, l := range lines {
		if _, err := fmt.Fprintln(f, l); err != nil {
			a.t.Fatal(err)
		}
	}
}

func (a *agent) start() {
	a.t.Helper()
	a.launch()
	a.cleanUp()
	a.online()
}

// cleanUp ends at the test's end what the agent is and has started.
func (a *agent) cleanUp() {
	a.t.Cleanup(func() {
		a.kill()
		a.endSupervisors()
		if a.t.Failed() {
			a.t.Logf("words of the agent:\n%s", tail(a.words(), 60))
		}
	})
}

func (a *agent) launch() {
	a.process = startProcess(a.t, filepath.Join(a.dir, "agent.log"), a.env,
		program(a.t, "restic-manager-agent", a.env), "run", "--config", a.config, "--state-dir", a.data)
}

func (a *agent) online() {
	a.t.Helper()
	eventually(a.t, 30*time.Second, "the host is online", func() error {
		select {
		case <-a.done:
			a.t.Fatalf("the agent ended:\n%s", tail(a.words(), 30))
		default:
		}
		if h := a.server.host(a.hostID); h.Status != "online" {
			return fmt.Errorf("it is %s", h.Status)
		}
		return nil
	})
}

// restart is kill -9 and a new start; supervisors live on.
func (a *agent) restart() { a.kill(); a.launch() }

// children are the processes that run out of this agent's folders: supervisors and restic.
func (a *agent) children() []int {
	var pids []int
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		env, err := os.ReadFile(filepath.Join(d, "environ"))
		if err != nil {
			continue
		}
		cmd, _ := os.ReadFile(filepath.Join(d, "cmdline"))
		var pid int
		fmt.Sscanf(filepath.Base(d), "%d", &pid)
		if pid == os.Getpid() || a.process != nil && pid == a.cmd.Process.Pid {
			continue
		}
		if bytes.Contains(env, []byte(a.dir+"/")) || bytes.Contains(cmd, []byte(a.dir+"/")) || opened(d, a.dir) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// opened reports whether the process has a file below the folder open: a supervisor is told by the job's
// files, for its arguments and environment say nothing.
func opened(proc, dir string) bool {
	links, _ := filepath.Glob(filepath.Join(proc, "fd", "*"))
	for _, l := range links {
		if target, err := os.Readlink(l); err == nil && strings.HasPrefix(target, dir+"/") {
			return true
		}
	}
	return false
}

// endSupervisors ends what this test's agent started and left.
func (a *agent) endSupervisors() {
	for _, pid := range a.children() {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

// resticRun runs restic directly on the agent's repository, as its owner could.
func (a *agent) resticRun(args ...string) ([]byte, error) {
	cmd := exec.Command(resticPath(a.t, a.restic), args...)
	cmd.Env = []string{"RESTIC_REPOSITORY=" + a.repository, "RESTIC_PASSWORD=" + a.password,
		"RESTIC_CACHE_DIR=" + filepath.Join(a.dir, "own-cache"), "HOME=" + a.dir, "PATH=" + os.Getenv("PATH")}
	out, err := cmd.Output()
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		err = fmt.Errorf("restic %v: %w: %s", args, err, e.Stderr)
	}
	return out, err
}

func (a *agent) mustRestic(args ...string) []byte {
	a.t.Helper()
	out, err := a.resticRun(args...)
	if err != nil {
		a.t.Fatal(err)
	}
	return out
}

// init makes the repository through the product.
func (a *agent) init() {
	a.t.Helper()
	a.server.run(a.hostID, wire.KindInit, map[string]any{}, wire.StateSucceeded)
}

func tail(s string, lines int) string {
	all := strings.Split(strings.TrimRight(s, "\n"), "\n")
	if len(all) > lines {
		all = all[len(all)-lines:]
	}
	return strings.Join(all, "\n")
}

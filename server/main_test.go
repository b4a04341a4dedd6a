package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"restic-manager/server/config"
	"restic-manager/server/database"
	"restic-manager/shared/wire"
)

// TestMain lets the test's own binary be the program, for what needs a process: signals and exit codes.
func TestMain(m *testing.M) {
	if os.Getenv("RESTIC_MANAGER_TEST_AS_PROGRAM") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// buffer is written by the server while the test reads.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// command runs one command in this process.
func command(t *testing.T, env []string, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs buffer
	code = execute(t.Context(), console{out: &out, err: &errs, in: strings.NewReader(stdin), env: env, file: filepath.Join(t.TempDir(), "none.yaml")}, args)
	return code, out.String(), errs.String()
}

// mustRun is command for those that have to succeed.
func mustRun(t *testing.T, args ...string) (stdout string) {
	t.Helper()
	code, stdout, stderr := command(t, nil, "", args...)
	if code != 0 {
		t.Fatalf("%v: exit code %d: %s", args, code, stderr)
	}
	return stdout
}

// running is a server in this process.
type running struct {
	url      string
	out, err *buffer
	stop     context.CancelFunc
	done     chan error
}

func parseSettings(t *testing.T, env []string, args ...string) *config.Settings {
	t.Helper()
	l := config.NewLoader(env, filepath.Join(t.TempDir(), "none.yaml"))
	var cli struct {
		config.Settings `embed:""`
	}
	parser, err := kong.New(&cli, kong.Resolvers(l))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parser.Parse(args); err != nil {
		t.Fatal(err)
	}
	if err := l.Complete(&cli.Settings); err != nil {
		t.Fatal(err)
	}
	return &cli.Settings
}

// startServer serves on a free port of this machine until the test ends or calls shutdown.
func startServer(t *testing.T, dir string, env []string, args ...string) *running {
	t.Helper()
	s := parseSettings(t, env, append([]string{"--listen=127.0.0.1:0", "--data-dir=" + dir}, args...)...)
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{out: &buffer{}, err: &buffer{}, stop: cancel, done: make(chan error, 1)}
	ready := make(chan net.Addr, 1)
	go func() { r.done <- run(ctx, s, console{out: r.out, err: r.err}, ready) }()
	select {
	case addr := <-ready:
		r.url = localURL(s, addr.String())
	case err := <-r.done:
		cancel()
		t.Fatalf("the server ended: %v\n%s", err, r.err)
	}
	t.Cleanup(func() { r.shutdown(t) })
	return r
}

// shutdown stops the server as SIGTERM does; twice is once.
func (r *running) shutdown(t *testing.T) {
	t.Helper()
	r.stop()
	if err, first := <-r.done; first && err != nil {
		t.Errorf("the server ended with %v\n%s", err, r.err)
	} else if first {
		close(r.done)
	}
}

// call asks the server; body nil is none. The answer's body is decoded into into unless that is nil.
func (r *running) call(t *testing.T, method, path, cookie string, body, into any) (status int, cookies []*http.Cookie) {
	t.Helper()
	var send io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		send = bytes.NewReader(b)
	}
	q, err := http.NewRequestWithContext(t.Context(), method, r.url+path, send)
	if err != nil {
		t.Fatal(err)
	}
	if body != nil {
		q.Header.Set("Content-Type", "application/json")
	}
	if cookie != "" {
		q.Header.Set("Cookie", cookie)
	}
	answer, err := http.DefaultClient.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	raw, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	if into != nil {
		if err := json.Unmarshal(raw, into); err != nil {
			t.Fatalf("%s %s: %s: %v", method, path, raw, err)
		}
	}
	return answer.StatusCode, answer.Cookies()
}

type credentials map[string]string

// login signs in and gives the cookie to send.
func (r *running) login(t *testing.T, name, password string) (status int, cookie string) {
	t.Helper()
	status, cookies := r.call(t, "POST", "/api/auth/login", "", credentials{"username": name, "password": password}, nil)
	if len(cookies) == 1 {
		cookie = cookies[0].Name + "=" + cookies[0].Value
	}
	return status, cookie
}

var codeInBox = regexp.MustCompile(`Set-up code:  ([0-9A-Z-]{19})\n`)

func setupCode(t *testing.T, r *running) string {
	t.Helper()
	m := codeInBox.FindStringSubmatch(r.out.String())
	if m == nil {
		t.Fatalf("no set-up code in %q", r.out)
	}
	return m[1]
}

const password = "four unusual words here"

func TestFromTheFirstStartToTheSecond(t *testing.T) {
	dir := t.TempDir()
	first := startServer(t, dir, nil)
	code := setupCode(t, first)
	if strings.Contains(first.err.String(), code) {
		t.Error("the set-up code stands in the log")
	}
	if !strings.Contains(first.err.String(), "A NEW ENCRYPTION KEY WAS MADE") {
		t.Errorf("nobody is told to keep the key: %s", first.err)
	}
	var problem struct{ Code string }
	if status, _ := first.call(t, "GET", "/api/hosts", "", nil, &problem); status != 503 {
		t.Errorf("before set-up: got %d %s, want 503", status, problem.Code)
	}
	status, cookies := first.call(t, "POST", "/api/setup", "", credentials{"code": code, "username": "ann", "password": password}, nil)
	if status/100 != 2 || len(cookies) != 1 {
		t.Fatalf("set-up: got %d and %d cookies", status, len(cookies))
	}
	cookie := cookies[0].Name + "=" + cookies[0].Value
	var me struct{ Username, Role string }
	if status, _ := first.call(t, "GET", "/api/auth/me", cookie, nil, &me); status != 200 || me.Username != "ann" || me.Role != "administrator" {
		t.Errorf("after set-up: got %d %+v", status, me)
	}
	if status, _ := first.call(t, "POST", "/api/setup", "", credentials{"code": code, "username": "eve", "password": password}, nil); status != 409 {
		t.Errorf("the code once more: got %d, want 409", status)
	}
	first.shutdown(t)

	second := startServer(t, dir, nil)
	if got := second.out.String(); got != "" {
		t.Errorf("the second start printed %q, want nothing", got)
	}
	if strings.Contains(second.err.String(), "KEY WAS MADE") {
		t.Error("the second start made another key")
	}
	if status, _ := second.call(t, "GET", "/api/auth/me", cookie, nil, nil); status != 200 {
		t.Errorf("the session after a restart: got %d, want 200", status)
	}
	if status, cookie := second.login(t, "ann", password); status != 204 || cookie == "" {
		t.Errorf("sign-in: got %d %q, want 204 and a cookie", status, cookie)
	}
	if status, _ := second.login(t, "ann", "wrong"); status != 401 {
		t.Errorf("a wrong password: got %d, want 401", status)
	}
}

func TestTheAdministratorOfTheEnvironmentSignsIn(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte(password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	first := startServer(t, dir, []string{"RESTIC_MANAGER_ADMIN_USER=ann", "RESTIC_MANAGER_ADMIN_PASSWORD_FILE=" + file})
	if got := first.out.String(); got != "" {
		t.Errorf("printed %q, want no set-up code", got)
	}
	if status, _ := first.login(t, "ann", password); status != 204 {
		t.Errorf("got %d, want 204", status)
	}
	first.shutdown(t)
	second := startServer(t, dir, []string{"RESTIC_MANAGER_ADMIN_USER=ann", "RESTIC_MANAGER_ADMIN_PASSWORD=another long password"})
	if status, _ := second.login(t, "ann", "another long password"); status != 401 {
		t.Errorf("a password changed in the environment: got %d, want 401", status)
	}
}

func TestAnAgentThatIsTooOldIsToldWhereToLook(t *testing.T) {
	for want, args := range map[string][]string{
		"https://help.example": {"--public-url=https://b.example", "--help-url=https://help.example"},
		"https://b.example":    {"--public-url=https://b.example"},
	} {
		dir := t.TempDir()
		r := startServer(t, dir, nil, args...)
		mustRun(t, "user", "add", "ann", "--role=administrator", "--data-dir="+dir)
		token := strings.TrimSpace(mustRun(t, "token", "create", "--data-dir="+dir))
		var p wire.Problem
		status, _ := r.call(t, "POST", "/api/agents/enroll", "", wire.EnrollRequest{Token: token, AgentTokenSHA256: strings.Repeat("a", 64), Hostname: "old"}, &p)
		if status != 426 || p.Code != wire.ProblemProtocolTooOld || p.MinProtocolVersion != wire.MinProtocolVersion || p.HelpURL != want {
			t.Errorf("%v: got %d %+v, want 426 and the help URL %s", args, status, p, want)
		}
	}
}

func TestTheMetricsHaveAListenerOfTheirOwn(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := free.Addr().String()
	free.Close()
	r := startServer(t, t.TempDir(), []string{"RESTIC_MANAGER_METRICS_LISTEN=" + addr})
	for url, want := range map[string]int{"http://" + addr + "/metrics": 200, "http://" + addr + "/api/hosts": 404, r.url + "/metrics": 404} {
		answer, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if got := answer.StatusCode; got != want && !(want == 404 && (got == 401 || got == 503)) {
			t.Errorf("%s: got %d, want %d", url, got, want)
		}
	}
}

// What the server refuses to start with, each with exit code 78: trying again will not help.
func TestWrongFoldersKeysAndSchemasAreRefused(t *testing.T) {
	refused := func(t *testing.T, want string, env []string, args ...string) {
		t.Helper()
		code, out, stderr := command(t, env, "", append([]string{"serve", "--listen=127.0.0.1:0"}, args...)...)
		if code != 78 || out != "" || !strings.Contains(stderr, want) {
			t.Errorf("got exit code %d and %q, want 78 and %q", code, stderr, want)
		}
	}
	t.Run("a second server on the folder", func(t *testing.T) {
		dir := t.TempDir()
		startServer(t, dir, nil)
		refused(t, "another restic-manager server runs", nil, "--data-dir="+dir)
	})
	t.Run("another key", func(t *testing.T) {
		dir := t.TempDir()
		startServer(t, dir, nil).shutdown(t)
		key := filepath.Join(dir, "secret.key")
		right, err := os.ReadFile(key)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(key, []byte(strings.Repeat("01", 32)), 0o600); err != nil {
			t.Fatal(err)
		}
		refused(t, "key", nil, "--data-dir="+dir)
		if err := os.Remove(key); err != nil {
			t.Fatal(err)
		}
		refused(t, "put the copy of it there", nil, "--data-dir="+dir)
		if _, err := os.Stat(key); err == nil {
			t.Error("a key that opens nothing was left behind")
		}
		if err := os.WriteFile(key, right, 0o600); err != nil {
			t.Fatal(err)
		}
		startServer(t, dir, nil)
	})
	t.Run("a key that all can read", func(t *testing.T) {
		dir := t.TempDir()
		startServer(t, dir, nil).shutdown(t)
		if err := os.Chmod(filepath.Join(dir, "secret.key"), 0o644); err != nil {
			t.Fatal(err)
		}
		refused(t, "chmod 0600", nil, "--data-dir="+dir)
	})
	t.Run("a newer schema", func(t *testing.T) {
		dir := t.TempDir()
		startServer(t, dir, nil).shutdown(t)
		db, err := database.Open(t.Context(), database.Options{URL: filepath.Join(dir, "restic-manager.db")})
		if err != nil {
			t.Fatal(err)
		}
		err = db.Write(t.Context(), func(tx *database.Tx) error {
			return tx.Exec("INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, 1)").Error
		})
		if err != nil {
			t.Fatal(err)
		}
		db.Close()
		refused(t, "newer restic-manager", nil, "--data-dir="+dir)
	})
	t.Run("a guessable first password", func(t *testing.T) {
		refused(t, "RESTIC_MANAGER_ADMIN_PASSWORD", []string{"RESTIC_MANAGER_ADMIN_USER=ann", "RESTIC_MANAGER_ADMIN_PASSWORD=password1234"}, "--data-dir="+t.TempDir())
	})
	t.Run("a certificate that is not there", func(t *testing.T) {
		refused(t, "/nonexistent/c.pem", nil, "--data-dir="+t.TempDir(), "--tls-cert=/nonexistent/c.pem", "--tls-key=/nonexistent/k.pem")
	})
	t.Run("a folder that cannot be made", func(t *testing.T) {
		refused(t, "--data-dir", nil, "--data-dir=/proc/restic-manager")
	})
}

func TestADatabaseThatIsAwayEndsTheStartWithoutItsPassword(t *testing.T) {
	code, _, stderr := command(t, []string{"DATABASE_URL=postgres://u:canary-secret@127.0.0.1:1/d?connect_timeout=2"}, "", "serve", "--listen=127.0.0.1:0", "--data-dir="+t.TempDir())
	if code != 1 || strings.Contains(stderr, "canary") || !strings.Contains(stderr, "127.0.0.1") {
		t.Errorf("got exit code %d and %q, want 1 and the address", code, stderr)
	}
}

func TestAWaitEndsAtOnceWhenTheServerStops(t *testing.T) {
	r := startServer(t, t.TempDir(), []string{"RESTIC_MANAGER_ADMIN_USER=ann", "RESTIC_MANAGER_ADMIN_PASSWORD=" + password})
	_, cookie := r.login(t, "ann", password)
	var now struct{ Next string }
	if status, _ := r.call(t, "GET", "/api/changes", cookie, nil, &now); status != 200 || now.Next == "" {
		t.Fatalf("got %d and cursor %q", status, now.Next)
	}
	answered := make(chan int, 1)
	start := time.Now()
	go func() {
		status, _ := r.call(t, "GET", "/api/changes?wait=25&since="+url.QueryEscape(now.Next), cookie, nil, nil)
		answered <- status
	}()
	select {
	case status := <-answered:
		t.Fatalf("the wait ended at once with %d", status)
	case <-time.After(500 * time.Millisecond):
	}
	r.shutdown(t)
	if status := <-answered; status != 200 && status != 204 && status != 503 || time.Since(start) > 10*time.Second {
		t.Errorf("got %d after %v, want an answer at once", status, time.Since(start))
	}
}

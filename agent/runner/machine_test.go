package runner

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"restic-manager/agent/client"
	"restic-manager/agent/config"
	"restic-manager/agent/estimate"
	"restic-manager/agent/guard"
	"restic-manager/agent/spool"
	"restic-manager/agent/supervise"
	"restic-manager/shared/wire"
)

// TestMain is the supervisor too: Start runs this very binary.
func TestMain(m *testing.M) {
	if supervise.Takes(os.Args[1:]) {
		misbehave(os.Args[1:])
		os.Exit(supervise.Main(os.Args[1:]))
	}
	if estimate.Takes(os.Args[1:]) {
		awaitGo(filepath.Join(filepath.Dir(os.Args[2]), "../../../restic"))
		os.Exit(estimate.Main(os.Args[1:]))
	}
	code := m.Run()
	if code == 0 {
		code = leaks()
	}
	os.Exit(code)
}

// leaks waits longer than goleak does by itself: a supervisor of the last test may take a moment to be gone
// on a busy machine.
func leaks() int {
	var err error
	for deadline := time.Now().Add(waitLimit / 2); time.Now().Before(deadline); {
		if err = goleak.Find(); err == nil {
			return 0
		}
	}
	fmt.Fprintln(os.Stderr, "goleak:", err)
	return 1
}

// waitLimit is how long anything may take on a busy machine.
const waitLimit = 60 * time.Second

const testToken = wire.AgentTokenPrefix + "0123456789abcdef0123456789abcdef0123456789a"

const testRepository = "abababababababababababababababababababababababababababababababab"

// quick is the protocol's timing, shortened.
var quick = Timing{
	Backoff: 2 * time.Millisecond, BackoffCap: 20 * time.Millisecond, PollCap: 20 * time.Millisecond,
	Fatal: Span{20 * time.Millisecond, 30 * time.Millisecond}, Hello: Span{time.Hour, 2 * time.Hour},
	Look: 30 * time.Millisecond, Result: 10 * time.Millisecond, Progress: 20 * time.Millisecond, Flush: 20 * time.Millisecond,
	Ride: 10 * time.Second, Beat: 10 * time.Millisecond, KeepAside: time.Hour,
	Unlock: 10 * time.Second, Reap: 5 * time.Second, Preflight: 20 * time.Second, Grace: 10 * time.Second, Local: 300 * time.Millisecond,
}

// testHost is the host's id.
const testHost = "018f0000-0000-7000-8000-0000000000aa"

// machine is one host: its folders, its restic (a script), and the agent's process of now.
type machine struct {
	t       *testing.T
	server  *fakeServer
	dir     string
	source  string
	timing  Timing
	config  Config // changed before boot
	restore string
	second  bool // another agent is there

	mu     sync.Mutex // guards cancel
	cancel context.CancelFunc
	done   chan error
}

func newMachine(t *testing.T, s *fakeServer) *machine {
	m := &machine{t: t, server: s, dir: t.TempDir(), timing: quick}
	for _, name := range []string{"state", "cache", "run", "source", "restic", "repository"} {
		if err := os.Mkdir(m.path(name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	m.restore = m.path("restore")
	m.source = m.path("source")
	m.write("source/file", "hello")
	m.write("restic/snapshots.json", snapshotsJSON(3))
	m.write("restic/restic", strings.ReplaceAll(resticScript, "@DIR@", m.path("restic")))
	if err := os.Chmod(m.path("restic/restic"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		m.write("restic/go", "") // nothing waits any more
		m.kill()
		m.waitFor("the supervisors to end", func() bool { return !m.supervised() })
	})
	return m
}

// resticScript answers as restic 0.18.0 does. What a run does is in files beside it: go lets a run that
// waits (file wait) go on; exit is its exit code; lines is how many lines it writes to stderr.
const resticScript = `#!/bin/sh
D=@DIR@
case "$1" in
version) if [ -e $D/version ]; then cat $D/version; else echo "restic 0.18.0 compiled with go1.24.4 on linux/amd64"; fi; exit 0 ;;
cat)
	while [ -e $D/cat-waits ] && [ ! -e $D/go ]; do echo cat >>$D/cats; sleep 0.02; done
	if [ -e $D/cat-fails ]; then echo "Fatal: wrong password or no key found" >&2; exit 12; fi
	echo cat >>$D/cats
	echo '{"version":2,"id":"` + testRepository + `","chunker_polynomial":"25b468838dcb75"}'; exit 0 ;;
init) echo '{"message_type":"initialized","id":"` + testRepository + `","repository":"r"}'; exit 0 ;;
unlock) echo unlock >>$D/unlocks; exit 0 ;;
list) exit 0 ;;
snapshots)
	case "$*" in *--latest*) echo '[]'; exit 0 ;; esac
	echo list >>$D/listings
	if [ -e $D/list-fails ]; then echo "Fatal: unable to list" >&2; exit 1; fi
	while [ -e $D/list-waits ]; do sleep 0.02; done
	cat $D/snapshots.json; exit 0 ;;
esac
echo "$$ $*" >>$D/ran
echo "$RESTIC_REPOSITORY" >>$D/where
echo $$ >$D/pid
trap 'echo interrupted >&2; exit 130' INT
if [ -e $D/leaves ]; then setsid sh -c 'echo $$ >'$D'/left; exec sleep 600' >/dev/null 2>&1 </dev/null & while [ ! -s $D/left ]; do sleep 0.02; done; fi
echo '{"message_type":"status","seconds_elapsed":1,"percent_done":0.5,"total_files":2,"files_done":1,"total_bytes":10,"bytes_done":5}'
if [ -e $D/lines ]; then seq -f 'line %.0f of the log' $(cat $D/lines) >&2; fi
while [ -e $D/wait ] && [ ! -e $D/go ]; do sleep 0.02; done
echo '{"message_type":"status","seconds_elapsed":2,"percent_done":1,"total_files":2,"files_done":2,"total_bytes":10,"bytes_done":10}'
ID=0000000000000000000000000000000000000000000000000000000000000001
if [ -e $D/short ]; then ID=$(cat $D/short); fi
echo '{"message_type":"summary","files_new":1,"total_files_processed":1,"total_bytes_processed":5,"total_duration":0.1,"snapshot_id":"'$ID'"}'
if [ -e $D/exit ]; then exit $(cat $D/exit); fi
exit 0
`

func snapshotsJSON(n int) string {
	var b strings.Builder
	b.WriteByte('[')
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"time":"2026-11-24T01:02:03Z","tree":"%064x","paths":["/srv"],"hostname":"test-host","id":"%064x","short_id":"00000000"}`, i, i+1)
	}
	b.WriteString("]\n")
	return b.String()
}

func (m *machine) path(name string) string { return filepath.Join(m.dir, name) }

func (m *machine) write(name, content string) {
	m.t.Helper()
	if err := os.WriteFile(m.path(name), []byte(content), 0o600); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) read(name string) string {
	b, err := os.ReadFile(m.path(name))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		m.t.Fatal(err)
	}
	return string(b)
}

// lines counts the lines of a file; 0 without one.
func (m *machine) lines(name string) int { return strings.Count(m.read(name), "\n") }

func (m *machine) paths() config.Paths {
	return config.Paths{Config: m.path("agent.yaml"), Guard: m.path("guard.yaml"), State: m.path("state"), Cache: m.path("cache"), Runtime: m.path("run")}
}

// boot starts the agent.
func (m *machine) boot() {
	m.t.Helper()
	c, err := client.New(client.Options{ServerURL: m.server.URL, Token: testToken})
	if err != nil {
		m.t.Fatal(err)
	}
	conf := m.config
	conf.Client, conf.Paths, conf.Timing = c, m.paths(), m.timing
	conf.Logger = slog.New(slog.NewTextHandler(testLog{m.t}, &slog.HandlerOptions{Level: slog.LevelDebug}))
	conf.Facts = func(context.Context) wire.Facts { return wire.Facts{Hostname: "test-host"} }
	conf.Guard = guard.Open(guard.Options{Path: m.path("guard.yaml"), Protected: m.paths().Protected(), RestoreRoot: m.restore, UID: os.Geteuid()})
	if conf.Settings == nil {
		conf.Settings = &config.Config{ServerURL: m.server.URL, HostID: testHost, RepoURL: m.path("repository"), RepoPassword: "secret", ResticPath: m.path("restic/restic")}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	m.mu.Lock()
	m.cancel, m.done = cancel, done
	m.mu.Unlock()
	go func() {
		defer c.Close()
		// A process that another test forks has this one's lock until it becomes its program.
		err := Run(ctx, conf)
		for n := 0; n < 200 && errors.Is(err, spool.ErrLocked) && !m.second && ctx.Err() == nil; n++ {
			<-time.After(10 * time.Millisecond)
			err = Run(ctx, conf)
		}
		done <- err
	}()
}

// testLog keeps the agent's log with the test's.
type testLog struct{ t *testing.T }

func (l testLog) Write(b []byte) (int, error) {
	l.t.Logf("agent: %s", strings.TrimSpace(string(b)))
	return len(b), nil
}

// fell ends the agent without waiting; safe inside the server.
func (m *machine) fell() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cancel != nil {
		m.cancel()
	}
}

// fall gives what ends the agent in the middle of a call, once, and what waits until it did: a fall that comes late would be
// the next process's.
func (m *machine) fall() (do func(), fallen func(call string)) {
	done := make(chan struct{})
	return func() { m.fell(); close(done) }, func(call string) {
		m.t.Helper()
		select {
		case <-done:
		case <-time.After(waitLimit):
			m.t.Fatalf("waited in vain for %s", call)
		}
	}
}

// kill ends the agent; restic and its supervisor go on.
func (m *machine) kill() {
	m.t.Helper()
	m.fell()
	m.mu.Lock()
	done := m.done
	m.cancel, m.done = nil, nil
	m.mu.Unlock()
	if done == nil {
		return
	}
	select {
	case err := <-done:
		if err != nil {
			m.t.Errorf("the agent ended with %v", err)
		}
	case <-time.After(30 * time.Second):
		m.t.Fatal("the agent does not end")
	}
}

// supervised reports whether a supervisor or a restic lives.
func (m *machine) supervised() bool {
	names, _ := os.ReadDir(m.path("state/jobs"))
	for _, n := range names {
		alive, err := spool.OpenFolder(spool.OS{}, m.path("state"), n.Name(), time.Now).RunAlive()
		if err != nil || alive {
			return true
		}
	}
	return false
}

func (m *machine) waitFor(what string, ok func() bool) {
	m.t.Helper()
	deadline := time.Now().Add(waitLimit)
	for !ok() {
		if time.Now().After(deadline) {
			m.t.Fatalf("waited in vain for %s", what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

// folders are the names in a folder of the state folder.
func (m *machine) folders(name string) []string {
	var out []string
	entries, _ := os.ReadDir(m.path("state/" + name))
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func (m *machine) backup() *fakeJob {
	return m.server.queue(wire.KindBackup, &wire.BackupSpec{Paths: []string{m.source}})
}

// settled waits until the job is over at the server and its folder is gone.
func (m *machine) settled(j *fakeJob) {
	m.t.Helper()
	m.waitFor("the job to settle", func() bool {
		return m.server.is(func() bool { return j.state.Terminal() }) && len(m.folders("jobs")) == 0
	})
}

// wants checks what a job came to.
func (m *machine) wants(j *fakeJob, state wire.State, code string, runs int) {
	m.t.Helper()
	m.server.mu.Lock()
	defer m.server.mu.Unlock()
	got := ""
	if j.result.Error != nil {
		got = j.result.Error.Code
	}
	if j.state != state || got != code {
		m.t.Errorf("got %s{%s}, want %s{%s}: %+v", j.state, got, state, code, j.result.Error)
	}
	if n := m.lines("restic/ran"); n != runs {
		m.t.Errorf("restic ran %d times, want %d", n, runs)
	}
	if len(j.late) > 0 {
		m.t.Errorf("got %d late reports: %s", len(j.late), j.late[0])
	}
}

// wantsWholeLog checks that the server has the log that the finish speaks of.
func (m *machine) wantsWholeLog(j *fakeJob) {
	m.t.Helper()
	m.server.mu.Lock()
	defer m.server.mu.Unlock()
	if !j.logComplete() {
		m.t.Errorf("the server has %d lines with sum %.8s, the result says %d with %.8s", j.lines, j.logSum(), j.result.LogLines, j.result.LogSHA256)
	}
}

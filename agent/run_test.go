package main

import (
	"bufio"
	"context"
	"encoding/json"
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

	"restic-manager/agent/runner"
	"restic-manager/shared/wire"
)

// systemd is a socket like systemd's, in the test's own folder.
type systemd struct {
	t     *testing.T
	conn  *net.UnixConn
	words chan string
}

func newSystemd(t *testing.T) *systemd {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	d := &systemd{t, conn, make(chan string, 1000)}
	go func() {
		defer close(d.words)
		buffer := make([]byte, 4096)
		for {
			n, err := conn.Read(buffer)
			if err != nil {
				return
			}
			for word := range strings.SplitSeq(string(buffer[:n]), "\n") {
				d.words <- word
			}
		}
	}()
	return d
}

// until reads words up to the first one with this beginning.
func (d *systemd) until(prefix string) []string {
	d.t.Helper()
	var heard []string
	limit := time.After(20 * time.Second)
	for {
		select {
		case w := <-d.words:
			heard = append(heard, w)
			if strings.HasPrefix(w, prefix) {
				return heard
			}
		case <-limit:
			d.t.Fatalf("systemd did not hear %q, but %q", prefix, heard)
		}
	}
}

func (m *machine) runArgs(args ...string) []string {
	return append([]string{"run", "--config", m.config, "--state-dir", m.state}, args...)
}

// TestRunTellsSystemdHowItIs: READY once it works, a sign of life, its status, and STOPPING at the end.
func TestRunTellsSystemdHowItIs(t *testing.T) {
	m := newMachine(t)
	s := m.mustEnroll()
	d := newSystemd(t)
	t.Setenv("WATCHDOG_USEC", "2000000")
	t.Setenv("WATCHDOG_PID", "")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan int, 1)
	var words string
	go func() {
		var code int
		code, _, words = m.command(ctx, m.runArgs("--log-format", "json")...)
		ended <- code
	}()
	d.until("READY=1")
	d.until("WATCHDOG=1")
	d.until("STATUS=online")
	<-s.polled
	cancel()
	d.until("STOPPING=1")
	if code := <-ended; code != 0 {
		t.Errorf("exit: got %d, want 0: %s", code, words)
	}
	s.mu.Lock()
	hello := s.hellos[0]
	s.mu.Unlock()
	name, _ := os.Hostname()
	if hello.Facts.Hostname != name || hello.Facts.MemoryBytes == 0 || hello.Guard.Summary == "" || hello.AgentVersion != agentVersion() || hello.Facts.RestoreRoot != filepath.Join(m.state, "restore") {
		t.Errorf("hello: got %+v", hello)
	}
	for line := range strings.Lines(words) {
		if !json.Valid([]byte(line)) {
			t.Errorf("not JSON: %s", line)
		}
	}
	if !strings.Contains(words, `"msg":"the agent starts"`) || !strings.Contains(words, hostID) {
		t.Errorf("log: got %s", words)
	}
	for name, want := range map[string]os.FileMode{m.state: 0o700, filepath.Join(m.dir, "cache"): 0o700, filepath.Join(m.dir, "run"): 0o700} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: got %v, %v, want %#o", name, info, err, want)
		}
	}
}

func TestRunExitsOnWhatNeedsAPerson(t *testing.T) {
	for _, tc := range []struct {
		status, code int
		problem      string
		help         string
	}{{401, exitRefused, wire.ProblemUnauthorized, "--force"}, {426, exitProtocol, wire.ProblemProtocolTooOld, "upgrade"}} {
		m := newMachine(t)
		s := m.mustEnroll()
		s.answer = func(path string, _ int, w http.ResponseWriter, _ *http.Request) bool {
			problem(w, tc.status, tc.problem)
			return true
		}
		code, _, words := m.command(context.Background(), m.runArgs("--exit-on-fatal")...)
		wantCode(t, tc.problem, code, tc.code, words, tc.help)
	}
}

func TestRunRefusesWhatItCannotWorkWith(t *testing.T) {
	m := newMachine(t)
	code, _, words := m.command(context.Background(), m.runArgs()...)
	wantCode(t, "not enrolled", code, exitConfig, words, "enroll")
	m.mustEnroll()
	text := m.read(m.config)
	for name, tc := range map[string]struct {
		add, help string
		mode      os.FileMode
	}{
		"unknown key":   {"repo_urll: x\n", "repo_urll", 0o600},
		"readable":      {"", "chmod 600", 0o644},
		"proxy":         {"proxy: nonsense\n", "proxy", 0o600},
		"pin":           {"cert_pins: [x]\n", "cert_pins", 0o600},
		"password file": {"repo_url: /r\n", "repo_password", 0o600},
	} {
		if err := os.WriteFile(m.config, []byte(text+tc.add), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(m.config, tc.mode); err != nil {
			t.Fatal(err)
		}
		code, _, words := m.command(context.Background(), m.runArgs()...)
		wantCode(t, name, code, exitConfig, words, tc.help)
	}
}

// TestOneAgentPerStateFolder: the second one ends, the first is not disturbed.
func TestOneAgentPerStateFolder(t *testing.T) {
	m := newMachine(t)
	s := m.mustEnroll()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan int, 1)
	go func() {
		code, _, _ := m.command(ctx, m.runArgs()...)
		ended <- code
	}()
	<-s.polled
	code, _, words := m.command(context.Background(), m.runArgs()...)
	if code != exitFailure || words == "" {
		t.Errorf("the second: got exit %d, %q", code, words)
	}
	select {
	case code := <-ended:
		t.Errorf("the first ended with %d", code)
	default:
	}
	cancel()
	if code := <-ended; code != 0 {
		t.Errorf("the first: got exit %d, want 0", code)
	}
}

// TestSignals runs the agent as a process: SIGHUP reads the guard again, SIGTERM ends it with 0.
func TestSignals(t *testing.T) {
	m := newMachine(t)
	s := m.mustEnroll()
	cmd := exec.Command(os.Args[0], m.runArgs("--log-format", "text")...)
	cmd.Env = append(os.Environ(), "AGENT_TEST_MAIN=1")
	pipe, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	lines := bufio.NewReader(pipe)
	var seen []string
	until := func(want string) {
		t.Helper()
		for {
			line, err := lines.ReadString('\n')
			seen = append(seen, line)
			if strings.Contains(line, want) {
				return
			}
			if err != nil {
				t.Fatalf("the log ended before %q:\n%s", want, strings.Join(seen, ""))
			}
		}
	}
	until("the agent starts")
	<-s.polled
	if err := os.WriteFile(filepath.Join(filepath.Dir(m.config), "guard.yaml"), []byte("version: 1\nkinds: [check]\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	until(`guard="allows check"`)
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	until("the agent stops")
	_, _ = io.Copy(io.Discard, lines)
	if err := cmd.Wait(); err != nil {
		t.Errorf("SIGTERM: got %v, want exit 0", err)
	}
}

func TestSupervisorsCommandIsNotForPeople(t *testing.T) {
	cmd := exec.Command(os.Args[0], "supervise")
	cmd.Env = append(os.Environ(), "AGENT_TEST_MAIN=1")
	out, err := cmd.CombinedOutput()
	if err == nil || strings.Contains(string(out), "unexpected argument") {
		t.Errorf("got %v, %s, want the supervisor to refuse", err, out)
	}
}

func TestSignsOfLifeAreRare(t *testing.T) {
	d := newSystemd(t)
	clock := time.Unix(1000, 0)
	n := &notifier{every: 30 * time.Second, now: func() time.Time { return clock }}
	for range 100 { // 100 s, one call a second
		n.alive()
		clock = clock.Add(time.Second)
	}
	n.status(runner.Status{State: "online"})
	n.status(runner.Status{State: "online"})
	n.status(runner.Status{State: "unreachable", Message: "look\nhere"})
	(&notifier{now: time.Now}).alive() // not watched: no word
	n.stopping()
	got := d.until("STOPPING=1")
	want := slices.Concat(slices.Repeat([]string{"WATCHDOG=1"}, 7), []string{"STATUS=online", "STATUS=unreachable: look here", "STOPPING=1"})
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestWatchdogIntervalComesFromSystemd(t *testing.T) {
	for _, tc := range []struct {
		usec, pid string
		want      time.Duration
	}{{"60000000", "", 30 * time.Second}, {"", "", 0}, {"60000000", "1", 0}, {"nonsense", "", 0}, {"-5", "", 0}} {
		t.Setenv("WATCHDOG_USEC", tc.usec)
		t.Setenv("WATCHDOG_PID", tc.pid)
		if got := newNotifier().every; got != tc.want {
			t.Errorf("%+v: got %s", tc, got)
		}
	}
}

func TestLogHidesWhatIsSecretByName(t *testing.T) {
	for _, format := range []string{"text", "json", "auto"} {
		var b lockedBuffer
		log := newLogger(&b, "warn", format)
		log.Info("too quiet")
		log.Warn("said", "repo_password", "hunter2", "agent_token", "hunter2", "Secret", "hunter2", "lease", "hunter2", "path", "shown\x1b[31m")
		if out := b.String(); strings.Contains(out, "hunter2") || strings.Contains(out, "too quiet") || strings.Contains(out, "\x1b") || !strings.Contains(out, "shown") || (format != "text") != json.Valid([]byte(out)) {
			t.Errorf("%s: got %s", format, out)
		}
	}
}

package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"restic-manager/agent/config"
	"restic-manager/shared/wire"
)

func TestEnrollWritesTheIdentityAndNothingSecretTravels(t *testing.T) {
	m, s := newMachine(t), newServer(t)
	code, out, words := m.enroll(s)
	if code != 0 || words != "" {
		t.Fatalf("exit %d: %s", code, words)
	}
	for _, want := range []string{"web1", hostID, m.config, "run --config"} {
		if !strings.Contains(out, want) {
			t.Errorf("the words lack %q: %s", want, out)
		}
	}
	c, err := config.Load(m.config)
	if err != nil {
		t.Fatal(err)
	}
	asked := s.asked()
	if len(asked) != 1 {
		t.Fatalf("requests: got %d, want 1", len(asked))
	}
	q := asked[0]
	sum := sha256.Sum256([]byte(c.AgentToken))
	if c.HostID != hostID || c.Name != "web1" || c.ServerURL != s.URL || q.AgentTokenSHA256 != hex.EncodeToString(sum[:]) {
		t.Errorf("agent.yaml %+v does not fit the request %+v", c, q)
	}
	name, _ := os.Hostname()
	if q.Token != token || q.Hostname != name || q.OS == "" || q.Arch == "" || q.ProtocolVersion != wire.ProtocolVersion || q.AgentVersion == "" {
		t.Errorf("request: got %+v", q)
	}
	for _, text := range []string{out, words, m.read(m.config)} {
		if strings.Contains(text, token) {
			t.Errorf("the enrollment token is left in %q", text)
		}
	}
	if strings.Contains(out, c.AgentToken) {
		t.Error("the secret is printed")
	}
	if left, _ := filepath.Glob(filepath.Join(m.dir, "etc", ".*")); len(left) != 0 {
		t.Errorf("files were left: %v", left)
	}
	if _, err := os.Stat(filepath.Join(m.dir, "etc", "guard.yaml")); err == nil {
		t.Error("a guard was written without being asked for")
	}
}

// TestLostReplyIsMendedByTheSameCommand has the server take the request and the reply get lost, then the
// agent killed: both the retry and the second command speak of the same secret.
func TestLostReplyIsMendedByTheSameCommand(t *testing.T) {
	m, s := newMachine(t), newServer(t)
	ctx, cancel := context.WithCancel(context.Background())
	s.answer = func(_ string, n int, w http.ResponseWriter, _ *http.Request) bool {
		switch n {
		case 0: // lost, tried again by the same command
			conn, _, err := w.(http.Hijacker).Hijack()
			if err == nil {
				conn.Close()
			}
		case 1: // lost, and the command is ended
			cancel()
			problem(w, 503, wire.ProblemUnavailable)
		default:
			return false
		}
		return true
	}
	args := []string{"enroll", "--server", s.URL, "--config", m.config, "--token", token}
	code, _, words := m.command(ctx, args...)
	wantCode(t, "killed", code, exitTemporary, words, "safe to repeat")
	if _, err := config.Load(m.config); err == nil {
		t.Error("agent.yaml is there without a reply")
	}
	code, _, words = m.command(context.Background(), args...)
	wantCode(t, "again", code, 0, words, "")
	asked := s.asked()
	if len(asked) != 3 || asked[0].AgentTokenSHA256 != asked[1].AgentTokenSHA256 || asked[1].AgentTokenSHA256 != asked[2].AgentTokenSHA256 {
		t.Errorf("requests: got %+v, want three of one secret", asked)
	}
}

// TestEnrollKilledAfterTheFileWasWrittenIsDone: the pending file is still there, agent.yaml too.
func TestEnrollKilledAfterTheFileWasWrittenIsDone(t *testing.T) {
	m, s := newMachine(t), newServer(t)
	p, err := config.Prepare(m.config, s.URL, token)
	if err != nil {
		t.Fatal(err)
	}
	if err := config.Save(m.config, config.Config{ServerURL: s.URL, HostID: hostID, AgentToken: p.AgentToken}); err != nil {
		t.Fatal(err)
	}
	code, out, words := m.enroll(s)
	if code != 0 || !strings.Contains(out, hostID) || len(s.asked()) != 0 {
		t.Errorf("got exit %d, %q, %q and %d requests, want it done without asking", code, out, words, len(s.asked()))
	}
	if _, err := os.Stat(config.PendingPath(m.config)); err == nil {
		t.Error("the pending enrollment was left")
	}
}

func TestLiveEnrollmentNeedsForce(t *testing.T) {
	m := newMachine(t)
	m.mustEnroll()
	f, err := os.OpenFile(m.config, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteString("repo_url: /srv/backup # ours\nrepo_password: x\n")
	f.Close()
	before := m.read(m.config)
	other := newServer(t)
	code, _, words := m.enroll(other)
	wantCode(t, "without --force", code, exitConfig, words, "--force")
	if m.read(m.config) != before || len(other.asked()) != 0 {
		t.Error("the live enrollment was touched")
	}
	code, _, words = m.enroll(other, "--force")
	wantCode(t, "with --force", code, 0, words, "")
	c, err := config.Load(m.config)
	if err != nil || c.ServerURL != other.URL || c.RepoURL != "/srv/backup" || strings.Contains(before, c.AgentToken) {
		t.Errorf("got %+v, %v, want the new server, a new secret and the owner's repository", c, err)
	}
}

func TestRefusalsHaveTheirExitCodes(t *testing.T) {
	for _, tc := range []struct {
		status, code int
		problem      string
		help         string
	}{
		{401, exitRefused, wire.ProblemEnrollmentTokenInvalid, "make a new one"},
		{426, exitProtocol, wire.ProblemProtocolTooOld, "protocol 9 or newer"},
		{422, exitFailure, wire.ProblemInvalid, ""},
	} {
		m, s := newMachine(t), newServer(t)
		s.answer = func(_ string, _ int, w http.ResponseWriter, _ *http.Request) bool {
			problem(w, tc.status, tc.problem)
			return true
		}
		code, _, words := m.enroll(s)
		wantCode(t, tc.problem, code, tc.code, words, tc.help)
		if strings.Contains(words, token) {
			t.Errorf("%s: the token is in %q", tc.problem, words)
		}
		if len(s.asked()) != 1 {
			t.Errorf("%s: got %d requests, want 1", tc.problem, len(s.asked()))
		}
		if _, err := os.Stat(m.config); err == nil {
			t.Errorf("%s: agent.yaml was written", tc.problem)
		}
	}
}

func TestServerThatIsNotTrustedGetsNoToken(t *testing.T) {
	m := newMachine(t)
	seen := 0
	h := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { seen++ }))
	defer h.Close()
	h.Config.ErrorLog = log.New(io.Discard, "", 0)
	for _, args := range [][]string{nil, {"--cert-pin", "sha256:" + strings.Repeat("00", 32)}} {
		code, _, words := m.command(context.Background(), append([]string{"enroll", "--server", h.URL, "--config", m.config, "--token", token}, args...)...)
		wantCode(t, "untrusted", code, exitConfig, words, "--cert-pin")
	}
	if seen != 0 {
		t.Errorf("requests that the server saw: got %d, want 0", seen)
	}
}

func TestPinnedServerIsKeptInAgentYAML(t *testing.T) {
	m, s := newMachine(t), newServer(t)
	h := httptest.NewTLSServer(s)
	defer h.Close()
	sum := sha256.Sum256(h.Certificate().Raw)
	pin, next := "sha256:"+hex.EncodeToString(sum[:]), "sha256:"+strings.Repeat("ab", 32)
	code, _, words := m.command(context.Background(), "enroll", "--server", h.URL+"/", "--config", m.config, "--token", token, "--cert-pin", strings.ToUpper(hex.EncodeToString(sum[:])), "--cert-pin", next, "--name", "other")
	wantCode(t, "pinned", code, 0, words, "")
	c, err := config.Load(m.config)
	if err != nil || len(c.CertPins) != 2 || c.CertPins[0] != pin || c.CertPins[1] != next || c.ServerURL != h.URL {
		t.Errorf("got %+v, %v", c, err)
	}
	if q := s.asked(); len(q) != 1 || q[0].Hostname != "other" {
		t.Errorf("request: got %+v", q)
	}
}

func TestTokenComesFromFileOrEnvironment(t *testing.T) {
	m, s := newMachine(t), newServer(t)
	file := filepath.Join(m.dir, "token")
	if err := os.WriteFile(file, []byte(token+"1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	m.env["RESTIC_MANAGER_TOKEN"] = token + "2"
	base := []string{"enroll", "--server", s.URL, "--config", m.config, "--force"}
	for _, tc := range []struct {
		args []string
		want string
	}{{[]string{"--token-file", file}, token + "1"}, {nil, token + "2"}, {[]string{"--token", token + "3"}, token + "3"}} {
		code, _, words := m.command(context.Background(), append(base, tc.args...)...)
		wantCode(t, tc.want, code, 0, words, "")
		if q := s.asked(); q[len(q)-1].Token != tc.want {
			t.Errorf("token: got %s, want %s", q[len(q)-1].Token, tc.want)
		}
	}
}

func TestBadCommandLinesAreUsage(t *testing.T) {
	m, s := newMachine(t), newServer(t)
	base := []string{"enroll", "--config", m.config, "--server", s.URL}
	for name, tc := range map[string]struct {
		args []string
		code int
		help string
	}{
		"no command":      {[]string{}, exitUsage, "--help"},
		"unknown command": {[]string{"explode"}, exitUsage, "--help"},
		"unknown flag":    {[]string{"run", "--explode"}, exitUsage, "--explode"},
		"no server":       {[]string{"enroll", "--token", token}, exitUsage, "--server"},
		"no token":        {base, exitUsage, "RESTIC_MANAGER_TOKEN"},
		"not a token":     {append(base, "--token", "hunter2"), exitUsage, "rme_"},
		"two tokens":      {append(base, "--token", token, "--token-file", "/x"), exitUsage, "not both"},
		"missing file":    {append(base, "--token-file", "/no/such"), exitUsage, "--token-file"},
		"bad pin":         {append(base, "--token", token, "--cert-pin", "x"), exitConfig, "cert_pins"},
		"three pins":      {append(base, "--token", token, "--cert-pin", "a", "--cert-pin", "b", "--cert-pin", "c"), exitConfig, "at most 2"},
		"bad CA":          {append(base, "--token", token, "--ca", "/no/such"), exitConfig, "ca_file"},
		"bad allowance":   {append(base, "--token", token, "--allow", "everything"), exitUsage, "maintenance"},
		"bad path":        {append(base, "--token", token, "--allow-paths", "srv"), exitConfig, "--allow-paths"},
		"plain HTTP":      {[]string{"enroll", "--config", m.config, "--server", "http://backup.example.com", "--token", token}, exitConfig, "https://"},
		"log level":       {[]string{"run", "--log-level", "loud"}, exitUsage, "loud"},
	} {
		code, _, words := m.command(context.Background(), tc.args...)
		wantCode(t, name, code, tc.code, words, tc.help)
	}
	if len(s.asked()) != 0 {
		t.Errorf("the server was asked: %+v", s.asked())
	}
	if _, err := os.Stat(filepath.Dir(m.config)); err == nil {
		t.Error("something was written")
	}
	code, out, _ := m.command(context.Background(), "--help")
	wantCode(t, "--help", code, 0, out, "enroll")
}

func TestAllowWritesTheGuardOnce(t *testing.T) {
	m, s := newMachine(t), newServer(t)
	guardFile := filepath.Join(m.dir, "etc", "guard.yaml")
	code, _, words := m.enroll(s, "--allow", "maintenance", "--allow-paths", "/srv,/home")
	wantCode(t, "allow", code, 0, words, "")
	written := m.read(guardFile)
	for _, want := range []string{"version: 1", "- '/srv'", "- '/home'", "forget: true", "prune: true"} {
		if !strings.Contains(written, want) {
			t.Errorf("guard.yaml lacks %q:\n%s", want, written)
		}
	}
	code, _, words = m.enroll(s, "--allow", "maintenance", "--force")
	wantCode(t, "another guard", code, exitConfig, words, "guard.yaml is there already")
	if m.read(guardFile) != written || len(s.asked()) != 1 {
		t.Error("a guard that was there was changed, or the server was asked all the same")
	}
	code, _, words = m.enroll(s, "--allow", "maintenance", "--allow-paths", "/srv,/home", "--force")
	wantCode(t, "the same guard", code, 0, words, "")
	code, _, words = m.enroll(s, "--force")
	wantCode(t, "no word on the guard", code, 0, words, "")
	if m.read(guardFile) != written {
		t.Error("the guard was changed")
	}
}

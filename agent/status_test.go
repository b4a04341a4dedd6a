package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"restic-manager/agent/runner"
	"restic-manager/shared/wire"
)

func (m *machine) status(args ...string) (int, string, string) {
	m.t.Helper()
	return m.command(context.Background(), append([]string{"status", "--config", m.config, "--state-dir", m.state}, args...)...)
}

// says writes a status file as a running agent does.
func (m *machine) says(state, message string, at time.Time) {
	m.t.Helper()
	if err := os.MkdirAll(m.state, 0o700); err != nil {
		m.t.Fatal(err)
	}
	b, err := json.Marshal(runner.Status{PID: 7, Version: "1.2.3", ServerURL: "http://x", State: state, Message: message, UpdatedAt: at, LastContact: at})
	if err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(runner.StatusPath(m.state), b, 0o644); err != nil {
		m.t.Fatal(err)
	}
}

func TestStatusSaysHowItIsAndWhatToDo(t *testing.T) {
	m := newMachine(t)
	code, out, _ := m.status()
	wantCode(t, "not enrolled", code, exitConfig, out, "restic-manager-agent enroll")
	m.mustEnroll()
	code, out, _ = m.status()
	wantCode(t, "never ran", code, exitFailure, out, "restic-manager-agent run")
	now := time.Now()
	for _, tc := range []struct {
		state, message string
		at             time.Time
		code           int
		help           string
	}{
		{runner.ContactOnline, "", now, 0, "online"},
		{runner.ContactOnline, "", now.Add(-time.Hour), exitFailure, "not running"},
		{runner.ContactUnreachable, "check the proxy", now, exitFailure, "check the proxy"},
		{runner.ContactUntrusted, "compare pins", now, exitFailure, "compare pins"},
		{runner.ContactUnauthorized, "enroll again", now, exitRefused, "enroll again"},
		{runner.ContactTooOld, "upgrade it", now, exitProtocol, "upgrade it"},
	} {
		m.says(tc.state, tc.message, tc.at)
		code, out, _ := m.status()
		wantCode(t, tc.state, code, tc.code, out, tc.help)
		code, out, _ = m.status("--json")
		var r report
		if err := json.Unmarshal([]byte(out), &r); err != nil || code != tc.code || r.Agent == nil || r.Agent.State != tc.state || r.Running != tc.at.Equal(now) ||
			!r.Config.Enrolled || r.Config.HostID != hostID || len(r.Guard.Kinds) == 0 {
			t.Errorf("%s: got exit %d, %v, %s", tc.state, code, err, out)
		}
	}
	m.says(runner.ContactOnline, "", now)
	guardFile := filepath.Join(filepath.Dir(m.config), "guard.yaml")
	if err := os.WriteFile(guardFile, []byte("version: 1\nkindz: []\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	code, out, _ = m.status()
	wantCode(t, "broken guard", code, exitConfig, out, "kindz")
	if err := os.WriteFile(runner.StatusPath(m.state), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	code, out, _ = m.status()
	wantCode(t, "broken status file", code, exitFailure, out, "status.json")
}

func TestStatusShowsNoSecret(t *testing.T) {
	m := newMachine(t)
	m.mustEnroll()
	f, err := os.OpenFile(m.config, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteString("repo_url: rest:https://store.example.com/web1\nrepo_password: hunter2\nenvironment: {RESTIC_REST_PASSWORD: hunter3}\nproxy: http://u:hunter4@proxy:1\n")
	f.Close()
	_, text, words := m.status()
	_, asJSON, _ := m.status("--json")
	if !strings.Contains(text, "rest:https://store.example.com/web1") {
		t.Errorf("the repository is not shown: %s", text)
	}
	for _, secret := range []string{"hunter2", "hunter3", "hunter4", wire.AgentTokenPrefix} {
		if strings.Contains(text+words+asJSON, secret) {
			t.Errorf("%s is shown:\n%s%s%s", secret, text, words, asJSON)
		}
	}
}

func TestVersionIsPrinted(t *testing.T) {
	m := newMachine(t)
	code, out, _ := m.command(context.Background(), "version")
	if code != 0 || !strings.Contains(out, agentVersion()) || !strings.Contains(out, "protocol 1") {
		t.Errorf("got exit %d, %s", code, out)
	}
	code, out, _ = m.command(context.Background(), "version", "--json")
	var v struct {
		Version         string `json:"version"`
		ProtocolVersion int    `json:"protocol_version"`
		OS              string `json:"os"`
	}
	if err := json.Unmarshal([]byte(out), &v); err != nil || code != 0 || v.Version != agentVersion() || v.ProtocolVersion != wire.ProtocolVersion || v.OS == "" {
		t.Errorf("got exit %d, %v, %s", code, err, out)
	}
}

func TestVersionFallsBackToTheCommit(t *testing.T) {
	info := &debug.BuildInfo{Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "0123456789abcdef0123"}, {Key: "vcs.modified", Value: "true"}}}
	if got := fromBuild(info); got != "dev-0123456789ab-dirty" {
		t.Errorf("got %s", got)
	}
	info.Settings[1].Value = "false"
	if got := fromBuild(info); got != "dev-0123456789ab" {
		t.Errorf("got %s", got)
	}
	if got := fromBuild(&debug.BuildInfo{}); got != "" {
		t.Errorf("without a commit: got %s", got)
	}
}

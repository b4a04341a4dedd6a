package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"restic-manager/agent/doctor"
	"restic-manager/shared/checkup"
)

func (m *machine) doctor(args ...string) (int, string, string) {
	m.t.Helper()
	return m.command(context.Background(), append([]string{"doctor", "--no-hold", "--config", m.config, "--state-dir", m.state}, args...)...)
}

// TestDoctorSaysWhatIsWrongAndExitsWithIt: no agent runs here.
func TestDoctorSaysWhatIsWrongAndExitsWithIt(t *testing.T) {
	m := newMachine(t)
	code, out, words := m.doctor()
	for _, line := range []string{"✗ config", "--server URL", "– dns"} {
		wantCode(t, "not enrolled", code, exitFailure, out, line)
	}
	if !strings.Contains(words, "something is wrong") {
		t.Errorf("got %q, want it said", words)
	}
	s := m.mustEnroll()
	code, out, _ = m.doctor("--json")
	var report doctor.Report
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	if code != exitFailure || report.OK || report.ServerURL != s.URL || report.Version == "" {
		t.Errorf("got %d, %+v, want the whole report and %d", code, report, exitFailure)
	}
	states := map[string]checkup.State{}
	for _, c := range report.Checks {
		states[c.Name] = c.State
	}
	for name, want := range map[string]checkup.State{"config": checkup.Good, "tcp": checkup.Good, "proxy": checkup.Skipped, "answer": checkup.Good, "hold": checkup.Skipped, "guard": checkup.Good, "service": checkup.Wrong} {
		if states[name] != want {
			t.Errorf("%s: got %q, want %q", name, states[name], want)
		}
	}
	if secret := strings.TrimSpace(strings.Split(strings.Split(m.read(m.config), "agent_token: ")[1], "\n")[0]); secret == "" || strings.Contains(out, secret) {
		t.Error("the agent's secret is told")
	}
}

// TestDoctorWritesNothingButTheLimit: it may run as another user beside the agent.
func TestDoctorWritesNothingButTheLimit(t *testing.T) {
	m := newMachine(t)
	m.mustEnroll()
	if err := os.MkdirAll(m.state, 0o700); err != nil {
		t.Fatal(err)
	}
	m.doctor()
	for _, dir := range []string{m.state, filepath.Dir(m.config)} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if e.Name() != filepath.Base(m.config) && e.Name() != filepath.Base(m.state) {
				t.Errorf("%s: got %s, want nothing new", dir, e.Name())
			}
		}
	}
}

func TestDoctorRefusesFlagsThatBelongToAServer(t *testing.T) {
	m := newMachine(t)
	for _, flags := range [][]string{{"--proxy", "http://p:1"}, {"--ca", "/ca.pem"}, {"--insecure-http"}, {"--cert-pin", "sha256:x"}} {
		code, _, words := m.doctor(flags...)
		wantCode(t, flags[0], code, exitUsage, words, "belong to --server")
	}
}

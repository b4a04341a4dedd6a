package main

import (
	"encoding/json"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"restic-manager/server/doctor"
	"restic-manager/shared/checkup"
)

// TestDoctorLooksAtTheServerThatRunsAndAtOneThatDoesNot: with the server's own settings, and its exit code tells.
func TestDoctorLooksAtTheServerThatRunsAndAtOneThatDoesNot(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := l.Addr().String()
	l.Close()
	dir := filepath.Join(t.TempDir(), "data") // made by the server, for itself alone
	settings := []string{"--data-dir=" + dir, "--listen=" + at, "--public-url=http://" + at}
	r := startServer(t, dir, nil, settings...)
	look := func(env []string) (int, string, map[string]checkup.Result) {
		t.Helper()
		code, out, stderr := command(t, env, "", append([]string{"doctor", "--json", "--no-hold"}, settings...)...)
		var report doctor.Report
		if err := json.Unmarshal([]byte(out), &report); err != nil {
			t.Fatalf("%v in %s%s", err, out, stderr)
		}
		if report.OK != (code == 0) || report.Version == "" {
			t.Errorf("got exit code %d with %+v", code, report)
		}
		found := map[string]checkup.Result{}
		for _, c := range report.Checks {
			found[c.Name] = c
		}
		return code, out, found
	}
	code, out, found := look(nil)
	if code != 0 || found["server"].State != checkup.Good || found["address"].State != checkup.Good || found["key"].State != checkup.Good {
		t.Errorf("beside a server that runs: got %d %s", code, out)
	}
	code, out, found = look([]string{"RESTIC_MANAGER_OFFLINE_AFTER=1ms", "RESTIC_MANAGER_METRICS_TOKEN=canary-0123456789"})
	if code != 1 || found["settings"].State != checkup.Wrong || found["database"].State != checkup.Good || strings.Contains(out, "canary") {
		t.Errorf("with settings that are wrong: got %d %s", code, out)
	}
	r.shutdown(t)
	code, out, found = look(nil)
	if code != 1 || found["server"].State != checkup.Wrong || found["invariants"].State != checkup.Good {
		t.Errorf("after the server stopped: got %d %s", code, out)
	}
	code, text, _ := command(t, nil, "", append([]string{"doctor", "--no-hold"}, settings...)...)
	if code != 1 || !strings.Contains(text, "✗ server ") || !strings.Contains(text, "→ start it") {
		t.Errorf("for people: got %d %s", code, text)
	}
}

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"restic-manager/shared/wire"
)

// hook puts a script into the folder of the host's hooks, as its owner does.
func (a *agent) hook(name, body string) {
	a.t.Helper()
	dir := filepath.Join(filepath.Dir(a.config), "hooks.d")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		a.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+body+"\n"), 0o755); err != nil {
		a.t.Fatal(err)
	}
}

// guarded writes guard.yaml.
func (a *agent) guarded(yaml string) {
	a.t.Helper()
	if err := os.WriteFile(filepath.Join(filepath.Dir(a.config), "guard.yaml"), []byte("version: 1\n"+yaml+"\n"), 0o644); err != nil {
		a.t.Fatal(err)
	}
}

// TestPoliciesRunHooks: a policy waits for the hooks of its host, runs them around restic, and backs up what one writes;
// a dump that fails leaves no snapshot.
func TestPoliciesRunHooks(t *testing.T) {
	each(t, func(t *testing.T, v variant) {
		s := newServer(t, v.database)
		a := newAgent(t, s, v.restic)
		a.init()
		trace := filepath.Join(t.TempDir(), "trace")
		say := `echo "$RESTIC_MANAGER_STAGE $RESTIC_MANAGER_RESULT $RESTIC_MANAGER_POLICY" >> ` + trace
		a.hook("stop", say+"\necho stopping")
		a.hook("start", say)
		a.hook("dump", say+"\nhead -c 5000000 /dev/urandom\n[ ! -e "+trace+".fails ] || { echo no more >&2; exit 1; }")
		source := t.TempDir()
		if err := os.WriteFile(filepath.Join(source, "file"), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		make := func(name string, backup map[string]any) (id string) {
			var p struct{ ID string }
			s.do("POST", "/api/policies", map[string]any{"name": name, "enabled": true, "spec": map[string]any{
				"hosts": map[string]any{"ids": []string{a.hostID}}, "backup": backup, "schedule": map[string]any{"cron": "0 4 1 1 *", "zone": "UTC"}}}, &p)
			return p.ID
		}
		type run struct {
			Jobs []struct {
				JobID   string `json:"job_id"`
				Problem string
			}
		}
		order := func(id string) (r run) { s.do("POST", "/api/policies/"+id+"/run", map[string]any{}, &r); return r }
		folders := make("Folders", map[string]any{"paths": []string{source}, "hooks_before": []string{"stop"}, "hooks_after": []string{"start"}})
		dump := make("Dump", map[string]any{"stdin_hook": "dump", "stdin_name": "all.sql", "hooks_after": []string{"start"}})
		// None is allowed yet: the policy says so, and an order is refused.
		if r := order(folders); r.Jobs[0].Problem != "has no hook start, stop" {
			t.Errorf("before the owner allows them: got %+v", r)
		}
		_, err := s.try("POST", "/api/hosts/"+a.hostID+"/jobs", map[string]any{"kind": "backup", "spec": map[string]any{"stdin_hook": "dump", "stdin_name": "x"}}, nil)
		if err == nil || !strings.Contains(err.Error(), "has no hook dump") {
			t.Errorf("an order: got %v", err)
		}
		a.guarded("hooks: {allow: [stop, start, dump]}")
		eventually(t, 60*time.Second, "the host offers its hooks", func() error {
			var h struct{ Hooks []string }
			s.do("GET", "/api/hosts/"+a.hostID, nil, &h)
			if !slices.Equal(h.Hooks, []string{"dump", "start", "stop"}) {
				return fmt.Errorf("got %v", h.Hooks)
			}
			return nil
		})
		j := s.reaches(order(folders).Jobs[0].JobID, time.Minute, wire.StateSucceeded)
		if h := j.Summary.Hooks; len(h) != 2 || h[0].Name != "stop" || h[1].Name != "start" || h[0].Failure+h[1].Failure != "" {
			t.Errorf("hooks: got %+v", h)
		}
		s.complete(j.ID)
		if log := s.log(j.ID); !strings.Contains(log, "stop: stopping") {
			t.Errorf("log: got %s", log)
		}
		j = s.reaches(order(dump).Jobs[0].JobID, time.Minute, wire.StateSucceeded)
		if h := j.Summary.Hooks; len(h) != 2 || h[0].Stage != "stdin" || h[0].Bytes != 5_000_000 {
			t.Errorf("hooks: got %+v", h)
		}
		paths := func() (all []string) {
			t.Helper()
			var list []wire.Snapshot
			if err := json.Unmarshal(a.mustRestic("snapshots", "--json", "--no-lock"), &list); err != nil {
				t.Fatal(err)
			}
			for _, s := range list {
				all = append(all, s.Paths...)
			}
			slices.Sort(all)
			return all
		}
		want := []string{"/all.sql", source}
		if got := paths(); !slices.Equal(got, want) {
			t.Errorf("snapshots: got %v, want %v", got, want)
		}
		if page := a.listed(); len(page.Snapshots) != 2 {
			t.Errorf("the server's list: got %d snapshots, want 2", len(page.Snapshots))
		}
		if got := len(a.mustRestic("dump", "--no-lock", "latest", "--path", "/all.sql", "/all.sql")); got != 5_000_000 {
			t.Errorf("the dump: got %d bytes back", got)
		}
		if err := os.WriteFile(trace+".fails", nil, 0o600); err != nil {
			t.Fatal(err)
		}
		j = s.reaches(order(dump).Jobs[0].JobID, time.Minute, wire.StateFailed)
		if j.Error.Code != wire.CodeHookFailed || !strings.Contains(j.Error.Message, "exit code 1") {
			t.Errorf("a dump that fails: got %+v", j.Error)
		}
		if got := paths(); !slices.Equal(got, want) {
			t.Errorf("snapshots after a dump that failed: got %v, want %v", got, want)
		}
		b, err := os.ReadFile(trace)
		if err != nil {
			t.Fatal(err)
		}
		told := fmt.Sprintf("before  %s\nafter succeeded %[1]s\nstdin  %[2]s\nafter succeeded %[2]s\nstdin  %[2]s\nafter failed %[2]s\n", folders, dump)
		if string(b) != told {
			t.Errorf("hooks: got %s, want %s", b, told)
		}
	})
}

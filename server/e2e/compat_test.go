//go:build compat

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"restic-manager/server/database/databasetest"
	"restic-manager/shared/wire"
)

// as is the environment of a program of that version.
func as(version string) []string {
	if version == "older" {
		return []string{older}
	}
	return nil
}

// becomes changes which version the program is the next time it starts.
func becomes(env []string, version string) []string {
	env = slices.DeleteFunc(slices.Clone(env), func(v string) bool { return v == older })
	return append(env, as(version)...)
}

// enrollVersion is newAgent with the agent's program of that version.
func enrollVersion(t *testing.T, s *server, version, restic string) *agent {
	t.Helper()
	a := enrollAgent(t, s, restic)
	a.env = becomes(a.env, version)
	a.repository = filepath.Join(a.dir, "repository")
	a.own("repo_url: "+a.repository, "repo_password: "+a.password)
	a.start()
	return a
}

// twenty runs twenty jobs of every kind that needs no leave of the guard, and looks at what they did.
func (a *agent) twenty() {
	a.t.Helper()
	source := filepath.Join(a.dir, "source")
	if err := os.MkdirAll(source, 0o700); err != nil {
		a.t.Fatal(err)
	}
	a.server.run(a.hostID, wire.KindInit, nil, wire.StateSucceeded)
	for i := range 12 {
		if err := os.WriteFile(filepath.Join(source, fmt.Sprint("file", i)), fmt.Appendf(nil, "kept %d", i), 0o600); err != nil {
			a.t.Fatal(err)
		}
		j := a.server.run(a.hostID, wire.KindBackup, map[string]any{"paths": []string{source}, "tags": []string{"compat"}}, wire.StateSucceeded)
		if done := a.server.complete(j.ID); done.Summary == nil || done.Summary.TotalFilesProcessed != int64(i+1) {
			a.t.Errorf("backup %d: got %+v, want %d files", i, done.Summary, i+1)
		}
	}
	page := a.listed()
	if len(page.Snapshots) != 12 {
		a.t.Fatalf("got %d snapshots, want 12", len(page.Snapshots))
	}
	for range 3 {
		a.server.run(a.hostID, wire.KindSnapshots, nil, wire.StateSucceeded)
	}
	a.server.run(a.hostID, wire.KindCheck, map[string]any{"read_data": true}, wire.StateSucceeded)
	a.server.run(a.hostID, wire.KindUnlock, nil, wire.StateSucceeded)
	a.server.run(a.hostID, wire.KindRestore, map[string]any{"snapshot_id": page.Snapshots[0].ID, "target": "back"}, wire.StateSucceeded)
	failed := a.server.run(a.hostID, wire.KindBackup, map[string]any{"paths": []string{filepath.Join(a.dir, "nothing")}}, wire.StateFailed, wire.StateSucceededWithIssues)
	if failed.Error == nil && len(failed.Issues) == 0 {
		a.t.Errorf("a backup of nothing: got %s, want what is wrong", failed)
	}
	var out []byte
	err := filepath.WalkDir(a.dir, func(path string, _ os.DirEntry, err error) error {
		if filepath.Base(path) == "file11" && filepath.Dir(path) != source {
			out, err = os.ReadFile(path)
		}
		return err
	})
	if err != nil || string(out) != "kept 11" {
		a.t.Errorf("restored: got %q, %v", out, err)
	}
}

func TestCompatEveryPairOfVersionsDoesTwentyJobs(t *testing.T) {
	t.Parallel()
	n := 0
	for _, serverIs := range []string{"older", "current"} {
		for _, agentIs := range []string{"older", "current"} {
			engine, restic := databases[n%2], restics[n/2%2]
			n++
			if serverIs == "current" { // each version of the agent on each engine with the newer server
				engine = databases[(n+1)%2]
			}
			t.Run("server "+serverIs+", agent "+agentIs+", "+engine+", restic "+restic, func(t *testing.T) {
				t.Parallel()
				s := newServer(t, engine, as(serverIs)...)
				enrollVersion(t, s, agentIs, restic).twenty()
			})
		}
	}
}

// freshSlowBackup is of data that the repository does not hold yet, 6 MiB at 2 MiB a second.
func (a *agent) freshSlowBackup(round int) job {
	a.t.Helper()
	source := filepath.Join(a.dir, "fresh")
	if err := os.MkdirAll(source, 0o755); err != nil {
		a.t.Fatal(err)
	}
	for i := range 12 {
		writeRandom(a.t, filepath.Join(source, fmt.Sprint("part", i)), 512<<10, uint64(round*100+i))
	}
	return a.server.order(a.hostID, wire.KindBackup, map[string]any{"paths": []string{source}, "upload_limit_kib": 2048})
}

func TestCompatAgentIsReplacedWhileItsJobRuns(t *testing.T) {
	t.Parallel()
	for i, engine := range databasetest.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, engine)
			a := enrollVersion(t, s, "older", restics[i])
			a.init()
			for round := range 20 {
				// Twenty upgrades; between them the older one is put back, which has to go well too.
				next := []string{"current", "older"}[round%2]
				j := a.freshSlowBackup(round)
				s.reaches(j.ID, time.Minute, wire.StateRunning)
				if next == "current" {
					// The older one leaves at any moment, also between a start that was granted and restic.
					eventually(t, time.Minute, "restic works", func() error {
						if p := s.job(j.ID).Progress; p == nil {
							return fmt.Errorf("no progress")
						}
						return nil
					})
				}
				if code := a.terminate(t, 30*time.Second); code != 0 {
					t.Fatalf("round %d: the agent ended with %d", round, code)
				}
				a.env = becomes(a.env, next)
				a.launch()
				s.reaches(j.ID, 2*time.Minute, wire.StateSucceeded)
				s.complete(j.ID)
			}
			if page := a.listed(); len(page.Snapshots) != 20 {
				t.Errorf("got %d snapshots of 20 backups", len(page.Snapshots))
			}
			a.noLocks()
		})
	}
}

// answers is what people see of everything that the test made.
func answers(s *server, paths []string) map[string]any {
	s.t.Helper()
	all := map[string]any{}
	for _, p := range paths {
		var raw json.RawMessage
		s.do("GET", p, nil, &raw)
		var v any
		if err := json.Unmarshal(raw, &v); err != nil {
			s.t.Fatal(err)
		}
		all[p] = v
	}
	return all
}

// lost names what is in was and not, or otherwise, in is. Fields that count time are left out.
func lost(at string, was, is any) (missing []string) {
	moving := map[string]bool{"last_seen_at": true, "now": true, "at": true, "status": true, "agent_version": true, "age_seconds": true, "clock_skew_seconds": true,
		"last_used_at": true, "next_due_at": true, "accounted_until": true, "offline_since": true, "boot_id": true, "schedule_known": true, "schedule_version": true, "since": true}
	switch w := was.(type) {
	case map[string]any:
		i, _ := is.(map[string]any)
		for _, k := range slices.Sorted(maps.Keys(w)) {
			if !moving[k] {
				missing = append(missing, lost(at+"."+k, w[k], i[k])...)
			}
		}
	case []any:
		i, _ := is.([]any)
		if len(i) != len(w) {
			return []string{fmt.Sprintf("%s: %d of %d", at, len(i), len(w))}
		}
		for n := range w {
			missing = append(missing, lost(fmt.Sprintf("%s[%d]", at, n), w[n], i[n])...)
		}
	default:
		if was != is {
			missing = append(missing, fmt.Sprintf("%s: was %v, is %v", at, was, is))
		}
	}
	return missing
}

func TestCompatAnInstallationIsUpgradedWithAllItHolds(t *testing.T) {
	t.Parallel()
	for i, engine := range databasetest.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, engine, older)
			a := enrollVersion(t, s, "older", restics[i])
			a.twenty()
			var repository, policy struct {
				ID string `json:"id"`
			}
			s.do("POST", "/api/repositories", map[string]any{"name": "main", "url": filepath.Join(a.dir, "second"), "password": "a second password"}, &repository)
			s.do("POST", "/api/policies", map[string]any{"name": "nightly", "enabled": true, "spec": map[string]any{
				"hosts": map[string]any{"all": true}, "backup": map[string]any{"paths": []string{"/etc"}, "excludes": []string{"*.tmp"}},
				"schedule": map[string]any{"cron": "30 2 * * *", "zone": "Europe/Berlin"}, "keep": map[string]any{"daily": 7},
			}}, &policy)
			s.do("POST", "/api/operators", map[string]any{"username": "ann", "role": "viewer", "password": "a password of a viewer"}, nil)
			s.do("PATCH", "/api/hosts/"+a.hostID, map[string]any{"labels": map[string]string{"env": "prod"}}, nil)
			paths := []string{"/api/hosts", "/api/hosts/" + a.hostID, "/api/hosts/" + a.hostID + "/snapshots?limit=1000", "/api/jobs?limit=100",
				"/api/repositories", "/api/repositories/" + repository.ID, "/api/policies", "/api/policies/" + policy.ID, "/api/policies/" + policy.ID + "/versions",
				"/api/policies/" + policy.ID + "/hosts", "/api/operators", "/api/enrollment-tokens"}
			var jobs struct {
				Jobs []job `json:"jobs"`
			}
			s.do("GET", "/api/jobs?limit=100", nil, &jobs)
			logs := map[string]string{}
			for _, j := range jobs.Jobs {
				logs[j.ID] = s.log(j.ID)
			}
			if len(logs) < 20 {
				t.Fatalf("got %d jobs, want the twenty", len(logs))
			}
			before := answers(s, paths)

			s.kill()
			s.env = becomes(s.env, "current")
			s.start()
			after := answers(s, paths) // with the session from before
			for _, p := range paths {
				for _, m := range lost(p, before[p], after[p]) {
					t.Error(m)
				}
			}
			for id, was := range logs {
				if is := s.log(id); is != was {
					t.Errorf("the log of %s: %d bytes, %d before", id, len(is), len(was))
				}
			}
			var secrets struct {
				Password string `json:"password"`
			}
			s.do("POST", "/api/repositories/"+repository.ID+"/reveal", map[string]any{"current_password": adminPassword}, &secrets)
			if secrets.Password != "a second password" {
				t.Errorf("the password: got %q", secrets.Password)
			}
			a.online()
			s.run(a.hostID, wire.KindBackup, map[string]any{"paths": []string{filepath.Join(a.dir, "source")}}, wire.StateSucceeded)

			// The program from before must not touch what it does not understand.
			s.kill()
			ctx, cancel := context.WithTimeout(t.Context(), patience*30*time.Second)
			defer cancel()
			old := exec.CommandContext(ctx, program(t, "restic-manager", as("older")), "serve", "--listen", s.listen, "--data-dir", s.dir)
			old.Env = []string{"HOME=" + t.TempDir()}
			if s.database != "" {
				old.Env = append(old.Env, "DATABASE_URL="+s.database)
			}
			out, err := old.CombinedOutput()
			if err == nil || ctx.Err() != nil || !strings.Contains(string(out), "newer") {
				t.Errorf("the older server on the newer schema: got %v and %s, want it to refuse", err, out)
			}
		})
	}
}

package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"restic-manager/server/database/databasetest"
	"restic-manager/shared/wire"
)

// running orders a slow backup and waits until restic has sent something.
func (a *agent) running() job {
	a.t.Helper()
	j := a.slowBackup(900)
	a.server.reaches(j.ID, time.Minute, wire.StateRunning)
	eventually(a.t, 30*time.Second, "restic works", func() error {
		if p := a.server.job(j.ID).Progress; p == nil || p.BytesDone == 0 {
			return fmt.Errorf("progress is %+v", p)
		}
		return nil
	})
	return j
}

// endsWell checks what must be true however often something was killed: the job succeeded, restic ran once,
// the log is whole, no lock is left.
func (a *agent) endsWell(j job) {
	a.t.Helper()
	a.server.reaches(j.ID, 2*time.Minute, wire.StateSucceeded)
	done := a.server.complete(j.ID)
	if lines := strings.Count(a.server.log(j.ID), "\n"); done.LogLines == nil || int64(lines) != *done.LogLines {
		a.t.Errorf("log.txt has %d lines, finish said %v", lines, done.LogLines)
	}
	if page := a.listed(); len(page.Snapshots) != 1 {
		a.t.Errorf("snapshots after one backup: got %d: restic ran more than once, or not at all", len(page.Snapshots))
	}
	a.noLocks()
	eventually(a.t, 30*time.Second, "no process is left", func() error {
		if left := a.children(); len(left) > 0 {
			return fmt.Errorf("left: %v", left)
		}
		return nil
	})
}

// interrupted checks the other end: the machine or restic went away in the middle.
func (a *agent) interrupted(j job) {
	a.t.Helper()
	got := a.server.reaches(j.ID, 3*time.Minute, wire.StateFailed)
	if got.Error == nil || got.Error.Code != wire.CodeInterrupted {
		a.t.Errorf("got %s, want %s", got, wire.CodeInterrupted)
	}
	// The lock of the killed restic is gone: an exclusive job runs.
	a.server.run(a.hostID, wire.KindCheck, nil, wire.StateSucceeded)
	a.noLocks()
	if page := a.server.snapshots(a.hostID); len(page.Snapshots) != 0 {
		a.t.Errorf("an interrupted backup has %d snapshots", len(page.Snapshots))
	}
}

func TestAgentKilledDuringABackup(t *testing.T) {
	each(t, func(t *testing.T, v variant) {
		s := newServer(t, v.database)
		a := newAgent(t, s, v.restic)
		a.init()
		j := a.running()
		for range 3 {
			a.restart()
			a.online()
		}
		a.endsWell(j)
	})
}

// supervisors are the processes that run restic, told by their command line.
func (a *agent) supervisors() (pids []int) {
	for _, pid := range a.children() {
		cmd, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if bytes.Contains(cmd, []byte("supervise")) {
			pids = append(pids, pid)
		}
	}
	return pids
}

func TestSupervisorKilledDuringABackup(t *testing.T) {
	each(t, func(t *testing.T, v variant) {
		s := newServer(t, v.database)
		a := newAgent(t, s, v.restic)
		a.init()
		j := a.running()
		pids := a.supervisors()
		if len(pids) == 0 {
			t.Fatal("no supervisor found")
		}
		for _, pid := range pids {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
		a.interrupted(j)
	})
}

// TestMachineRestart imitates a power cut: all is killed at once, the files are cut to what was fsynced, the
// kernel has another boot id, and restic's old pid is somebody else's.
func TestMachineRestart(t *testing.T) {
	each(t, func(t *testing.T, v variant) {
		s := newServer(t, v.database)
		a := newAgent(t, s, v.restic)
		a.init()
		j := a.running()
		a.killAll()
		sent := s.log(j.ID)
		a.powerCut(j, strings.Count(sent, "\n"))
		innocent := a.anotherBoot(j)
		a.launch()
		a.interrupted(j)
		if err := syscall.Kill(innocent, 0); err != nil {
			t.Errorf("the process that has restic's old pid: %v, want it left alone", err)
		}
		done := s.complete(j.ID)
		if log := s.log(j.ID); !strings.HasPrefix(log, sent) || done.LogLines == nil || int64(strings.Count(log, "\n")) != *done.LogLines {
			t.Errorf("the log after the restart: got\n%s\nwant what was sent before to stand:\n%s\nand as many lines as finish said: %v", log, sent, done.LogLines)
		}
	})
}

// killAll kills the agent and all it started, and waits until their pids are free, as they are after a restart.
func (a *agent) killAll() {
	a.t.Helper()
	children := a.children()
	a.kill()
	for _, pid := range children {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	eventually(a.t, 30*time.Second, "all are gone", func() error {
		if left := a.children(); len(left) > 0 {
			return fmt.Errorf("left: %v", left)
		}
		for _, pid := range children {
			if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); err == nil {
				return fmt.Errorf("%d is not reaped", pid)
			}
		}
		return nil
	})
}

// powerCut takes back what was not fsynced: lines that were not sent, but for half of one, and the progress.
func (a *agent) powerCut(j job, sent int) {
	a.t.Helper()
	folder := filepath.Join(a.data, "jobs", j.ID)
	path := filepath.Join(folder, "log.ndjson")
	log, err := os.ReadFile(path)
	if err != nil {
		a.t.Fatal(err)
	}
	lines := bytes.SplitAfter(log, []byte("\n"))
	if len(lines) <= sent {
		a.t.Fatalf("the agent's log has %d lines, the server %d", len(lines)-1, sent)
	}
	kept := append(bytes.Join(lines[:sent], nil), `{"t":"2026-11-23T10:00:00.0000`...)
	if err := os.WriteFile(path, kept, 0o600); err != nil {
		a.t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(folder, "progress.json")); err != nil {
		a.t.Fatal(err)
	}
}

// anotherBoot lets the job's records be of an earlier boot, and gives restic's old pid to an innocent process.
func (a *agent) anotherBoot(j job) (innocent int) {
	a.t.Helper()
	cmd := exec.Command("sleep", "600")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	folder := filepath.Join(a.data, "jobs", j.ID)
	claims, err := filepath.Glob(filepath.Join(folder, "claim-*"))
	if err != nil || len(claims) == 0 {
		a.t.Fatalf("claims in %s: %v, %v", folder, claims, err)
	}
	for _, path := range append(claims, filepath.Join(folder, "group.json")) {
		reseal(a.t, path, func(record map[string]any) {
			record["machine_boot"] = "00000000-0000-4000-8000-000000000000"
			for _, key := range []string{"pid", "pgid"} {
				if _, ok := record[key]; ok {
					record[key] = cmd.Process.Pid
				}
			}
		})
	}
	return cmd.Process.Pid
}

// reseal edits a durable record of the job's folder and seals it again.
func reseal(t testing.TB, path string, edit func(map[string]any)) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var sealed struct {
		Body map[string]any `json:"body"`
	}
	decode := json.NewDecoder(bytes.NewReader(b))
	decode.UseNumber()
	if err := decode.Decode(&sealed); err != nil || len(sealed.Body) == 0 {
		t.Fatalf("%s: %v in %s", path, err, b)
	}
	edit(sealed.Body)
	body, err := json.Marshal(sealed.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, fmt.Appendf(nil, `{"sha256":"%x","body":%s}`+"\n", sha256.Sum256(body), body), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestServerKilledDuringABackup(t *testing.T) {
	each(t, func(t *testing.T, v variant) {
		s := newServer(t, v.database)
		a := newAgent(t, s, v.restic)
		a.init()
		j := a.running()
		for range 3 {
			s.restart()
			a.online()
		}
		a.endsWell(j)
	})
}

func TestDatabaseKilledDuringABackup(t *testing.T) {
	t.Parallel()
	for _, r := range restics {
		t.Run("restic-"+r, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t)
			s := newServerOn(t, c.url)
			a := newAgent(t, s, r)
			a.init()
			j := a.running()
			c.kill()
			if answer, err := s.http.Get(s.url + "/healthz"); err != nil || answer.StatusCode != 200 {
				t.Errorf("healthz without a database: %v, %v", answer, err)
			}
			if answer, _ := s.try("GET", "/api/hosts", nil, nil); answer == nil || answer.StatusCode != 503 || answer.Header.Get("Retry-After") == "" {
				t.Errorf("the API without a database: got %v, want 503 with Retry-After", answer)
			}
			c.again()
			a.endsWell(j)
			if h := s.host(a.hostID); h.Status != "online" {
				t.Errorf("the host after the database was away: got %s", h.Status)
			}
		})
	}
}

func TestServerStopsCleanly(t *testing.T) {
	t.Parallel()
	for _, db := range databases {
		t.Run(db, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, db)
			a := newAgent(t, s, "0.18.0")
			if code := s.terminate(t, 15*time.Second); code != 0 {
				t.Errorf("exit code after SIGTERM: got %d, want 0\n%s", code, tail(s.words(), 20))
			}
			s.start()
			a.online()
			if code := a.terminate(t, 15*time.Second); code != 0 {
				t.Errorf("the agent's exit code after SIGTERM: got %d, want 0", code)
			}
		})
	}
}

// TestServersRepositoryLeavesNoTrace: what the server holds for a host reaches restic, and nothing else.
func TestServersRepositoryLeavesNoTrace(t *testing.T) {
	each(t, func(t *testing.T, v variant) {
		s := newServer(t, v.database)
		a := enrollAgent(t, s, v.restic)
		a.repository, a.password = filepath.Join(a.dir, "repository"), "canary-0123456789-password"
		a.start()
		s.do("PUT", "/api/hosts/"+a.hostID+"/repository", map[string]any{"url": a.repository, "password": a.password}, nil)
		a.init()
		source := filepath.Join(a.dir, "source")
		oddTree(t, source)
		j := a.slowBackup(1500)
		s.reaches(j.ID, time.Minute, wire.StateRunning)
		for _, pid := range append(a.children(), a.cmd.Process.Pid, s.cmd.Process.Pid) {
			for _, f := range []string{"cmdline", "environ"} {
				if b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, f)); bytes.Contains(b, []byte(a.password)) {
					t.Errorf("the password is in /proc/%d/%s", pid, f)
				}
			}
		}
		s.reaches(j.ID, 2*time.Minute, wire.StateSucceeded)
		s.complete(j.ID)
		a.listed()
		for _, root := range []string{a.dir, s.dir} {
			err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
				if err != nil || !d.Type().IsRegular() || strings.HasPrefix(p, source) {
					return nil
				}
				if b, err := os.ReadFile(p); err == nil && bytes.Contains(b, []byte(a.password)) {
					t.Errorf("the password is in %s", p)
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		if strings.Contains(s.log(j.ID), a.password) {
			t.Error("the password is in the job's log")
		}
	})
}

// TestTwoReplicas: two servers on one PostgreSQL serve one fleet.
func TestTwoReplicas(t *testing.T) {
	t.Parallel()
	url := databasetest.New(t, "postgres")
	one := newServerOn(t, url)
	key := "RESTIC_MANAGER_KEY_FILE=" + filepath.Join(one.dir, "secret.key")
	two := newServerOn(t, url, key)
	a := newAgent(t, one, "0.18.0")
	a.init()
	source := filepath.Join(a.dir, "source")
	oddTree(t, source)
	began := time.Now()
	j := two.run(a.hostID, wire.KindBackup, map[string]any{"paths": []string{source}}, wire.StateSucceeded)
	if j.StartedAt == nil {
		t.Fatalf("got %s", j)
	}
	t.Logf("queued at one replica, polled at the other: done after %s", time.Since(began).Round(time.Millisecond))
	if lines := strings.Count(two.log(j.ID), "\n"); lines == 0 {
		t.Error("the other replica has no log")
	}
	slow := a.running()
	two.do("POST", "/api/jobs/"+slow.ID+"/cancel", nil, nil)
	one.reaches(slow.ID, 95*time.Second, wire.StateCanceled)
	two.do("POST", "/api/hosts/"+a.hostID+"/revoke", nil, nil)
	eventually(t, 5*time.Second, "the agent hears of it", func() error {
		if !strings.Contains(a.words(), "revoked") && !strings.Contains(a.words(), "401") && !strings.Contains(a.words(), "unauthorized") {
			return fmt.Errorf("not yet")
		}
		return nil
	})
	if h := one.host(a.hostID); h.Status != "revoked" {
		t.Errorf("the revoked host: got %s", h.Status)
	}
	// Another key would seal what the first replica cannot open.
	third := startProcess(t, filepath.Join(t.TempDir(), "third.log"), []string{"DATABASE_URL=" + url},
		tool(t, "RESTIC_MANAGER_TEST_BIN", "restic-manager"), "serve", "--listen", freeAddress(t), "--data-dir", t.TempDir())
	select {
	case <-third.done:
		if third.cmd.ProcessState.ExitCode() == 0 || !strings.Contains(third.words(), "key") {
			t.Errorf("a replica with another key: exit %d, %s", third.cmd.ProcessState.ExitCode(), third.words())
		}
	case <-time.After(30 * time.Second):
		third.kill()
		t.Error("a replica with another key was let in")
	}
}

// TestLiveTail: the log's waiting read and the changes feed, as a browser uses them.
func TestLiveTail(t *testing.T) {
	t.Parallel()
	for _, db := range databases {
		t.Run(db, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, db)
			a := newAgent(t, s, "0.18.0")
			var feed struct {
				Topics []string `json:"topics"`
				Next   string   `json:"next"`
				All    bool     `json:"all"`
			}
			s.do("GET", "/api/changes", nil, &feed)
			j := s.order(a.hostID, wire.KindInit, nil)
			seen := map[string]bool{}
			eventually(t, 30*time.Second, "the feed names the job, the list and the host", func() error {
				s.do("GET", "/api/changes?wait=5&since="+feed.Next, nil, &feed)
				for _, topic := range feed.Topics {
					seen[topic] = true
				}
				for _, want := range []string{"jobs", "job:" + j.ID, "audit"} {
					if !seen[want] {
						return fmt.Errorf("no %s in %v", want, seen)
					}
				}
				return nil
			})
			var page struct {
				Lines []struct {
					N    int64  `json:"n"`
					S    string `json:"s"`
					Text string `json:"text"`
				} `json:"lines"`
				Next     int64 `json:"next"`
				Complete bool  `json:"complete"`
			}
			count := int64(0)
			eventually(t, 30*time.Second, "the tail ends", func() error {
				s.do("GET", fmt.Sprintf("/api/jobs/%s/log?after=%d&wait=5", j.ID, page.Next), nil, &page)
				for _, l := range page.Lines {
					if count++; l.N != count {
						t.Fatalf("line %d came as number %d", l.N, count)
					}
				}
				if !page.Complete {
					return fmt.Errorf("%d lines, not complete", count)
				}
				return nil
			})
			if want := s.job(j.ID).LogLines; want == nil || *want != count {
				t.Errorf("the tail gave %d lines, finish said %v", count, want)
			}
		})
	}
}

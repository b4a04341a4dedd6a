package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"restic-manager/shared/wire"
)

// slowBackup makes a source that takes about 15 s to back up at the spec's upload limit.
func (a *agent) slowBackup(limit int) job {
	a.t.Helper()
	source := filepath.Join(a.dir, "slow")
	if err := os.MkdirAll(source, 0o755); err != nil {
		a.t.Fatal(err)
	}
	for i := range 24 {
		writeRandom(a.t, filepath.Join(source, fmt.Sprint("part", i)), 512<<10, uint64(i))
	}
	return a.server.order(a.hostID, wire.KindBackup, map[string]any{"paths": []string{source}, "upload_limit_kib": limit})
}

// noLocks fails when the repository holds a lock.
func (a *agent) noLocks() {
	a.t.Helper()
	if out := strings.TrimSpace(string(a.mustRestic("list", "locks", "--no-lock"))); out != "" {
		a.t.Errorf("locks left in the repository: %s", out)
	}
}

// holdExclusiveLock leaves a living restic stopped in the middle of a check, its exclusive lock in place.
func (a *agent) holdExclusiveLock() (release func()) {
	a.t.Helper()
	cmd := exec.Command(resticPath(a.t, a.restic), "check", "--read-data")
	cmd.Env = []string{"RESTIC_REPOSITORY=" + a.repository, "RESTIC_PASSWORD=" + a.password, "HOME=" + a.dir,
		"RESTIC_CACHE_DIR=" + filepath.Join(a.dir, "own-cache"), "PATH=" + os.Getenv("PATH")}
	if err := cmd.Start(); err != nil {
		a.t.Fatal(err)
	}
	for deadline := time.Now().Add(30 * time.Second); ; {
		// A lock that is still being written has another name, and locks nothing.
		if locks, err := os.ReadDir(filepath.Join(a.repository, "locks")); err == nil && len(locks) == 1 && wire.IsSHA256(locks[0].Name()) {
			break
		}
		if time.Now().After(deadline) {
			a.t.Fatal("no lock of check appeared")
		}
	}
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		a.t.Fatal(err)
	}
	return func() {
		_ = cmd.Process.Signal(syscall.SIGCONT)
		if err := cmd.Wait(); err != nil {
			a.t.Errorf("the other check: %v", err)
		}
	}
}

func TestCancelReachesRestic(t *testing.T) {
	each(t, func(t *testing.T, v variant) {
		s := newServer(t, v.database)
		a := newAgent(t, s, v.restic)
		a.init()
		j := a.slowBackup(400)
		s.reaches(j.ID, time.Minute, wire.StateRunning)
		eventually(t, 30*time.Second, "progress is shown", func() error {
			if p := s.job(j.ID).Progress; p == nil || p.TotalBytes == 0 {
				return fmt.Errorf("progress is %+v", p)
			}
			return nil
		})
		s.do("POST", "/api/jobs/"+j.ID+"/cancel", nil, nil)
		got := s.reaches(j.ID, 95*time.Second, wire.StateCanceled)
		if got.Summary != nil && got.Summary.SnapshotID != "" {
			t.Errorf("a canceled backup has a snapshot: %s", got)
		}
		s.complete(j.ID)
		a.noLocks()
		// A queued one ends at once, and the next runs.
		a.kill()
		queued := s.order(a.hostID, wire.KindCheck, nil)
		s.do("POST", "/api/jobs/"+queued.ID+"/cancel", nil, nil)
		if got := s.job(queued.ID); got.State != wire.StateCanceled {
			t.Errorf("a canceled queued job: got %s", got)
		}
		a.launch()
		s.run(a.hostID, wire.KindCheck, nil, wire.StateSucceeded)
	})
}

func TestTimeLimitEndsTheJob(t *testing.T) {
	each(t, func(t *testing.T, v variant) {
		s := newServer(t, v.database)
		a := newAgent(t, s, v.restic)
		a.init()
		source := filepath.Join(a.dir, "source")
		if err := os.MkdirAll(source, 0o755); err != nil {
			t.Fatal(err)
		}
		for i := range 24 {
			writeRandom(t, filepath.Join(source, fmt.Sprint("part", i)), 512<<10, uint64(i))
		}
		var j job
		s.do("POST", "/api/hosts/"+a.hostID+"/jobs", map[string]any{"kind": "backup", "time_limit_seconds": 3,
			"spec": map[string]any{"paths": []string{source}, "upload_limit_kib": 400}}, &j)
		got := s.reaches(j.ID, 2*time.Minute, wire.StateFailed)
		if got.Error == nil || got.Error.Code != wire.CodeTimeLimit {
			t.Errorf("got %s, want %s", got, wire.CodeTimeLimit)
		}
		a.noLocks()
	})
}

// TestFailuresAreNamed: what a person sees when the repository is not as it should be.
func TestFailuresAreNamed(t *testing.T) {
	each(t, func(t *testing.T, v variant) {
		s := newServer(t, v.database)
		a := newAgent(t, s, v.restic)
		source := filepath.Join(a.dir, "source")
		oddTree(t, source)
		spec := map[string]any{"paths": []string{source}}
		code := func(what, want string) {
			t.Helper()
			j := s.run(a.hostID, wire.KindBackup, spec, wire.StateFailed, wire.StateRejected)
			if j.Error == nil || j.Error.Code != want || len(j.Error.Message) < 10 {
				t.Errorf("%s: got %s, want %s", what, j, want)
			}
		}
		code("no repository yet", wire.CodeRepositoryMissing)
		a.init()
		missing := s.run(a.hostID, wire.KindBackup, map[string]any{"paths": []string{a.dir + "/no such folder"}}, wire.StateFailed)
		if missing.Error.Code != wire.CodeSourceMissing {
			t.Errorf("no source: got %s", missing)
		}
		// Locked by another: an exclusive lock of a living process on this machine cannot be stale.
		unlock := a.holdExclusiveLock()
		code("locked", wire.CodeRepositoryLocked)
		unlock()
		s.run(a.hostID, wire.KindBackup, spec, wire.StateSucceeded)
		// Another password.
		a.kill()
		text := strings.ReplaceAll(a.read(), a.password, "not the password")
		if err := os.WriteFile(a.config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		a.launch()
		code("wrong password", wire.CodeWrongPassword)
	})
}

// TestResticMissing: the agent is online without restic, and says what to install.
func TestResticMissing(t *testing.T) {
	t.Parallel()
	s := newServer(t, "sqlite")
	a := enrollAgent(t, s, "")
	a.own("repo_url: "+a.dir+"/repository", "repo_password: x", "restic_path: "+a.dir+"/no-restic-here")
	a.start()
	j := s.run(a.hostID, wire.KindBackup, map[string]any{"paths": []string{"/etc/hostname"}}, wire.StateRejected)
	if j.Error == nil || j.Error.Code != wire.CodeResticMissing || !strings.Contains(j.Error.Message, "install") {
		t.Errorf("got %s, want %s with what to install", j, wire.CodeResticMissing)
	}
	if h := s.host(a.hostID); h.Status != "online" {
		t.Errorf("a host without restic: got %s, want online", h.Status)
	}
}

// TestOneExclusiveJobPerRepository: two hosts whose owners named the same repository.
func TestOneExclusiveJobPerRepository(t *testing.T) {
	each(t, func(t *testing.T, v variant) {
		s := newServer(t, v.database)
		a := newAgent(t, s, v.restic)
		a.init()
		b := enrollAgent(t, s, v.restic)
		b.repository, b.password = a.repository, a.password
		b.own("repo_url: "+a.repository, "repo_password: "+a.password)
		b.start()
		// Both servers' rows know the repository's id once each host has listed it.
		s.run(b.hostID, wire.KindSnapshots, nil, wire.StateSucceeded)
		slow := a.slowBackup(600)
		s.reaches(slow.ID, time.Minute, wire.StateRunning)
		check := s.order(b.hostID, wire.KindCheck, nil)
		for range 20 {
			backup, exclusive := s.job(slow.ID), s.job(check.ID)
			if !backup.State.Terminal() && exclusive.State == wire.StateRunning && !s.job(slow.ID).State.Terminal() {
				t.Fatalf("an exclusive job runs beside a backup: %s, %s", backup, exclusive)
			}
			if backup.State.Terminal() {
				break
			}
			<-time.After(200 * time.Millisecond)
		}
		s.reaches(slow.ID, 2*time.Minute, wire.StateSucceeded)
		s.reaches(check.ID, time.Minute, wire.StateSucceeded)
		backup, exclusive := s.job(slow.ID), s.job(check.ID)
		if exclusive.StartedAt.Before(*backup.EndedAt) {
			t.Errorf("check started at %s, before the backup ended at %s", exclusive.StartedAt, backup.EndedAt)
		}
	})
}

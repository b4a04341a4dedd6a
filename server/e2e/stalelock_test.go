package e2e

import (
	"bytes"
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

// TestFaultStaleLocks kills restic in the middle of backups, with and without its supervisor: the next prune runs.
// A lock that another restic holds is never taken away.
func TestFaultStaleLocks(t *testing.T) {
	t.Parallel()
	s := newServer(t, "sqlite")
	a := enrollAgent(t, s, "0.18.0", "--allow", "maintenance")
	a.repository = filepath.Join(a.dir, "repository")
	a.own("repo_url: "+a.repository, "repo_password: "+a.password)
	a.start()
	a.init()
	runs, violations := figures(2, 20), 0
	for i := range runs {
		j := a.running()
		a.killRestic(i%2 == 1)
		s.reaches(j.ID, 2*time.Minute, wire.StateFailed)
		if prune := s.run(a.hostID, wire.KindPrune, nil, wire.StateSucceeded, wire.StateFailed); prune.State != wire.StateSucceeded {
			t.Errorf("prune after a killed backup: got %s", prune)
			violations++
		}
		a.noLocks()
	}
	fault(t, faultRow{Row: "17", Fault: "restic killed in a backup, with its supervisor or alone, then prune", Variant: "restic 0.18.0", Runs: runs, Violations: violations, Figure: "every prune ends with 0"})

	release := a.foreignLock()
	living := a.locks()
	runs, violations = figures(3, 100), 0
	for i := range runs {
		if i%10 == 1 {
			j := a.running()
			a.killRestic(i%20 == 1)
			s.reaches(j.ID, 2*time.Minute, wire.StateFailed)
		} else {
			s.run(a.hostID, wire.KindUnlock, nil, wire.StateSucceeded)
		}
		if now := a.locks(); now != living {
			t.Errorf("locks after an unlock: got %q, want the one of the living restic, %q", now, living)
			violations++
		}
	}
	release()
	fault(t, faultRow{Row: "17", Fault: "unlock, ordered or after a kill, beside another's living lock", Variant: "restic 0.18.0", Runs: runs, Violations: violations, Figure: "the lock stays"})
}

// killRestic kills the restic of the agent's job, with its supervisor or alone.
func (a *agent) killRestic(supervisor bool) {
	a.t.Helper()
	var killed []int
	for _, pid := range a.children() {
		if cmd, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); bytes.Contains(cmd, []byte("\x00backup\x00")) && !bytes.Contains(cmd, []byte(heldFile)) {
			killed = append(killed, pid)
		}
	}
	if len(killed) == 0 {
		a.t.Fatal("no restic was found")
	}
	if supervisor {
		killed = append(killed, a.supervisors()...)
	}
	// Restic first, and at once: it ends by itself when nobody reads its pipes.
	for _, pid := range killed {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

func (a *agent) locks() string {
	a.t.Helper()
	return strings.TrimSpace(string(a.mustRestic("list", "locks", "--no-lock")))
}

// heldFile is the file that the restic which holds a foreign lock waits for.
const heldFile = "held-by-another"

// foreignLock has a restic of nobody's hold a lock until the returned function is called.
func (a *agent) foreignLock() (release func()) {
	a.t.Helper()
	cmd := exec.Command(resticPath(a.t, a.restic), "backup", "--stdin", "--stdin-filename", heldFile)
	other := a.t.TempDir()
	cmd.Env = []string{"RESTIC_REPOSITORY=" + a.repository, "RESTIC_PASSWORD=" + a.password, "RESTIC_CACHE_DIR=" + filepath.Join(other, "cache"), "HOME=" + other, "PATH=" + os.Getenv("PATH")}
	in, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() { _ = cmd.Process.Kill() })
	eventually(a.t, 30*time.Second, "the other restic has its lock", func() error {
		if a.locks() == "" {
			return fmt.Errorf("there is none")
		}
		return nil
	})
	return func() {
		// Without a byte it fails.
		if _, err := in.Write([]byte("x")); err != nil {
			a.t.Error(err)
		}
		if err := in.Close(); err != nil {
			a.t.Error(err)
		}
		if err := cmd.Wait(); err != nil {
			a.t.Errorf("the restic whose lock was left alone: %v", err)
		}
	}
}

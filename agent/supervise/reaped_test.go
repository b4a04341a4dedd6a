package supervise

import (
	"context"
	"errors"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"restic-manager/agent/spool"
)

// TestUnlockWaitsUntilResticIsReaped: a zombie is still waited for, a pid that was freed, used again or is of
// another boot is not.
func TestUnlockWaitsUntilResticIsReaped(t *testing.T) {
	r := newRig(t)
	cmd := exec.Command("sleep", "600")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid
	g := spool.Group{PGID: pid, StartTicks: startTicks(pid), MachineBoot: machineBoot()}
	record := func(g spool.Group) {
		t.Helper()
		if err := r.folder.SaveGroup(g); err != nil {
			t.Fatal(err)
		}
	}
	wait := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 250*time.Millisecond)
		defer cancel()
		return AwaitReaped(ctx, r.folder)
	}
	if err := wait(); err != nil {
		t.Errorf("without a record: got %v, want no waiting", err)
	}
	record(g)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	until(t, "the process is a zombie", func() bool { return len(members(pid)) == 0 })
	if err := wait(); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a zombie: got %v, want to be waited for", err)
	}
	record(spool.Group{PGID: pid, StartTicks: g.StartTicks + 1, MachineBoot: g.MachineBoot})
	if err := wait(); err != nil {
		t.Errorf("a pid that was used again: got %v, want no waiting", err)
	}
	record(spool.Group{PGID: pid, StartTicks: g.StartTicks, MachineBoot: "another"})
	if err := wait(); err != nil {
		t.Errorf("another boot: got %v, want no waiting", err)
	}
	record(g)
	_ = cmd.Wait()
	if err := wait(); err != nil {
		t.Errorf("after it was reaped: got %v, want nil", err)
	}
}

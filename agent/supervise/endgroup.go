package supervise

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"restic-manager/agent/spool"
)

// EndGroup ends a restic that lost its supervisor, with all that it started: SIGINT to its group, the grace,
// SIGKILL. It returns nil when nobody of the group lives any more; what left the group is let go, even if
// it holds the lock. A group is signalled only while the job's lock is held and its leader is the very
// process that was recorded, or one of its members has the lock's file open: never a re-used pid. It
// is ErrAlive when a supervisor lives: that one alone sends signals.
func EndGroup(ctx context.Context, f *spool.Folder, grace time.Duration) error {
	if alive, err := f.SupervisorAlive(); err != nil {
		return fmt.Errorf("end the restic of job %s: %w", f.ID(), err)
	} else if alive {
		return fmt.Errorf("end the restic of job %s: %w", f.ID(), ErrAlive)
	}
	deadline := time.Now().Add(grace)
	var sent syscall.Signal
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		group, err := orphan(f)
		if err != nil {
			return fmt.Errorf("end the restic of job %s: %w", f.ID(), err)
		}
		if group == 0 {
			return nil
		}
		next := syscall.SIGINT
		if !time.Now().Before(deadline) {
			next = syscall.SIGKILL
		}
		if next != sent {
			if err := signalGroup(group, next); err != nil {
				return fmt.Errorf("end the restic of job %s: %w", f.ID(), err)
			}
			sent = next
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("end the restic of job %s: %w", f.ID(), ctx.Err())
		case <-tick.C:
		}
	}
}

// AwaitReaped waits until the recorded restic has left the process table: restic takes a lock on this host for
// live as long as its holder's pid exists, a zombie's too (internal/repository/lock_file.go), so a plain unlock
// that comes before the parent has reaped it removes nothing. Errors are the context's, and those of the
// record.
func AwaitReaped(ctx context.Context, f *spool.Folder) error {
	g, err := f.Group()
	if _, damaged := errors.AsType[*spool.DamagedError](err); damaged || err == nil && (g == nil || g.MachineBoot != machineBoot()) {
		return nil // nothing to wait for is known
	}
	if err != nil {
		return fmt.Errorf("wait for the end of the restic of job %s: %w", f.ID(), err)
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for startTicks(g.PGID) == g.StartTicks {
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the end of the restic of job %s: %w", f.ID(), ctx.Err())
		case <-tick.C:
		}
	}
	return nil
}

// orphan is the process group to end; 0 when there is none any more.
func orphan(f *spool.Folder) (int, error) {
	alive, err := f.RunAlive()
	if err != nil || !alive {
		return 0, err
	}
	lock, err := os.Lstat(f.RunLockPath())
	if err != nil {
		return 0, err
	}
	g, err := f.Group()
	if _, damaged := errors.AsType[*spool.DamagedError](err); err != nil && !damaged {
		return 0, err
	}
	if g != nil && g.MachineBoot == machineBoot() {
		found := members(g.PGID)
		for _, p := range found {
			if p.pid == g.PGID && p.start == g.StartTicks || hasOpen(p.pid, lock) {
				return g.PGID, nil
			}
		}
		return 0, nil
	}
	// No record: the child died, or lives, before it wrote one. Who has the lock's file open tells.
	return holder(lock), nil
}

// holder is the process group of a group's leader that has the lock's file open.
func holder(lock os.FileInfo) int {
	names, err := os.ReadDir("/proc")
	if err != nil {
		return 0
	}
	for _, e := range names {
		var pid int
		if _, err := fmt.Sscanf(e.Name(), "%d", &pid); err != nil || pid == os.Getpid() {
			continue
		}
		p, err := readProcess(pid)
		if err == nil && p.group > 1 && p.group != syscall.Getpgrp() && p.state != 'Z' && hasOpen(pid, lock) {
			return p.group
		}
	}
	return 0
}

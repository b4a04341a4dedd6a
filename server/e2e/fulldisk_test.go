package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"restic-manager/server/e2e/scripted/script"
	"restic-manager/shared/wire"
)

// TestFaultDiskFull fills the agent's state folder, a disk of 16 MiB, from the n-th write of a job on: restic is
// never held up or killed, every result arrives, and a job that finds no room is refused before it starts.
func TestFaultDiskFull(t *testing.T) {
	t.Parallel()
	l := newLab(t, "sqlite", 1)
	l.a.kill()
	l.a.onSmallDisk()
	l.a.launch()
	l.a.online()
	l.a.script(map[string]script.Act{"backup": {Lines: 3000, Seconds: 0.5}})
	runs, states := 0, map[wire.State]int{}
	for n := 0; n < figures(45, 90); n += figures(6, 1) {
		l.arm("agent.write", fmt.Sprintf("sleep 200ms %d", n))
		j := l.a.backup()
		var p pastJob
		soon(t, "a write, or the end", func() bool {
			p, _ = l.h.job(j.ID)
			return p.State.Terminal() || l.wasHit("agent.write")
		})
		if !l.wasHit("agent.write") {
			l.disarm("agent.write")
			l.h.settled(j.ID)
			break // there are no more writes
		}
		l.a.fill()
		eventually(t, time.Minute, fmt.Sprintf("the end, on a disk that is full from write %d on", n+1), func() (err error) {
			if p, err = l.h.job(j.ID); err == nil && !p.State.Terminal() {
				err = fmt.Errorf("it is %s", p.State)
			}
			return err
		})
		l.a.makeRoom()
		runs++
		p = l.h.settled(j.ID)
		states[p.State]++
		ran := l.a.starts()[j.ID] > 0
		if ran && p.State != wire.StateSucceeded || !ran && (p.State.Success() || p.ErrorCode != wire.CodeNoSpace) {
			l.h.breaks("J4", "full from write %d on: job %s is %s %s; restic ran %v", n+1, j.ID, p.State, p.ErrorCode, ran)
		}
	}
	if states[wire.StateSucceeded] == 0 || states[wire.StateRejected] == 0 {
		t.Errorf("got %v, want some that ran and some that were refused", states)
	}
	fault(t, faultRow{Row: "12", Fault: "agent's disk of 16 MiB full from the n-th write of a job on", Variant: "sqlite, scripted restic", Runs: runs, Violations: l.h.end(),
		Figure: fmt.Sprintf("%d ran and succeeded, %d refused before the start", states[wire.StateSucceeded], runs-states[wire.StateSucceeded])})
}

// onSmallDisk gives the agent, which does not run, a new state folder on a disk of its own.
func (a *agent) onSmallDisk() {
	a.t.Helper()
	if err := errors.Join(os.RemoveAll(a.data), os.Mkdir(a.data, 0o700)); err != nil {
		a.t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", a.data, "tmpfs", 0, "size=16m,mode=0700"); err != nil {
		a.t.Fatalf("mount a disk of 16 MiB: %v: run make test as root, with CAP_SYS_ADMIN", err)
	}
	a.t.Cleanup(func() { _ = unix.Unmount(a.data, unix.MNT_DETACH) })
}

func (a *agent) filler() string { return filepath.Join(a.data, "filler") }

// fill leaves no page of the agent's disk free.
func (a *agent) fill() {
	a.t.Helper()
	f, err := os.Create(a.filler())
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		a.t.Fatal(err)
	}
	f.Close()
}

func (a *agent) makeRoom() {
	a.t.Helper()
	if err := os.Remove(a.filler()); err != nil {
		a.t.Fatal(err)
	}
}

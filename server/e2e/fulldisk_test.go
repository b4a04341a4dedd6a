package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

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
	l.h.settled(l.a.backup().ID) // the first start of all needs room
	l.a.script(map[string]script.Act{"backup": {Lines: 3000, Seconds: 0.5}})
	runs, states := 0, map[wire.State]int{}
	for _, from := range []string{"", "agent.start.answered"} {
		for n := 0; ; n += figures(8, 1) {
			j, full := l.fillAt(from, n)
			p := l.h.settled(j.ID)
			if !full {
				break // there are no more writes
			}
			runs++
			states[p.State]++
			ran := l.a.starts()[j.ID] > 0
			if ran && p.State != wire.StateSucceeded || !ran && (p.State.Success() || p.ErrorCode != wire.CodeNoSpace) {
				l.h.breaks("J4", "full from write %d after %q on: job %s is %s %s; restic ran %v", n+1, from, j.ID, p.State, p.ErrorCode, ran)
			}
		}
	}
	if states[wire.StateSucceeded] == 0 || states[wire.StateRejected] == 0 {
		t.Errorf("got %v, want some that ran and some that were refused", states)
	}
	fault(t, faultRow{Row: "12", Fault: "agent's disk of 16 MiB full from the n-th write of a job on", Variant: "sqlite, scripted restic", Runs: runs, Violations: l.h.end(),
		Figure: fmt.Sprintf("%d ran and succeeded, %d refused before the start", states[wire.StateSucceeded], runs-states[wire.StateSucceeded])})
}

// fillAt runs a backup and fills the disk at the n-th write, from 0, of agent or supervisor after a place; full is
// false when the job ended before. There is room again once the end is reported.
func (l *lab) fillAt(from string, n int) (j job, full bool) {
	l.t.Helper()
	arm := func() { l.arm("agent.write", fmt.Sprintf("sleep 200ms %d", n)) }
	if from == "" {
		arm()
		j = l.a.backup()
	} else {
		l.arm(from, "sleep 100ms")
		j = l.a.backup()
		l.hit(from)
		arm()
	}
	ended := func() bool { p, err := l.h.job(j.ID); return err == nil && p.State.Terminal() }
	soon(l.t, "a write, or the end", func() bool { return ended() || l.wasHit("agent.write") })
	if !l.wasHit("agent.write") {
		l.disarm("agent.write")
		return j, false
	}
	l.a.fill()
	soon(l.t, fmt.Sprintf("the end, on a disk that is full from write %d after %q on", n+1, from), ended)
	l.a.makeRoom()
	return j, true
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

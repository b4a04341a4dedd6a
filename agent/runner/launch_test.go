package runner

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"restic-manager/agent/spool"
	"restic-manager/agent/supervise"
	"restic-manager/shared/wire"
)

// Jobs whose supervisor does not do what it should: it is told by the id, the one thing of the test's that
// reaches it before its order.
const (
	jobOfASilentSupervisor = "018f0000-0000-7000-8000-00000000dead" // dies before it claims
	jobOfAMuteSupervisor   = "018f0000-0000-7000-8000-00000000bead" // claims and runs, and never says so
	jobOfALateSupervisor   = "018f0000-0000-7000-8000-00000000fade" // is mute, and comes when the claim is taken
)

// misbehave makes this process, a supervisor, what its job's id says.
func misbehave(args []string) {
	if args[0] != supervise.Subcommand || len(args) < 2 {
		return
	}
	switch args[1] {
	case jobOfASilentSupervisor:
		os.Exit(1)
	case jobOfAMuteSupervisor:
		claimed, heard := mute(), takeOrder()
		go func() {
			heard.awaitClaim()
			syscall.Close(claimed) // Start hears the end of the pipe, and nothing else
		}()
	case jobOfALateSupervisor:
		syscall.Close(mute())
		takeOrder().awaitClaim()
	}
}

// mute takes the pipe away by which Start hears of the claim, and returns it.
func mute() int {
	pipe, err := syscall.Dup(4)
	if err != nil {
		panic(err)
	}
	syscall.CloseOnExec(pipe)
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err == nil {
		err = syscall.Dup2(int(null.Fd()), 4)
	}
	if err != nil {
		panic(err)
	}
	return pipe
}

// overheard is the order, read before the supervisor does.
type overheard struct{ supervise.Order }

// takeOrder reads the order and puts it back.
func takeOrder() overheard {
	// A copy: the collector would close the number itself, whatever it is then.
	pipe, err := syscall.Dup(3)
	if err != nil {
		panic(err)
	}
	in := os.NewFile(uintptr(pipe), "order")
	defer in.Close()
	raw, err := io.ReadAll(in)
	if err != nil {
		panic(err)
	}
	var o overheard
	if err := json.Unmarshal(raw, &o.Order); err != nil {
		panic(err)
	}
	r, w, err := os.Pipe()
	if err == nil {
		err = syscall.Dup2(int(r.Fd()), 3)
	}
	if err != nil {
		panic(err)
	}
	go func() {
		_, _ = w.Write(raw)
		w.Close()
	}()
	return o
}

// awaitClaim returns when somebody has the claim.
func (o overheard) awaitClaim() {
	folder := spool.OpenFolder(spool.OS{}, o.StateDir, o.JobID, time.Now)
	for deadline := time.Now().Add(waitLimit); time.Now().Before(deadline); <-time.After(5 * time.Millisecond) {
		if c, err := folder.ReadClaim(o.Nonce); c != nil && err == nil {
			return
		}
	}
}

// named queues a backup of that id.
func (m *machine) named(id string) *fakeJob {
	j := m.backup()
	m.server.set(func() { j.offer.JobID = id })
	return j
}

// TestStartThatFailsIsDecidedByTheClaim: an error of the launch says nothing about whether restic runs.
func TestStartThatFailsIsDecidedByTheClaim(t *testing.T) {
	t.Run("the supervisor died before its claim", func(t *testing.T) {
		_, m := start(t)
		j := m.named(jobOfASilentSupervisor)
		m.boot()
		m.settled(j)
		m.wants(j, wire.StateFailed, wire.CodeInterrupted, 0)
		m.wantsWholeLog(j)
	})
	t.Run("the supervisor runs and nobody heard it", func(t *testing.T) {
		s, m := start(t)
		m.write("restic/wait", "")
		j := m.named(jobOfAMuteSupervisor)
		m.boot()
		m.waitFor("the log of the run", func() bool { return m.lines("restic/ran") == 1 && s.is(func() bool { return j.lines > 0 }) })
		m.write("restic/go", "")
		m.settled(j)
		m.wants(j, wire.StateSucceeded, "", 1)
		m.wantsWholeLog(j)
	})
	t.Run("the supervisor comes when the start was given up", func(t *testing.T) {
		_, m := start(t)
		j := m.named(jobOfALateSupervisor)
		m.boot()
		m.settled(j)
		m.wants(j, wire.StateFailed, wire.CodeInterrupted, 0)
	})
}

// TestAgentKilledWhileItsSupervisorIsLaunched: the next one decides by the claim too.
func TestAgentKilledWhileItsSupervisorIsLaunched(t *testing.T) {
	for _, c := range []struct {
		id    string
		state wire.State
		code  string
		runs  int
	}{
		{jobOfAMuteSupervisor, wire.StateSucceeded, "", 1},
		{jobOfASilentSupervisor, wire.StateFailed, wire.CodeInterrupted, 0},
	} {
		t.Run(c.id[24:], func(t *testing.T) {
			s, m := start(t)
			j := m.named(c.id)
			m.boot()
			m.waitFor("the start", func() bool { return s.is(func() bool { return j.starts == 1 }) })
			m.kill()
			// What is launched by now may claim, or the agent of below is first.
			m.boot()
			m.waitFor("the end", func() bool { return s.is(func() bool { return j.state.Terminal() }) && len(m.folders("jobs")) == 0 })
			runs := m.lines("restic/ran")
			if runs > 1 || (runs == 1) != (j.state == wire.StateSucceeded) || c.runs == 0 && runs > 0 {
				t.Errorf("restic ran %d times and the job is %s", runs, j.state)
			}
			if j.state != c.state && (j.state != wire.StateFailed || j.result.Error.Code != wire.CodeInterrupted) {
				t.Errorf("got %s %+v, want %s, or interrupted where nothing ran", j.state, j.result.Error, c.state)
			}
		})
	}
}

// TestWhatLeftResticsGroupHoldsNothingUp: a process that left the group keeps the lock it inherited. It is
// let go, the job is interrupted, and its folder goes.
func TestWhatLeftResticsGroupHoldsNothingUp(t *testing.T) {
	for _, agentToo := range []bool{false, true} {
		t.Run(fmt.Sprintf("agent killed %v", agentToo), func(t *testing.T) {
			s, m := start(t)
			m.write("restic/wait", "")
			m.write("restic/leaves", "")
			j := m.backup()
			m.boot()
			m.waitFor("restic to run", func() bool {
				return m.lines("restic/pid") == 1 && m.lines("restic/left") == 1 && s.is(func() bool { return j.lines > 0 })
			})
			left := 0
			if _, err := fmt.Sscan(m.read("restic/left"), &left); err != nil || left <= 1 {
				t.Fatalf("got pid %d, %v", left, err)
			}
			t.Cleanup(func() { syscall.Kill(left, syscall.SIGKILL) })
			if agentToo {
				m.kill()
			}
			m.killSupervisor(j, true)
			folder := spool.OpenFolder(spool.OS{}, m.path("state"), j.offer.JobID, time.Now)
			if alive, err := folder.RunAlive(); err != nil || !alive {
				t.Fatalf("got alive=%v, %v; want the lock held by what left", alive, err)
			}
			if agentToo {
				m.boot()
			}
			m.settled(j)
			m.wants(j, wire.StateFailed, wire.CodeInterrupted, 1)
			m.wantsWholeLog(j)
			if err := syscall.Kill(left, 0); err != nil {
				t.Errorf("what left the group was ended: %v", err)
			}
		})
	}
}

// TestMachineRestart: all is killed at once, the disk keeps what was fsynced and half a line more, progress
// is gone, and the numbers in the folder are those of another boot.
func TestMachineRestart(t *testing.T) {
	s, m := start(t)
	m.write("restic/lines", "700")
	m.write("restic/wait", "")
	j := m.backup()
	m.boot()
	m.waitFor("the log to arrive", func() bool { return s.is(func() bool { return j.lines > 700 }) })
	m.kill()
	m.killSupervisor(j, true)
	m.waitFor("all to be gone", func() bool { return !m.supervised() })
	dir := "state/jobs/" + j.offer.JobID + "/"
	folder := spool.OpenFolder(spool.OS{}, m.path("state"), j.offer.JobID, time.Now)
	g, err := folder.Group()
	if err != nil || g == nil {
		t.Fatal(g, err)
	}
	// The number is an innocent's now.
	g.PGID, g.MachineBoot = innocent(t), "00000000-0000-4000-8000-000000000000"
	if err := folder.SaveGroup(*g); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	m.write(dir+"log.ndjson", j.log.String()+`{"t":"2026-11-23T10:00:00.0000`)
	s.mu.Unlock()
	if err := os.Remove(filepath.Join(folder.Dir(), "progress.json")); err != nil {
		t.Fatal(err)
	}
	m.boot()
	m.settled(j)
	m.wants(j, wire.StateFailed, wire.CodeInterrupted, 1)
	m.wantsWholeLog(j)
	if j.result.LogLines < 700 {
		t.Errorf("got %d lines, want what was shipped before", j.result.LogLines)
	}
	if err := syscall.Kill(g.PGID, 0); err != nil {
		t.Errorf("a stranger with restic's old number was ended: %v", err)
	}
	if m.lines("restic/unlocks") != 1 {
		t.Errorf("unlock ran %d times, want once", m.lines("restic/unlocks"))
	}
}

// innocent is a process group that has nothing to do with any job.
func innocent(t *testing.T) int {
	t.Helper()
	p, err := os.StartProcess("/bin/sleep", []string{"sleep", "600"}, &os.ProcAttr{Sys: &syscall.SysProcAttr{Setpgid: true}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Kill()
		p.Wait()
	})
	return p.Pid
}

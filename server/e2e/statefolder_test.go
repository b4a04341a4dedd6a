package e2e

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"restic-manager/agent/config"
	"restic-manager/agent/spool"
	"restic-manager/server/e2e/scripted/script"
	"restic-manager/shared/wire"
)

// TestFaultSecondAgent starts a second agent on a state folder: it ends with 1 and says why, the first works on.
func TestFaultSecondAgent(t *testing.T) {
	t.Parallel()
	l := newLab(t, "sqlite", 1)
	first := l.a.process
	l.a.script(map[string]script.Act{"backup": {Lines: 100, Seconds: float64(figures(3, 20))}})
	j := l.a.backup()
	l.api.reaches(j.ID, time.Minute, wire.StateRunning)
	runs, wrong := figures(5, 100), 0
	for range runs {
		second := startProcess(t, filepath.Join(t.TempDir(), "second.log"), l.a.env, program(t, "restic-manager-agent", l.a.env),
			"run", "--config", l.a.config, "--state-dir", l.a.data)
		select {
		case <-second.done:
		case <-time.After(patience * 10 * time.Second):
			second.kill()
		}
		if code := second.cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(second.words(), "another agent runs on the state folder") {
			t.Errorf("the second agent: exit %d, %s", code, second.words())
			wrong++
		}
	}
	select {
	case <-first.done:
		l.h.breaks("J4", "the first agent is gone")
	default:
	}
	if p := l.h.settled(j.ID); p.State != wire.StateSucceeded {
		l.h.breaks("J4", "the first agent's job %s is %s", j.ID, p.State)
	}
	fault(t, faultRow{Row: "28", Fault: "second agent on one state folder", Variant: "sqlite, scripted restic", Runs: runs, Violations: wrong + l.h.end(), Figure: "each ends with 1, the first's job succeeds"})
}

// damaged calls f with every way to cut a file and to alter one byte: one of its bits in the short form, each in the
// whole one.
func damaged(b []byte, f func(at int, b []byte)) {
	for i := range b {
		f(i, b[:i:i])
		for bit := i % 8; bit < figures(i%8+1, i%8+8); bit++ {
			c := append([]byte(nil), b...)
			c[i] ^= 1 << (bit % 8)
			f(i, c)
		}
	}
}

// durableFiles are those of a state folder in which a supervisor was started, and of its job's folder.
var durableFiles = []string{"ledger", "ledger-copy", "boot.json", "claim-*", "group.json", "result.json", "finish.json", "job.json"}

// TestFaultDamagedFiles cuts and alters every byte of each durable file of a job that ran: no reader panics, and the
// job never runs again. Then real agents take such folders up.
func TestFaultDamagedFiles(t *testing.T) {
	t.Parallel()
	l := newLab(t, "sqlite", 1)
	violations, readers, runs := 0, 0, 0
	l.a.script(map[string]script.Act{"backup": shortRun})
	for _, name := range durableFiles {
		for i := range figures(1, 6) {
			stage := agentStage{name: name, point: "agent.spawned", act: shortRun}
			if name == "finish.json" {
				stage.point = "agent.finish.answered"
			}
			j := l.killAgent(stage)
			soon(t, "restic ends", func() bool { return l.a.has(j, "result.json") && len(l.a.children()) == 0 })
			path := l.a.durable(j, name)
			whole, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if i == 0 {
				cases, again := runsAgain(t, l.a.data, j.ID, path, whole)
				readers, violations = readers+cases, violations+again
			}
			bad := whole[:rand.IntN(len(whole))]
			if i%2 == 0 {
				bad = append([]byte(nil), whole...)
				bad[rand.IntN(len(bad))] ^= 0x20
			}
			if err := os.WriteFile(path, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			l.a.launch()
			runs++
			if name != "job.json" {
				l.h.settled(j.ID)
				continue
			}
			soon(t, "the folder is put aside", func() bool {
				_, err := os.Stat(filepath.Join(l.a.data, "aside", j.ID))
				return err == nil
			})
			l.a.online()
			// The server waits for a job that nobody names any more: the next one is another host's.
			l.h.end()
			violations += l.h.broken
			l.a.kill()
			l.a = newScripted(t, l.api)
			l.h = newHistory(t, l.servers[0], l.a)
		}
	}
	cases, wrong := misread(t, l.a.config)
	fault(t, faultRow{Row: "25", Fault: "each durable file cut and altered at every byte", Variant: "readers", Runs: readers + cases, Violations: violations + wrong,
		Figure: fmt.Sprintf("%d files and agent.yaml; no panic, no second start", len(durableFiles))})
	fault(t, faultRow{Row: "25", Fault: "a durable file cut or altered at a random byte", Variant: "agent, scripted restic", Runs: runs, Violations: l.h.end(), Figure: "no second start"})
}

// durable is the path of one of durableFiles.
func (a *agent) durable(j job, name string) string {
	a.t.Helper()
	for _, dir := range []string{a.data, filepath.Join(a.data, "jobs", j.ID)} {
		if found, _ := filepath.Glob(filepath.Join(dir, name)); len(found) == 1 {
			return found[0]
		}
	}
	a.t.Fatalf("there is no %s in %s", name, a.data)
	return ""
}

// runsAgain has the spool read a copy of the state folder with every damage of one file, and counts after how many
// the job might start.
func runsAgain(t testing.TB, state, id, path string, whole []byte) (cases, again int) {
	t.Helper()
	original := spool.NewMemory(time.Now)
	copyInto(t, original, state)
	damaged(whole, func(at int, b []byte) {
		cases++
		disk := original.Clone()
		replace(t, disk, path, b)
		store, err := spool.Open(disk, state, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		found, _, err := store.Scan()
		known, unknown := store.Known(id)
		for _, f := range found {
			if f.ID == id && f.MayStart() && !known && unknown == nil || err != nil {
				t.Errorf("%s damaged at byte %d: the job may start again (%v)", path, at, err)
				again++
			}
		}
		if len(found) == 0 && !known && len(mustNames(t, disk, filepath.Join(state, "jobs"))) == 0 {
			t.Errorf("%s damaged at byte %d: nothing is left of the job", path, at)
			again++
		}
		if err := store.Close(); err != nil {
			t.Fatal(err)
		}
	})
	return cases, again
}

func mustNames(t testing.TB, d spool.Disk, path string) []string {
	t.Helper()
	names, err := d.List(path)
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// copyInto copies a folder of the real disk, to the same path.
func copyInto(t testing.TB, d *spool.Memory, root string) {
	t.Helper()
	mkdir := func(path string) {
		if err := d.Mkdir(path); err != nil && !errors.Is(err, fs.ErrExist) {
			t.Fatal(err)
		}
	}
	for at := 1; at < len(root); at++ {
		if root[at] == '/' {
			mkdir(root[:at])
		}
	}
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir():
			mkdir(path)
			return nil
		}
		b, err := os.ReadFile(path)
		if err == nil {
			replace(t, d, path, b)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func replace(t testing.TB, d spool.Disk, path string, b []byte) {
	t.Helper()
	f, err := d.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Write(b)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

// misread loads agent.yaml with every damage, and counts the cases in which what was read is no configuration.
func misread(t testing.TB, path string) (cases, wrong int) {
	t.Helper()
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(t.TempDir(), "agent.yaml")
	damaged(whole, func(at int, b []byte) {
		cases++
		if err := os.WriteFile(copied, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if c, err := config.Load(copied); err == nil && (!wire.IsUUID(c.HostID) || !strings.HasPrefix(c.AgentToken, wire.AgentTokenPrefix)) {
			t.Errorf("agent.yaml damaged at byte %d: got %+v", at, c)
			wrong++
		}
	})
	return cases, wrong
}

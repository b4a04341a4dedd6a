package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"restic-manager/server/e2e/scripted/script"
	"restic-manager/shared/wire"
)

// scripted is an agent whose restic does what the test writes down, and whose ledger says what was started.
type scripted struct {
	*agent
	bin    string
	ledger string
}

// newScripted enrolls an agent with the scripted restic, makes its repository, and starts it. Its first script lets
// every command do what restic does.
func newScripted(t testing.TB, s *server, yaml ...string) *scripted {
	t.Helper()
	a := enrollScripted(t, s)
	a.own(yaml...)
	a.start()
	a.init()
	return a
}

// enrollScripted does not start the agent.
func enrollScripted(t testing.TB, s *server) *scripted {
	t.Helper()
	a := &scripted{agent: enrollAgent(t, s, "", "--allow", "maintenance")}
	a.bin, a.ledger = filepath.Join(a.dir, "bin"), filepath.Join(a.dir, "ledger")
	if err := os.Mkdir(a.bin, 0o755); err != nil {
		t.Fatal(err)
	}
	to := a.placeRestic()
	a.script(nil)
	a.repository = filepath.Join(a.dir, "repository")
	a.own("restic_path: "+to, "repo_url: "+a.repository, "repo_password: "+a.password)
	return a
}

// placeRestic puts the scripted restic into the agent's folder of programs.
func (a *scripted) placeRestic() string {
	a.t.Helper()
	from, to := tool(a.t, "RESTIC_MANAGER_TEST_BIN", "failpoint/scripted-restic"), filepath.Join(a.bin, "restic")
	// A program that this process wrote could be busy: a fork of another test may still have it open.
	if os.Link(from, to) != nil {
		if out, err := exec.Command("cp", from, to).CombinedOutput(); err != nil {
			a.t.Fatalf("cp: %v: %s", err, out)
		}
	}
	return to
}

// script sets what the commands do from now on.
func (a *scripted) script(commands map[string]script.Act) {
	a.t.Helper()
	if err := (script.Script{Ledger: a.ledger, Commands: commands}).Write(a.bin); err != nil {
		a.t.Fatal(err)
	}
}

// backup orders a backup of the folder of restic itself, which is always there to be found.
func (a *scripted) backup() job {
	a.t.Helper()
	return a.insist(func() {})
}

// insist orders as people do: again when the server says that it cannot just now. between is done before each new try.
func (a *scripted) insist(between func()) (j job) {
	a.t.Helper()
	eventually(a.t, time.Minute, "the order is stored", func() error {
		answer, err := a.server.try("POST", "/api/hosts/"+a.hostID+"/jobs", map[string]any{"kind": wire.KindBackup, "spec": map[string]any{"paths": []string{a.bin}}}, &j)
		if err != nil && answer != nil && answer.StatusCode < 500 {
			a.t.Fatal(err)
		}
		if err != nil {
			between()
		}
		return err
	})
	return j
}

// hang orders a backup that never ends, and waits until restic runs.
func (a *scripted) hang() job {
	a.t.Helper()
	a.script(map[string]script.Act{"backup": {Hang: true}})
	j := a.backup()
	a.server.reaches(j.ID, time.Minute, wire.StateRunning)
	eventually(a.t, time.Minute, "restic hangs", func() error {
		if a.starts()[j.ID] == 0 {
			return errors.New("it was not started")
		}
		return nil
	})
	return j
}

func (a *scripted) entries() []script.Entry {
	a.t.Helper()
	entries, err := script.Read(a.ledger)
	if err != nil {
		a.t.Fatal(err)
	}
	return entries
}

// starts counts how often restic was started for each job.
func (a *scripted) starts() map[string]int {
	a.t.Helper()
	n := map[string]int{}
	for _, e := range a.entries() {
		if e.Event == script.Started && e.Job != "" {
			n[e.Job]++
		}
	}
	return n
}

// twice counts the jobs that restic was started for more than once.
func (a *scripted) twice() (jobs int) {
	a.t.Helper()
	for id, n := range a.starts() {
		if n > 1 {
			a.t.Errorf("restic was started %d times for the job %s", n, id)
			jobs++
		}
	}
	return jobs
}

// orphans counts the programs of the ledger that still live.
func (a *scripted) orphans() (pids []int) {
	a.t.Helper()
	for _, e := range a.entries() {
		pid := e.PID
		if e.Event == script.Grandchild {
			pid = e.Child
		} else if e.Event != script.Started {
			continue
		}
		if syscall.Kill(pid, 0) == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// TestScriptedResticSpeaksAsResticDoes: the agent takes it for restic through a job of every kind.
func TestScriptedResticSpeaksAsResticDoes(t *testing.T) {
	t.Parallel()
	s := newServer(t, "sqlite")
	a := newScripted(t, s)
	first := s.complete(s.reaches(a.backup().ID, time.Minute, wire.StateSucceeded).ID)
	if first.Summary == nil || first.Summary.FilesNew != 1 || first.Summary.SnapshotID == "" {
		t.Errorf("summary: got %s, want one new file and a snapshot", first)
	}
	a.script(map[string]script.Act{"backup": {Issues: []string{"/a", "/b"}, Lines: 10}})
	issues := s.reaches(a.backup().ID, time.Minute, wire.StateSucceededWithIssues)
	if len(issues.Issues) != 2 {
		t.Errorf("issues: got %s, want 2", issues)
	}
	a.script(map[string]script.Act{"backup": {Exit: 12}})
	if j := s.reaches(a.backup().ID, time.Minute, wire.StateFailed); j.Error == nil || j.Error.Code != wire.CodeWrongPassword {
		t.Errorf("exit 12: got %s, want %s", j, wire.CodeWrongPassword)
	}
	hung := a.hang()
	s.do("POST", "/api/jobs/"+hung.ID+"/cancel", nil, nil)
	s.reaches(hung.ID, time.Minute, wire.StateCanceled)
	for _, kind := range []wire.Kind{wire.KindCheck, wire.KindPrune, wire.KindUnlock, wire.KindSnapshots} {
		s.run(a.hostID, kind, nil, wire.StateSucceeded)
	}
	var page snapshotPage
	eventually(t, time.Minute, "the list is that of the two backups that succeeded", func() error {
		if page = s.snapshots(a.hostID); len(page.Snapshots) != 2 {
			return fmt.Errorf("it has %d snapshots, want 2", len(page.Snapshots))
		}
		return nil
	})
	s.run(a.hostID, wire.KindForget, map[string]any{"snapshot_ids": []string{page.Snapshots[0].ID}}, wire.StateSucceeded)
	eventually(t, time.Minute, "the list is that after the forget", func() error {
		if n := len(s.snapshots(a.hostID).Snapshots); n != 1 {
			return fmt.Errorf("it has %d snapshots, want 1", n)
		}
		return nil
	})
	if n := len(a.starts()); n != 10 {
		t.Errorf("the ledger: got %d jobs, want 10: %v", n, a.starts())
	}
	a.twice()
}

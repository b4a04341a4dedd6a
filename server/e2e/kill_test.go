package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"restic-manager/server/database"
	"restic-manager/server/e2e/scripted/script"
	rules "restic-manager/server/fleet/job"
	"restic-manager/shared/wire"
)

// agentStage is a moment of a job's life at which the agent is killed. Where it cannot kill itself, for it waits for
// another program then, that program is held up at the point, and the agent is killed from outside.
type agentStage struct {
	name, point string
	outside     bool
	act         script.Act
	// slow is a further point that is held up.
	slow string
	// begun: the server has granted the start, and no result is durable. ships: the log is what is left to do.
	begun, ships bool
}

var (
	working  = script.Act{Lines: 1000, Until: "goes on"} // the file that it waits for is set for each agent
	longLog  = script.Act{Lines: 20000}
	shortRun = script.Act{Lines: 20}
)

var agentStages = []agentStage{
	{name: "A0 poll answered", point: "agent.poll.answered", act: shortRun},
	{name: "A1 offer durable", point: "agent.offer.durable", act: shortRun},
	{name: "A2 accept sent", point: "server.accept.uncommitted", outside: true, act: shortRun},
	{name: "A3 accept answered", point: "agent.accept.answered", act: shortRun},
	{name: "A4 starting durable", point: "agent.starting.durable", act: shortRun},
	{name: "A5 start answered", point: "agent.start.answered", act: shortRun, begun: true},
	{name: "A6 restic runs", point: "agent.spawned", act: working, begun: true},
	{name: "A7 log sent", point: "server.log.uncommitted", outside: true, act: working, begun: true, ships: true},
	{name: "A8 restic exited, no result yet", point: "supervisor.restic.exited", outside: true, act: shortRun, begun: true, ships: true},
	{name: "A9 result durable", point: "agent.result.found", act: shortRun},
	{name: "A10 finish sent", point: "server.finish.uncommitted", outside: true, act: shortRun},
	{name: "A11 finish answered, log incomplete", point: "agent.finish.answered", act: longLog, slow: "server.log.committed", ships: true},
	{name: "A12 folder half removed", point: "agent.folder.half-removed", act: shortRun},
}

// killAgent runs one backup and kills the agent at the stage.
func (l *lab) killAgent(s agentStage) job {
	l.t.Helper()
	if s.act.Until != "" {
		s.act.Until = l.a.goesOn()
		if err := os.Remove(s.act.Until); err != nil && !os.IsNotExist(err) {
			l.t.Fatal(err)
		}
	}
	l.a.script(map[string]script.Act{"backup": s.act})
	if s.slow != "" {
		l.arm(s.slow, "sleep 1s")
	}
	action := "kill"
	if s.outside {
		action = "sleep 500ms"
	}
	l.arm(s.point, action)
	j := l.a.backup()
	l.hit(s.point)
	if s.outside {
		l.a.kill()
	}
	<-l.a.done
	if s.slow != "" {
		l.disarm(s.slow)
	}
	return j
}

// goesOn is the file that restic waits for where it is to outlive the agent.
func (a *scripted) goesOn() string { return filepath.Join(a.bin, "goes-on") }

// relaunch starts the agent anew, and lets a restic go on that was to outlive it.
func (l *lab) relaunch() {
	l.t.Helper()
	l.a.launch()
	if err := os.WriteFile(l.a.goesOn(), nil, 0o600); err != nil {
		l.t.Fatal(err)
	}
}

// TestFaultAgentKilled kills the agent at each stage of a job: the job ends as if nothing had happened, but for one
// whose start was granted and not used: that is interrupted.
func TestFaultAgentKilled(t *testing.T) {
	t.Parallel()
	l := newLab(t, "sqlite", 1)
	runs, incomplete, longest := 0, 0, time.Duration(0)
	for range figures(1, 12) {
		for _, stage := range agentStages {
			runs++
			j := l.killAgent(stage)
			before, err := l.h.job(j.ID)
			if err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			l.relaunch()
			if stage.ships && !before.Complete {
				soon(t, stage.name+": the log goes on", func() bool {
					now, err := l.h.job(j.ID)
					return err == nil && (now.NextLine > before.NextLine || now.Complete)
				})
				incomplete++
				longest = max(longest, time.Since(began))
			}
			p := l.h.settled(j.ID)
			// The server knows of a start that nobody can tell from one that ran: it is not repeated.
			unused := stage.begun && p.ErrorCode == wire.CodeInterrupted && l.a.starts()[j.ID] == 0
			if p.State != wire.StateSucceeded && !unused {
				l.h.breaks("J4", "%s: job %s is %s %s, want it succeeded", stage.name, j.ID, p.State, p.ErrorCode)
			}
		}
	}
	if incomplete == 0 {
		t.Error("no log was ever incomplete")
	}
	if longest > patience*5*time.Second {
		l.h.breaks("L1", "a log went on only %s after the agent's restart", longest)
	}
	fault(t, faultRow{Row: "1", Fault: "agent killed at each of 13 stages", Variant: "sqlite, scripted restic", Runs: runs, Violations: l.h.end(),
		Figure: fmt.Sprintf("log goes on ≤ %.1f s after the restart (%d logs)", longest.Seconds(), incomplete)})
}

// TestFaultMachineRestarted kills the agent and its supervisor at each stage, takes back what was not fsynced, and
// lets the machine have booted anew: what had ended succeeds, what ran is interrupted, what had not begun runs.
func TestFaultMachineRestarted(t *testing.T) {
	t.Parallel()
	l := newLab(t, "sqlite", 1)
	innocent := exec.Command("sleep", "3600")
	innocent.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := innocent.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = innocent.Process.Kill(); _ = innocent.Wait() })
	runs, longest, states := 0, time.Duration(0), map[wire.State]int{}
	for range figures(1, 8) {
		for _, stage := range agentStages {
			runs++
			j := l.killAgent(stage)
			l.a.killAll()
			durable := l.a.has(j, "result.json") || !l.a.has(j, "job.json")
			ran := l.a.starts()[j.ID] > 0
			l.powerCut(j, innocent.Process.Pid)
			began := time.Now()
			l.relaunch()
			var p pastJob
			soon(t, stage.name+": the end is reported", func() bool {
				p, _ = l.h.job(j.ID)
				return p.State.Terminal()
			})
			longest = max(longest, time.Since(began))
			p = l.h.settled(j.ID)
			states[p.State]++
			interrupted := p.State == wire.StateFailed && p.ErrorCode == wire.CodeInterrupted
			switch {
			case durable && ran && p.State != wire.StateSucceeded,
				ran && !durable && !interrupted,
				!ran && p.State != wire.StateSucceeded && !(stage.begun && interrupted):
				l.h.breaks("J4", "%s: job %s is %s %s; restic ran %v, its result was durable %v", stage.name, j.ID, p.State, p.ErrorCode, ran, durable)
			}
			if err := innocent.Process.Signal(syscall.Signal(0)); err != nil {
				l.h.breaks("J2", "%s: the process that has restic's old pid: %v, want it left alone", stage.name, err)
			}
		}
		runs++
		l.h.settled(l.api.run(l.a.hostID, wire.KindPrune, nil, wire.StateSucceeded).ID)
	}
	fault(t, faultRow{Row: "2", Fault: "agent and supervisor killed at each of 13 stages, machine restarted, un-fsynced bytes gone", Variant: "sqlite, scripted restic",
		Runs: runs, Violations: l.h.end(), Figure: fmt.Sprintf("end reported ≤ %.1f s after the restart; %d succeeded, %d interrupted", longest.Seconds(), states[wire.StateSucceeded], states[wire.StateFailed])})
}

// has reports whether the job's folder has a file.
func (a *agent) has(j job, name string) bool {
	_, err := os.Stat(filepath.Join(a.data, "jobs", j.ID, name))
	return err == nil
}

// powerCut takes back what may not have been on the disk: of the log of a job without a result all that was not
// sent, but for half a line, and the progress. What is recorded of processes is of an earlier boot then.
func (l *lab) powerCut(j job, innocent int) {
	l.t.Helper()
	folder := filepath.Join(l.a.data, "jobs", j.ID)
	if err := os.Remove(filepath.Join(folder, "progress.json")); err != nil && !os.IsNotExist(err) {
		l.t.Fatal(err)
	}
	path := filepath.Join(folder, "log.ndjson")
	if log, err := os.ReadFile(path); err == nil && !l.a.has(j, "result.json") {
		p, err := l.h.job(j.ID)
		if err != nil {
			l.t.Fatal(err)
		}
		lines := bytes.SplitAfter(log, []byte("\n"))
		sent := int(p.NextLine - 1)
		if sent > len(lines)-1 {
			l.t.Fatalf("the server has %d lines and the agent %d", sent, len(lines)-1)
		}
		kept := append(bytes.Join(lines[:sent], nil), `{"t":"2026-11-23T10:00:00.0000`...)
		if err := os.WriteFile(path, kept, 0o600); err != nil {
			l.t.Fatal(err)
		}
	}
	claims, _ := filepath.Glob(filepath.Join(folder, "claim-*"))
	for _, path := range append(claims, filepath.Join(folder, "group.json")) {
		if _, err := os.Stat(path); err != nil {
			continue
		}
		reseal(l.t, path, func(record map[string]any) {
			record["machine_boot"] = "00000000-0000-4000-8000-000000000000"
			for _, key := range []string{"pid", "pgid"} {
				if _, ok := record[key]; ok {
					record[key] = innocent
				}
			}
		})
	}
}

// serverStage is a moment at which a server is killed.
type serverStage struct {
	name, point string
	// after: the place is armed once the job is ordered, for it is come by without one too.
	after bool
}

var serverStages = []serverStage{
	{name: "S1 poll held", point: "server.poll.held", after: true},
	{name: "S2 accept before commit", point: "server.accept.uncommitted"},
	{name: "S3 accept after commit", point: "server.accept.committed"},
	{name: "S4 start before commit", point: "server.start.uncommitted"},
	{name: "S5 start after commit", point: "server.start.committed"},
	{name: "S6 log before commit", point: "server.log.uncommitted"},
	{name: "S7 log after commit", point: "server.log.committed"},
	{name: "S8 finish before commit", point: "server.finish.uncommitted"},
	{name: "S9 finish after commit", point: "server.finish.committed"},
	{name: "S10 list half swapped", point: "server.listing.uncommitted"},
}

// replicated runs a test with one server on each database, and with two on PostgreSQL.
func replicated(t *testing.T, test func(t *testing.T, variant string, l *lab)) {
	for _, v := range []struct {
		name, engine string
		replicas     int
	}{{"sqlite", "sqlite", 1}, {"postgres", "postgres", 1}, {"postgres, 2 replicas", "postgres", 2}} {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			test(t, v.name, newLab(t, v.engine, v.replicas))
		})
	}
}

// TestFaultServerKilled kills a server at each stage of a job; restic never notices. A second replica serves the
// agent meanwhile, else the server is started again at once.
func TestFaultServerKilled(t *testing.T) {
	t.Parallel()
	replicated(t, func(t *testing.T, variant string, l *lab) {
		runs, longest := 0, time.Duration(0)
		for range figures(1, 8) {
			for _, stage := range serverStages {
				runs++
				longest = max(longest, l.killServer(stage))
			}
			host := l.killEnrolling()
			runs++
			if whole() || variant != "postgres" { // two replicas show what one does, and a sweep is long to wait for
				l.killSweeping(host)
				runs++
			}
		}
		if longest > patience*30*time.Second {
			l.h.breaks("J5", "the agent polled again only %s after the server was back", longest)
		}
		if listed, ran := len(l.api.snapshots(l.a.hostID).Snapshots), len(l.a.listIDs()); listed != ran {
			l.h.breaks("P1", "the server lists %d snapshots of %d", listed, ran)
		}
		fault(t, faultRow{Row: "3", Fault: "server killed at each of 12 stages", Variant: variant, Runs: runs, Violations: l.h.end(),
			Figure: fmt.Sprintf("agent polls again ≤ %.1f s after", longest.Seconds())})
	})
}

// killServer runs one backup and kills a server at the stage. It returns how long after the server was back, or
// after it died where there is another, the agent's poll was held again.
func (l *lab) killServer(s serverStage) time.Duration {
	l.t.Helper()
	l.a.script(map[string]script.Act{"backup": shortRun})
	if !s.after {
		l.arm(s.point, "kill")
	}
	j := l.order()
	if s.after {
		l.arm(s.point, "kill")
	}
	dead := l.died()
	alone := len(l.servers) == 1
	if alone {
		dead.start()
	}
	l.arm("server.poll.held", "sleep 1ms")
	began := time.Now()
	l.hit("server.poll.held")
	polled := time.Since(began)
	if p := l.h.settled(j); p.State != wire.StateSucceeded {
		l.h.breaks("J4", "%s: job %s is %s %s, want it succeeded", s.name, j, p.State, p.ErrorCode)
	}
	if !alone {
		dead.start()
	}
	return polled
}

// order orders a backup and returns its id, although the server may die before it answers.
func (l *lab) order() string {
	l.t.Helper()
	var j job
	_, err := l.api.try("POST", "/api/hosts/"+l.a.hostID+"/jobs", map[string]any{"kind": wire.KindBackup, "spec": map[string]any{"paths": []string{l.a.bin}}}, &j)
	if err == nil {
		return j.ID
	}
	var newest string
	if err := l.h.db.Read(l.t.Context()).Raw("SELECT id FROM jobs WHERE host_id = ? ORDER BY number DESC LIMIT 1", l.a.hostID).Scan(&newest).Error; err != nil {
		l.t.Fatal(err)
	}
	if _, old := l.h.ended[newest]; old || newest == "" {
		l.t.Fatalf("order a backup: %v", err)
	}
	return newest
}

// killEnrolling kills a server once it has committed an enrollment: the same command again makes no second host. It returns the host.
func (l *lab) killEnrolling() string {
	l.t.Helper()
	var token struct {
		ID    string `json:"id"`
		Token string `json:"token"`
	}
	l.api.do("POST", "/api/enrollment-tokens", map[string]any{"name": "another"}, &token)
	dir := l.t.TempDir()
	enroll := func() ([]byte, error) {
		cmd := exec.Command(program(l.t, "restic-manager-agent", l.a.env), "enroll", "--server", l.api.url, "--config", filepath.Join(dir, "agent.yaml"))
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "RESTIC_MANAGER_TOKEN=" + token.Token, l.variable()}
		return cmd.CombinedOutput()
	}
	l.arm("server.enroll.committed", "kill")
	first := make(chan error, 1)
	var words []byte
	go func() {
		var err error
		words, err = enroll()
		first <- err
	}()
	l.died().start()
	if err := <-first; err != nil { // it tries only so long
		l.t.Logf("the first try: %v: %s", err, words)
		if out, err := enroll(); err != nil {
			l.h.breaks("J1", "S12: enroll after the server was killed: %v: %s", err, out)
		}
	}
	var hosts []string
	err := l.h.db.Read(l.t.Context()).Raw("SELECT id FROM hosts WHERE enrollment_token_id = ?", token.ID).Scan(&hosts).Error
	if err != nil || len(hosts) != 1 {
		l.h.breaks("A1", "S12: the token made the hosts %v, %v; want one", hosts, err)
		l.t.FailNow()
	}
	return hosts[0]
}

// listIDs are the lines of the scripted repository's list.
func (a *scripted) listIDs() [][]byte {
	b, err := os.ReadFile(filepath.Join(a.repository, "list"))
	if err != nil {
		a.t.Fatal(err)
	}
	return bytes.Split(bytes.TrimSpace(b), []byte("\n"))
}

// killSweeping kills a server between two jobs that it judges, those of a host that never polled: each is judged once.
func (l *lab) killSweeping(host string) {
	l.t.Helper()
	l.swept()
	var ids []string
	for range 3 {
		ids = append(ids, l.api.order(host, wire.KindBackup, map[string]any{"paths": []string{l.a.bin}}).ID)
	}
	l.arm("server.sweep.half", "kill")
	err := l.h.db.Write(l.t.Context(), func(tx *database.Tx) error {
		// A new server forgives at first, and after it was away.
		vigil, err := json.Marshal(rules.Vigil{SweptAt: tx.Now})
		if err != nil {
			return err
		}
		if err := tx.Exec("UPDATE server_state SET value = ? WHERE key = 'sweep'", string(vigil)).Error; err != nil {
			return err
		}
		return tx.Exec("UPDATE jobs SET expires_at = queued_at WHERE id IN ?", ids).Error
	})
	if err != nil {
		l.t.Fatal(err)
	}
	l.died().start()
	for _, id := range ids {
		eventually(l.t, time.Minute, "job "+id+" expires", func() error {
			p, err := l.h.job(id)
			if err == nil && p.State != wire.StateExpired {
				err = fmt.Errorf("it is %s", p.State)
			}
			return err
		})
		l.h.ended[id] = wire.StateExpired
	}
}

// swept waits until a server has swept: there is something to write its vigil over.
func (l *lab) swept() {
	l.t.Helper()
	eventually(l.t, time.Minute, "a sweep", func() error {
		var n int64
		err := l.h.db.Read(l.t.Context()).Raw("SELECT count(*) FROM server_state WHERE key = 'sweep'").Scan(&n).Error
		if err == nil && n == 0 {
			err = errors.New("there was none")
		}
		return err
	})
}

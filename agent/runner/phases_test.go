package runner

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"restic-manager/agent/spool"
	"restic-manager/shared/wire"
)

// onDisk is a job's folder as an earlier process of the agent, gone in the middle, left it.
type onDisk struct {
	phase  wire.Phase
	claim  spool.ClaimKind // empty: none. A supervisor's is that of one that is gone
	ledger bool
	lines  int    // of the log
	torn   string // behind its last newline
	result bool
	finish wire.State // of finish.json; empty: none
	local  *spool.Local
}

const (
	plantedLease = "11111111111111111111111111111111"
	plantedNonce = "22222222222222222222222222222222"
)

// plant makes the job's folder before the agent's start.
func (m *machine) plant(j *fakeJob, d onDisk) {
	m.t.Helper()
	must := func(err error) {
		m.t.Helper()
		if err != nil {
			m.t.Fatal(err)
		}
	}
	var store *spool.Store
	m.waitFor("the state folder", func() (ok bool) {
		var err error
		if store, err = spool.Open(spool.OS{}, m.path("state"), time.Now); err != nil && !errors.Is(err, spool.ErrLocked) {
			m.t.Fatal(err)
		}
		return err == nil
	})
	defer store.Close()
	job := spool.Job{Offer: j.offer, Phase: d.phase, Lease: plantedLease, RepositoryID: testRepository, OfferedAt: time.Now(), Local: d.local}
	if d.phase != wire.PhaseOffered && d.phase != wire.PhaseAccepted {
		job.Nonce = plantedNonce
	}
	f, err := store.Create(job)
	must(err)
	if d.claim != "" {
		_, err := f.Claim(spool.Claim{Kind: d.claim, Nonce: plantedNonce, PID: 1 << 22, MachineBoot: "another boot", At: time.Now()})
		must(err)
	}
	if d.claim == spool.ClaimSupervisor {
		must(f.SaveGroup(spool.Group{PGID: os.Getpid(), StartTicks: 1, MachineBoot: "another boot"}))
	}
	if d.ledger {
		must(f.Enter())
	}
	log := f.OpenLog(spool.LogLimits{})
	for n := range d.lines {
		log.Line(time.Now(), wire.StreamOut, fmt.Appendf(nil, "line %d", n+1))
	}
	sum, err := log.Close()
	must(err)
	m.write("state/jobs/"+j.offer.JobID+"/log.ndjson", m.read("state/jobs/"+j.offer.JobID+"/log.ndjson")+d.torn)
	finish := wire.FinishRequest{State: wire.StateSucceeded, Summary: &wire.Summary{FilesNew: 7}, LogLines: sum.Lines, LogSHA256: sum.SHA256, EndedAt: time.Now().UTC()}
	if d.result {
		must(f.SaveResult(spool.Result{Nonce: plantedNonce, Finish: finish}))
	}
	if d.finish != "" {
		if finish.State = d.finish; d.finish != wire.StateSucceeded {
			finish.Error, finish.Summary = &wire.JobError{Code: wire.CodeGuard, Message: "no"}, nil
		}
		b, err := json.Marshal(finish)
		must(err)
		must(f.SaveFinish(b))
	}
}

// serverHas makes the server know the job as far as that, with so many lines of the planted log.
func (m *machine) serverHas(j *fakeJob, state wire.State, lines int) {
	m.server.set(func() {
		j.state = state
		if state != wire.StateQueued {
			j.lease = plantedLease
		}
		if state != wire.StateQueued && state != wire.StateAccepted {
			j.nonce = plantedNonce
		}
		for line := range bytes.Lines([]byte(m.read("state/jobs/" + j.offer.JobID + "/log.ndjson"))) {
			if j.lines == int64(lines) {
				break
			}
			j.log.Write(line)
			j.lines++
		}
	})
}

// TestRestartAtEveryPhaseOnDisk starts an agent over a folder of each phase, with the server as far as it can
// be then; and once more, killed in the middle of its first resume.
func TestRestartAtEveryPhaseOnDisk(t *testing.T) {
	supervisor, abandoned := spool.ClaimSupervisor, spool.ClaimAbandoned
	for _, c := range []struct {
		name   string
		disk   onDisk
		server wire.State
		lines  int // that the server has
		state  wire.State
		code   string
		runs   int
		calls  []string // that must have been made
		never  []string // that must not
	}{
		{"offered, the accept did not arrive", onDisk{phase: wire.PhaseOffered}, wire.StateQueued, 0,
			wire.StateSucceeded, "", 1, []string{"accept", "start"}, []string{"resume"}},
		{"offered, the accept's reply was lost", onDisk{phase: wire.PhaseOffered}, wire.StateAccepted, 0,
			wire.StateSucceeded, "", 1, []string{"accept", "start"}, []string{"resume"}},
		{"offered, canceled meanwhile", onDisk{phase: wire.PhaseOffered}, wire.StateCanceled, 0,
			wire.StateCanceled, "", 0, []string{"accept"}, []string{"start", "finish"}},
		{"offered, refused by the guard before", onDisk{phase: wire.PhaseOffered, finish: wire.StateRejected}, wire.StateQueued, 0,
			wire.StateRejected, wire.CodeGuard, 0, []string{"accept", "finish"}, []string{"start"}},
		{"accepted", onDisk{phase: wire.PhaseAccepted}, wire.StateAccepted, 0,
			wire.StateSucceeded, "", 1, []string{"resume", "start"}, []string{"accept"}},
		{"accepted, its lease ran out", onDisk{phase: wire.PhaseAccepted}, wire.StateQueued, 0,
			wire.StateSucceeded, "", 1, []string{"resume", "accept", "start"}, nil},
		{"accepted, canceled meanwhile", onDisk{phase: wire.PhaseAccepted}, wire.StateCanceled, 0,
			wire.StateCanceled, "", 0, []string{"resume"}, []string{"start", "finish"}},
		{"accepted, the rejection did not arrive", onDisk{phase: wire.PhaseAccepted, finish: wire.StateRejected}, wire.StateAccepted, 0,
			wire.StateRejected, wire.CodeGuard, 0, []string{"resume", "finish"}, []string{"start"}},
		{"starting, the start did not arrive", onDisk{phase: wire.PhaseStarting}, wire.StateAccepted, 0,
			wire.StateSucceeded, "", 1, []string{"resume", "start"}, nil},
		{"starting, the start's reply was lost", onDisk{phase: wire.PhaseStarting}, wire.StateRunning, 0,
			wire.StateFailed, wire.CodeInterrupted, 0, []string{"resume", "finish"}, []string{"start"}},
		{"starting, canceled meanwhile", onDisk{phase: wire.PhaseStarting}, wire.StateCanceled, 0,
			wire.StateCanceled, "", 0, []string{"resume"}, []string{"start", "finish"}},
		{"starting and abandoned", onDisk{phase: wire.PhaseStarting, claim: abandoned}, wire.StateRunning, 0,
			wire.StateFailed, wire.CodeInterrupted, 0, []string{"resume", "finish"}, []string{"start"}},
		{"starting and abandoned, the start did not arrive", onDisk{phase: wire.PhaseStarting, claim: abandoned}, wire.StateAccepted, 0,
			wire.StateSucceeded, "", 1, []string{"resume", "start"}, nil},
		{"starting, the supervisor is gone before the ledger", onDisk{phase: wire.PhaseStarting, claim: supervisor}, wire.StateRunning, 0,
			wire.StateFailed, wire.CodeInterrupted, 0, []string{"resume", "finish"}, []string{"start"}},
		{"starting, the supervisor is gone", onDisk{phase: wire.PhaseStarting, claim: supervisor, ledger: true, lines: 1}, wire.StateRunning, 0,
			wire.StateFailed, wire.CodeInterrupted, 0, []string{"resume", "log", "finish"}, []string{"start"}},
		{"running, both are gone and the log is torn", onDisk{phase: wire.PhaseRunning, claim: supervisor, ledger: true, lines: 5, torn: `{"t":"2026-11-24T01:02`}, wire.StateRunning, 3,
			wire.StateFailed, wire.CodeInterrupted, 0, []string{"resume", "log", "finish"}, []string{"start"}},
		{"running, both are gone, a server restored to before the start", onDisk{phase: wire.PhaseRunning, claim: supervisor, ledger: true, lines: 5}, wire.StateAccepted, 0,
			wire.StateFailed, wire.CodeInterrupted, 0, []string{"resume", "start", "log", "finish"}, nil},
		{"running, restic ended meanwhile", onDisk{phase: wire.PhaseRunning, claim: supervisor, ledger: true, lines: 700, result: true}, wire.StateRunning, 600,
			wire.StateSucceeded, "", 0, []string{"resume", "log", "token", "finish"}, []string{"start"}},
		{"ended", onDisk{phase: wire.PhaseEnded, claim: supervisor, ledger: true, lines: 2, result: true}, wire.StateRunning, 2,
			wire.StateSucceeded, "", 0, []string{"resume", "token", "finish"}, []string{"start"}},
		{"ended, the finish did not arrive", onDisk{phase: wire.PhaseEnded, claim: supervisor, ledger: true, lines: 2, result: true, finish: wire.StateSucceeded}, wire.StateRunning, 0,
			wire.StateSucceeded, "", 0, []string{"resume", "finish", "log", "token", "commit"}, []string{"start"}},
		{"finished, log and listing are open", onDisk{phase: wire.PhaseFinished, claim: supervisor, ledger: true, lines: 700, result: true, finish: wire.StateSucceeded}, wire.StateSucceeded, 500,
			wire.StateSucceeded, "", 0, []string{"resume", "log", "token", "commit"}, []string{"start"}},
		{"finished, a server restored to before the end", onDisk{phase: wire.PhaseFinished, claim: supervisor, ledger: true, lines: 9, result: true, finish: wire.StateSucceeded}, wire.StateRunning, 4,
			wire.StateSucceeded, "", 0, []string{"resume", "finish", "log"}, []string{"start"}},
		{"finished, a server restored to before the start", onDisk{phase: wire.PhaseFinished, claim: supervisor, ledger: true, lines: 9, result: true, finish: wire.StateSucceeded}, wire.StateAccepted, 0,
			wire.StateSucceeded, "", 0, []string{"resume", "start", "finish", "log"}, nil},
		{"in the ledger, and offered again", onDisk{phase: wire.PhaseOffered, ledger: true}, wire.StateQueued, 0,
			wire.StateFailed, wire.CodeInterrupted, 0, []string{"accept", "start", "finish"}, nil},
		{"in the ledger, accepted", onDisk{phase: wire.PhaseAccepted, ledger: true}, wire.StateAccepted, 0,
			wire.StateFailed, wire.CodeInterrupted, 0, []string{"resume", "start", "finish"}, nil},
	} {
		for _, again := range []bool{false, true} {
			if again && !slices.Contains(c.calls, "resume") {
				continue
			}
			t.Run(fmt.Sprintf("%s, killed again %v", c.name, again), func(t *testing.T) {
				s, m := start(t)
				j := m.backup()
				s.set(func() { j.state = wire.StateLost }) // not offered yet
				m.plant(j, c.disk)
				m.serverHas(j, c.server, c.lines)
				if c.disk.phase == wire.PhaseFinished && c.server.Terminal() {
					s.set(func() { j.finish = m.finishOf(j); j.result = decode[wire.FinishRequest](j.finish) })
				}
				var folder *spool.Folder
				fall, fallen := m.fall()
				s.set(func() {
					folder = spool.OpenFolder(spool.OS{}, m.path("state"), j.offer.JobID, time.Now)
					s.fault = func(name string, n int) fault {
						if name != "resume" {
							return fault{}
						}
						f := fault{do: func() {
							if onDisk, err := folder.Job(); err != nil || onDisk.Lease == plantedLease || len(onDisk.Leases) < 2 {
								t.Errorf("at the resume the disk has %+v, %v; want a new lease beside the old one", onDisk, err)
							}
							if claim, err := folder.ReadClaim(plantedNonce); c.disk.phase == wire.PhaseStarting && (claim == nil || err != nil) {
								t.Errorf("the server is asked before the claim is decided: %v", err)
							}
						}}
						if again && n == 1 {
							check := f.do
							f.do, f.mute = func() { check(); fall() }, true
						}
						return f
					}
				})
				m.boot()
				if again {
					fallen("the resume")
					m.kill()
					m.boot()
				}
				m.settled(j)
				m.wants(j, c.state, c.code, c.runs)
				for _, call := range c.calls {
					if s.count(call) == 0 {
						t.Errorf("got no %s, want one", call)
					}
				}
				for _, call := range c.never {
					if s.count(call) > 0 {
						t.Errorf("got %d of %s, want none", s.count(call), call)
					}
				}
				if j.finish != nil {
					m.wantsWholeLog(j)
				}
				if c.state == wire.StateSucceeded && len(s.held[testRepository]) != 3 {
					t.Errorf("got %d snapshots held, want the 3 of the listing", len(s.held[testRepository]))
				}
			})
		}
	}
}

// finishOf are the bytes of the planted finish.json.
func (m *machine) finishOf(j *fakeJob) []byte {
	b, err := spool.OpenFolder(spool.OS{}, m.path("state"), j.offer.JobID, time.Now).Finish()
	if err != nil {
		m.t.Fatal(err)
	}
	return b
}

// TestRestartAtEveryPhaseOnDiskOfALocalJob: the folder is of a job that an earlier process began while the server was
// away. Server empty: it does not know of it.
func TestRestartAtEveryPhaseOnDiskOfALocalJob(t *testing.T) {
	supervisor, abandoned := spool.ClaimSupervisor, spool.ClaimAbandoned
	for _, c := range []struct {
		name    string
		disk    onDisk
		adopted bool // job.json says so
		server  wire.State
		state   wire.State
		code    string
		runs    int
		calls   []string
		never   []string
	}{
		{"before the preflight", onDisk{phase: wire.PhaseAccepted}, false, "",
			wire.StateSucceeded, "", 1, []string{"ticks", "accept", "start"}, []string{"adopt", "resume"}},
		{"before the preflight, and the server queued it", onDisk{phase: wire.PhaseAccepted}, false, wire.StateQueued,
			wire.StateSucceeded, "", 1, []string{"accept", "start"}, []string{"adopt", "resume"}},
		{"before the claim", onDisk{phase: wire.PhaseStarting}, false, "",
			wire.StateSucceeded, "", 1, []string{"ticks", "accept", "start"}, []string{"adopt", "resume"}},
		{"abandoned", onDisk{phase: wire.PhaseStarting, claim: abandoned}, false, "",
			wire.StateSucceeded, "", 1, []string{"ticks", "accept", "start"}, []string{"adopt", "resume"}},
		{"claimed, the supervisor is gone before the ledger", onDisk{phase: wire.PhaseStarting, claim: supervisor}, false, "",
			wire.StateFailed, wire.CodeInterrupted, 0, []string{"adopt", "resume", "finish"}, []string{"accept", "start"}},
		{"running, both are gone", onDisk{phase: wire.PhaseRunning, claim: supervisor, ledger: true, lines: 5}, false, "",
			wire.StateFailed, wire.CodeInterrupted, 0, []string{"adopt", "resume", "log", "finish"}, []string{"accept", "start"}},
		{"running, restic ended meanwhile", onDisk{phase: wire.PhaseRunning, claim: supervisor, ledger: true, lines: 700, result: true}, false, "",
			wire.StateSucceeded, "", 0, []string{"adopt", "resume", "log", "token", "finish"}, []string{"accept", "start"}},
		{"ended, and the server queued it", onDisk{phase: wire.PhaseEnded, claim: supervisor, ledger: true, lines: 2, result: true}, false, wire.StateQueued,
			wire.StateSucceeded, "", 0, []string{"adopt", "resume", "token", "finish"}, []string{"accept", "start"}},
		{"ended, adopted, and that was not written", onDisk{phase: wire.PhaseEnded, claim: supervisor, ledger: true, lines: 2, result: true}, false, wire.StateRunning,
			wire.StateSucceeded, "", 0, []string{"adopt", "resume", "token", "finish"}, []string{"accept", "start"}},
		{"ended and adopted", onDisk{phase: wire.PhaseEnded, claim: supervisor, ledger: true, lines: 2, result: true}, true, wire.StateRunning,
			wire.StateSucceeded, "", 0, []string{"resume", "token", "finish"}, []string{"adopt", "accept", "start"}},
		{"adopted, a server restored to before that", onDisk{phase: wire.PhaseEnded, claim: supervisor, ledger: true, lines: 2, result: true}, true, "",
			wire.StateSucceeded, "", 0, []string{"resume", "adopt", "finish"}, []string{"accept", "start"}},
		{"finished, a server restored to before the adopt", onDisk{phase: wire.PhaseFinished, claim: supervisor, ledger: true, lines: 9, result: true, finish: wire.StateSucceeded}, true, "",
			wire.StateSucceeded, "", 0, []string{"resume", "adopt", "finish", "log"}, []string{"accept", "start"}},
		{"in the ledger, without a claim", onDisk{phase: wire.PhaseAccepted, ledger: true}, false, "",
			wire.StateFailed, wire.CodeInterrupted, 0, []string{"ticks", "accept", "start", "finish"}, []string{"adopt", "resume"}},
	} {
		for _, again := range []bool{false, true} {
			if again && !slices.Contains(c.calls, "adopt") {
				continue
			}
			t.Run(fmt.Sprintf("%s, killed again %v", c.name, again), func(t *testing.T) {
				s, m := start(t)
				id, due := m.learns(nil)
				m.begun(due)
				j := s.jobOf(id, s.schedule.Policies[0])
				disk := c.disk
				disk.local = &spool.Local{PolicyID: testPolicy, PolicyVersion: 3, DueAt: due, Adopted: c.adopted}
				j.offer.Delivery = 0
				m.plant(j, disk)
				j.offer.Delivery = 1
				if c.server != "" {
					s.set(func() {
						s.jobs = append(s.jobs, j)
						s.outcomes[id] = wire.TickAnswer{Outcome: wire.OutcomeRun, JobID: id}
					})
					m.serverHas(j, c.server, 0)
				}
				fall, fallen := m.fall()
				s.set(func() {
					s.counts = map[string]int{}
					s.fault = func(name string, n int) fault {
						if again && name == "adopt" && n == 1 {
							return fault{do: fall, mute: true}
						}
						return fault{}
					}
				})
				m.boot()
				if again {
					fallen("the adopt")
					m.kill()
					m.boot()
				}
				j = m.jobAt(id)
				m.settled(j)
				m.wants(j, c.state, c.code, c.runs)
				for _, call := range c.calls {
					if s.count(call) == 0 {
						t.Errorf("got no %s, want one", call)
					}
				}
				for _, call := range c.never {
					if s.count(call) > 0 {
						t.Errorf("got %d of %s, want none", s.count(call), call)
					}
				}
				if j.finish != nil {
					m.wantsWholeLog(j)
				}
				m.waitFor("the due time to be closed", func() bool { return !strings.Contains(m.read("state/schedule.json"), `"open"`) })
				if !s.is(func() bool { return s.outcomes[id].Outcome == wire.OutcomeRun }) {
					t.Error("the due time is not called run")
				}
			})
		}
	}
}

// begun makes the book on disk say that a due time was begun here.
func (m *machine) begun(due time.Time) {
	m.t.Helper()
	m.book(func(book map[string]any) {
		policy := book["policies"].([]any)[0].(map[string]any)
		policy["until"], policy["open"] = due, []any{map[string]any{"at": due, "begun": true}}
	})
}

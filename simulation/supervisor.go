package simulation

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"

	"restic-manager/agent/runner"
	"restic-manager/agent/spool"
	"restic-manager/agent/supervise"
	"restic-manager/shared/wire"
)

// supervisor is the process that runs restic and outlives the agent. It takes the claim by supervise's own code,
// and then does what supervise's run does, with a virtual restic.
type supervisor struct {
	*process
	job, nonce  string
	folder      *spool.Folder
	kind        wire.KindInfo
	own, shared spool.Lock
	log         *spool.LogWriter
	progress    *spool.ProgressWriter
	seq         int64
	run         *run
	left        int           // lines to write
	until       time.Duration // when restic ends by itself
	outcome     wire.State    // if nothing comes between
	canceled    bool
	read        int64       // bytes of the log that the run's truth has
	answer      func(error) // tells the agent how the launch went; nil: it was told
}

// launch starts a supervisor for a job; its answer is the agent's LaunchDone.
func (m *machine) launch(j *jobRun, nonce string) {
	w := m.w
	m.pids++
	s := &supervisor{job: j.id, nonce: nonce, kind: j.info, folder: spool.OpenFolder(m.disk, stateDir, j.id, m.clock)}
	s.process = &process{m: m, name: "the supervisor of " + w.name(j.id), alive: true}
	s.ended = s.gone
	s.answer = j.launched(s)
	m.supers = append(m.supers, s)
	pid := m.pids
	d := w.between(time.Millisecond, 50*time.Millisecond)
	if w.faulty(w.plan.slowStart) {
		d = w.between(time.Second, 2*runner.ClaimDeadline)
	}
	s.after(d, func() { s.begin(pid) })
}

// launched is how a supervisor answers the agent that launched it: with the event for its job.
func (j *jobRun) launched(s *supervisor) func(error) {
	return func(err error) {
		s.answer = nil
		j.m.w.after(time.Millisecond, func() {
			j.exec(func() {
				if j.state.Done || j.state.Doing != runner.Launching {
					return
				}
				if err == nil || errors.Is(err, supervise.ErrClaimed) {
					j.step(runner.LaunchDone{})
					return
				}
				j.step(launchFailed(err))
			})
		})
	}
}

func launchFailed(err error) runner.LaunchDone {
	return runner.LaunchDone{Error: &wire.JobError{Code: wire.CodeInterrupted, Message: "restic was not started: " + err.Error()}}
}

// gone frees what the kernel frees. restic keeps its share of the run's lock.
func (s *supervisor) gone(killed bool) {
	m := s.m
	m.locks++
	if killed {
		m.w.Counts.SupervisorKills++
		s.wrote() // between two writes, of the marker of a gap and of the lines behind it
	}
	if s.own != nil {
		s.own.Close()
	}
	if s.answer != nil {
		s.answer(errors.New("the supervisor ended without a word"))
	}
	if s.run != nil && s.run.living() {
		// Nobody drains its pipes: it ends by itself after a while, if the agent does not end it.
		m.w.after(m.w.between(0, 3*time.Minute), s.endRestic)
		return
	}
	s.free()
}

// endRestic ends a restic without supervisor.
func (s *supervisor) endRestic() {
	if s.run == nil || !s.run.living() {
		return
	}
	s.m.w.say("%s: the restic of %s, which lost its supervisor, is gone", s.m.name, s.m.w.name(s.job))
	s.run.ended = s.m.w.now
	s.free()
}

func (s *supervisor) free() {
	s.m.locks++
	if s.shared != nil {
		s.shared.Close()
	}
	s.m.supers = slices.DeleteFunc(s.m.supers, func(o *supervisor) bool { return o == s })
}

// endOrphan ends what is left of a job's restic.
func (m *machine) endOrphan(id string) {
	for _, s := range slices.Clone(m.supers) {
		if s.job == id && !s.alive {
			s.endRestic()
		}
	}
}

// cancelWritten lets a supervisor see the cancel file, which it looks for four times a second.
func (m *machine) cancelWritten(id string) {
	for _, s := range m.supers {
		if s.job == id {
			s.after(m.w.between(0, 250*time.Millisecond), s.lookForCancel)
		}
	}
}

// begin claims the job and runs restic.
func (s *supervisor) begin(pid int) {
	w, m := s.m.w, s.m
	_, err := supervise.Take(s.folder, spool.Claim{
		Kind: spool.ClaimSupervisor, Nonce: s.nonce, PID: pid, At: m.clock().UTC(),
	}, &s.own, &s.shared)
	m.locks++
	answer := s.answer
	if answer == nil { // the agent is gone, or a copy's
		answer = func(error) {}
	}
	if err != nil {
		w.say("%s: the supervisor of %s ends: %v", m.name, w.name(s.job), err)
		answer(err)
		s.die(false)
		return
	}
	w.say("%s: %s is claimed by %.6s", m.name, w.name(s.job), s.nonce)
	answer(nil)
	s.log = s.folder.OpenLog(spool.LogLimits{})
	s.progress = s.folder.OpenProgress()
	if err := s.folder.Enter(); err != nil {
		s.leave(wire.StateFailed, wire.CodeNoSpace)
		return
	}
	if s.isCanceled() {
		s.leave(wire.StateCanceled, wire.CodeCanceled)
		return
	}
	if err := s.folder.SaveGroup(spool.Group{PGID: pid, MachineBoot: "virtual"}); err != nil {
		s.leave(wire.StateFailed, wire.CodeNoSpace)
		return
	}
	if s.isCanceled() {
		s.leave(wire.StateCanceled, wire.CodeCanceled)
		return
	}
	s.restic()
}

func (s *supervisor) isCanceled() bool {
	there, err := s.folder.Canceled()
	return err == nil && there
}

// restic runs from here on.
func (s *supervisor) restic() {
	w := s.m.w
	s.run = &run{machine: s.m, began: w.now, hold: s.kind.Hold, lane: s.kind.Lane, repo: s.m.repo, job: s.job}
	w.started(s.run)
	s.note("running restic")
	s.left = w.r.IntN(30)
	s.until = w.now + w.some(time.Second, 4*time.Minute)
	if s.kind.Kind == wire.KindInit {
		s.until = w.now + time.Second // there is a repository already
	}
	s.outcome = pick(w, wire.StateSucceeded, wire.StateSucceeded, wire.StateSucceeded, wire.StateSucceededWithIssues, wire.StateFailed)
	s.work()
}

// work lets restic say something, or end.
func (s *supervisor) work() {
	w := s.m.w
	rest := s.until - w.now
	if s.left > 0 && rest > 0 {
		s.after(w.between(0, 2*rest/time.Duration(s.left)), func() {
			if w.now >= s.until {
				s.exit()
				return
			}
			s.left--
			for range 1 + w.r.IntN(3) {
				s.log.Line(s.m.clock(), pick(w, wire.StreamOut, wire.StreamOut, wire.StreamErr), fmt.Appendf(nil, "%s says %d", w.name(s.job), w.r.IntN(1e6)))
			}
			s.flush()
			s.seq++
			_ = s.progress.Write(wire.Progress{Seq: s.seq})
			s.work()
		})
		return
	}
	until := s.until
	s.after(rest, func() {
		if s.until == until {
			s.exit()
		}
	})
}

func (s *supervisor) note(text string) {
	s.log.Note(s.m.clock(), text)
	s.flush()
}

// flush hands the log to the disk, and lets the truth know of it.
func (s *supervisor) flush() {
	s.log.Flush()
	s.wrote()
}

// wrote lets the truth know of what is in the file.
func (s *supervisor) wrote() {
	if s.run == nil {
		return
	}
	file, err := s.m.openLog(s.folder)
	if err != nil {
		return
	}
	defer file.Close()
	size, err := file.Size()
	if err != nil || size <= s.read {
		return
	}
	b := make([]byte, size-s.read)
	n, _ := file.ReadAt(b, s.read)
	b = b[:bytes.LastIndexByte(b[:n], '\n')+1] // a full disk may leave a torn line
	s.run.log = append(s.run.log, b...)
	s.read += int64(len(b))
}

// openLog opens a log for looking at it.
func (m *machine) openLog(f *spool.Folder) (spool.File, error) {
	return m.disk.Open(f.Dir() + "/log.ndjson")
}

// lookForCancel sends SIGINT where the cancel file is, and SIGKILL after the grace.
func (s *supervisor) lookForCancel() {
	w := s.m.w
	if s.run == nil || !s.run.living() || s.canceled || !s.isCanceled() {
		return
	}
	s.canceled = true
	w.say("%s: SIGINT to the restic of %s", s.m.name, w.name(s.job))
	w.interrupted(s.run)
	s.note("canceled: SIGINT sent to restic")
	if end := w.now + w.some(100*time.Millisecond, 2*wire.CancelGrace); end < s.until {
		s.until = min(end, w.now+wire.CancelGrace)
		s.outcome = wire.StateCanceled
		s.left = 0
		s.after(s.until-w.now, s.exit)
	}
}

// exit is restic's end.
func (s *supervisor) exit() {
	w := s.m.w
	if s.run == nil || !s.run.living() {
		return
	}
	s.run.ended = w.now
	if s.outcome.Success() {
		switch s.kind.Kind {
		case wire.KindBackup, wire.KindForget, wire.KindInit:
			s.run.repo.version++
		}
	}
	w.say("%s: the restic of %s ends: %s", s.m.name, w.name(s.job), s.outcome)
	code := map[wire.State]string{wire.StateFailed: wire.CodeRestic, wire.StateCanceled: wire.CodeCanceled}[s.outcome]
	s.leave(s.outcome, code)
}

// leave makes the log and then the result durable, and ends.
func (s *supervisor) leave(state wire.State, code string) {
	sum, _ := s.log.Close()
	s.wrote()
	f := wire.FinishRequest{State: state, EndedAt: s.m.clock().UTC(), LogLines: sum.Lines, LogSHA256: sum.SHA256}
	if code != "" {
		f.Error = &wire.JobError{Code: code, Message: "restic " + string(state)}
	}
	s.save(spool.Result{Nonce: s.nonce, Finish: f}, 0)
}

// save tries for a while, as a disk that fails may recover.
func (s *supervisor) save(r spool.Result, tries int) {
	s.m.w.leaves(s, r.Finish.State)
	err := s.folder.SaveResult(r)
	if err == nil {
		s.m.w.left(s, r.Finish.State)
		s.die(false)
		return
	}
	s.m.w.say("%s: the result of %s cannot be written: %v", s.m.name, s.m.w.name(s.job), err)
	if tries < 30 {
		s.after(time.Second, func() { s.save(r, tries+1) })
		return
	}
	s.die(false)
}

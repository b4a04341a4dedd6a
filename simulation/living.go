package simulation

import (
	"errors"
	"maps"
	"slices"
	"time"

	"restic-manager/agent/runner"
	"restic-manager/agent/spool"
)

// copySupervisor lets a copy of a machine have its supervisor, and its restic, too.
func (m *machine) copySupervisor(s *supervisor) {
	c := &supervisor{job: s.job, nonce: s.nonce, kind: s.kind, folder: spool.OpenFolder(m.disk, stateDir, s.job, m.clock),
		left: s.left, until: s.until, outcome: s.outcome, canceled: s.canceled, seq: s.seq, read: s.read}
	c.process = &process{m: m, name: s.process.name, alive: s.alive}
	c.ended = c.gone
	if s.own == nil {
		m.standsTwice(s.job)
		m.supers = append(m.supers, c)
		m.pids++
		pid := m.pids
		c.after(m.w.between(time.Millisecond, time.Second), func() { c.begin(pid) })
		return
	}
	if s.run == nil || !s.run.living() {
		return // it is about to leave: its copy does not come so far
	}
	m.supers = append(m.supers, c)
	c.run = &run{machine: m, began: s.run.began, hold: s.run.hold, lane: s.run.lane, repo: s.run.repo, job: s.run.job, log: slices.Clone(s.run.log), copied: true}
	m.w.truth[s.job].runs = append(m.w.truth[s.job].runs, c.run)
	c.shared, _ = c.folder.LockRun()
	if !s.alive {
		m.w.after(m.w.between(0, time.Minute), c.endRestic)
		return
	}
	c.own, _ = c.folder.LockSupervisor()
	c.log, c.progress = c.folder.OpenLog(spool.LogLimits{}), c.folder.OpenProgress()
	c.work()
}

// standsTwice: both copies know the nonce that the server says yes to, and nothing but restic's own lock keeps them
// apart. A supervisor that has not claimed yet does so in both, whatever becomes of the agents.
func (m *machine) standsTwice(job string) {
	m.w.truth[job].excepted = true
	m.w.say("%s: %s stands at its start in two living copies", m.name, m.w.name(job))
}

// copyAgent lets a copy of a machine have the agent's process too: the same boot, the same leases. What was
// asked and not answered is asked again, as after the connections of a copy broke.
func (m *machine) copyAgent(of *agent) {
	a := newAgent(m)
	m.agent = a
	a.exec(func() {
		var err error
		if a.store, err = spool.Open(lockingDisk{m.disk, a}, stateDir, m.clock); err != nil {
			a.die(false)
			return
		}
		a.boot, a.seq, a.mark, a.greeted, a.next = of.boot, of.seq, of.mark, of.greeted, of.next
		a.measured, a.rest = of.measured, maps.Clone(of.rest)
		if of.skew != nil {
			skew := *of.skew
			a.skew = &skew
		}
		a.plan = of.plan
		a.plan.asking = false
		var copies []*jobRun
		for _, o := range of.jobs {
			j := newJobRun(a, o.record)
			j.record.Leases = slices.Clone(o.record.Leases)
			j.state, j.doing, j.finish = o.state, o.doing, o.finish
			j.state.Leases, j.state.Tries = slices.Clone(o.state.Leases), slices.Clone(o.state.Tries)
			a.jobs, copies = append(a.jobs, j), append(copies, j)
			j.goOn(o)
		}
		a.turn()
		a.lookAtPlan()
	})
}

// goOn takes up in a copy what the first was doing.
func (j *jobRun) goOn(o *jobRun) {
	if j.state.Doing == runner.Starting || j.state.Doing == runner.Launching {
		j.m.standsTwice(j.id)
	}
	if o.shipper != nil {
		j.ship(o.shipper.final)
	}
	switch {
	case j.state.Doing == runner.Idle:
	case j.state.Doing == runner.Launching:
		for _, s := range j.m.supers {
			if s.job == j.id && s.own == nil {
				s.answer = j.launched(s)
				return
			}
		}
		j.live(time.Second, func() {
			if j.state.Doing == runner.Launching {
				j.step(launchFailed(errors.New("the supervisor ended without a word")))
			}
		})
	case j.doing != nil:
		j.do(j.doing)
	}
	if j.state.Following {
		j.list(false)
	}
	if j.state.Adopting {
		j.adopt(runner.Adopt{Nonce: j.state.Nonce, RepositoryID: j.state.RepositoryID})
	}
}

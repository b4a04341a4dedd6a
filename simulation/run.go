package simulation

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"restic-manager/server/fleet/job/memory"
	"restic-manager/shared/wire"
)

// Run runs the history of a seed. With trace its events are kept as text.
func Run(seed uint64, trace bool) *World {
	w := newWorld(seed, trace)
	w.play()
	w.Counts.Virtual = w.now
	return w
}

func newWorld(seed uint64, trace bool) *World {
	w := &World{seed: seed, r: rand.New(rand.NewPCG(seed, 0x6261636b7570)), tracing: trace, truth: map[string]*truth{}, names: map[string]string{},
		looked: map[string]tick{}, unassigned: map[string]bool{}, wentAway: map[[2]string]bool{}}
	w.draw()
	w.say("seed %d: %+v", seed, w.plan)
	w.server = newServer(w)
	w.outages = []span{{-time.Hour, wire.SweepInterval}} // nobody has swept yet
	shared := 1 + w.r.IntN(2)                            // how many hosts each repository has
	for i := range w.plan.hosts {
		if i%shared == 0 {
			n := len(w.repos)
			w.repos = append(w.repos, &repository{id: strings.Repeat(fmt.Sprintf("%x", n+1), 64), location: fmt.Sprintf("rest:https://backup/%d", n)})
		}
		host := w.id()
		m := w.newMachine(fmt.Sprintf("m%d", i+1), host, w.repos[len(w.repos)-1])
		w.names[host] = m.name
		if w.plan.skew {
			m.setClock(w.drawSkew())
		}
		w.server.jobs.AddHost(host)
		m.startAgent(w.between(0, 30*time.Second))
	}
	w.operators()
	w.faults()
	w.makePolicies()
	return w
}

const (
	// healing is how long after the last fault everything that can end has ended: an hour until the holds of
	// the silent are let go, and the queue behind them.
	healing = 5 * time.Hour
	// tooMany events mean that something is asked again and again without a pause.
	tooMany = 300_000
	// sweeps of the long silence at the end.
	slowSweep = 25 * time.Second
)

// play lets faults happen, then heals everything, and waits for the end of all.
func (w *World) play() {
	for w.now < w.plan.faulty {
		if !w.step() {
			return
		}
		if w.steps > tooMany {
			w.violate("J5", "%d events in %s", w.steps, w.now)
			return
		}
	}
	w.heal()
	for end := w.now + healing; !w.settled(); {
		if !w.step() {
			return
		}
		if w.now > end || w.steps > tooMany {
			w.violate("J5", "it does not come to an end: %s", w.open())
			return
		}
	}
	w.silence()
	if w.Violation == "" {
		w.checkEnd()
	}
}

// heal ends all faults; what is dead stays so, and of copies one is left.
func (w *World) heal() {
	w.say("faults end")
	w.healed = true
	s := w.server
	for _, rep := range s.replicas {
		s.start(rep)
	}
	if s.away > 0 {
		s.away = 0
		s.outage()
	}
	w.endPolicies()
	for _, h := range s.jobs.Hosts() {
		w.switchOffCopies(h.ID)
	}
	for _, m := range w.machines {
		m.cutTo, m.full = 0, 0
		m.disk.SetCapacity(-1)
		if !m.dead {
			if !w.blindToClocks {
				m.jump(0)
			}
			m.powerOn()
			if m.notAside {
				m.killAgent("restarted")
			}
		}
	}
}

// settled: every job of a host that lives has ended, and no folder is left of it.
func (w *World) settled() bool {
	if w.steps%64 != 0 {
		return false
	}
	return w.open() == ""
}

// open names what has not ended.
func (w *World) open() string {
	for _, j := range w.server.jobs.Jobs() {
		if !j.State.Terminal() && !w.deadHost(j.HostID) {
			return w.name(j.ID) + " is " + string(j.State)
		}
	}
	for _, m := range w.machines {
		if m.dead || w.revoked(m.host) {
			continue
		}
		if !m.powered || m.agent == nil || !m.agent.alive {
			return m.name + " is down"
		}
		if len(m.agent.jobs) > 0 {
			return m.name + " has the folder of " + w.name(m.agent.jobs[0].id)
		}
		if w.scheduled && m.agent.config() != w.server.configs[m.host] {
			return m.name + " has an old schedule"
		}
		for _, p := range m.agent.plan.book.Policies {
			if len(p.Open) > 0 {
				return m.name + " has open due times"
			}
		}
	}
	return ""
}

// silence lets the week pass after which the jobs of dead hosts are lost.
func (w *World) silence() {
	waits := false
	for _, j := range w.server.jobs.Jobs() {
		waits = waits || !j.State.Terminal()
	}
	if !waits {
		return
	}
	w.say("a week of silence")
	w.queue = nil
	for id := range w.server.online { // nobody speaks any more
		w.server.seen[id] = -wire.LostAfter
	}
	for end := w.now + wire.LostAfter + time.Hour; w.now < end && w.Violation == ""; w.now += slowSweep {
		report, err := w.server.jobs.Sweep()
		if err != nil {
			w.violate("sweep", "%v", err)
		}
		if report.Amnesty = false; report != (memory.Report{}) {
			w.server.check("silence")
		}
	}
	w.server.check("silence")
}

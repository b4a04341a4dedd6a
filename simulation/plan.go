package simulation

import "time"

// plan says what a history has of each fault.
type plan struct {
	calm     bool
	hosts    int
	jobs     int
	faulty   time.Duration // how long faults happen
	rtt      time.Duration
	loss     float64
	dup      float64
	late     float64 // arrives up to 65 s after its sender gave up
	crash    float64 // of a server, per request
	killStep float64 // of an agent, per action
	killDisk float64 // of a process, per change of the disk
	cutDisk  float64 // of a machine's power, per change of the disk

	partitions, agentKills, supervisorKills, powerCuts, bothAway, databaseAway int
	fullDisks, wipes, coldCopies, livingCopies, restores, revokes, jumps       int
	dead                                                                       int
	skew                                                                       bool
	slowStart                                                                  float64 // of supervisors
	cancelStep                                                                 float64 // of a job, per change of what its agent does
}

// latePart is how late a message may come whose sender has given up.
const latePart = 65 * time.Second

// draw makes the plan of a seed.
func (w *World) draw() {
	p := plan{hosts: 2 + w.r.IntN(3), jobs: 4 + w.r.IntN(12), faulty: 25 * time.Minute}
	if p.calm = w.r.IntN(10) == 0; p.calm {
		p.rtt, p.cancelStep = 40*time.Millisecond, pick(w, 0, 0.02)
		w.plan = p
		return
	}
	p.rtt = pick(w, 40*time.Millisecond, 500*time.Millisecond, 3*time.Second)
	p.loss, p.dup, p.late = pick(w, 0, 0.02, 0.2), pick(w, 0, 0.1, 0.3), pick(w, 0, 0.02, 0.1)
	p.crash = pick(w, 0, 0, 0.005, 0.02)
	p.killStep, p.killDisk, p.cutDisk = pick(w, 0, 0, 0.01, 0.04), pick(w, 0, 0, 0.002, 0.01), pick(w, 0, 0, 0, 0.002)
	p.partitions, p.agentKills, p.supervisorKills, p.powerCuts = w.r.IntN(4), w.r.IntN(12), w.r.IntN(6), w.r.IntN(5)
	p.bothAway, p.databaseAway = pick(w, 0, 0, 1, 2), pick(w, 0, 0, 1, 2)
	p.fullDisks, p.jumps, p.revokes = pick(w, 0, 0, 0, 1, 2), pick(w, 0, 0, 0, 1), pick(w, 0, 0, 0, 0, 0, 1)
	p.wipes, p.coldCopies, p.livingCopies = pick(w, 0, 0, 0, 0, 1, 2), pick(w, 0, 0, 0, 0, 0, 1), pick(w, 0, 0, 0, 0, 0, 1)
	p.restores, p.dead = pick(w, 0, 0, 0, 0, 0, 1, 2), pick(w, 0, 0, 0, 0, 0, 0, 0, 1)
	p.skew = w.r.IntN(3) == 0
	p.slowStart, p.cancelStep = pick(w, 0, 0, 0.1, 0.3), pick(w, 0, 0.005, 0.03)
	w.plan = p
}

// faults spreads them over the time that the plan has for them.
func (w *World) faults() {
	p := w.plan
	at := func(n int, do func()) {
		for range n {
			w.after(w.between(0, p.faulty), func() {
				if !w.healed {
					do()
				}
			})
		}
	}
	some := func(do func(*machine)) func() {
		return func() { do(w.machines[w.r.IntN(len(w.machines))]) }
	}
	at(p.partitions, some(func(m *machine) { m.partition(w.some(10*time.Second, 10*time.Minute)) }))
	at(p.agentKills, some(func(m *machine) { m.killAgent("killed") }))
	at(p.supervisorKills, some(func(m *machine) { m.killSupervisor() }))
	at(p.powerCuts, some(func(m *machine) { m.cutPower("power cut") }))
	at(p.bothAway, func() { w.server.bothAway(w.some(5*time.Second, 5*time.Minute)) })
	at(p.databaseAway, func() { w.server.databaseAway(w.some(5*time.Second, 3*time.Minute)) })
	at(p.fullDisks, some(func(m *machine) { m.fillDisk(w.some(20*time.Second, 10*time.Minute)) }))
	at(p.wipes, some(func(m *machine) { m.wipe() }))
	at(p.coldCopies, some(func(m *machine) { m.copyDisk() }))
	at(p.livingCopies, some(func(m *machine) { m.copyLiving() }))
	at(p.jumps, some(func(m *machine) { m.jump(w.drawSkew()) }))
	at(p.dead, some(func(m *machine) { w.Counts.Dead++; m.die() }))
	at(p.revokes, func() { w.revoke(w.revocable()) })
	at(p.restores, w.server.restore)
}

// drawSkew is by how much a clock is off.
func (w *World) drawSkew() time.Duration {
	return pick(w, 0, time.Minute, -2*time.Minute, 10*time.Minute, -10*time.Minute, 24*time.Hour, -24*time.Hour)
}

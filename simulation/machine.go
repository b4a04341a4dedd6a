package simulation

import (
	"time"

	"restic-manager/agent/spool"
)

// machine is a host's hardware: a disk, a clock, power, and the processes on it. Copies have the same host.
type machine struct {
	w    *World
	name string
	host string
	disk *spool.Memory
	// off is by how much its clock is off.
	off    time.Duration
	repo   *repository
	agent  *agent
	supers []*supervisor
	// current is the process that is at work; a kill at a change of the disk hits it.
	current *process
	powered bool
	dead    bool // for ever
	copied  bool // another machine has, or had, the same disk
	wiped   bool
	full    int
	wasFull bool
	cutTo   time.Duration // partitioned until then
	sent    int           // counts requests
	arrived int           // the newest that arrived
	jumped  bool          // its clock was set
	// notAside: a folder could not be put aside; the agent tries it again at its next start.
	notAside bool
	pids     int
	locks    int // counts changes of locks
	// keepsSecrets: its guard allows the password on the disk.
	keepsSecrets bool
	// battery and metered are what it runs on, and over.
	battery, metered bool
	known            time.Duration // since when it knows its repository's id; 0: not
}

const stateDir = "/state"

func (w *World) newMachine(name, host string, repo *repository) *machine {
	m := &machine{w: w, name: name, host: host, repo: repo, powered: true}
	m.disk = spool.NewMemory(m.clock)
	m.watchDisk()
	w.machines = append(w.machines, m)
	return m
}

// clock is the machine's own.
func (m *machine) clock() time.Time { return m.w.clock().Add(m.off) }

// cut: nothing gets through to the server.
func (m *machine) cut() bool { return !m.powered || m.w.now < m.cutTo }

// kill and powerCut are what a change of the disk may meet.
type kill struct{ p *process }
type powerCut struct{}

// watchDisk lets each change of the disk be the last thing that a process did.
func (m *machine) watchDisk() {
	m.disk.FailWrites(func(_ int, path string) error {
		w := m.w
		switch {
		case w.healed || m.current == nil:
		case w.chance(w.plan.killDisk):
			w.say("%s: %s is killed before it changes %s", m.name, m.current.name, path)
			panic(kill{m.current})
		case w.chance(w.plan.cutDisk):
			w.say("%s: the power goes before %s is changed", m.name, path)
			panic(powerCut{})
		}
		return nil
	})
}

// process is one process on a machine.
type process struct {
	m     *machine
	name  string
	alive bool
	// ended is called once when it is killed or ends.
	ended func(killed bool)
}

// exec lets a process work, if it lives. A kill on the way ends it there.
func (p *process) exec(f func()) {
	if !p.alive {
		return
	}
	m := p.m
	was := m.current
	m.current = p
	defer func() {
		m.current = was
		switch cause := recover().(type) {
		case nil:
		case kill:
			cause.p.die(true)
		case powerCut:
			m.cutPower("power cut")
		default:
			panic(cause)
		}
	}()
	f()
}

// after lets a process do something later.
func (p *process) after(d time.Duration, f func()) {
	p.m.w.after(d, func() { p.exec(f) })
}

func (p *process) die(killed bool) {
	if !p.alive {
		return
	}
	p.alive = false
	if p.ended != nil {
		p.ended(killed)
	}
}

// killAgent kills the agent's process; systemd starts it again.
func (m *machine) killAgent(why string) {
	if m.agent == nil || !m.agent.alive {
		return
	}
	m.w.say("%s: the agent is %s", m.name, why)
	m.agent.die(true)
}

// killSupervisor kills one supervisor; its restic, if it has begun, lives on for a while.
func (m *machine) killSupervisor() {
	for _, s := range m.supers {
		if s.alive {
			m.w.say("%s: the supervisor of %s is killed", m.name, m.w.name(s.job))
			s.die(true)
			return
		}
	}
}

// cutPower ends all processes, and the disk forgets what was not made durable, or a part of it.
func (m *machine) cutPower(why string) {
	w := m.w
	if !m.powered {
		return
	}
	w.say("%s: %s", m.name, why)
	w.Counts.PowerCuts++
	m.off0()
	keeps := w.r.IntN(100)
	m.disk.Crash(func() bool { return w.r.IntN(100) < keeps })
	if !m.dead {
		w.after(w.some(10*time.Second, 8*time.Minute), m.powerOn)
	}
}

// off0 takes the power: no process sees it.
func (m *machine) off0() {
	m.powered = false
	if m.agent != nil {
		m.agent.alive = false
		m.agent = nil
	}
	for _, s := range m.supers {
		s.alive = false
		if s.run != nil && s.run.living() {
			s.run.ended = m.w.now
		}
	}
	m.supers = nil
	m.current = nil
}

func (m *machine) powerOn() {
	if m.powered || m.dead {
		return
	}
	m.powered = true
	m.w.say("%s: power is back", m.name)
	m.startAgent(m.w.between(time.Second, 20*time.Second))
}

// startAgent has systemd start the agent after d.
func (m *machine) startAgent(d time.Duration) {
	m.w.after(d, func() {
		if m.powered && !m.dead && (m.agent == nil || !m.agent.alive) {
			m.runAgent()
		}
	})
}

// die switches the machine off for ever.
func (m *machine) die() {
	if m.dead {
		return
	}
	m.dead = true
	if m.powered {
		m.cutPower("off for ever")
	}
}

func (m *machine) partition(d time.Duration) {
	m.w.say("%s: no network for %s", m.name, d)
	m.w.Counts.Partitions++
	m.cutTo = max(m.cutTo, m.w.now+d)
}

// jump sets the clock to another error.
func (m *machine) jump(off time.Duration) {
	m.w.say("%s: the clock is set, %s off", m.name, off)
	m.jumped = true
	m.setClock(off)
}

func (m *machine) setClock(off time.Duration) {
	m.off = off
	if off != 0 {
		m.w.Counts.WrongClocks++
	}
	if off.Abs() == 24*time.Hour {
		m.w.Counts.WrongByADay++
	}
}

// fillDisk leaves a little room on the disk for a while.
func (m *machine) fillDisk(d time.Duration) {
	w := m.w
	room := pick(w, 0, 100, 5_000, 300_000)
	w.say("%s: %d bytes are left on the disk for %s", m.name, room, d)
	w.Counts.FullDisks++
	m.full++
	m.wasFull = true
	m.disk.SetCapacity(m.disk.Used() + int64(room))
	w.after(d, func() {
		if m.full--; m.full == 0 {
			w.say("%s: there is room on the disk again", m.name)
			m.disk.SetCapacity(-1)
		}
	})
}

// wipe loses the state folder. Supervisors work on in what has no name any more.
func (m *machine) wipe() {
	w := m.w
	if m.dead {
		return
	}
	w.Counts.Wipes++
	m.wiped = true
	if m.powered && w.r.IntN(2) == 0 {
		m.killAgent("killed, and its state folder is deleted")
	} else {
		m.cutPower("the disk is replaced by an empty one")
	}
	m.disk = spool.NewMemory(m.clock)
	if m.full > 0 {
		m.full = 0
	}
	m.watchDisk()
}

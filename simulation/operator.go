package simulation

import (
	"fmt"
	"slices"
	"time"

	"restic-manager/server/fleet/job/memory"
	"restic-manager/shared/wire"
)

// operators queue jobs, cancel some at any moment, retry some, and see to alarms.
func (w *World) operators() {
	for range w.plan.jobs {
		w.after(w.between(0, w.plan.faulty*4/5), w.queueJob)
	}
	if w.plan.restores > 0 {
		for range 4 {
			w.after(w.between(0, w.plan.faulty), w.server.keepBackup)
		}
	}
	w.every(time.Minute, w.seeToAlarms)
}

var kinds = []wire.Kind{wire.KindBackup, wire.KindBackup, wire.KindBackup, wire.KindBackup, wire.KindRestore, wire.KindCheck, wire.KindPrune,
	wire.KindForget, wire.KindInit, wire.KindSnapshots, wire.KindSnapshots, wire.KindUnlock}

// queueJob queues a job on a host, and may cancel it later.
func (w *World) queueJob() {
	if !w.server.works() {
		w.after(time.Minute, w.queueJob)
		return
	}
	host := w.machines[w.r.IntN(len(w.machines))].host
	kind := pick(w, kinds...)
	id, created, err := w.server.jobs.Create(memory.Order{HostID: host, Kind: kind, Spec: fmt.Sprintf(`{"n":%d}`, w.r.IntN(1000)),
		TimeLimit: time.Hour, TTL: wire.QueueTTL}, memory.Key{})
	if err != nil {
		w.say("no %s is queued on %s: %v", kind, host, err)
		return
	}
	w.asks(id, host, kind, created)
	w.server.check("create")
	w.server.wake()
	if w.r.IntN(4) == 0 { // several at once, as when all are told to back up now
		w.after(w.between(0, time.Second), w.queueJob)
	}
	if w.r.IntN(4) == 0 {
		w.after(w.some(50*time.Millisecond, 10*time.Minute), func() { w.cancel(id) })
	}
	if w.r.IntN(5) == 0 {
		w.after(w.between(time.Minute, 10*time.Minute), func() { w.retry(id) })
	}
}

// asks notes that a job was queued.
func (w *World) asks(id, host string, kind wire.Kind, created bool) {
	if !created {
		return
	}
	w.asked = append(w.asked, id)
	w.names[id] = fmt.Sprintf("job %d (%s)", len(w.asked), kind)
	w.truth[id] = &truth{kind: kind, host: host, created: w.now, free: w.server.idle(host, id)}
	w.Counts.Jobs++
	w.say("%s is queued on %s", w.name(id), host)
}

func (w *World) cancel(id string) {
	if !w.server.works() {
		w.after(10*time.Second, func() { w.cancel(id) })
		return
	}
	if err := w.server.jobs.Cancel(id); err != nil {
		return
	}
	w.say("%s is canceled", w.name(id))
	w.truth[id].cancels = append(w.truth[id].cancels, w.now)
	w.server.check("cancel")
	w.server.wake()
}

func (w *World) retry(id string) {
	if !w.server.works() {
		return
	}
	again, err := w.server.jobs.Retry(id, memory.Key{})
	if err != nil {
		return
	}
	t := w.truth[id]
	w.asks(again, t.host, t.kind, w.truth[again] == nil)
	w.server.check("retry")
	w.server.wake()
}

func (w *World) revoke(host string) {
	w.say("%s is revoked", host)
	w.Counts.Revoked++
	_ = w.server.jobs.Revoke(host)
	w.server.check("revoke")
	w.server.wake()
}

// seeToAlarms: after a while somebody switches the copy off and clears the alarm.
func (w *World) seeToAlarms() {
	if !w.server.works() {
		return
	}
	for _, h := range w.server.jobs.Hosts() {
		if h.Boots.Alarm && (w.healed || w.r.IntN(5) == 0) {
			w.switchOffCopies(h.ID)
			w.say("the alarm of %s is cleared", h.ID)
			_ = w.server.jobs.ClearAlarm(h.ID)
			w.server.check("alarm")
			w.server.wake()
		}
	}
}

// switchOffCopies leaves one machine of a host.
func (w *World) switchOffCopies(host string) {
	var living []*machine
	for _, m := range w.machines {
		if m.host == host && !m.dead {
			living = append(living, m)
		}
	}
	if len(living) < 2 {
		return
	}
	keep := living[w.r.IntN(len(living))]
	for _, m := range living {
		if m != keep {
			m.die()
		}
	}
}

// copyDisk boots a second machine from a copy of the disk, as it is durable.
func (m *machine) copyDisk() {
	w := m.w
	if m.dead {
		return
	}
	w.Counts.Clones++
	c := w.copyOf(m)
	c.powered = false
	keeps := w.r.IntN(100)
	c.disk.Crash(func() bool { return w.r.IntN(100) < keeps })
	w.say("%s is a copy of the disk of %s", c.name, m.name)
	w.after(w.some(10*time.Second, 10*time.Minute), c.powerOn)
}

func (w *World) copyOf(m *machine) *machine {
	m.copied = true
	c := w.newMachine(fmt.Sprintf("%s'", m.name), m.host, m.repo)
	c.copied, c.wiped, c.off, c.known = true, m.wiped, m.off, m.known
	c.disk = m.disk.Clone()
	if m.full > 0 {
		c.disk.SetCapacity(-1)
	}
	c.watchDisk()
	return c
}

// copyLiving makes a second machine of a running one, its processes and their memory included.
func (m *machine) copyLiving() {
	w := m.w
	if m.dead || !m.powered {
		return
	}
	w.Counts.Clones++
	c := w.copyOf(m)
	w.say("%s is a living copy of %s", c.name, m.name)
	for _, s := range slices.Clone(m.supers) {
		c.copySupervisor(s)
	}
	if m.agent != nil && m.agent.alive && m.agent.store != nil && m.agent.boot.ID != "" {
		c.copyAgent(m.agent)
		return
	}
	c.startAgent(w.between(time.Second, 20*time.Second))
}

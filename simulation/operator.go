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
	o := memory.Order{HostID: host, Kind: kind, Spec: fmt.Sprintf(`{"n":%d}`, w.r.IntN(1000)), TimeLimit: time.Hour, TTL: wire.QueueTTL}
	var key memory.Key
	if w.r.IntN(4) == 0 { // of a form whose button may be pressed twice
		key = memory.Key{Actor: "operator", Key: w.id()}
	}
	id, err := w.create(o, key)
	if err != nil {
		return
	}
	if key.Key != "" {
		w.after(w.some(10*time.Millisecond, 10*time.Minute), func() { w.createAgain(o, key, id) })
	}
	if w.r.IntN(6) == 0 { // all hosts at once, as a schedule does it
		for _, m := range w.machines {
			w.after(w.between(0, 30*time.Millisecond), func() {
				_, _ = w.create(memory.Order{HostID: m.host, Kind: kind, Spec: "{}", TimeLimit: time.Hour, TTL: wire.QueueTTL}, memory.Key{})
			})
		}
	}
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

func (w *World) create(o memory.Order, key memory.Key) (id string, err error) {
	w.server.operate("create", func() {
		var created bool
		if id, created, err = w.server.jobs.Create(o, key); err != nil {
			w.say("no %s is queued on %s: %v", o.Kind, o.HostID, err)
			return
		}
		w.asks(id, o.HostID, o.Kind, created)
	})
	return id, err
}

// createAgain asks the same with the same key: it is the same job.
func (w *World) createAgain(o memory.Order, key memory.Key, id string) {
	if !w.server.works() || w.restored {
		return
	}
	if again, err := w.create(o, key); err == nil && again != id {
		w.violate("A1", "one key makes %s and %s", w.name(id), w.name(again))
	}
}

// asks notes that a job was queued.
func (w *World) asks(id, host string, kind wire.Kind, created bool) {
	if !created || w.truth[id] != nil { // a host began it before the server knew
		return
	}
	alone := true
	for _, before := range w.asked {
		if t := w.truth[before]; w.now-t.created < 2*time.Second {
			alone, t.free = false, false
		}
	}
	w.asked = append(w.asked, id)
	w.names[id] = fmt.Sprintf("job %d (%s)", len(w.asked), kind)
	w.truth[id] = &truth{kind: kind, host: host, created: w.now, free: alone && w.server.idle(host, id)}
	w.Counts.Jobs++
	w.say("%s is queued on %s", w.name(id), host)
}

func (w *World) cancel(id string) {
	if !w.server.works() {
		w.after(10*time.Second, func() { w.cancel(id) })
		return
	}
	was, _ := w.server.jobs.Job(id)
	w.server.operate("cancel", func() {
		if err := w.server.jobs.Cancel(id); err != nil {
			return
		}
		w.say("%s is canceled while it is %s", w.name(id), was.State)
		w.truth[id].cancels = append(w.truth[id].cancels, w.now)
		if is, _ := w.server.jobs.Job(id); was.State != wire.StateRunning && is.State != wire.StateCanceled {
			w.violate("J7", "%s was %s when it was canceled, and is %s", w.name(id), was.State, is.State)
		}
		switch was.State {
		case wire.StateQueued:
			w.Counts.CancelsQueued++
		case wire.StateAccepted:
			w.Counts.CancelsAccepted++
		case wire.StateRunning:
			w.Counts.CancelsRunning++
		}
	})
}

func (w *World) retry(id string) {
	if !w.server.works() {
		return
	}
	w.server.operate("retry", func() {
		again, err := w.server.jobs.Retry(id, memory.Key{})
		if err != nil {
			return
		}
		if t := w.truth[id]; w.truth[again] == nil {
			w.Counts.Retries++
			w.asks(again, t.host, t.kind, true)
		}
	})
}

// revocable is a host to revoke: one at work, if there is one, or any.
func (w *World) revocable() string {
	for _, m := range w.machines {
		if slices.ContainsFunc(m.supers, func(s *supervisor) bool { return s.run != nil && s.run.living() }) {
			return m.host
		}
	}
	return w.machines[w.r.IntN(len(w.machines))].host
}

func (w *World) revoke(host string) {
	w.say("%s is revoked", host)
	w.Counts.Revoked++
	w.server.operate("revoke", func() { _ = w.server.jobs.Revoke(host) })
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
			w.server.operate("alarm", func() { _ = w.server.jobs.ClearAlarm(h.ID) })
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
	w.Counts.DiskCopies++
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
	c.copied, c.wiped, c.off, c.known, c.keepsSecrets = true, m.wiped, m.off, m.known, m.keepsSecrets
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
	w.Counts.LivingCopies++
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

package simulation

import (
	"errors"
	"time"

	"restic-manager/agent/client"
	"restic-manager/server/fault"
	"restic-manager/shared/wire"
)

// network carries requests. A request may be lost, come twice, late or after another one; so may its reply.
type network struct{}

// tryLimit is how long a client waits for a reply, pollGrace how much longer than a poll may take, as package
// client's.
const (
	tryLimit  = 2 * time.Minute
	pollGrace = 15 * time.Second
)

var errNoReply = &client.Error{Call: "call", Err: errors.New("no reply from the server")}

// latency draws how long one way takes.
func (w *World) latency() time.Duration {
	if w.healed {
		return w.between(5*time.Millisecond, 60*time.Millisecond)
	}
	return w.between(w.plan.rtt/10, w.plan.rtt)
}

// faulty is true with probability p while there are faults.
func (w *World) faulty(p float64) bool { return !w.healed && w.chance(p) }

// send carries a request to a replica and its reply back. handle runs there, perhaps more than once, and gives
// its reply to respond, once, then or later. done is called once, with the reply or errNoReply; hold is how long
// the server may take.
func send[T any](p *process, what string, hold time.Duration, handle func(rep *replica, respond func(T, error)), done func(T, error)) {
	w, m := p.m.w, p.m
	answered := false
	answer := func(v T, err error) {
		if answered {
			return
		}
		answered = true
		p.exec(func() { done(v, err) })
	}
	var zero T
	fail := func(after time.Duration) { w.after(after, func() { answer(zero, errNoReply) }) }
	w.Counts.Requests++
	m.sent++
	number := m.sent
	limit := tryLimit
	if hold > 0 {
		limit = hold + pollGrace
	}
	if m.cut() {
		w.Counts.Lost++
		fail(w.between(time.Second, 20*time.Second))
		return
	}
	arrive := func(live bool) {
		if number < m.arrived {
			w.Counts.Reordered++
		}
		m.arrived = max(m.arrived, number)
		w.server.arrive(m, what, live, func(rep *replica, respond func(error, func())) {
			handle(rep, func(v T, err error) {
				err = w.problem(what, err)
				respond(err, func() { answer(v, err) })
			})
		}, func() { fail(0) })
	}
	switch {
	case w.faulty(w.plan.loss):
		w.Counts.Lost++
		w.say("%s: %s is lost", m.name, what)
		fail(w.giveUp())
	case w.faulty(w.plan.late):
		w.Counts.Late++
		w.say("%s: %s is late", m.name, what)
		w.after(w.between(0, latePart), func() { arrive(false) })
		fail(w.between(0, 10*time.Second))
	default:
		w.after(w.latency(), func() { arrive(true) })
		fail(limit)
	}
	if w.faulty(w.plan.dup) {
		w.Counts.Duplicates++
		w.after(w.between(0, latePart), func() {
			w.say("%s: %s comes again", m.name, what)
			arrive(false)
		})
	}
}

// giveUp is after how long a client knows that nothing came.
func (w *World) giveUp() time.Duration {
	if w.r.IntN(10) == 0 {
		return tryLimit
	}
	return w.between(100*time.Millisecond, 5*time.Second)
}

// problem is how an agent sees an error of the server.
func (w *World) problem(what string, err error) error {
	if err == nil {
		return nil
	}
	f := fault.As(err)
	if f == nil {
		w.violate("errors", "%s: %v is no coded error", what, err)
		return errNoReply
	}
	status := map[fault.Kind]int{fault.Invalid: 422, fault.Unauthorized: 401, fault.NotFound: 404, fault.Conflict: 409, fault.Gone: 410,
		fault.Busy: 423, fault.Unavailable: 503}[f.Kind]
	if status == 0 {
		w.violate("errors", "%s: %v has no status", what, err)
	}
	return &client.Error{Call: what, Status: status, RetryAfter: f.RetryAfter, Final: status < 500, Err: &wire.Problem{
		Title: f.Message, Status: status, Code: f.Code, BootNumber: f.BootNumber, NextLine: f.NextLine,
	}}
}

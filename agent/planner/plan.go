package planner

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"restic-manager/shared/wire"
)

const (
	// LocalAfter is how long after a due time, or after it was first seen, the server's answer is waited for; after the
	// oldest of several, while there is none.
	LocalAfter = 120 * time.Second
	// catchUpAfter is how much later than that a run counts as caught up.
	catchUpAfter = time.Minute
	// MaxOpen bounds the due times of a policy that are open at a time; those after them are looked at later.
	MaxOpen = wire.MaxTicks
	// MaxLocal bounds the folders of jobs begun here that the server does not have yet.
	MaxLocal = 500
)

// Facts are what the rules judge by.
type Facts struct {
	Host string // its id
	// Now is by the server's clock, where that is known. UnsureUntil is when it is gone by this host's clock all the
	// same; zero: Now is the server's.
	Now         time.Time
	UnsureUntil time.Time
	// Wait is LocalAfter, but in tests.
	Wait time.Duration
	// Started is this process's, Booted the machine's; zero: not known.
	Started, Booted time.Time
	// Answers: the server answers. Refuses: it does not take this host any more, and nothing is begun for it.
	Answers, Refuses bool
	// Asking: ticks are on their way. AskAfter puts the next ones off. Batch bounds how many; 0: wire.MaxTicks.
	Asking   bool
	AskAfter time.Time
	Batch    int
	// Shut says why the repository cannot be opened without the server; empty: it can.
	Shut string
	// Busy are the lanes in which a job works, or is about to.
	Busy map[wire.Lane]bool
	// Local are the ids of the jobs begun here that the server has not adopted yet.
	Local map[string]bool
	// OnBattery and Metered are what is known of this host where Book.Judges asks for it; what is not known is false.
	OnBattery, Metered bool
}

func (f Facts) wait() time.Duration { return cmp.Or(f.Wait, LocalAfter) }

// Action is one thing to do, in the order Plan gave them.
type Action interface{ action() }

// Save makes the book durable. When it cannot, what follows is not done.
type Save struct{}

// Tell asks for runs and tells outcomes, in their order for each policy.
type Tell struct{ Ticks []wire.Tick }

// Begin begins the job of a due time here. The book says so durably by then.
type Begin struct {
	Policy wire.ScheduledPolicy
	DueAt  time.Time
}

func (Save) action()  {}
func (Tell) action()  {}
func (Begin) action() {}

// Plan says what is to be done now, and when to look again if nothing happens before; the zero time: only when
// something does.
func Plan(b Book, f Facts) (Book, []Action, time.Time) {
	if f.Now.Before(f.UnsureUntil) {
		return b, nil, f.UnsureUntil
	}
	b = b.clone()
	changed := false
	for i := range b.Policies {
		changed = b.Policies[i].look(f) || changed
		changed = b.Policies[i].decide(f) || changed
	}
	begins := b.begins(f)
	var out []Action
	ticks := b.ticks(f)
	if len(ticks) > 0 {
		out = append(out, Tell{Ticks: ticks}) // a full disk does not keep this host from asking
	}
	if changed || len(begins) > 0 {
		out = append(out, Save{})
	}
	for _, begin := range begins {
		out = append(out, begin)
	}
	return b, out, b.wake(f, len(ticks) > 0)
}

// look enters what came due since the last look.
func (p *Policy) look(f Facts) (changed bool) {
	if p.Times == nil {
		return false
	}
	changed = p.heal(f)
	room := MaxOpen - len(p.Open)
	found := p.Times.Between(p.Until, f.Now, room+1)
	if p.more = len(found) > room; p.more {
		found = found[:room]
	}
	for _, at := range found {
		if p.find(at) < 0 { // a wrong clock may have seen it before
			p.Open = append(p.Open, Due{At: at, Why: p.whyLate(at, f), Seen: f.Now})
		}
		p.Until, changed = at, true
	}
	for i := range p.Open {
		if p.Open[i].Seen.IsZero() {
			p.Open[i].Seen = f.Now // of an earlier process
		}
	}
	slices.SortFunc(p.Open, func(a, b Due) int { return a.At.Compare(b.At) })
	return changed
}

// heal brings a book that a wrong clock led into the future back to the server's time. Ids that ran are known for
// ever, so nothing runs again.
func (p *Policy) heal(f Facts) bool {
	if !f.UnsureUntil.IsZero() {
		return false
	}
	ahead, before := f.Now.Add(wire.MaxSkew), len(p.Open)
	led := p.Until.After(ahead)
	if led {
		p.Until, ahead = f.Now, f.Now
	}
	p.Open = slices.DeleteFunc(p.Open, func(d Due) bool { return !d.Begun && d.At.After(ahead) })
	return led || len(p.Open) < before
}

// whyLate is what kept this host from a due time that it sees only now; empty: nothing did.
func (p *Policy) whyLate(at time.Time, f Facts) string {
	switch {
	case at.Before(f.Booted):
		return "the machine was off"
	case at.Before(f.Started):
		return "the agent was stopped"
	case f.Now.Sub(at) > f.wait():
		return "the machine was asleep, or its clock was wrong"
	}
	return ""
}

// decide gives the due times that will not run their outcome: of several open ones the last alone is to run.
func (p *Policy) decide(f Facts) (changed bool) {
	last := p.last(f)
	for i := range p.Open {
		d := &p.Open[i]
		if d.Outcome != "" || d.Begun {
			continue
		}
		late := f.Now.Sub(d.At)
		switch {
		case i != last && d.Held != "":
			d.Outcome, d.Why = wire.OutcomeSkipped, d.Held+", until the next one was due"
		case i != last:
			d.Outcome, d.Why = wire.OutcomeMissed, p.whyMissed(*d, f)
		case p.NoCatchUp && d.Held == "" && f.Now.Sub(latest(d.At, d.Free)) > f.wait()+catchUpAfter:
			d.Outcome, d.Why = wire.OutcomeMissed, p.whyMissed(*d, f)+"; the policy does not catch up"
		case p.LateSeconds > 0 && late > time.Duration(p.LateSeconds)*time.Second:
			d.Outcome, d.Why = wire.OutcomeSkipped, fmt.Sprintf("%s; it may begin at most %s after it is due", p.whyMissed(*d, f), time.Duration(p.LateSeconds)*time.Second)
		default:
			was := d.Held
			if why := p.hold(d, f); why != "" {
				d.Outcome, d.Why = wire.OutcomeSkipped, why
				break
			}
			changed = changed || d.Held != was
			continue
		}
		if len(d.Why) > wire.MaxWhy {
			d.Why = cut(d.Why, wire.MaxWhy)
		}
		changed = true
	}
	return changed
}

// cut shortens a text to n bytes without cutting a character.
func cut(s string, n int) string {
	for n > 0 && s[n]&0xc0 == 0x80 {
		n--
	}
	return s[:n]
}

// last is the index of the newest due time, if that is to run; -1: none is, or newer ones were not looked at yet.
func (p *Policy) last(f Facts) int {
	n := len(p.Open) - 1
	for n >= 0 && p.Open[n].At.After(f.Now) {
		n-- // a wrong clock had it begun
	}
	if n < 0 || p.more || p.Open[n].Outcome != "" {
		return -1
	}
	return n
}

func (p *Policy) whyMissed(d Due, f Facts) string {
	switch {
	case d.Held != "":
		return d.Held
	case d.Why != "":
		return d.Why
	case f.Shut != "":
		return "the server was away and " + f.Shut
	}
	return "the server was away, and it was not begun here before the next one was due"
}

// begins are the jobs to begin here: the last due time of a policy, without an answer for so long that the server
// counts as away. They are marked; a lane takes one.
func (b *Book) begins(f Facts) []Begin {
	if f.Shut != "" || f.Refuses || len(f.Local) >= MaxLocal {
		return nil
	}
	taken := map[wire.Lane]bool{}
	var out []Begin
	for i := range b.Policies {
		p := &b.Policies[i]
		lane := p.lane()
		at, ok := p.localAt(f)
		if !ok || f.Now.Before(at) || f.Busy[lane] || taken[lane] {
			continue
		}
		taken[lane] = true
		d := &p.Open[p.last(f)]
		d.Begun = true
		out = append(out, Begin{Policy: p.bounded(f.Now), DueAt: d.At})
	}
	return out
}

func (p *Policy) lane() wire.Lane {
	info, _ := p.Kind.Info()
	return info.Lane
}

// localAt is when the last due time may begin here.
func (p *Policy) localAt(f Facts) (time.Time, bool) {
	n := p.last(f)
	if n < 0 || p.Open[n].Begun || p.Open[n].Held != "" {
		return time.Time{}, false
	}
	return latest(latest(p.waitedSince(n, f).Add(f.wait()), p.Open[n].At), p.NotBefore), true
}

// waitedSince is when the wait for an answer about the newest due time began. While the server does not answer, that
// is when the oldest one came up that was let go for it: else a policy that is due more often than every two minutes
// would wait for ever, each due time for its own.
func (p *Policy) waitedSince(n int, f Facts) time.Time {
	since := latest(latest(p.Open[n].At, p.Open[n].Seen), p.Open[n].Free)
	for n--; n >= 0 && !f.Answers && !p.Open[n].Begun && p.Open[n].Held == ""; n-- {
		if t := latest(p.Open[n].At, p.Open[n].Seen); t.Before(since) {
			since = t
		}
	}
	return since
}

// ticks are what to ask and to tell now. What comes after a job that the server has not adopted yet waits for it:
// else its due time would lie before what the server takes for accounted.
func (b *Book) ticks(f Facts) []wire.Tick {
	if !f.Answers || f.Asking || f.Now.Before(f.AskAfter) {
		return nil
	}
	room := cmp.Or(f.Batch, wire.MaxTicks)
	var out []wire.Tick
	for i := range b.Policies {
		p := &b.Policies[i]
		for _, d := range p.Open {
			if len(out) >= room || d.waits() || f.Local[wire.TickJobID(p.ID, f.Host, d.At)] {
				break
			}
			t := wire.Tick{PolicyID: p.ID, DueAt: d.At, Outcome: d.Outcome}
			if d.Outcome != "" {
				t.Why = d.Why
			}
			out = append(out, t)
		}
	}
	return out
}

// wake is when something comes due next, of itself.
func (b *Book) wake(f Facts, telling bool) time.Time {
	var first time.Time
	sooner := func(t time.Time) {
		if t.After(f.Now) && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	open := false
	for i := range b.Policies {
		p := &b.Policies[i]
		open = open || len(p.Open) > 0
		if p.Times == nil || len(p.Open) >= MaxOpen {
			continue
		}
		if next, ok := p.Times.Next(p.Until); ok {
			sooner(next)
		}
		if at, ok := p.localAt(f); ok {
			sooner(at)
		}
		if n := p.last(f); n >= 0 {
			sooner(p.Open[n].NotBefore)
		}
	}
	if open && !telling {
		sooner(f.AskAfter)
	}
	return first
}

package planner

import (
	"cmp"
	"time"

	"restic-manager/shared/wire"
)

// LookAgain is how long a due time that a condition holds waits before that is looked at again.
const LookAgain = 5 * time.Minute

// Why a due time is held, for people.
const (
	outsideWindows = "outside its windows"
	onBattery      = "the machine ran on battery"
	onMetered      = "the connection was metered"
)

// Judges reports whether anything is decided by the conditions at this time, so that they are looked at only then.
func (b Book) Judges(now time.Time) bool {
	for i := range b.Policies {
		p := &b.Policies[i]
		if !p.SkipOnBattery && !p.SkipOnMetered {
			continue
		}
		for _, d := range p.Open {
			if d.Outcome == "" && !d.Begun && !now.Before(d.NotBefore) {
				return true
			}
		}
		if p.Times == nil {
			continue
		}
		if next, ok := p.Times.Next(p.Until); ok && !next.After(now) {
			return true
		}
	}
	return false
}

// hold applies the policy's windows and conditions to the due time that is to run. It says why that is skipped; empty:
// it may begin, or is held.
func (p *Policy) hold(d *Due, f Facts) (why string) {
	if p.Times == nil || f.Now.Before(d.NotBefore) {
		return ""
	}
	at, ok := p.Times.MayBegin(d.At, f.Now)
	held, until := "", f.Now.Add(LookAgain)
	switch {
	case !ok:
		return cmp.Or(d.Held, outsideWindows) // what held it while its window was open says more
	case at.After(f.Now):
		held, until = cmp.Or(d.Held, outsideWindows), at
	case p.SkipOnBattery && f.OnBattery:
		held = onBattery
	case p.SkipOnMetered && f.Metered:
		held = onMetered
	case d.Later:
		held = outsideWindows
	}
	d.Later = false
	switch {
	case held != "":
		d.Held, d.NotBefore = held, until
	case d.Held != "":
		d.Held, d.NotBefore, d.Free = "", time.Time{}, f.Now
	}
	return ""
}

// waits: it is neither asked for nor told for now.
func (d Due) waits() bool { return d.Held != "" && d.Outcome == "" && !d.Begun }

// lookAgain has what is held judged by other windows and conditions.
func (p *Policy) lookAgain() {
	for i := range p.Open {
		p.Open[i].NotBefore, p.Open[i].Later = time.Time{}, false
	}
}

// bounded is the policy as a run that begins now carries it out: with windows that stop it no longer than until they
// close.
func (p *Policy) bounded(now time.Time) wire.ScheduledPolicy {
	told := p.ScheduledPolicy
	if p.Times == nil {
		return told
	}
	if stop, ok := p.Times.Stops(now); ok {
		left := max(int64(stop.Sub(now)/time.Second), 1)
		if told.TimeLimitSeconds == 0 || left < told.TimeLimitSeconds {
			told.TimeLimitSeconds = left
		}
	}
	return told
}

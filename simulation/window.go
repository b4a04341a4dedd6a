package simulation

import (
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"restic-manager/agent/planner"
	"restic-manager/schedule"
	"restic-manager/shared/wire"
)

// stretches are windows as a history has them: minutes after it began, a day's first hour.
var stretches = [][]wire.Window{
	nil,
	{{From: "00:02", To: "00:06"}, {From: "00:09", To: "00:14"}, {From: "00:17", To: "00:18"}, {From: "00:22", To: "00:40"}},
	{{From: "00:05", To: "00:12", StopAtEnd: true}, {From: "00:20", To: "23:00"}},
	everyOther(),
	{{From: "23:00", To: "00:07"}, {From: "00:16", To: "00:17"}, {From: "00:21", To: "00:29"}},
}

// everyOther are windows of one minute each second one: what is asked for in one is often heard after it.
func everyOther() (list []wire.Window) {
	for m := range schedule.MaxWindows {
		from := time.Duration(2*m+1) * time.Minute
		list = append(list, wire.Window{From: clockOf(from), To: clockOf(from + time.Minute)})
	}
	return list
}

func clockOf(d time.Duration) string { return epoch.Add(d).Format("15:04") }

// bindPolicies gives half of the policies windows and conditions, lets both change, and has machines run on battery and
// on metered connections. It is drawn beside the rest.
func (w *World) bindPolicies() {
	r := rand.New(rand.NewPCG(w.seed, 0x77696e646f77))
	bind := func(p *policy) {
		p.Windows = stretches[r.IntN(len(stretches))]
		p.SkipOnBattery, p.SkipOnMetered = r.IntN(2) == 0, r.IntN(3) == 0
	}
	for _, p := range w.server.policies {
		if r.IntN(2) == 0 {
			bind(p)
		}
	}
	at := func() time.Duration { return time.Duration(r.Int64N(int64(w.plan.faulty))) }
	for range r.IntN(6) {
		id := w.server.policies[r.IntN(len(w.server.policies))].ID
		drawn := &policy{}
		bind(drawn)
		w.after(at(), func() { w.rebind(id, drawn.ScheduledPolicy) })
	}
	for _, m := range w.machines {
		for range r.IntN(6) {
			battery, metered := r.IntN(2) == 0, r.IntN(3) == 0
			w.after(at(), func() {
				if !w.healed {
					m.battery, m.metered = battery, metered
				}
			})
		}
	}
}

// rebind is what people do to a policy's windows and conditions.
func (w *World) rebind(id string, to wire.ScheduledPolicy) {
	p := w.server.policy(id)
	if !w.server.works() || w.healed || p == nil {
		return
	}
	w.say("%s begins in %v, not on battery %v, not metered %v", p.Name, to.Windows, to.SkipOnBattery, to.SkipOnMetered)
	p.Windows, p.SkipOnBattery, p.SkipOnMetered = to.Windows, to.SkipOnBattery, to.SkipOnMetered
	w.server.rhythm(p, p.Cron)
}

// free lets everything begin that waits.
func (w *World) free(p *policy) {
	p.Windows, p.SkipOnBattery, p.SkipOnMetered = nil, false, false
	for _, m := range w.machines {
		m.battery, m.metered = false, false
	}
}

// isOpen: one of the windows is open, by the day's clock.
func isOpen(windows []wire.Window, at time.Time) bool {
	clock := at.UTC().Format("15:04")
	return len(windows) == 0 || slices.ContainsFunc(windows, func(w wire.Window) bool {
		if w.From < w.To {
			return w.From <= clock && clock < w.To
		}
		return w.From <= clock || clock < w.To
	})
}

// checkBegin is S6 of a run that is asked for, or begins: a window of its policy is open, and no condition holds that the
// policy names. It goes by what the agent knows of the policy and of the time.
func (a *agent) checkBegin(what string, p wire.ScheduledPolicy, due, now time.Time) {
	w, m := a.m.w, a.m
	if !isOpen(p.Windows, now) || p.SkipOnBattery && m.battery || p.SkipOnMetered && m.metered {
		w.violate("S6", "%s of %s at %s %s at %s: windows %v, on battery %v, metered %v", due.Format(time.TimeOnly), p.Name, m.name, what,
			now.Format(time.TimeOnly), p.Windows, p.SkipOnBattery && m.battery, p.SkipOnMetered && m.metered)
	}
}

// checkStop is S6 of a run that begins here: in windows that all stop what runs when they close, it has no longer than the
// last of them.
func (a *agent) checkStop(b planner.Begin, now time.Time) {
	if !slices.ContainsFunc(b.Policy.Windows, func(w wire.Window) bool { return w.StopAtEnd }) {
		return
	}
	end := now
	for end.Sub(now) < 24*time.Hour && isOpen(b.Policy.Windows, end) {
		end = end.Truncate(time.Minute).Add(time.Minute)
	}
	lastly := slices.DeleteFunc(slices.Clone(b.Policy.Windows), func(w wire.Window) bool { return !isOpen([]wire.Window{w}, end.Add(-time.Second)) })
	if slices.ContainsFunc(lastly, func(w wire.Window) bool { return !w.StopAtEnd }) {
		return
	}
	if limit := time.Duration(b.Policy.TimeLimitSeconds) * time.Second; limit > end.Sub(now) {
		a.m.w.violate("S6", "%s of %s at %s may run for %s, and its window closes at %s", b.DueAt.Format(time.TimeOnly), b.Policy.Name, a.m.name, limit, end.Format(time.TimeOnly))
	}
}

// checkAsks is S6 of what is told: what was begun here is told as well, whenever that is. What the policy's own rules
// held is called skipped.
func (a *agent) checkAsks(ticks []wire.Tick, now time.Time) {
	for _, t := range ticks {
		for _, p := range a.plan.book.Policies {
			n := slices.IndexFunc(p.Open, func(d planner.Due) bool { return p.ID == t.PolicyID && d.At.Equal(t.DueAt) })
			if n < 0 {
				continue
			}
			switch {
			case t.Outcome == "" && !p.Open[n].Begun:
				a.checkBegin("is asked for", p.ScheduledPolicy, t.DueAt, now)
			case t.Outcome == wire.OutcomeMissed && p.Open[n].Held != "" && strings.HasPrefix(t.Why, p.Open[n].Held):
				a.m.w.violate("S6", "%s of %s at %s was held (%s), and is called missed", t.DueAt.Format(time.TimeOnly), p.Name, a.m.name, t.Why)
			}
		}
	}
}

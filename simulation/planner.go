package simulation

import (
	"errors"
	"net/http"
	"time"

	"restic-manager/agent/client"
	"restic-manager/agent/planner"
	"restic-manager/agent/runner"
	"restic-manager/shared/wire"
)

// planning is the shell around planner.Plan of one agent, as runner's scheduler is.
type planning struct {
	book     planner.Book
	secrets  bool // they are in memory
	asking   bool
	askAfter time.Time
	attempt  int
	batch    int
	unsure   time.Duration // since when the server's clock is not known; -1: it is
	started  time.Time
	turns    int // a timer of an older turn is not heard
	online   bool
	refused  bool
}

// openPlan takes up what an earlier process left.
func (a *agent) openPlan(folders map[string]bool) error {
	a.plan.unsure, a.plan.started = -1, a.m.clock()
	if !a.m.w.scheduled {
		return nil
	}
	if _, err := a.store.Schedule(&a.plan.book); err != nil {
		return err
	}
	a.plan.book = a.plan.book.Compiled(a.times)
	if a.m.keepsSecrets {
		kept, err := a.store.Secrets()
		if err != nil {
			return err
		}
		a.plan.secrets = kept != nil
	}
	for _, p := range a.plan.book.Policies {
		for _, d := range p.Open {
			id := wire.TickJobID(p.ID, a.m.host, d.At)
			if !d.Begun || folders[id] {
				continue
			}
			known, err := a.store.Known(id)
			if err != nil {
				return err
			}
			if !known {
				a.plan.book = a.plan.book.GaveUp(p.ID, d.At, "the agent was stopped before it began", time.Time{})
			}
		}
	}
	a.lookAtPlan()
	return nil
}

func (a *agent) times(p wire.ScheduledPolicy) (planner.Times, error) {
	return planner.TimesOf(p, a.m.host)
}

// config is the version that polls name.
func (a *agent) config() string {
	if !a.plan.secrets {
		return ""
	}
	return a.plan.book.Config
}

// lookAtPlan makes the loop look again now.
func (a *agent) lookAtPlan() { a.planAfter(time.Millisecond) }

func (a *agent) planAfter(d time.Duration) {
	if !a.m.w.scheduled {
		return
	}
	a.plan.turns++
	turn := a.plan.turns
	a.after(d, func() {
		if turn == a.plan.turns {
			a.planTurn()
		}
	})
}

// planTurn does what is to be done now.
func (a *agent) planTurn() {
	w, f := a.m.w, a.planFacts()
	book, actions, wake := planner.Plan(a.plan.book, f)
	a.plan.book = book
	a.planAfter(30 * time.Second)
	if !wake.IsZero() {
		a.planAfter(min(max(wake.Sub(f.Now), time.Millisecond), 30*time.Second))
	}
	for _, action := range actions {
		if w.faulty(w.plan.killStep) {
			w.say("%s: the agent is killed before %T", a.m.name, action)
			panic(kill{a.process})
		}
		switch action := action.(type) {
		case planner.Tell:
			a.tellTicks(action.Ticks)
		case planner.Save:
			if !a.savePlan() {
				a.undoBegins(actions, f)
				return
			}
		case planner.Begin:
			a.beginHere(action, f)
		}
	}
}

func (a *agent) undoBegins(actions []planner.Action, f planner.Facts) {
	for _, action := range actions {
		if b, ok := action.(planner.Begin); ok {
			a.plan.book = a.plan.book.GaveUp(b.Policy.ID, b.DueAt, "the disk is full", f.Now.Add(5*time.Second))
		}
	}
	a.planAfter(5 * time.Second)
}

func (a *agent) savePlan() bool {
	if err := a.store.SaveSchedule(a.plan.book); err != nil {
		a.m.w.say("%s: the schedule cannot be written: %v", a.m.name, err)
		return false
	}
	a.m.w.lookedAt(a.m, a.plan.book)
	return true
}

// planNow is the time that due times go by.
func (a *agent) planNow() time.Time {
	if a.m.w.blindToClocks {
		return a.m.w.clock()
	}
	if skew := a.clockSkew(); skew != nil {
		return a.m.clock().Add(*skew)
	}
	return a.m.clock()
}

func (a *agent) planFacts() planner.Facts {
	w := a.m.w
	f := planner.Facts{Host: a.m.host, Now: a.planNow(), Started: a.plan.started, Answers: a.plan.online, Refuses: a.plan.refused, Asking: a.plan.asking,
		AskAfter: a.plan.askAfter, Batch: a.plan.batch, Busy: map[wire.Lane]bool{}, Local: map[string]bool{}}
	if a.clockSkew() == nil && !w.blindToClocks {
		if a.plan.unsure < 0 {
			a.plan.unsure = w.now
		}
		f.UnsureUntil = f.Now.Add(max(planner.LocalAfter-(w.now-a.plan.unsure), 0))
	} else {
		a.plan.unsure = -1
	}
	if a.plan.book.Judges(f.Now) {
		f.OnBattery, f.Metered = a.m.battery, a.m.metered
	}
	if !a.plan.secrets {
		f.Shut = "the repository's password is not kept here"
	}
	for _, j := range a.jobs {
		if j.state.Works() {
			f.Busy[j.info.Lane] = true
		}
		if j.state.Silent() && !j.state.Done {
			f.Local[j.id] = true
		}
	}
	return f
}

// configured takes a new schedule.
func (a *agent) configured(c wire.Configure) {
	told := *c.Schedule
	secrets := told.Secrets
	told.Secrets = nil
	a.m.w.forgotten(a.m.host, a.plan.book, told)
	a.plan.book = a.plan.book.Configured(c.Version, told, a.planFacts(), a.times)
	a.plan.secrets = true
	if a.m.keepsSecrets {
		_ = a.store.SaveSecrets(secrets)
	}
	a.savePlan()
	a.m.w.say("%s: configured, %d policies", a.m.name, len(told.Policies))
	a.lookAtPlan()
}

// forgotten notes the policies that a host forgets, with what was open of them.
func (w *World) forgotten(host string, had planner.Book, told wire.Schedule) {
	has := map[string]bool{}
	for _, p := range told.Policies {
		has[p.ID] = true
	}
	for _, p := range had.Policies {
		if !has[p.ID] {
			w.wentAway[[2]string{host, p.ID}] = true
		}
	}
}

func (a *agent) tellTicks(ticks []wire.Tick) {
	w, s, host := a.m.w, a.m.w.server, a.m.host
	a.plan.asking = true
	a.checkAsks(ticks, a.planNow())
	send(a.process, "ticks", 0, once(s, host, func() (wire.TicksReply, error) {
		return s.account(host, wire.TicksRequest{Ticks: ticks})
	}), func(reply wire.TicksReply, err error) {
		a.plan.asking = false
		e, _ := errors.AsType[*client.Error](err)
		switch {
		case err == nil:
			a.plan.book = a.plan.book.Answered(ticks, reply.Ticks)
			a.plan.attempt, a.plan.askAfter, a.plan.batch = 0, time.Time{}, 0
		case !runner.Final(err):
			a.plan.askAfter = a.planNow().Add(a.backoff(a.plan.attempt, client.BackoffCap, err))
			a.plan.attempt++
		case e.Status != http.StatusUnprocessableEntity:
			a.plan.askAfter = a.planNow().Add(10 * time.Minute)
		case len(ticks) > 1:
			a.plan.batch = len(ticks) / 2
		default:
			w.unassigned[wire.TickJobID(ticks[0].PolicyID, host, ticks[0].DueAt)] = true
			a.plan.book = a.plan.book.Refused(ticks[0])
		}
		if err == nil || runner.Final(err) {
			a.savePlan()
		}
		a.lookAtPlan()
	})
}

// letGoSince is the oldest due time that the server, which does not answer, was let go for; the one that begins, if it is
// the only one.
func (a *agent) letGoSince(b planner.Begin, f planner.Facts) time.Time {
	own := b.DueAt
	for _, p := range a.plan.book.Policies {
		for _, d := range p.Open {
			if p.ID == b.Policy.ID && d.At.Equal(b.DueAt) && d.Free.After(own) {
				own = d.Free // its window opened, or a condition was gone
			}
		}
	}
	since := own
	for _, p := range a.plan.book.Policies {
		if p.ID != b.Policy.ID || f.Answers {
			continue
		}
		for _, d := range p.Open {
			switch {
			case !d.At.Before(b.DueAt):
			case d.Begun || d.Held != "":
				since = own // what was begun ends the wait before it, what was held did not wait for the server
			case d.At.Before(since) && d.Free.Before(since):
				since = d.At
			}
		}
	}
	return since
}

// beginHere begins the job of a due time without the server. S4 and S5: the book on disk says so by then, and the server
// had its time.
func (a *agent) beginHere(b planner.Begin, f planner.Facts) {
	w, m := a.m.w, a.m
	id := wire.TickJobID(b.Policy.ID, m.host, b.DueAt)
	known, err := a.store.Known(id)
	if err != nil || known || a.job(id) != nil {
		a.plan.book = a.plan.book.GaveUp(b.Policy.ID, b.DueAt, "its job was here before", f.Now.Add(10*time.Minute))
		a.lookAtPlan()
		return
	}
	var kept planner.Book
	if _, err := a.store.Schedule(&kept); err != nil || !accountedFor(kept, b) {
		w.violate("S4", "the job of %s begins at %s, and the book does not say so", b.DueAt.Format(time.TimeOnly), m.name)
	}
	a.checkBegin("begins", b.Policy, b.DueAt, f.Now)
	a.checkStop(b, f.Now)
	if waited := f.Now.Sub(a.letGoSince(b, f)); waited < planner.LocalAfter {
		w.violate("S5", "the job of %s begins at %s after %s", b.DueAt.Format(time.TimeOnly), m.name, waited)
	}
	w.Counts.LocalBegins++
	record := runner.LocalJob(b, id, wire.RepositoryServer, w.hex(), m.clock().UTC())
	if w.truth[id] == nil {
		w.asks(id, m.host, b.Policy.Kind, true)
	}
	if own := record.ID(); w.truth[own] == nil {
		w.asks(own, m.host, b.Policy.Kind, true)
	}
	w.truth[id].local, w.truth[record.ID()].local = true, true
	w.say("%s: %s begins by itself", m.name, w.name(id))
	j := newJobRun(a, record)
	a.jobs = append(a.jobs, j)
	j.step(runner.Begun{ID: record.ID(), Lease: record.Lease})
	a.changed()
	a.tidy()
}

func accountedFor(b planner.Book, begin planner.Begin) bool {
	for _, p := range b.Policies {
		if p.ID != begin.Policy.ID || p.Until.Before(begin.DueAt) {
			continue
		}
		for _, d := range p.Open {
			if d.At.Equal(begin.DueAt) && d.Begun {
				return true
			}
		}
	}
	return false
}

// adopt tells the server of a job that was begun here.
func (j *jobRun) adopt(a runner.Adopt) {
	if j.plan.book.Waits(j.record.Local.PolicyID, j.record.Local.DueAt) {
		j.live(5*time.Second, func() {
			if j.state.Adopting {
				j.adopt(a)
			}
		})
		return
	}
	s, host, lease := j.m.w.server, j.m.host, j.state.Lease
	request := runner.AdoptRequestOf(j.record, a)
	until(j, 0, "adopt of "+j.m.w.name(j.id), func() (wire.Empty, error) { return s.adopt(host, j.id, lease, request) },
		func() bool { return j.state.Adopting && j.state.Lease == lease }, func(_ wire.Empty, err error) {
			answer, rest := runner.AnswerOf(err)
			j.step(runner.Adopted{Answer: answer, RetryAfter: rest})
		})
}

// gaveUp: the job is gone, and nothing of it ran.
func (j *jobRun) gaveUp(g runner.GiveUp) {
	var notBefore time.Time
	if g.Refused {
		notBefore = j.planNow().Add(10 * time.Minute)
	}
	j.m.w.say("%s: %s is given up: %s", j.m.name, j.m.w.name(j.id), g.Why)
	j.plan.book = j.plan.book.GaveUp(j.record.Local.PolicyID, j.record.Local.DueAt, g.Why, notBefore)
	j.lookAtPlan()
}

// Package planner is what this host does by itself, as pure rules: which due times its policies have, what is asked
// of the server, told to it, and begun here because the server is away. It reads no clock, draws nothing and does no
// I/O; see docs/protocol.md, "Schedules".
package planner

import (
	"slices"
	"time"

	"restic-manager/shared/wire"
)

// Times are a policy's due times at this host, in whole seconds; those of the module schedule.
type Times interface {
	// Between are the due times after from and up to to, the first limit of them.
	Between(from, to time.Time, limit int) []time.Time
	// Next is the first due time after a time; false: there is none.
	Next(after time.Time) (time.Time, bool)
	// MayBegin is the first moment from now on at which the run of a due time may begin by the policy's windows; false:
	// none.
	MayBegin(due, now time.Time) (time.Time, bool)
	// Stops is when a run that begins then is to have ended by them; false: nothing ends it.
	Stops(at time.Time) (time.Time, bool)
}

// Book is all that the rules know of the schedule: schedule.json. It holds no secret.
type Book struct {
	// Host is whose schedule it is: a machine may be enrolled anew over its old state folder.
	Host string `json:"host"`
	// Config is the version of the configuration as the server named it.
	Config string `json:"config"`
	// Version is the schedule's; 0: none was ever told.
	Version int64 `json:"version"`
	// Repository names the one that all policies use; see wire.Schedule.
	Repository string   `json:"repository"`
	Policies   []Policy `json:"policies"`
}

// Policy is one policy and how far this host got with it.
type Policy struct {
	wire.ScheduledPolicy
	// Until: due times up to it were looked at; those among them that have no outcome at the server yet are Open.
	Until time.Time `json:"until"`
	// Open are due times in their order.
	Open []Due `json:"open,omitempty"`
	// Last is the newest due time that the server answered; nil: none yet.
	Last *Last `json:"last,omitempty"`

	// Times are nil where the expression is none that this agent knows; Problem says why then. Not kept.
	Times   Times  `json:"-"`
	Problem string `json:"-"`
	// NotBefore puts the next try to begin here off; Refused is why the last one did not. Not kept.
	NotBefore time.Time `json:"-"`
	Refused   string    `json:"-"`
	// more: there are due times after the open ones that were not looked at, for there is no room.
	more bool
}

// Due is a due time without an outcome at the server.
type Due struct {
	At time.Time `json:"at"`
	// Outcome is missed or skipped, to be told; empty: the run is to be asked for, or is begun here.
	Outcome wire.Outcome `json:"outcome,omitempty"`
	// Why is what was in its way, for people; of one without an outcome it is what is known so far.
	Why string `json:"why,omitempty"`
	// Begun is durable before its job's folder is made: from here on nobody calls it missed.
	Begun bool `json:"begun,omitempty"`
	// Seen is when this process first saw it. Not kept.
	Seen time.Time `json:"-"`

	// Held is which rule of the policy's own keeps it from beginning, for people; empty: none does. Free is when the
	// last one let it go.
	Held string    `json:"held,omitempty"`
	Free time.Time `json:"free,omitzero"`
	// NotBefore is when a held one is looked at again; Later, that the server held it. Not kept.
	NotBefore time.Time `json:"-"`
	Later     bool      `json:"-"`
}

// Last is an outcome that the server gave or took.
type Last struct {
	At      time.Time    `json:"at"`
	Outcome wire.Outcome `json:"outcome"`
	JobID   string       `json:"job_id,omitempty"`
}

// clone shares nothing that the rules change.
func (b Book) clone() Book {
	b.Policies = slices.Clone(b.Policies)
	for i := range b.Policies {
		b.Policies[i].Open = slices.Clone(b.Policies[i].Open)
	}
	return b
}

// find is the policy of an id; nil: none.
func (b *Book) find(id string) *Policy {
	for i := range b.Policies {
		if b.Policies[i].ID == id {
			return &b.Policies[i]
		}
	}
	return nil
}

// find is the index of an open due time; -1: it is none.
func (p *Policy) find(at time.Time) int {
	return slices.IndexFunc(p.Open, func(d Due) bool { return d.At.Equal(at) })
}

// Compiled gives each policy its due times, after the book was read.
func (b Book) Compiled(times func(wire.ScheduledPolicy) (Times, error)) Book {
	b = b.clone()
	for i := range b.Policies {
		b.Policies[i].compile(times)
	}
	return b
}

func (p *Policy) compile(times func(wire.ScheduledPolicy) (Times, error)) {
	var err error
	if p.Times, err = times(p.ScheduledPolicy); err != nil {
		p.Times, p.Problem = nil, err.Error()
		return
	}
	p.Problem = ""
}

// Configured takes a new schedule. A policy that went is forgotten. A new one begins where the server says it is
// accounted for; a known one goes on from what this host knows, if that is more. Other due times hold for the future
// alone: what was due by the old ones stays open.
func (b Book) Configured(config string, s wire.Schedule, f Facts, times func(wire.ScheduledPolicy) (Times, error)) Book {
	old := b.clone()
	b = Book{Host: f.Host, Config: config, Version: s.Version, Repository: s.Repository}
	for _, told := range s.Policies {
		p := Policy{ScheduledPolicy: told, Until: told.AccountedUntil}
		if p.Until.IsZero() {
			p.Until = f.Now
		}
		p.compile(times)
		if known := old.find(told.ID); known != nil {
			if known.rhythm() != p.rhythm() {
				known.look(f)
				known.Until = latest(known.Until, f.Now)
			}
			p.Until, p.Open, p.Last = latest(known.Until, p.Until), known.Open, known.Last
			p.Open = slices.DeleteFunc(p.Open, func(d Due) bool { return !d.Begun && !d.At.After(told.AccountedUntil) })
			p.lookAgain()
		}
		b.Policies = append(b.Policies, p)
	}
	return b
}

// rhythm is what the due times come from.
func (p *Policy) rhythm() [3]any { return [3]any{p.Cron, p.Zone, p.SpreadSeconds} }

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// Answered takes the server's answers to ticks, each in its place. Whatever became of a due time, it is not open any
// more, but for one that is to be asked for later. One that is unassigned is forgotten, not its policy: the next schedule leaves that out where it went.
func (b Book) Answered(ticks []wire.Tick, answers []wire.TickAnswer) Book {
	b = b.clone()
	for i, t := range ticks {
		p := b.find(t.PolicyID)
		if p == nil || i >= len(answers) {
			continue
		}
		n := p.find(t.DueAt)
		if answers[i].Later {
			if n >= 0 {
				p.Open[n].Later = true
			}
			continue
		}
		if n >= 0 {
			p.Open = slices.Delete(p.Open, n, n+1)
		}
		if answers[i].Unassigned {
			continue
		}
		if p.Last == nil || p.Last.At.Before(t.DueAt) {
			p.Last = &Last{At: t.DueAt, Outcome: answers[i].Outcome, JobID: answers[i].JobID}
		}
	}
	return b
}

// Waits reports whether a job of a due time that was begun here waits with its adopt: earlier due times of its policy
// are to have their outcome at the server first, or they would lie behind what that takes for accounted.
func (b Book) Waits(policyID string, at time.Time) bool {
	p := b.find(policyID)
	return p != nil && len(p.Open) > 0 && p.Open[0].At.Before(at)
}

// Refused forgets a due time that the server will never take.
func (b Book) Refused(t wire.Tick) Book {
	return b.Answered([]wire.Tick{t}, []wire.TickAnswer{{Unassigned: true}})
}

// GaveUp: the job of a due time was not begun here after all, and nothing of it ran. It is open again, and tried here
// again not before a while.
func (b Book) GaveUp(policyID string, at time.Time, why string, notBefore time.Time) Book {
	b = b.clone()
	p := b.find(policyID)
	if p == nil {
		return b
	}
	if n := p.find(at); n >= 0 {
		p.Open[n].Begun = false
		p.Open[n].Why = "the server was away, and it could not begin here: " + why
	}
	p.NotBefore, p.Refused = notBefore, why
	return b
}

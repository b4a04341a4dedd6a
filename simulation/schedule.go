package simulation

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"restic-manager/agent/planner"
	"restic-manager/server/fault"
	"restic-manager/server/fleet/job/memory"
	"restic-manager/shared/wire"
)

// scheduling is the server's side of schedules: which policies hosts have, how far each is accounted for, and what became
// of each due time. It is durable.
type scheduling struct {
	policies []*policy
	// assigned are by host and policy. An assignment that went stays, and says so.
	assigned map[[2]string]*assignment
	// ticks are by the id of the due time's job.
	ticks map[string]tick
	// configs are the versions that hosts are to have.
	configs map[string]string
}

// policy is one that people made, for some hosts.
type policy struct {
	wire.ScheduledPolicy
	// rhythms are all cron expressions that it ever had.
	rhythms []string
}

type assignment struct {
	until time.Time
	holds bool
}

// tick is a due time that has its outcome.
type tick struct {
	host, policy string
	due          time.Time
	outcome      wire.Outcome
}

func newScheduling() scheduling {
	return scheduling{assigned: map[[2]string]*assignment{}, ticks: map[string]tick{}, configs: map[string]string{}}
}

func (s scheduling) clone() scheduling {
	c := scheduling{assigned: map[[2]string]*assignment{}, ticks: maps.Clone(s.ticks), configs: maps.Clone(s.configs)}
	for _, p := range s.policies {
		one := *p
		one.rhythms = slices.Clone(p.rhythms)
		c.policies = append(c.policies, &one)
	}
	for k, a := range s.assigned {
		one := *a
		c.assigned[k] = &one
	}
	return c
}

func (s scheduling) policy(id string) *policy {
	for _, p := range s.policies {
		if p.ID == id {
			return p
		}
	}
	return nil
}

// isDue: by any of its expressions, for an agent may not know of the newest yet.
func (p *policy) isDue(host string, due time.Time) bool {
	return slices.ContainsFunc(p.rhythms, func(cron string) bool {
		spoken := p.ScheduledPolicy
		spoken.Cron = cron
		times, err := planner.TimesOf(spoken, host)
		return err == nil && len(times.Between(due.Add(-time.Second), due, 1)) == 1
	})
}

// never is due once more in a year: what was due stays open, and no more comes.
const never = "0 0 1 1 *"

// makePolicies gives one history in three policies. They are drawn beside the rest, so that the other two are what they
// were.
func (w *World) makePolicies() {
	r := rand.New(rand.NewPCG(w.seed, 0x7363686564))
	if r.IntN(3) > 0 {
		return
	}
	w.scheduled = true
	rhythm := func() string { return []string{"*/3 * * * *", "*/5 * * * *", "1-59/7 * * * *"}[r.IntN(3)] }
	for n := range 1 + r.IntN(2) {
		p := &policy{ScheduledPolicy: wire.ScheduledPolicy{ID: fmt.Sprintf("01910000-0000-7000-8000-%012x", n), Name: fmt.Sprintf("policy %d", n+1), Version: 1,
			Kind: wire.KindBackup, Spec: fmt.Appendf(nil, `{"policy":%d}`, n), Cron: rhythm(), Zone: "UTC", SpreadSeconds: int64(r.IntN(2) * 60), TimeLimitSeconds: 3600}}
		p.NoCatchUp = r.IntN(5) == 0
		p.LateSeconds = []int64{0, 0, 240, 300, 1800}[r.IntN(5)]
		p.rhythms = []string{p.Cron}
		w.server.policies = append(w.server.policies, p)
	}
	for _, m := range w.machines {
		m.keepsSecrets = r.IntN(3) > 0
		for _, p := range w.server.policies {
			if r.IntN(4) > 0 {
				w.server.assigned[[2]string{m.host, p.ID}] = &assignment{until: w.clock(), holds: true}
			}
		}
		w.reschedule(m.host)
	}
	w.bindPolicies()
	for range r.IntN(3) {
		at, what, cron := time.Duration(r.Int64N(int64(w.plan.faulty))), r.IntN(3), rhythm()
		p, m := w.server.policies[r.IntN(len(w.server.policies))], w.machines[r.IntN(len(w.machines))]
		w.after(at, func() { w.changePolicy(p.ID, m.host, what, cron) })
	}
	for range 1 + r.IntN(3) { // nobody answers for longer than a due time waits
		at, long := time.Duration(r.Int64N(int64(w.plan.faulty))), 3*time.Minute+time.Duration(r.Int64N(int64(9*time.Minute)))
		w.after(at, func() {
			if !w.healed && !w.plan.calm {
				w.server.bothAway(long)
			}
		})
	}
}

// changePolicy is what people do to a policy: another rhythm, or a host that it does not apply to any more, or again.
func (w *World) changePolicy(id, host string, what int, cron string) {
	s := w.server
	if !s.works() || w.healed {
		return
	}
	p := s.policy(id)
	switch {
	case p == nil: // the server was restored to before it
	case what < 2:
		w.say("%s is due by %s from now on", p.Name, cron)
		s.rhythm(p, cron)
	default:
		a := s.assigned[[2]string{host, id}]
		if a == nil {
			return
		}
		a.holds = !a.holds
		if a.holds {
			a.until = w.clock()
		}
		w.say("%s applies to %s: %v", p.Name, w.names[host], a.holds)
		w.reschedule(host)
	}
}

// rhythm gives a policy another expression.
func (s *server) rhythm(p *policy, cron string) {
	p.Version++
	p.Cron = cron
	p.rhythms = append(p.rhythms, cron)
	for _, h := range s.jobs.Hosts() {
		s.w.reschedule(h.ID)
	}
}

// endPolicies lets no more come due, once there are no more faults.
func (w *World) endPolicies() {
	for _, p := range w.server.policies {
		w.free(p)
		w.server.rhythm(p, never)
	}
}

// reschedule gives a host a new version of its configuration.
func (w *World) reschedule(host string) {
	if w.scheduled {
		w.server.configs[host] = "c" + w.id()
		w.server.wake()
	}
}

// configure adds the host's schedule to a reply, where its agent has another one.
func (s *server) configure(host string, q wire.PollQuery, reply *wire.PollReply) {
	version := s.configs[host]
	if version == "" || version == q.Config {
		return
	}
	schedule := &wire.Schedule{Version: int64(len(version)), Repository: wire.RepositoryServer, Secrets: &wire.Secrets{Password: "secret"}}
	for _, p := range s.policies {
		if a := s.assigned[[2]string{host, p.ID}]; a != nil && a.holds {
			told := p.ScheduledPolicy
			told.AccountedUntil = a.until
			schedule.Policies = append(schedule.Policies, told)
		}
	}
	reply.Configure = &wire.Configure{Version: version, Schedule: schedule}
}

var errNotDue = fault.New(fault.Invalid, "not_due", "the policy is not due then")

// account is policy's RecordTicks: the first outcome of a due time stays.
func (s *server) account(host string, q wire.TicksRequest) (wire.TicksReply, error) {
	w := s.w
	for _, t := range q.Ticks {
		if p := s.policy(t.PolicyID); p == nil || !p.isDue(host, t.DueAt) || t.DueAt.After(w.clock().Add(2*time.Minute)) {
			if p != nil && !w.restored {
				w.say("%s tells of %s, when nothing is due", w.names[host], t.DueAt.Format(time.TimeOnly))
			}
			return wire.TicksReply{}, errNotDue
		}
	}
	s.checkTicks(host, q.Ticks)
	var reply wire.TicksReply
	for _, t := range q.Ticks {
		id := wire.TickJobID(t.PolicyID, host, t.DueAt)
		row, known := s.ticks[id]
		a := s.assigned[[2]string{host, t.PolicyID}]
		if !known && (a == nil || !a.holds || !t.DueAt.After(a.until)) {
			reply.Ticks = append(reply.Ticks, wire.TickAnswer{Unassigned: true})
			w.unassigned[id] = true
			continue
		}
		if !known {
			_, there := s.jobs.Job(id)
			if p := s.policy(t.PolicyID); t.Outcome == "" && !there && !isOpen(p.Windows, w.clock()) {
				w.Counts.TicksLater++
				reply.Ticks = append(reply.Ticks, wire.TickAnswer{Later: true})
				continue
			}
			row = tick{host, t.PolicyID, t.DueAt, t.Outcome}
			if t.Outcome == "" {
				var err error
				if row.outcome, err = s.runDue(id, host, t.PolicyID, t.DueAt); err != nil {
					return wire.TicksReply{}, err
				}
			}
			s.enter(id, row)
		}
		reply.Ticks = append(reply.Ticks, wire.TickAnswer{Outcome: row.outcome, JobID: id})
	}
	return reply, nil
}

// enter writes the outcome of a due time.
func (s *server) enter(id string, row tick) {
	w := s.w
	switch row.outcome {
	case wire.OutcomeMissed:
		w.Counts.TicksMissed++
	case wire.OutcomeSkipped:
		w.Counts.TicksSkipped++
	case wire.OutcomeCoalesced:
		w.Counts.TicksCoalesced++
	case wire.OutcomeRun:
		w.Counts.TicksRun++
	}
	s.ticks[id] = row
	if a := s.assigned[[2]string{row.host, row.policy}]; a != nil && row.due.After(a.until) && !row.due.After(w.clock()) { // not into the future, where a wrong clock began it
		a.until = row.due
	}
	w.say("server: %s of %s at %s: %s", row.due.Format(time.TimeOnly), s.policy(row.policy).Name, w.names[row.host], row.outcome)
}

// runDue queues the job of a due time, or finds one of the policy that has not begun.
func (s *server) runDue(id, host, policyID string, due time.Time) (wire.Outcome, error) {
	w := s.w
	if _, there := s.jobs.Job(id); there {
		return wire.OutcomeRun, nil
	}
	p := s.policy(policyID)
	_, created, err := s.jobs.Create(memory.Order{HostID: host, Kind: p.Kind, Spec: string(p.Spec), TimeLimit: time.Hour, TTL: wire.QueueTTL, PolicyID: policyID, ID: id}, memory.Key{})
	s.audited = len(s.jobs.Trail()) // the scheduler's
	if err != nil {
		return "", err
	}
	if !created {
		return wire.OutcomeCoalesced, nil
	}
	w.asks(id, host, p.Kind, true)
	return wire.OutcomeRun, nil
}

// adopt is fleet's: a job that was begun at the host is running from now on, and stands for what is queued of its policy.
func (s *server) adopt(host, id, lease string, q wire.AdoptRequest) (wire.Empty, error) {
	w := s.w
	if p := s.policy(q.PolicyID); p == nil || !p.isDue(host, q.DueAt) || q.DueAt.After(w.clock().Add(2*time.Minute)) {
		if t := w.truth[id]; t != nil && q.DueAt.After(w.clock()) {
			t.ahead = true
		}
		return wire.Empty{}, fault.New(fault.Conflict, wire.ProblemJobGone, "this policy has never been due at this host then")
	}
	was, _ := s.jobs.Job(id)
	queued := s.jobs.Jobs()
	err := s.jobs.Adopt(host, id, lease, q)
	s.audited = len(s.jobs.Trail())
	is, _ := s.jobs.Job(id)
	if err != nil || was.State == is.State {
		return wire.Empty{}, err
	}
	w.asks(id, host, is.Kind, true)
	for _, o := range queued {
		if now, _ := s.jobs.Job(o.ID); o.State == wire.StateQueued && now.State == wire.StateCanceled {
			w.truth[o.ID].stoodFor = true
		}
	}
	w.Counts.Adopted++
	if t := w.truth[id]; t.adoptions > 0 && !w.restored {
		w.violate("S3", "%s is adopted a second time", w.name(id))
	}
	w.truth[id].adoptions++
	if _, known := s.ticks[id]; !known {
		s.enter(id, tick{host, q.PolicyID, q.DueAt, wire.OutcomeRun})
	}
	return wire.Empty{}, nil
}

// odd: what a host knows may be gone, or there twice.
func (w *World) odd(host string) bool {
	return w.restored || w.copied(host) || w.wiped(host)
}

// checkTicks is S1 and S2 of what an agent says: nothing that ran is called anything else, and of the due times of a
// policy that wait one alone is asked for, but for what was begun here.
func (s *server) checkTicks(host string, ticks []wire.Tick) {
	w := s.w
	if w.odd(host) {
		return
	}
	asked := map[string]string{}
	for _, t := range ticks {
		id := wire.TickJobID(t.PolicyID, host, t.DueAt)
		truth := w.truth[id]
		ran := truth != nil && len(truth.runs) > 0
		if _, known := s.ticks[id]; t.Outcome != "" && ran && !known {
			w.violate("S1", "%s ran, and its due time is called %s", w.name(id), t.Outcome)
		}
		if t.Outcome == "" && (truth == nil || !truth.local) {
			if other := asked[t.PolicyID]; other != "" {
				w.violate("S2", "two due times of one policy are asked for, %s and %s", other, t.DueAt.Format(time.TimeOnly))
			}
			asked[t.PolicyID] = t.DueAt.Format(time.TimeOnly)
		}
	}
}

// lookedAt notes the due times that a host has in its durable book: each must come to an outcome.
func (w *World) lookedAt(m *machine, b planner.Book) {
	for _, p := range b.Policies {
		for _, d := range p.Open {
			if d.At.After(w.clock()) {
				continue // a wrong clock saw it
			}
			w.looked[wire.TickJobID(p.ID, m.host, d.At)] = tick{host: m.host, policy: p.ID, due: d.At}
		}
	}
}

// checkDues is S1 at the end: each due time that a host saw has its outcome at the server, and none is open.
func (w *World) checkDues() {
	for _, id := range slices.Sorted(maps.Keys(w.looked)) {
		t := w.looked[id]
		a := w.server.assigned[[2]string{t.host, t.policy}]
		if w.odd(t.host) || w.revoked(t.host) || w.deadHost(t.host) || w.unassigned[id] || a == nil || !a.holds || w.wentAway[[2]string{t.host, t.policy}] {
			continue
		}
		if w.server.ticks[id].outcome == "" {
			w.violate("S1", "%s of %s at %s has no outcome", t.due.Format(time.TimeOnly), w.server.policy(t.policy).Name, w.names[t.host])
		}
	}
}

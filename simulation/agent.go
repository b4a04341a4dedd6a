package simulation

import (
	"errors"
	"slices"
	"time"

	"restic-manager/agent/client"
	"restic-manager/agent/runner"
	"restic-manager/agent/spool"
	"restic-manager/shared/wire"
)

// agent is one process of the agent: its poll loop, and a jobRun for each folder. It does what package runner's
// loops do.
type agent struct {
	*process
	lock     spool.Lock
	store    *spool.Store
	boot     spool.Boot
	seq      int64
	mark     string
	greeted  bool
	next     time.Duration // of the hello that nobody asked for
	attempt  int
	polling  int  // counts polls: the reply to an older one is not heard
	waiting  bool // a poll is out
	poked    bool
	jobs     []*jobRun
	rest     map[wire.Lane]time.Duration
	skew     *time.Duration
	measured time.Duration // the machine's error when it was
	plan     planning
}

// lockingDisk notes the lock of the state folder: the kernel frees it when the process is gone.
type lockingDisk struct {
	*spool.Memory
	a *agent
}

func (d lockingDisk) Lock(path string) (spool.Lock, error) {
	l, err := d.Memory.Lock(path)
	if err == nil {
		d.a.lock = l
	}
	return l, err
}

// runAgent starts the agent.
func (m *machine) runAgent() {
	a := newAgent(m)
	m.agent = a
	m.w.say("%s: the agent starts", m.name)
	a.exec(func() {
		if err := a.open(); err != nil {
			m.w.say("%s: the agent gives up: %v", m.name, err)
			a.die(false)
		}
	})
}

func newAgent(m *machine) *agent {
	a := &agent{rest: map[wire.Lane]time.Duration{}}
	a.process = &process{m: m, name: "the agent", alive: true}
	a.ended = func(killed bool) {
		m.w.Counts.AgentKills++
		if a.lock != nil {
			a.lock.Close()
		}
		if m.agent == a {
			m.startAgent(m.w.between(500*time.Millisecond, 30*time.Second))
		}
	}
	return a
}

// open takes up what is in the state folder and begins to poll, as runner's Run does.
func (a *agent) open() error {
	var err error
	if a.store, err = spool.Open(lockingDisk{a.m.disk, a}, stateDir, a.m.clock); err != nil {
		return err
	}
	found, damaged, err := a.store.Scan()
	if err != nil {
		return err
	}
	for _, d := range damaged {
		a.m.w.say("%s: the folder %s is damaged: %s", a.m.name, a.m.w.name(d.ID), d.Reason)
		if !d.Alive {
			a.m.w.damagedFolder(a.m, d)
			if err := a.store.PutAside(d.ID, d.Reason); err != nil {
				a.m.w.say("%s: it is not put aside: %v", a.m.name, err)
			}
		}
	}
	folders := map[string]bool{}
	for _, f := range found {
		folders[f.ID] = true
	}
	if err := a.openPlan(folders); err != nil {
		return err
	}
	for _, f := range found {
		known, err := a.store.Known(f.ID)
		if err != nil {
			return err
		}
		j := newJobRun(a, f.Job)
		a.jobs = append(a.jobs, j)
		j.step(runner.Recovered{Durable: runner.DurableOf(f.Job), Folder: runner.FolderOf(f, known)})
	}
	a.tidy()
	if a.boot, err = a.store.Boot(0); err != nil {
		return err
	}
	a.boot.ID = a.m.w.hex()
	a.m.w.say("%s: boot %.6s, number %d", a.m.name, a.boot.ID, a.boot.Number)
	a.turn()
	return nil
}

// tidy forgets the jobs that are done.
func (a *agent) tidy() {
	n := len(a.jobs)
	a.jobs = slices.DeleteFunc(a.jobs, func(j *jobRun) bool { return j.state.Done })
	if len(a.jobs) != n {
		a.changed()
	}
}

func (a *agent) job(id string) *jobRun {
	for _, j := range a.jobs {
		if j.id == id {
			return j
		}
	}
	return nil
}

// changed ends a waiting poll, so that the next one says what is true now.
func (a *agent) changed() {
	if !a.waiting {
		a.poked = true
		return
	}
	a.waiting = false
	a.polling++ // whatever comes is not heard
	a.after(time.Millisecond, a.turn)
}

// turn is one hello or one poll.
func (a *agent) turn() {
	if a.mustGreet() {
		a.hello()
		return
	}
	a.ask()
}

func (a *agent) mustGreet() bool { return !a.greeted || a.stale() || a.m.w.now > a.next }

// stale: the clock was set since it was compared.
func (a *agent) stale() bool {
	return a.skew != nil && (a.m.off-a.measured).Abs() > wire.MaxSkew/10
}

// clockSkew is what is known of the clock's error; nil: nothing.
func (a *agent) clockSkew() *time.Duration {
	if a.stale() {
		return nil
	}
	return a.skew
}

// failed waits after a failure, or asks at once where the answer said how.
func (a *agent) failed(err error) {
	switch client.Code(err) {
	case wire.ProblemHelloRequired:
		a.greeted = false
		if a.attempt == 0 {
			a.attempt++
			a.after(0, a.turn)
			return
		}
	case wire.ProblemBootSuperseded:
		problem, _ := errors.AsType[*wire.Problem](err)
		boot, err := a.store.Boot(problem.BootNumber)
		if err != nil {
			a.m.w.say("%s: the agent gives up: %v", a.m.name, err)
			a.die(false)
			return
		}
		a.boot.Number, a.greeted = boot.Number, false
		if a.attempt == 0 {
			a.attempt++
			a.after(0, a.turn)
			return
		}
	}
	a.plan.online, a.plan.refused = false, client.Code(err) == wire.ProblemUnauthorized
	wait := a.backoff(a.attempt, client.BackoffCapPoll, err)
	if client.Code(err) == wire.ProblemUnauthorized {
		wait, a.greeted = a.m.w.between(5*time.Minute, 10*time.Minute), false
	}
	a.attempt++
	a.after(wait, a.turn)
}

// backoff is runner's: full jitter over 1 s doubling to limit.
func (a *agent) backoff(attempt int, limit time.Duration, err error) time.Duration {
	span := limit
	if attempt < 30 {
		span = min(limit, time.Second<<attempt)
	}
	d := a.m.w.between(0, span)
	if e, ok := errors.AsType[*client.Error](err); ok && e.RetryAfter > 0 {
		d = min(e.RetryAfter+d, limit)
	}
	return d
}

func (a *agent) hello() {
	w := a.m.w
	a.seq++
	q := wire.HelloRequest{BootID: a.boot.ID, BootNumber: a.boot.Number, Seq: a.seq, ProtocolVersion: wire.ProtocolVersion, Now: a.m.clock()}
	for _, k := range wire.Kinds {
		q.Kinds = append(q.Kinds, k.Kind)
	}
	report := wire.RepositoryReport{Name: wire.RepositoryLocal, Location: a.m.repo.location}
	if a.knowsRepository() {
		report.ID = a.m.repo.id
	}
	q.Repositories = []wire.RepositoryReport{report}
	leases := map[string]string{}
	for _, j := range a.jobs {
		if !j.state.Named() {
			continue
		}
		q.Jobs = append(q.Jobs, wire.JobReport{ID: j.id, Lease: j.state.Lease, Phase: j.state.Phase})
		leases[j.id] = j.state.Lease
	}
	sent, sentOff := w.now, a.m.off
	s, host := w.server, a.m.host
	send(a.process, "hello", 0, once(s, host, func() (wire.HelloReply, error) { return s.jobs.Hello(host, q) }), func(reply wire.HelloReply, err error) {
		if err != nil {
			a.failed(err)
			return
		}
		a.attempt = 0
		a.answers()
		skew := reply.ServerTime.Sub(epoch.Add(sent + sentOff + (w.now-sent)/2))
		a.skew, a.measured = &skew, sentOff
		a.lookAtPlan()
		a.mark, a.greeted, a.next = reply.Mark, true, w.now+w.between(50*time.Minute, 70*time.Minute)
		for _, v := range reply.Jobs {
			switch v.Verdict {
			case wire.VerdictCancel:
				a.tell(v.ID, runner.CancelAsked{})
			case wire.VerdictDrop:
				a.tell(v.ID, runner.DropAsked{Lease: leases[v.ID]})
			}
		}
		a.turn()
	})
}

func (a *agent) tell(id string, e runner.Event) {
	if j := a.job(id); j != nil {
		j.step(e)
	}
}

// knowsRepository: restic was asked for the repository's id not long ago.
func (a *agent) knowsRepository() bool {
	return a.m.known > 0 && a.m.w.now-a.m.known < time.Hour
}

// free is how many jobs each lane can take.
func (a *agent) free() map[wire.Lane]int {
	free := map[wire.Lane]int{wire.LaneLong: 1, wire.LaneShort: 1}
	for _, j := range a.jobs {
		if j.state.Occupies() {
			free[j.info.Lane] = 0
		}
	}
	for lane, until := range a.rest {
		if a.m.w.now < until {
			free[lane] = 0
		}
	}
	return free
}

// ask polls once.
func (a *agent) ask() {
	w := a.m.w
	a.seq++
	a.poked = false
	free := a.free()
	q := wire.PollQuery{Boot: a.boot.ID, Seq: a.seq, Mark: a.mark, FreeLong: free[wire.LaneLong], FreeShort: free[wire.LaneShort]}
	busy := false
	for _, j := range a.jobs {
		busy = busy || j.state.Occupies()
		if !j.state.Named() {
			continue
		}
		q.Jobs = append(q.Jobs, wire.JobRef{ID: j.id, Lease: j.state.Lease})
	}
	q.Wait = w.between(20*time.Second, 30*time.Second)
	if busy {
		q.Wait = w.between(10*time.Second, 15*time.Second)
	}
	q.Wait = q.Wait.Truncate(time.Second)
	q.Config = a.config()
	a.polling++
	this := a.polling
	a.waiting = true
	s, host := w.server, a.m.host
	send(a.process, "poll", q.Wait, func(rep *replica, respond func(wire.PollReply, error)) {
		s.poll(rep, host, q, respond)
	}, func(reply wire.PollReply, err error) {
		if this != a.polling || !a.waiting {
			return
		}
		a.waiting = false
		if err != nil {
			a.failed(err)
			return
		}
		a.attempt, a.mark = 0, reply.Mark
		a.answers()
		s.olderHeard(host, q.Boot)
		a.deliver(reply)
	})
}

// answers: the server answers, perhaps again.
func (a *agent) answers() {
	if !a.plan.online {
		a.plan.online, a.plan.refused = true, false
		a.lookAtPlan()
	}
}

// deliver passes a reply on to the jobs it is about.
func (a *agent) deliver(reply wire.PollReply) {
	if reply.Configure != nil {
		a.configured(*reply.Configure)
	}
	for _, id := range reply.Cancel {
		a.tell(id, runner.CancelAsked{})
	}
	for _, ref := range reply.Drop {
		a.tell(ref.ID, runner.DropAsked{Lease: ref.Lease})
	}
	if reply.Offer != nil && !a.take(*reply.Offer) {
		a.after(a.m.w.between(0, 2*time.Second), a.turn)
		return
	}
	a.turn()
}

// take begins an offered job.
func (a *agent) take(o wire.Offer) bool {
	info, ok := o.Kind.Info()
	if !ok || a.job(o.JobID) != nil || a.free()[info.Lane] == 0 {
		return false
	}
	known, err := a.store.Known(o.JobID)
	if err != nil {
		return false
	}
	lease := a.m.w.hex()
	j := newJobRun(a, spool.Job{Offer: o, Phase: wire.PhaseOffered, Lease: lease, OfferedAt: a.m.clock().UTC()})
	a.jobs = append(a.jobs, j)
	a.m.w.say("%s: %s is offered, delivery %d, lease %.6s", a.m.name, a.m.w.name(o.JobID), o.Delivery, lease)
	j.step(runner.Offered{ID: o.JobID, Delivery: o.Delivery, Lease: lease, InLedger: known})
	a.tidy()
	return true
}

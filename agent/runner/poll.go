package runner

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"restic-manager/agent/client"
	"restic-manager/agent/spool"
	"restic-manager/shared/failpoint"
	"restic-manager/shared/wire"
)

// poller is the one poll loop. It runs no job and ships no log: a hung restic or a slow upload never
// stops it.
type poller struct {
	*Runner
	boot    spool.Boot
	seq     int64
	mark    string
	greeted bool
	next    time.Time // when to say hello again, although nobody asked
	told    string    // see toTell
	attempt int
	scatter Scatter
	hold    *holdLimit
	silent  map[string]bool // jobs that the server had not been told of when it was last asked
}

// poll introduces this process and then asks for orders until ctx ends.
func (r *Runner) poll(ctx context.Context) error {
	boot, err := r.store.Boot(0)
	if err != nil {
		return err
	}
	p := &poller{Runner: r, boot: boot, hold: newHoldLimit(r.c.Paths.State, r.c.Settings.ServerURL, r.now, r.log)}
	for ctx.Err() == nil {
		if err := p.turn(ctx); err != nil {
			return err
		}
	}
	return nil
}

// turn is one hello or one poll, and the wait after a failed one. Its error is fatal.
func (p *poller) turn(ctx context.Context) error {
	p.beat()
	var err error
	if p.mustGreet() {
		err = p.hello(ctx)
	} else {
		err = p.ask(ctx)
	}
	if ctx.Err() != nil {
		return nil
	}
	if err == nil {
		p.attempt = 0
		if p.contact.ok() {
			p.schedule.look()
		}
		return nil
	}
	p.scatter.Failed()
	switch client.Code(err) {
	case wire.ProblemHelloRequired:
		p.greeted = false
		if p.attempt == 0 {
			p.attempt++
			return nil
		}
	case wire.ProblemBootSuperseded:
		if err := p.outbid(err); err != nil {
			return err
		}
		if p.attempt == 0 {
			p.attempt++
			return nil
		}
	}
	return p.recoverFrom(ctx, err)
}

// mustGreet: at first, when asked to, when the clock was set, when the guard or the host's hooks changed, and now and then.
func (p *poller) mustGreet() bool {
	_, stale := p.clock.now(p.now())
	return stale || !p.greeted || p.now().After(p.next) || p.told != p.toTell()
}

// toTell changes with what the server was told of the guard: a new hook makes a policy run.
func (p *poller) toTell() string {
	return p.c.Guard.Report().SHA256 + " " + strings.Join(p.c.Guard.Hooks(), " ")
}

// recoverFrom waits after a failure, or gives up where that was asked for.
func (p *poller) recoverFrom(ctx context.Context, err error) error {
	state := p.contact.failed(err)
	p.status.changed()
	if p.c.ExitOnFatal {
		switch state {
		case ContactUnauthorized:
			return fmt.Errorf("%w (%w)", ErrUnauthorized, err)
		case ContactTooOld:
			return fmt.Errorf("%w (%w)", ErrProtocolTooOld, err)
		}
	}
	wait := p.backoff(p.attempt, p.t.PollCap, err)
	if fatal(err) {
		wait = p.t.Fatal.Draw()
		// The next word after such a silence introduces this agent again.
		p.greeted = false
	}
	p.attempt++
	p.rest(ctx, wait)
	return nil
}

// rest waits and tells the watchdog that the loop lives.
func (p *poller) rest(ctx context.Context, d time.Duration) {
	for d > 0 && ctx.Err() == nil {
		step := min(d, p.t.Beat)
		_ = sleep(ctx, step)
		d -= step
		p.beat()
	}
}

func (p *poller) beat() {
	if p.c.Alive != nil {
		p.c.Alive()
	}
}

// outbid takes a boot number above the one that the server has.
func (p *poller) outbid(err error) error {
	problem, _ := errors.AsType[*wire.Problem](err)
	boot, err := p.store.Boot(problem.BootNumber)
	if err != nil {
		return err
	}
	p.log.Warn("the server has heard of a newer process of this agent; if this machine is a copy of another one, enroll it anew", "its_number", problem.BootNumber)
	p.boot.Number = boot.Number
	p.greeted = false
	return nil
}

// hello tells who this process is and what it finds in its state folder.
func (p *poller) hello(ctx context.Context) error {
	told := p.toTell()
	request := p.introduction(ctx)
	limited, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	sent := p.now()
	request.Now = sent.UTC()
	reply, err := p.client.Hello(limited, request)
	if err != nil {
		return err
	}
	p.told = told
	p.clock.measure(reply.ServerTime, sent, p.now())
	p.mark, p.greeted, p.next = reply.Mark, true, p.now().Add(p.t.Hello.Draw())
	p.configure("", reply.Settings)
	p.schedule.look() // the clocks are compared
	leases := map[string]string{}
	for _, j := range request.Jobs {
		leases[j.ID] = j.Lease
	}
	for _, v := range reply.Jobs {
		switch v.Verdict {
		case wire.VerdictCancel:
			p.tell(v.ID, CancelAsked{})
		case wire.VerdictDrop:
			p.tell(v.ID, DropAsked{Lease: leases[v.ID]})
		}
	}
	p.status.changed()
	return nil
}

func (p *poller) introduction(ctx context.Context) wire.HelloRequest {
	p.seq++
	facts := p.c.Facts(ctx)
	facts.AgentVersion, facts.RestoreRoot = p.c.Version, p.c.Guard.RestoreRoot()
	facts.Power, facts.Metered = p.conditions(ctx)
	if binary, err := p.finder.Find(ctx); err == nil {
		facts.ResticVersion, facts.ResticPath = binary.Version.String(), binary.Path
	}
	p.status.restic(facts.ResticVersion)
	h := wire.HelloRequest{BootID: p.boot.ID, BootNumber: p.boot.Number, Seq: p.seq, ProtocolVersion: wire.ProtocolVersion,
		AgentVersion: p.c.Version, ResticVersion: facts.ResticVersion, Facts: facts, Guard: p.c.Guard.Report(),
		Features: []string{wire.FeatureSchedule, wire.FeatureTarget, wire.FeatureInitIfMissing, wire.FeatureHooks, wire.FeatureEstimate, wire.FeatureWindows, wire.FeatureLimits},
		Hooks:    p.c.Guard.Hooks(), Kinds: []wire.Kind{}, Repositories: []wire.RepositoryReport{}, Jobs: []wire.JobReport{}}
	for _, k := range wire.Kinds {
		h.Kinds = append(h.Kinds, k.Kind)
	}
	if location := p.c.Settings.Location(); location != "" {
		id, _ := p.ids.known(location, p.now())
		h.Repositories = append(h.Repositories, wire.RepositoryReport{Name: wire.RepositoryLocal, ID: id, Location: location})
	}
	p.silent = map[string]bool{}
	for _, j := range p.all() {
		s := j.current()
		p.silent[s.ID] = s.Silent()
		if !s.Named() {
			continue
		}
		h.Jobs = append(h.Jobs, wire.JobReport{ID: s.ID, Lease: s.Lease, Phase: s.Phase})
	}
	return h
}

// ask polls once and passes on what it brings.
func (p *poller) ask(ctx context.Context) error {
	// Whatever changed before this line is in the query.
	select {
	case <-p.poke:
	default:
	}
	query := p.query()
	polling, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := make(chan struct{})
	poked := false
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(p.t.Beat)
		defer tick.Stop()
		for {
			select {
			case <-p.poke:
				poked = true
				cancel()
				return
			case <-tick.C:
				p.beat() // the poll ends by its own limit
			case <-stop:
				return
			}
		}
	}()
	began := p.now()
	reply, err := p.client.Poll(polling, query)
	close(stop)
	<-done
	if poked && ctx.Err() == nil && err != nil {
		return nil // the next poll says what is new
	}
	took := p.now().Sub(began)
	p.hold.learn(query.Wait, took, err)
	if err != nil {
		return err
	}
	p.scatter.Held(query.Wait, took)
	p.mark = reply.Mark
	if err := failpoint.Hit("agent.poll.answered"); err != nil {
		return err
	}
	p.deliver(ctx, reply)
	return nil
}

// query takes the capacity before it asks, and names every job folder there is, but for those that the server cannot
// know of.
func (p *poller) query() wire.PollQuery {
	p.seq++
	free := p.free()
	q := wire.PollQuery{Boot: p.boot.ID, Seq: p.seq, Mark: p.mark, FreeLong: free[wire.LaneLong], FreeShort: free[wire.LaneShort]}
	busy := false
	p.silent = map[string]bool{}
	for _, j := range p.all() {
		s := j.current()
		p.silent[s.ID] = s.Silent()
		busy = busy || s.Occupies()
		if len(q.Jobs) < wire.MaxPollJobs && s.Named() {
			q.Jobs = append(q.Jobs, wire.JobRef{ID: s.ID, Lease: s.Lease})
		}
	}
	q.Wait = p.hold.within(p.scatter.Span(p.t, busy).Draw()).Truncate(time.Second)
	p.mu.Lock()
	q.Config = p.version
	p.mu.Unlock()
	return q
}

// deliver passes a reply on to the jobs it is about.
func (p *poller) deliver(ctx context.Context, reply wire.PollReply) {
	if reply.Configure != nil {
		p.configure(reply.Configure.Version, reply.Configure.Settings)
		if reply.Configure.Schedule != nil {
			p.schedule.configure(reply.Configure.Version, *reply.Configure.Schedule)
		}
	}
	for _, id := range reply.Cancel {
		p.tell(id, CancelAsked{})
	}
	for _, ref := range reply.Drop {
		p.tell(ref.ID, DropAsked{Lease: ref.Lease})
	}
	if reply.Offer == nil {
		return
	}
	if !p.take(ctx, *reply.Offer) {
		// It will come again at once: not faster than this.
		p.rest(ctx, p.backoff(1, p.t.PollCap, nil))
	}
}

func (p *poller) configure(version string, s wire.Settings) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.settings = s
	if version != "" {
		p.version = version
	}
}

// tell passes on what the server wants of a job. What it said before it was told of the job means nothing, also where
// the adopt was answered meanwhile.
func (p *poller) tell(id string, e Event) {
	if j := p.job(id); j != nil && !p.silent[id] {
		j.report(e)
	}
}

// take begins an offered job. It is false for an offer that cannot be taken now: its lane is not free, or
// its folder is there already.
func (p *poller) take(ctx context.Context, o wire.Offer) bool {
	p.taking.Lock()
	defer p.taking.Unlock()
	if !wire.IsUUID(o.JobID) || p.job(o.JobID) != nil || p.free()[laneOf(o.Kind)] == 0 {
		return false
	}
	known, err := p.store.Known(o.JobID)
	if err != nil {
		p.log.Error("the ledger cannot be read; the offered job is not taken", "job", o.JobID, "error", err)
		return false
	}
	lease := spool.RandomHex()
	record := spool.Job{Offer: o, Phase: wire.PhaseOffered, Lease: lease, OfferedAt: p.now().UTC()}
	p.log.Info("job offered", "job", o.JobID, "kind", o.Kind)
	p.begin(ctx, newJob(p.Runner, record), Offered{ID: o.JobID, Delivery: o.Delivery, Lease: lease, InLedger: known})
	p.status.changed()
	return true
}

// laneOf is a kind's lane; a kind this agent does not know is refused in the short one.
func laneOf(k wire.Kind) wire.Lane {
	if info, ok := k.Info(); ok {
		return info.Lane
	}
	return wire.LaneShort
}

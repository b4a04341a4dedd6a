package runner

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"sync"
	"time"

	"restic-manager/agent/client"
	"restic-manager/agent/planner"
	"restic-manager/agent/spool"
	"restic-manager/shared/failpoint"
	"restic-manager/shared/wire"
)

const (
	// longestSleep is how long the loop sleeps at most: a clock may be set, and the guard's word may change.
	longestSleep = 30 * time.Second
	// localRetry is how long a due time waits after a try to begin it here that was refused.
	localRetry = 10 * time.Minute
	// askRetry is how long ticks that the server refuses for another reason than their own wait.
	askRetry = 10 * time.Minute
)

// scheduler is the shell around planner.Plan: it keeps the book on disk, asks, tells and begins.
type scheduler struct {
	*Runner
	wake chan struct{}

	mu      sync.Mutex // guards the fields below
	book    planner.Book
	secrets *wire.Secrets
	// kept: the secrets on disk are these. Unclean: there may be some that the guard does not allow, or old ones.
	kept, unclean bool
	asking        bool
	askAfter      time.Time
	attempt       int
	batch         int // of one request; 0: all that fits
	// unsure is since when the server's clock is not known, by this host's; zero: it is.
	unsure  time.Time
	failing bool // the book cannot be written
}

func newScheduler(r *Runner) *scheduler {
	return &scheduler{Runner: r, wake: make(chan struct{}, 1), unclean: true}
}

// load reads what an earlier process left.
func (s *scheduler) load() error {
	if _, err := s.store.Schedule(&s.book); err != nil {
		return err
	}
	if s.book.Host != s.c.Settings.HostID {
		s.book = planner.Book{} // another server's, or of an earlier enrollment: with its secrets it goes
		return nil
	}
	s.book = s.book.Compiled(s.times)
	if s.c.Guard.KeepsSecrets() {
		secrets, err := s.store.Secrets()
		if err != nil {
			return err
		}
		s.secrets, s.kept = secrets, secrets != nil
	}
	if s.book.Repository == wire.RepositoryServer && s.secrets == nil {
		return nil // the configuration is asked for anew
	}
	s.version = s.book.Config
	return nil
}

func (s *scheduler) times(p wire.ScheduledPolicy) (planner.Times, error) {
	return planner.TimesOf(p, s.c.Settings.HostID)
}

// recovered opens the due times again whose jobs were to begin when the agent went, and did not.
func (s *scheduler) recovered(folders map[string]bool) error {
	for _, p := range s.book.Policies {
		for _, d := range p.Open {
			id := wire.TickJobID(p.ID, s.c.Settings.HostID, d.At)
			if !d.Begun || folders[id] {
				continue
			}
			known, err := s.store.Known(id)
			if err != nil {
				return err
			}
			if !known {
				s.book = s.book.GaveUp(p.ID, d.At, "the agent was stopped before it began", time.Time{})
			}
		}
	}
	return nil
}

// look makes the loop look again now.
func (s *scheduler) look() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// run looks at the schedule until ctx ends.
func (s *scheduler) run(ctx context.Context) {
	for ctx.Err() == nil {
		d := s.turn(ctx)
		t := time.NewTimer(d)
		select {
		case <-ctx.Done():
		case <-s.wake:
		case <-t.C:
		}
		t.Stop()
	}
}

// turn does what is to be done now, and returns how long nothing is.
func (s *scheduler) turn(ctx context.Context) time.Duration {
	s.keepSecrets()
	s.mu.Lock()
	f := s.facts()
	for looked := false; s.book.Judges(f.Now) && !looked; looked = true {
		s.mu.Unlock() // it may take a while
		power, metered := s.conditions(ctx)
		s.mu.Lock()
		f = s.facts()
		f.OnBattery, f.Metered = power == wire.PowerBattery, metered == wire.MeteredYes
	}
	book, actions, wake := planner.Plan(s.book, f)
	s.book = book
	s.mu.Unlock()
	for _, a := range actions {
		switch a := a.(type) {
		case planner.Tell:
			s.tell(ctx, a.Ticks)
		case planner.Save:
			if !s.save() {
				s.undo(actions)
				return min(saveRetry, longestSleep)
			}
		case planner.Begin:
			s.beginHere(ctx, a)
		}
	}
	if len(actions) > 0 {
		s.status.changed()
	}
	if wake.IsZero() {
		return longestSleep
	}
	return min(max(wake.Sub(f.Now), 0), longestSleep)
}

// conditions are those of this moment.
func (r *Runner) conditions(ctx context.Context) (wire.Power, wire.Metered) {
	if r.c.Conditions == nil {
		return wire.PowerUnknown, wire.MeteredUnknown
	}
	return r.c.Conditions(ctx)
}

// undo opens again what was to begin: the book could not say so durably.
func (s *scheduler) undo(actions []planner.Action) {
	for _, a := range actions {
		if b, ok := a.(planner.Begin); ok {
			s.giveUp(b.Policy.ID, b.DueAt, "the agent cannot write to its state folder", s.clockNow().Add(saveRetry))
		}
	}
}

// clockNow is the time that due times go by.
func (s *scheduler) clockNow() time.Time {
	now := s.now()
	if skew, _ := s.clock.now(now); skew != nil {
		return now.Add(*skew)
	}
	return now
}

// facts are what the rules judge by; s.mu is held.
func (s *scheduler) facts() planner.Facts {
	now := s.now()
	skew, stale := s.clock.now(now)
	f := planner.Facts{Host: s.c.Settings.HostID, Now: now, Wait: s.t.Local, Started: s.started, Booted: s.c.Booted,
		Asking: s.asking, AskAfter: s.askAfter, Batch: s.batch, Shut: s.shut(), Busy: map[wire.Lane]bool{}, Local: map[string]bool{}}
	if skew != nil {
		f.Now, f.Started, f.Booted = now.Add(*skew), f.Started.Add(*skew), f.Booted.Add(*skew)
		s.unsure = time.Time{}
	} else {
		if s.unsure.IsZero() {
			s.unsure = now
			if stale {
				s.changed() // the poll loop compares the clocks
			}
		}
		// Monotonic: the wall clock is what is in doubt.
		f.UnsureUntil = now.Add(max(s.t.Local-now.Sub(s.unsure), 0))
	}
	switch state, _, _, _ := s.contact.standing(); state {
	case ContactOnline:
		f.Answers = true
	case ContactUnauthorized:
		f.Refuses = true
	}
	for _, j := range s.all() {
		state := j.current()
		if state.Works() {
			f.Busy[j.lane()] = true
		}
		if state.Silent() && !state.Done {
			f.Local[j.id] = true
		}
	}
	return f
}

// shut says why the repository cannot be opened without the server; s.mu is held.
func (s *scheduler) shut() string {
	switch {
	case s.book.Repository == wire.RepositoryServer && s.secrets == nil:
		return "the repository's password is not kept here"
	case s.book.Repository != wire.RepositoryServer && s.c.Settings.Location() == "":
		return "this host has no repository in agent.yaml"
	}
	return ""
}

// opens is what opens the server's repository, as far as it is known here; nil: it is not.
func (s *scheduler) opens() *wire.Secrets {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.book.Repository != wire.RepositoryServer {
		return nil
	}
	return s.secrets
}

// configure takes a new schedule.
func (s *scheduler) configure(version string, told wire.Schedule) {
	s.mu.Lock()
	secrets := told.Secrets
	told.Secrets = nil
	s.book = s.book.Configured(version, told, s.facts(), s.times)
	if told.Repository != wire.RepositoryServer {
		secrets = nil
	}
	s.secrets, s.kept, s.unclean = secrets, false, true
	problems := map[string]string{}
	for _, p := range s.book.Policies {
		if p.Problem != "" {
			problems[p.Name] = p.Problem
		}
	}
	s.mu.Unlock()
	for name, problem := range maps.All(problems) {
		s.log.Error("a policy's due times cannot be told; it does not run", "policy", name, "error", problem)
	}
	s.keepSecrets()
	s.save()
	s.log.Info("the schedule is new", "version", told.Version, "policies", len(told.Policies))
	s.look()
	s.status.changed()
}

// keepSecrets has the secrets on disk where the guard allows it, and none there where it does not.
func (s *scheduler) keepSecrets() {
	s.mu.Lock()
	defer s.mu.Unlock()
	allowed := s.c.Guard.KeepsSecrets()
	switch {
	case allowed && s.secrets != nil && !s.kept:
		if err := s.store.SaveSecrets(s.secrets); err != nil {
			s.warn("the repository's password cannot be kept on disk", err)
			return
		}
		s.kept, s.unclean = true, false
	case (!allowed || s.secrets == nil) && (s.kept || s.unclean):
		if err := s.store.RemoveSecrets(); err != nil {
			s.warn("the repository's password is still on disk", err)
			return
		}
		s.kept, s.unclean = false, false
	}
}

// save makes the book durable; false: it could not.
func (s *scheduler) save() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.store.SaveSchedule(s.book); err != nil {
		s.warn("the schedule cannot be written; nothing begins by itself until it can", err)
		return false
	}
	s.failing = false
	return true
}

// warn says once that the state folder cannot be written; s.mu is held.
func (s *scheduler) warn(text string, err error) {
	if !s.failing {
		s.log.Error(text, "error", err)
	}
	s.failing = true
}

// tell sends ticks beside the loop.
func (s *scheduler) tell(ctx context.Context, ticks []wire.Tick) {
	s.mu.Lock()
	s.asking = true
	s.mu.Unlock()
	s.wait.Go(func() {
		reply, err := s.client.Ticks(ctx, wire.TicksRequest{Ticks: ticks})
		_ = failpoint.Hit("agent.ticks.answered")
		if ctx.Err() != nil {
			return
		}
		s.answered(ticks, reply, err)
		s.look()
	})
}

// answered takes an answer to ticks in.
func (s *scheduler) answered(ticks []wire.Tick, reply wire.TicksReply, err error) {
	s.mu.Lock()
	s.asking = false
	switch {
	case err == nil:
		s.book = s.book.Answered(ticks, reply.Ticks)
		s.attempt, s.askAfter = 0, time.Time{}
		if s.batch > 0 {
			if s.batch *= 2; s.batch >= wire.MaxTicks {
				s.batch = 0
			}
		}
	case !Final(err):
		s.askAfter = s.clockNow().Add(s.backoff(s.attempt, s.t.BackoffCap, err))
		s.attempt++
	case !invalid(err):
		s.log.Error("the server refuses to hear of due times", "error", err)
		s.askAfter = s.clockNow().Add(askRetry)
	case len(ticks) > 1:
		s.batch = len(ticks) / 2 // one of them is meant: find it
	default:
		s.log.Error("the server refuses a due time; it is forgotten", "policy", ticks[0].PolicyID, "due", ticks[0].DueAt, "error", err)
		s.book = s.book.Refused(ticks[0])
	}
	s.mu.Unlock()
	if err == nil || Final(err) {
		s.save()
		s.status.changed()
	}
}

// invalid: the request itself is found wrong, by whatever code. One of its due times is meant.
func invalid(err error) bool {
	e, ok := errors.AsType[*client.Error](err)
	return ok && (e.Status == http.StatusUnprocessableEntity || e.Status == http.StatusBadRequest)
}

// errHere says that a due time's job is here already.
var errHere = errors.New("its job was here before")

// beginHere begins the job of a due time without the server.
func (s *scheduler) beginHere(ctx context.Context, b planner.Begin) {
	s.taking.Lock()
	defer s.taking.Unlock()
	id := wire.TickJobID(b.Policy.ID, s.c.Settings.HostID, b.DueAt)
	known, err := s.store.Known(id)
	if err == nil && (known || s.job(id) != nil) {
		err = errHere
	}
	info, ok := b.Policy.Kind.Info()
	if err == nil && (!ok || s.works(info.Lane)) {
		err = errors.New("another job has the lane")
	}
	if err != nil {
		s.log.Warn("a due job does not begin by itself", "policy", b.Policy.Name, "due", b.DueAt, "error", err)
		s.giveUp(b.Policy.ID, b.DueAt, err.Error(), s.clockNow().Add(localRetry))
		return
	}
	s.mu.Lock()
	repository, secrets := s.book.Repository, s.secrets
	s.mu.Unlock()
	record := LocalJob(b, id, repository, spool.RandomHex(), s.now().UTC())
	j := newJob(s.Runner, record)
	j.secrets = secrets
	s.log.Info("the server is away; a due job begins by itself", "job", id, "policy", b.Policy.Name, "due", b.DueAt)
	s.begin(ctx, j, Begun{ID: id, Lease: record.Lease})
	s.changed()
}

// LocalJob is the job.json of a job that begins here.
func LocalJob(b planner.Begin, id, repository, lease string, now time.Time) spool.Job {
	return spool.Job{Offer: wire.Offer{JobID: id, Kind: b.Policy.Kind, Spec: b.Policy.Spec, Repository: wire.RepositoryRef{Name: repository},
		TimeLimitSeconds: b.Policy.TimeLimitSeconds, QueuedAt: b.DueAt.UTC()},
		Phase: wire.PhaseAccepted, Lease: lease, OfferedAt: now,
		Local: &spool.Local{PolicyID: b.Policy.ID, PolicyVersion: b.Policy.Version, DueAt: b.DueAt.UTC()}}
}

// works reports whether a job works in a lane, or is about to.
func (r *Runner) works(lane wire.Lane) bool {
	for _, j := range r.all() {
		if j.current().Works() && j.lane() == lane {
			return true
		}
	}
	return false
}

// waits: what was due before is to be told first.
func (s *scheduler) waits(l spool.Local) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.book.Waits(l.PolicyID, l.DueAt)
}

// gaveUp: a job that was begun here is gone, and nothing of it ran.
func (s *scheduler) gaveUp(l spool.Local, a GiveUp) {
	var notBefore time.Time
	if a.Refused {
		notBefore = s.clockNow().Add(localRetry)
	}
	s.giveUp(l.PolicyID, l.DueAt, a.Why, notBefore)
}

func (s *scheduler) giveUp(policyID string, at time.Time, why string, notBefore time.Time) {
	s.mu.Lock()
	s.book = s.book.GaveUp(policyID, at, why, notBefore)
	s.mu.Unlock()
	s.look()
}

// PolicyStatus is one policy that this host carries out by itself.
type PolicyStatus struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	// NextDueAt is zero where there is none; Problem says why then, or why a due job did not begin here.
	NextDueAt time.Time     `json:"next_due_at,omitzero"`
	Problem   string        `json:"problem,omitempty"`
	Last      *planner.Last `json:"last,omitempty"`
	// Held is which rule of the policy's own keeps the last due time from beginning.
	Held string `json:"held,omitempty"`
	// Open are the due times that the server does not have an outcome of yet.
	Open int `json:"open,omitempty"`
}

// Where the password is that opens the repository of the policies without the server.
const (
	PasswordHere   = "agent.yaml"
	PasswordMemory = "memory"
	PasswordDisk   = "disk"
	PasswordNot    = "not here"
)

// standing is what the status says of the schedule.
func (s *scheduler) standing() (policies []PolicyStatus, password string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clockNow()
	for _, p := range s.book.Policies {
		st := PolicyStatus{ID: p.ID, Name: p.Name, Last: p.Last, Open: len(p.Open), Problem: p.Problem}
		if st.Problem == "" && len(p.Open) > 0 {
			st.Problem = p.Refused
		}
		if n := len(p.Open) - 1; n >= 0 && p.Open[n].Outcome == "" {
			st.Held = p.Open[n].Held
		}
		if p.Times != nil {
			st.NextDueAt, _ = p.Times.Next(now)
		}
		policies = append(policies, st)
	}
	switch {
	case len(policies) == 0:
	case s.shut() != "":
		password = PasswordNot
	case s.book.Repository != wire.RepositoryServer:
		password = PasswordHere
	case s.kept:
		password = PasswordDisk
	default:
		password = PasswordMemory
	}
	return policies, password
}

package runner

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"restic-manager/agent/spool"
	"restic-manager/agent/supervise"
	"restic-manager/shared/failpoint"
	"restic-manager/shared/wire"
)

// job is the shell around Step for one job folder: it does the actions and reports the events. Its own
// goroutine alone steps; others read current, and report.
type job struct {
	*Runner
	id     string
	folder *spool.Folder
	wake   chan struct{} // something is in queue
	done   chan struct{} // closed when the job's goroutine ends

	mu       sync.Mutex // guards the fields below
	state    State
	queue    []tagged
	record   spool.Job // job.json as it should be
	secrets  *wire.Secrets
	progress wire.Progress
	told     bool          // the server has progress
	riding   *wire.Listing // the listing that rides on the finish
	snapshot string        // the new snapshot's whole id, where a listing had to tell it

	// Of the job's own goroutine, and of the one thing it awaits.
	plan     *plan
	finish   []byte
	parent   context.Context // the agent's
	ctx      context.Context // ends with the job
	cancel   context.CancelFunc
	helpers  sync.WaitGroup
	shipping *shipping
}

// tagged is an event and the shipper it comes from; nil: not from a shipper.
type tagged struct {
	event Event
	from  *shipping
}

func newJob(r *Runner, record spool.Job) *job {
	return &job{Runner: r, id: record.ID(), folder: r.store.Folder(record.ID()), record: record,
		wake: make(chan struct{}, 1), done: make(chan struct{})}
}

// DurableOf is the rules' part of a job.json.
func DurableOf(j spool.Job) Durable {
	return Durable{ID: j.ID(), Delivery: j.Offer.Delivery, Phase: j.Phase, Lease: j.Lease, Leases: j.AddLease(j.Lease).Leases,
		Nonce: j.Nonce, RepositoryID: j.RepositoryID, Listed: j.Listed, Local: j.Local != nil, Adopted: j.Local != nil && j.Local.Adopted}
}

// FolderOf is what the rules need of a look at a folder. known says that the ledger has the id.
func FolderOf(f spool.Facts, known bool) Folder {
	out := Folder{Claim: ClaimNone, Result: f.Result != nil, Finish: f.Finish != nil, Cancel: f.Canceled, InLedger: known}
	switch {
	case f.Claim == nil:
	case f.Claim.Kind == spool.ClaimAbandoned:
		out.Claim = ClaimAbandoned
	case f.SupervisorAlive:
		out.Claim = ClaimLiving
	default:
		out.Claim, out.Group = ClaimGone, f.RunAlive
	}
	if f.Ran && (out.Claim == ClaimNone || out.Claim == ClaimAbandoned) {
		out.InLedger = true // another nonce may have run it, or a file is damaged: never again
	}
	if f.Result != nil {
		info, _ := f.Job.Offer.Kind.Info()
		out.Lists = info.Lists && f.Result.Finish.State.Success()
	}
	if f.Finish != nil {
		out.Rides = rides(f.Finish)
	}
	return out
}

// current is the state of now.
func (j *job) current() State {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := j.state
	if s.ID == "" { // not begun yet
		s.Durable = DurableOf(j.record)
	}
	return s
}

// ref names the job by the lease it has now.
func (j *job) ref() wire.JobRef {
	s := j.current()
	return wire.JobRef{ID: j.id, Lease: s.Lease}
}

func (j *job) kind() wire.Kind {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.record.Offer.Kind
}

func (j *job) lane() wire.Lane { return laneOf(j.kind()) }

// report queues an event; it never blocks.
func (j *job) report(e Event) { j.reportFrom(nil, e) }

func (j *job) reportFrom(from *shipping, e Event) {
	j.mu.Lock()
	j.queue = append(j.queue, tagged{e, from})
	j.mu.Unlock()
	select {
	case j.wake <- struct{}{}:
	default:
	}
}

func (j *job) take() (tagged, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.queue) == 0 {
		return tagged{}, false
	}
	t := j.queue[0]
	j.queue = j.queue[1:]
	return t, true
}

// run leads the job until its folder is gone or put aside, or ctx ends. One that is about to begin then begins first: the
// server may have granted its start, and nothing may run it after this process but its supervisor.
func (j *job) run(ctx context.Context, first Event) {
	defer close(j.done)
	j.parent = ctx
	j.ctx, j.cancel = context.WithCancel(context.WithoutCancel(ctx)) // what leaving waits for is not to be cut off
	defer j.helpers.Wait()
	defer j.cancel()
	j.step(first)
	j.helpers.Go(j.reportProgress)
	look, result := time.NewTicker(j.t.Look), time.NewTicker(j.t.Result)
	defer look.Stop()
	defer result.Stop()
	stop, leaving := ctx.Done(), false
	var late <-chan time.Time
	for !j.current().Done {
		if leaving && !j.current().Beginning() {
			return
		}
		if t, ok := j.take(); ok {
			switch t.from {
			case nil:
				j.step(t.event)
			case j.shipping:
				j.stopShipping() // it ended with these words: the next Ship begins anew
				j.step(t.event)
			}
			continue
		}
		select {
		case <-stop:
			stop, leaving = nil, true
			leave := time.NewTimer(j.t.Leave)
			defer leave.Stop()
			late = leave.C
		case <-late:
			return
		case <-j.wake:
		case <-look.C:
			j.look()
		case <-result.C:
			j.lookForResult()
		}
	}
}

// look reports what the folder says now, or lets time pass where nothing is to be seen.
func (j *job) look() {
	if !j.current().Watched() {
		j.step(Tick{})
		return
	}
	facts, err := j.folder.Facts()
	if err != nil {
		j.log.Error("a job's folder cannot be looked at", "job", j.id, "error", err)
		return
	}
	j.step(Looked{Folder: FolderOf(facts, true)})
}

// lookForResult looks at once when restic has ended.
func (j *job) lookForResult() {
	if !j.current().Watched() {
		return
	}
	if r, err := j.folder.Result(); r != nil || err != nil {
		_ = failpoint.Hit("agent.result.found")
		j.look()
	}
}

// step applies an event and does what follows.
func (j *job) step(e Event) {
	for e != nil {
		before := j.current()
		s, actions := Step(j.state, e, j.now(), spool.RandomHex())
		j.mu.Lock()
		j.state = s
		j.mu.Unlock()
		if s.Phase != before.Phase || s.Orphan != before.Orphan {
			j.log.Debug("job", "job", j.id, "phase", s.Phase, "doing", s.Doing, "orphan", s.Orphan)
			j.status.changed()
		}
		if before.Occupies() && !s.Occupies() || before.Silent() && !s.Silent() {
			j.changed()
		}
		if before.Works() && !s.Works() || before.Silent() && !s.Silent() {
			j.schedule.look() // a lane is free, or what waited for the adopt may be asked for
		}
		e = nil
		for _, a := range actions {
			if e = j.do(a); e != nil {
				break // a failed save: the rest must not happen
			}
		}
	}
}

// do does one action. The event it returns is that of a failure which keeps the rest from being done.
func (j *job) do(a Action) Event {
	switch a := a.(type) {
	case Create:
		return j.create(a.Durable)
	case Save:
		return j.save(a)
	case CheckGuard:
		j.await(func(ctx context.Context) Event { return Guarded{Refusal: j.askGuard(ctx)} })
	case Accept:
		j.await(func(ctx context.Context) Event { return j.accept(ctx, a) })
	case CheckMachine:
		j.await(func(ctx context.Context) Event { return j.preflight(ctx) })
	case Start:
		j.await(func(ctx context.Context) Event { return j.start(ctx, a) })
	case Launch:
		j.await(func(ctx context.Context) Event { return j.launch(ctx, a) })
	case Abandon:
		j.report(j.abandon(a))
	case Resume:
		j.await(func(ctx context.Context) Event { return j.resume(ctx, a) })
	case Adopt:
		j.await(func(ctx context.Context) Event { return j.adopt(ctx, a) })
	case GiveUp:
		j.schedule.gaveUp(*j.record.Local, a)
	case EndGroup:
		j.await(j.endGroup)
	case Unlock:
		j.await(func(ctx context.Context) Event { j.finishHooks(ctx); j.unlock(ctx); return Unlocked{} })
	case WriteCancel:
		if err := j.folder.Cancel(); err != nil {
			j.log.Error("the order to cancel cannot be written", "job", j.id, "error", err)
			j.report(CancelFailed{})
		}
	case Ship:
		j.ship(a.Final)
	case StopShipping:
		j.stopShipping()
	case List:
		j.list(true)
	case FollowListing:
		j.list(false)
	case MakeFinish:
		j.makeFinish(a)
	case Finish:
		j.await(j.sendFinish)
	case Remove:
		j.remove(a)
	case PutAside:
		j.putAside(a)
	case Warn:
		j.warn(a.Text)
	}
	return nil
}

// await does something beside the job's goroutine and reports its outcome, unless the agent stops.
func (j *job) await(f func(context.Context) Event) {
	ctx := j.ctx
	j.helpers.Go(func() {
		if e := f(ctx); e != nil && ctx.Err() == nil {
			j.report(e)
		}
	})
}

func (j *job) create(d Durable) Event {
	j.mu.Lock()
	record := j.apply(d)
	j.mu.Unlock()
	if _, err := j.store.Create(record); err != nil {
		return j.saveFailed("a job's folder cannot be made; the job is refused", err)
	}
	_ = failpoint.Hit("agent.offer.durable")
	return nil
}

func (j *job) save(a Save) Event {
	j.mu.Lock()
	record := j.apply(a.Durable)
	j.mu.Unlock()
	err := j.folder.Save(record)
	if err == nil {
		if record.Phase == wire.PhaseStarting {
			_ = failpoint.Hit("agent.starting.durable")
		}
		return nil
	}
	if a.Optional {
		j.log.Warn("a job's state cannot be written; what it says is found again otherwise", "job", j.id, "phase", a.Durable.Phase, "error", err)
		return nil
	}
	return j.saveFailed("a job's state cannot be written", err)
}

// apply enters the rules' part into the record; j.mu is held.
func (j *job) apply(d Durable) spool.Job {
	j.record = d.Enter(j.record)
	return j.record
}

// Enter enters the rules' part into a job.json.
func (d Durable) Enter(j spool.Job) spool.Job {
	j.Phase, j.Lease, j.Leases = d.Phase, d.Lease, d.Leases
	j.Nonce, j.RepositoryID, j.Listed = d.Nonce, d.RepositoryID, d.Listed
	if j.Local != nil && j.Local.Adopted != d.Adopted {
		local := *j.Local
		local.Adopted = d.Adopted
		j.Local = &local
	}
	return j
}

func (j *job) saveFailed(what string, err error) Event {
	j.log.Error(what, "job", j.id, "error", err)
	e := wire.JobError{Code: wire.CodePreflight, Message: fmt.Sprintf("the agent cannot write to its state folder %s: %v", j.c.Paths.State, err)}
	if spool.IsNoSpace(err) {
		e = wire.JobError{Code: wire.CodeNoSpace, Message: fmt.Sprintf("the disk of the agent's state folder %s is full; free some space and retry the job", j.c.Paths.State)}
	}
	return SaveFailed{Error: e}
}

func (j *job) accept(ctx context.Context, a Accept) Event {
	var reply wire.AcceptReply
	err := j.until(ctx, func(ctx context.Context) (err error) {
		reply, err = j.client.Accept(ctx, j.id, wire.AcceptRequest{Lease: a.Lease, Delivery: a.Delivery})
		return err
	})
	if err == nil {
		j.learn(reply.Kind, reply.Spec, reply.Repository, reply.Secrets, reply.TimeLimitSeconds)
	}
	answer, rest := AnswerOf(err)
	_ = failpoint.Hit("agent.accept.answered")
	return Accepted{Answer: answer, RetryAfter: rest}
}

// learn keeps what the server said of the job; the secrets in memory only.
func (j *job) learn(k wire.Kind, spec []byte, repository wire.RepositoryRef, secrets *wire.Secrets, limit int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.secrets = secrets
	if k == "" {
		return
	}
	o := &j.record.Offer
	o.Kind, o.Spec, o.Repository, o.TimeLimitSeconds = k, spec, repository, limit
}

func (j *job) start(ctx context.Context, a Start) Event {
	err := j.until(ctx, func(ctx context.Context) error {
		return j.client.Start(ctx, j.ref(), wire.StartRequest{StartNonce: a.Nonce, RepositoryID: a.RepositoryID})
	})
	answer, rest := AnswerOf(err)
	_ = failpoint.Hit("agent.start.answered")
	return StartAnswered{Answer: answer, RetryAfter: rest}
}

// adopt tells the server of a job that was begun here.
func (j *job) adopt(ctx context.Context, a Adopt) Event {
	j.mu.Lock()
	record := j.record
	j.mu.Unlock()
	for j.schedule.waits(*record.Local) {
		if sleep(ctx, j.t.Look) != nil {
			return nil
		}
	}
	err := j.until(ctx, func(ctx context.Context) error {
		return j.client.Adopt(ctx, j.ref(), AdoptRequestOf(record, a))
	})
	answer, rest := AnswerOf(err)
	_ = failpoint.Hit("agent.adopt.answered")
	if answer != AnswerOK && answer != AnswerBusy {
		j.log.Warn("the server does not take a job that was begun here", "job", j.id, "error", err)
	}
	return Adopted{Answer: answer, RetryAfter: rest}
}

// AdoptRequestOf is what the server is told of a job that was begun here.
func AdoptRequestOf(j spool.Job, a Adopt) wire.AdoptRequest {
	started := j.StartedAt
	if started.IsZero() {
		started = j.OfferedAt // the agent was gone before it was noted
	}
	return wire.AdoptRequest{PolicyID: j.Local.PolicyID, PolicyVersion: j.Local.PolicyVersion, DueAt: j.Local.DueAt, Kind: j.Offer.Kind, Spec: j.Offer.Spec,
		StartNonce: a.Nonce, Repository: j.Offer.Repository.Name, RepositoryID: a.RepositoryID, TimeLimitSeconds: j.Offer.TimeLimitSeconds, StartedAt: started}
}

func (j *job) resume(ctx context.Context, a Resume) Event {
	var reply wire.ResumeReply
	err := j.until(ctx, func(ctx context.Context) (err error) {
		reply, err = j.client.Resume(ctx, j.id, wire.ResumeRequest{OldLease: a.Old, NewLease: a.New})
		return err
	})
	answer, _ := AnswerOf(err)
	if err == nil {
		j.learn(reply.Kind, reply.Spec, reply.Repository, reply.Secrets, reply.TimeLimitSeconds)
	} else {
		j.log.Warn("the server knows no such lease of the job", "job", j.id, "error", err)
	}
	return Resumed{Answer: answer, State: reply.State, LogComplete: reply.LogComplete, Cancel: reply.Cancel}
}

// launch starts the supervisor, which outlives this process.
func (j *job) launch(ctx context.Context, a Launch) Event {
	p := j.plan
	if p.target != "" {
		if err := makeTarget(p.target); err != nil {
			return LaunchDone{Error: &wire.JobError{Code: wire.CodeRestoreTarget, Message: err.Error()}}
		}
	}
	j.mu.Lock()
	j.record.StartedAt = j.now().UTC()
	j.mu.Unlock()
	order := supervise.Order{StateDir: j.c.Paths.State, JobID: j.id, Nonce: a.Nonce, Run: p.run, Nice: p.nice, IOClass: p.class, Proof: p.proof, Log: j.logLimits(),
		Grace: j.t.Grace, UnlockLimit: j.t.Unlock, Hooks: p.hooks}
	if !p.alone && j.mayUnlock(p.access, p.source) {
		order.Unlock = &p.access
	}
	if p.ifMissing {
		order.Existing = &p.access
	}
	_, err := supervise.Start(ctx, order)
	_ = failpoint.Hit("agent.spawned")
	if err == nil || errors.Is(err, supervise.ErrClaimed) {
		return LaunchDone{}
	}
	return LaunchDone{Error: &wire.JobError{Code: wire.CodeInterrupted, Message: fmt.Sprintf("restic was not started: %v. Retry the job", err)}}
}

func (j *job) abandon(a Abandon) Event {
	won, err := j.folder.Abandon(a.Nonce)
	if err != nil {
		j.log.Error("a claim cannot be linked", "job", j.id, "error", err)
		return AbandonDone{Failed: true}
	}
	return AbandonDone{Won: won}
}

// endGroup ends a restic that lost its supervisor; it tries until nobody is left.
func (j *job) endGroup(ctx context.Context) Event {
	j.log.Warn("a job's supervisor is gone and its restic lives; it is ended", "job", j.id)
	for {
		err := supervise.EndGroup(ctx, j.folder, j.t.Grace)
		if err == nil {
			return GroupEnded{}
		}
		if ctx.Err() != nil {
			return nil
		}
		j.log.Error("a restic without supervisor cannot be ended", "job", j.id, "error", err)
		if sleep(ctx, j.t.Look) != nil {
			return nil
		}
	}
}

// awaitReaped gives the killed restic's parent the time to reap it; without that its lock looks live.
func (j *job) awaitReaped(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, j.t.Reap)
	defer cancel()
	if err := supervise.AwaitReaped(ctx, j.folder); err != nil {
		j.log.Warn("an interrupted restic is still in the process table; a lock it left cannot be removed", "job", j.id, "error", err)
	}
}

// unlock removes the lock that a restic which went away may have left, where that is allowed.
func (j *job) unlock(ctx context.Context) {
	if info, ok := j.kind().Info(); !ok || info.Hold == wire.HoldNone || j.kind() == wire.KindInit || j.kind() == wire.KindSnapshots {
		return // these take no lock
	}
	ctx, cancel := context.WithTimeout(ctx, j.t.Unlock)
	defer cancel()
	j.awaitReaped(ctx)
	j.awaitClock(ctx)
	access, source, err := j.access(ctx)
	if err != nil || !j.mayUnlock(access, source) {
		return
	}
	if n, err := access.Unlock(ctx); err != nil {
		j.log.Warn("what an interrupted restic may have left locked could not be unlocked", "job", j.id, "error", err)
	} else if n > 0 {
		j.log.Info("a lock of an interrupted restic was removed", "job", j.id, "locks", n)
	}
}

// sendFinish sends the bytes as they are until they are answered.
func (j *job) sendFinish(ctx context.Context) Event {
	finish := j.finish
	if finish == nil {
		var err error
		if finish, err = j.folder.Finish(); err != nil || finish == nil {
			j.log.Error("a job's result cannot be read", "job", j.id, "error", err)
			return Finished{Answer: AnswerRefused}
		}
	}
	var reply wire.FinishReply
	tries := 0
	err := j.until(ctx, func(ctx context.Context) (err error) {
		if j.current().ran() {
			if err := j.sendProgress(ctx, j.current().Lease); err != nil && !Final(err) {
				if tries++; tries < lastTries {
					return err
				}
			}
		}
		reply, err = j.client.Finish(ctx, j.ref(), finish)
		return err
	})
	answer, _ := AnswerOf(err)
	_ = failpoint.Hit("agent.finish.answered")
	if answer == AnswerRefused {
		j.log.Error("the server refuses a job's result", "job", j.id, "error", err)
	}
	return Finished{Answer: answer, Late: reply.Late}
}

func (j *job) remove(a Remove) {
	j.end()
	if a.Rest > 0 {
		j.restLane(j.lane(), a.Rest)
	}
	if j.current().InMemory {
		return
	}
	remove := j.store.Remove
	if a.KeepFinish {
		remove = j.store.Settle
	}
	if err := remove(j.id); err != nil {
		j.log.Error("a settled job's folder cannot be deleted; it is tried again at the next start", "job", j.id, "error", err)
		return
	}
	j.log.Info("job settled", "job", j.id)
}

// lastBreath is how long a folder that is to be put aside waits for those who still live in it.
const lastBreath = 30 * time.Second

func (j *job) putAside(a PutAside) {
	j.end()
	j.warn("the job's folder is put aside: " + a.Why)
	err := j.store.PutAside(j.id, a.Why)
	// A supervisor that has just left its result takes a moment to be gone.
	for began := time.Now(); errors.Is(err, spool.ErrLocked) && time.Since(began) < lastBreath && sleep(j.parent, j.t.Result) == nil; {
		err = j.store.PutAside(j.id, a.Why)
	}
	if err != nil {
		j.log.Error("a job's folder cannot be put aside; it is tried again at the next start", "job", j.id, "error", err)
	}
}

// end stops what still goes on beside the job, before its folder goes.
func (j *job) end() {
	j.cancel()
	j.stopShipping()
	j.helpers.Wait()
}

func (j *job) warn(text string) {
	j.log.Warn(text, "job", j.id)
	j.status.alarm(Alarm{At: j.now(), JobID: j.id, Message: text})
}

// reportProgress tells the latest progress, at most once a second, while restic runs.
func (j *job) reportProgress() {
	tick := time.NewTicker(j.t.Progress)
	defer tick.Stop()
	for {
		select {
		case <-j.ctx.Done():
			return
		case <-tick.C:
		}
		s := j.current()
		if s.ended() || s.Orphan != "" {
			return
		}
		if s.Launched && s.Started && !s.Resume {
			_ = j.sendProgress(j.ctx, s.Lease)
		}
	}
}

// lastTries is how often the last progress, which nothing newer replaces, holds up the finish when it does
// not get through. It is tried before each try of the finish.
const lastTries = 3

// sendProgress tells the supervisor's latest, if it was not told yet. One that fails is not tried again: the
// next is newer.
func (j *job) sendProgress(ctx context.Context, lease string) error {
	p, ok, err := j.folder.Progress()
	if err != nil || !ok {
		return nil
	}
	j.mu.Lock()
	told := j.told && p.Seq == j.progress.Seq
	if p.Seq != j.progress.Seq {
		j.told = false
	}
	j.progress = p
	j.mu.Unlock()
	if told {
		return nil
	}
	j.status.changed()
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	reply, err := j.client.Progress(ctx, wire.JobRef{ID: j.id, Lease: lease}, p)
	if err == nil || Final(err) {
		j.mu.Lock()
		j.told = true
		j.mu.Unlock()
	}
	if answer, _ := AnswerOf(err); answer == AnswerGone {
		j.report(LeaseLost{Lease: lease})
	}
	if reply.Cancel {
		j.report(CancelAsked{})
	}
	return err
}

// describe is the job as the status shows it.
func (j *job) describe() JobStatus {
	s := j.current()
	j.mu.Lock()
	defer j.mu.Unlock()
	return JobStatus{ID: j.id, Kind: j.record.Offer.Kind, Phase: s.Phase, Since: j.record.OfferedAt, PercentDone: j.progress.PercentDone, Message: s.Orphan}
}

package simulation

import (
	"errors"
	"io"
	"log/slog"
	"slices"
	"time"

	"restic-manager/agent/client"
	"restic-manager/agent/guard"
	"restic-manager/agent/runner"
	"restic-manager/agent/spool"
	"restic-manager/shared/wire"
)

// jobRun is the shell around Step for one job folder, as runner's job is: it does the actions and reports the
// events.
type jobRun struct {
	*agent
	id     string
	folder *spool.Folder
	record spool.Job
	info   wire.KindInfo
	state  runner.State
	// doing is the action whose outcome is awaited: a copy of a living machine asks again for it.
	doing   runner.Action
	finish  []byte
	riding  *wire.Listing
	shipper *shipper
	listing *listing
	cached  folderLook
}

// folderLook is what a look found; it holds as long as nothing changed on the machine.
type folderLook struct {
	stamp  lookStamp
	folder runner.Folder
}

type lookStamp struct{ writes, supers, powers int }

var silent = slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: slog.LevelError + 1}))

func newJobRun(a *agent, record spool.Job) *jobRun {
	j := &jobRun{agent: a, id: record.ID(), folder: a.store.Folder(record.ID()), record: record}
	j.info, _ = record.Offer.Kind.Info()
	j.beginLooking()
	j.beginProgress()
	return j
}

// live lets the job do something later, unless it is over.
func (j *jobRun) live(d time.Duration, f func()) {
	j.after(d, func() {
		if !j.state.Done {
			f()
		}
	})
}

// beginLooking looks at the folder, or lets time pass, every 5 s.
func (j *jobRun) beginLooking() {
	j.live(5*time.Second, func() {
		j.look()
		j.beginLooking()
	})
}

func (j *jobRun) look() {
	if !j.state.Watched() {
		j.step(runner.Tick{})
		return
	}
	if now := j.m.stamp(); j.cached.stamp != now {
		facts, err := j.folder.Facts()
		if err != nil {
			j.m.w.say("%s: the folder of %s cannot be looked at: %v", j.m.name, j.m.w.name(j.id), err)
			return
		}
		j.cached = folderLook{now, runner.FolderOf(facts, true)}
	}
	j.step(runner.Looked{Folder: j.cached.folder})
}

// stamp changes with everything that a look at a folder could see.
func (m *machine) stamp() lookStamp { return lookStamp{m.disk.Writes(), m.locks, m.w.Counts.PowerCuts} }

// beginProgress tells the progress now and then; the real one does each second.
func (j *jobRun) beginProgress() {
	j.live(j.m.w.between(20*time.Second, time.Minute), func() {
		s := j.state
		if s.Launched && s.Started && !s.Resume && s.Orphan == "" && !s.Result && !s.Interrupted {
			j.sendProgress()
		}
		j.beginProgress()
	})
}

func (j *jobRun) sendProgress() {
	p, ok, err := j.folder.Progress()
	if err != nil || !ok {
		return
	}
	lease, srv, host := j.state.Lease, j.m.w.server, j.m.host
	send(j.process, "progress of "+j.m.w.name(j.id), 0, once(srv, host, func() (wire.ProgressReply, error) {
		return srv.jobs.Progress(host, j.id, lease, p)
	}), func(reply wire.ProgressReply, err error) {
		if j.state.Done {
			return
		}
		if answer, _ := runner.AnswerOf(err); answer == runner.AnswerGone {
			j.step(runner.LeaseLost{Lease: lease})
		}
		if reply.Cancel {
			j.step(runner.CancelAsked{})
		}
	})
}

// step applies an event and does what follows.
func (j *jobRun) step(e runner.Event) {
	w := j.m.w
	for e != nil && !j.state.Done {
		before := j.state
		s, actions := runner.Step(before, e, w.clock(), w.hex())
		j.state = s
		if w.tracing && (s.Phase != before.Phase || s.Doing != before.Doing || s.Orphan != before.Orphan) {
			w.say("%s: %s %T: phase %s, doing %q, lease %.6s %s", j.m.name, w.name(j.id), e, s.Phase, s.Doing, s.Lease, s.Orphan)
		}
		if (s.Phase != before.Phase || s.Doing != before.Doing) && w.faulty(w.plan.cancelStep) {
			w.after(w.some(time.Millisecond, 5*time.Second), func() { w.cancel(j.id) })
		}
		if before.Occupies() && !s.Occupies() || before.Silent() && !s.Silent() {
			j.changed()
		}
		if before.Works() && !s.Works() || before.Silent() && !s.Silent() {
			j.lookAtPlan()
		}
		e = nil
		for _, a := range actions {
			if w.faulty(w.plan.killStep) {
				w.say("%s: the agent is killed before %T of %s", j.m.name, a, w.name(j.id))
				panic(kill{j.process})
			}
			if e = j.do(a); e != nil {
				break
			}
		}
	}
	if j.state.Done {
		j.tidy()
	}
}

// do does one action; the event is that of a failed save.
func (j *jobRun) do(a runner.Action) runner.Event {
	w, m := j.m.w, j.m
	switch a := a.(type) {
	case runner.Create:
		j.record = a.Durable.Enter(j.record)
		if _, err := j.store.Create(j.record); err != nil {
			return j.saveFailed(err)
		}
	case runner.Save:
		j.record = a.Durable.Enter(j.record)
		if err := j.folder.Save(j.record); err != nil && !a.Optional {
			return j.saveFailed(err)
		}
	case runner.Abandon:
		won, err := j.folder.Abandon(a.Nonce)
		w.say("%s: %s: the claim of %.6s is abandoned: %v %v", m.name, w.name(j.id), a.Nonce, won, err)
		j.report(a, 0, func() runner.Event { return runner.AbandonDone{Won: won, Failed: err != nil} })
	case runner.WriteCancel:
		if err := j.folder.Cancel(); err != nil {
			j.after(0, func() { j.step(runner.CancelFailed{}) })
			return nil
		}
		m.cancelWritten(j.id)
	case runner.Adopt:
		j.adopt(a)
	case runner.GiveUp:
		j.gaveUp(a)
	case runner.Ship:
		j.ship(a.Final)
	case runner.StopShipping:
		j.stopShipping()
	case runner.List:
		j.doing = a
		j.list(true)
	case runner.FollowListing:
		j.list(false)
	case runner.MakeFinish:
		if a.From == runner.FromLedger {
			w.notRun(m, j.id)
		}
		f := runner.Finisher{Folder: j.folder, Store: j.store, Riding: j.riding, Now: m.clock().UTC(), Log: silent}
		j.finish = f.Make(a, j.state)
	case runner.Remove:
		j.remove(a)
	case runner.PutAside:
		w.putAside(m, j.id, a.Why)
		j.putAside(a.Why, 0)
	case runner.Warn:
		w.say("%s: %s: %s", m.name, w.name(j.id), a.Text)
	default:
		j.await(a)
	}
	return nil
}

// await does what takes time or asks the server.
func (j *jobRun) await(a runner.Action) {
	w, m := j.m.w, j.m
	s, host := w.server, m.host
	name := w.name(j.id)
	switch a := a.(type) {
	case runner.CheckGuard:
		j.report(a, w.between(0, 50*time.Millisecond), func() runner.Event { return runner.Guarded{Refusal: j.guard()} })
	case runner.Accept:
		ask(j, a, "accept of "+name, func() (wire.AcceptReply, error) {
			return s.accept(host, j.id, wire.AcceptRequest{Lease: a.Lease, Delivery: a.Delivery})
		}, func(_ wire.AcceptReply, answer runner.Answer, rest time.Duration) runner.Event {
			return runner.Accepted{Answer: answer, RetryAfter: rest}
		})
	case runner.CheckMachine:
		j.report(a, w.between(10*time.Millisecond, 8*time.Second), j.preflight)
	case runner.Start:
		lease := j.state.Lease
		ask(j, a, "start of "+name, func() (wire.Empty, error) {
			return fenced(s, j.id, lease, "start", func() (wire.Empty, error) {
				return wire.Empty{}, s.jobs.Start(host, j.id, lease, wire.StartRequest{StartNonce: a.Nonce, RepositoryID: a.RepositoryID})
			})
		}, func(_ wire.Empty, answer runner.Answer, rest time.Duration) runner.Event {
			return runner.StartAnswered{Answer: answer, RetryAfter: rest}
		})
	case runner.Resume:
		ask(j, a, "resume of "+name, func() (wire.ResumeReply, error) {
			return s.resume(host, j.id, wire.ResumeRequest{OldLease: a.Old, NewLease: a.New})
		}, func(reply wire.ResumeReply, answer runner.Answer, _ time.Duration) runner.Event {
			return runner.Resumed{Answer: answer, State: reply.State, LogComplete: reply.LogComplete, Cancel: reply.Cancel}
		})
	case runner.Launch:
		j.doing = a
		m.launch(j, a.Nonce)
	case runner.EndGroup:
		j.doing = a
		j.endGroup(a)
	case runner.Unlock:
		j.report(a, w.between(0, 3*time.Second), func() runner.Event { return runner.Unlocked{} })
	case runner.Finish:
		j.sendFinish(a)
	default:
		w.violate("actions", "nobody does %T", a)
	}
}

// report tells the outcome of an action d from now.
func (j *jobRun) report(a runner.Action, d time.Duration, outcome func() runner.Event) {
	j.doing = a
	j.live(d, func() { j.step(outcome()) })
}

// ask asks the server until a final answer, as runner's until does.
func ask[T any](j *jobRun, a runner.Action, what string, handle func() (T, error), event func(T, runner.Answer, time.Duration) runner.Event) {
	j.doing = a
	until(j, 0, what, handle, func() bool { return true }, func(v T, err error) {
		answer, rest := runner.AnswerOf(err)
		j.step(event(v, answer, rest))
	})
}

// until asks until a final answer, as long as wanted.
func until[T any](j *jobRun, attempt int, what string, handle func() (T, error), wanted func() bool, done func(T, error)) {
	send(j.process, what, 0, once(j.m.w.server, j.m.host, handle), func(v T, err error) {
		switch {
		case j.state.Done || !wanted():
		case err == nil || runner.Final(err):
			done(v, err)
		default:
			wait := j.backoff(attempt, client.BackoffCap, err)
			if client.Code(err) == wire.ProblemUnauthorized {
				wait = j.m.w.between(5*time.Minute, 10*time.Minute)
			}
			j.live(wait, func() {
				if wanted() {
					until(j, attempt+1, what, handle, wanted, done)
				}
			})
		}
	})
}

func (j *jobRun) saveFailed(err error) runner.Event {
	j.m.w.say("%s: the folder of %s cannot be written: %v", j.m.name, j.m.w.name(j.id), err)
	code := wire.CodePreflight
	if spool.IsNoSpace(err) {
		code = wire.CodeNoSpace
	}
	return runner.SaveFailed{Error: wire.JobError{Code: code, Message: err.Error()}}
}

// guard refuses some jobs, and those that need a right clock.
func (j *jobRun) guard() *wire.JobError {
	if r := j.clockRefusal(); r != nil {
		return &wire.JobError{Code: r.Code, Message: r.Message}
	}
	if j.m.w.r.IntN(40) == 0 {
		return &wire.JobError{Code: wire.CodeGuard, Message: "not allowed here"}
	}
	return nil
}

// clockRefusal is the guard's word on the clock.
func (j *jobRun) clockRefusal() *guard.Refusal {
	if j.m.w.blindToClocks {
		return nil
	}
	return guard.Clock(j.info.Kind, j.clockSkew())
}

// minFree is what must be free before a job starts, as runner's.
const minFree = 8 << 20

func (j *jobRun) preflight() runner.Event {
	refuse := func(code string) runner.Event {
		return runner.Preflighted{Refusal: &wire.JobError{Code: code, Message: "the preflight refuses"}}
	}
	if r := j.clockRefusal(); r != nil {
		return refuse(r.Code)
	}
	if free, err := j.store.FreeBytes(); err == nil && free < minFree {
		return refuse(wire.CodeNoSpace)
	}
	if j.m.w.r.IntN(40) == 0 {
		return refuse(wire.CodeRepositoryUnreachable)
	}
	if j.info.Kind == wire.KindInit {
		return runner.Preflighted{}
	}
	if !j.knowsRepository() {
		j.m.known = j.m.w.now
	}
	return runner.Preflighted{RepositoryID: j.m.repo.id}
}

// endGroup ends a restic that lost its supervisor: SIGINT, the grace, SIGKILL.
func (j *jobRun) endGroup(a runner.Action) {
	w := j.m.w
	d := w.some(100*time.Millisecond, wire.CancelGrace)
	w.say("%s: what the supervisor of %s left is ended", j.m.name, w.name(j.id))
	j.live(d, func() {
		j.m.endOrphan(j.id)
		if alive, err := j.folder.RunAlive(); err == nil && alive {
			j.endGroup(a)
			return
		}
		j.step(runner.GroupEnded{})
	})
}

func (j *jobRun) sendFinish(a runner.Finish) {
	w := j.m.w
	if j.finish == nil {
		var err error
		if j.finish, err = j.folder.Finish(); err != nil || j.finish == nil {
			j.report(a, 0, func() runner.Event { return runner.Finished{Answer: runner.AnswerRefused} })
			return
		}
	}
	body, s, host, lease := slices.Clone(j.finish), w.server, j.m.host, j.state.Lease
	ask(j, a, "finish of "+w.name(j.id), func() (wire.FinishReply, error) {
		return s.finish(host, j.id, lease, body)
	}, func(reply wire.FinishReply, answer runner.Answer, _ time.Duration) runner.Event {
		return runner.Finished{Answer: answer, Late: reply.Late}
	})
}

func (j *jobRun) remove(a runner.Remove) {
	j.stopShipping()
	if a.Rest > 0 {
		j.rest[j.info.Lane] = j.m.w.now + min(a.Rest, client.BackoffCap)
	}
	if j.state.InMemory {
		return
	}
	remove := j.store.Remove
	if a.KeepFinish {
		remove = j.store.Settle
	}
	if err := remove(j.id); err != nil {
		j.m.w.say("%s: the folder of %s stays: %v", j.m.name, j.m.w.name(j.id), err)
	}
}

// putAside waits for those who still live in the folder.
func (j *jobRun) putAside(why string, tries int) {
	j.stopShipping()
	err := j.store.PutAside(j.id, why)
	if err == nil {
		return
	}
	j.m.w.say("%s: the folder of %s is not put aside: %v", j.m.name, j.m.w.name(j.id), err)
	j.m.notAside = true
	if errors.Is(err, spool.ErrLocked) && tries < 30 {
		j.after(time.Second, func() { j.putAside(why, tries+1) })
	}
}

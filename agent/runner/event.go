package runner

import (
	"slices"
	"time"

	"restic-manager/shared/wire"
)

// Event is one thing that happened to a job. Applying it changes the state; Step then decides what
// comes next.
type Event interface {
	apply(s State, now time.Time) (State, []Action)
}

// Offered is the first event of a job the server offered. Lease is fresh.
type Offered struct {
	ID       string
	Delivery int
	Lease    string
	InLedger bool
}

func (e Offered) apply(s State, _ time.Time) (State, []Action) {
	s.Durable = Durable{ID: e.ID, Delivery: e.Delivery, Phase: wire.PhaseOffered, Lease: e.Lease, Leases: []string{e.Lease}}
	s.Claim, s.Spent = ClaimNone, e.InLedger
	return s, []Action{Create{Durable: s.Durable}}
}

// Begun is the first event of a job that the agent begins by itself, because the server is away. Lease is fresh; the
// id is not in the ledger.
type Begun struct {
	ID    string
	Lease string
}

func (e Begun) apply(s State, _ time.Time) (State, []Action) {
	s.Durable = Durable{ID: e.ID, Phase: wire.PhaseAccepted, Lease: e.Lease, Leases: []string{e.Lease}, Local: true}
	s.Claim = ClaimNone
	return s, []Action{Create{Durable: s.Durable}}
}

// Recovered is the first event of a job whose folder was found at the agent's start.
type Recovered struct {
	Durable Durable
	Folder  Folder
}

func (e Recovered) apply(s State, _ time.Time) (State, []Action) {
	f := e.Folder
	s.Durable, s.Recovered = e.Durable, true
	s.Claim, s.Group = f.Claim, f.Group
	s.Abandoned = f.Claim == ClaimAbandoned
	s.Launched = f.Claim == ClaimLiving || f.Claim == ClaimGone
	s.Result, s.Lists = f.Result, f.Lists
	s.Finish, s.Swept, s.Listed = f.Finish, f.Finish, s.Listed || f.Rides
	s.Canceled = f.Cancel
	s.Spent = f.InLedger && !s.ran()
	s.Resume = s.Phase != wire.PhaseOffered && !s.Silent()
	return s, nil
}

// SaveFailed: a Create or Save failed, and what followed it was not done.
type SaveFailed struct{ Error wire.JobError }

func (e SaveFailed) apply(s State, now time.Time) (State, []Action) {
	if s.Silent() {
		// Nothing was said of it: it is given up.
		s.Refusal, s.Launched, s.Nonce, s.Doing = &e.Error, false, "", Idle
		s.InMemory = s.InMemory || !s.Allowed
		return s, nil
	}
	switch s.Doing {
	case Resuming:
		// The old lease is still the one on disk: go on with it, and ask again later.
		s.Leases = s.Leases[:len(s.Leases)-1]
		s.Lease = s.Leases[len(s.Leases)-1]
		s.Tries, s.NotBefore = nil, now.Add(saveRetry)
	case Starting:
		s.Phase, s.Nonce, s.Refusal = wire.PhaseAccepted, "", &e.Error
	case Preflight:
		s.Refusal = &e.Error
	default:
		s.InMemory, s.Refusal = true, &e.Error
	}
	s.Doing = Idle
	return s, nil
}

// Guarded is the guard's answer; Refusal nil: it allows the job.
type Guarded struct{ Refusal *wire.JobError }

func (e Guarded) apply(s State, _ time.Time) (State, []Action) {
	if s.Doing != Guarding {
		return s, nil
	}
	s.Doing, s.Allowed, s.Refusal = Idle, e.Refusal == nil, e.Refusal
	return s, nil
}

// Answer is the server's final word on a request about a job.
type Answer string

// Answers.
const (
	AnswerOK         Answer = "ok"
	AnswerGone       Answer = "gone"        // 409 job_gone, 410 lease_lost, or refused for good
	AnswerBusy       Answer = "busy"        // 423
	AnswerNotStarted Answer = "not_started" // 409
	AnswerRefused    Answer = "refused"     // the request itself is found wrong; it will never be taken
)

// Accepted is accept's answer. RetryAfter is that of a busy one.
type Accepted struct {
	Answer     Answer
	RetryAfter time.Duration
}

func (e Accepted) apply(s State, _ time.Time) (State, []Action) {
	if s.Doing != Accepting {
		return s, nil
	}
	s.Doing = Idle
	if e.Answer != AnswerOK {
		s.Done = true
		return s, []Action{Remove{Rest: restAfter(e.Answer, e.RetryAfter)}}
	}
	s.Phase = wire.PhaseAccepted
	if s.Refusal != nil && !s.InMemory {
		return s, []Action{Save{Durable: s.Durable, Optional: true}}
	}
	return s, nil
}

// refusedRest is how long a lane asks for nothing after the server found a request wrong: it would offer the
// same job at once again.
const refusedRest = time.Minute

func restAfter(a Answer, asked time.Duration) time.Duration {
	if a == AnswerRefused {
		return max(asked, refusedRest)
	}
	return asked
}

// Preflighted is the preflight's outcome; Refusal nil: the job may start.
type Preflighted struct {
	RepositoryID string
	Refusal      *wire.JobError
}

func (e Preflighted) apply(s State, _ time.Time) (State, []Action) {
	if s.Doing != Preflight {
		return s, nil
	}
	s.Doing = Idle
	s.RepositoryID, s.Refusal = e.RepositoryID, e.Refusal
	s.Ready = e.Refusal == nil
	return s, nil
}

// StartAnswered is start's answer.
type StartAnswered struct {
	Answer     Answer
	RetryAfter time.Duration
}

func (e StartAnswered) apply(s State, now time.Time) (State, []Action) {
	if s.Doing != Starting {
		return s, nil
	}
	s.Doing = Idle
	switch {
	case e.Answer == AnswerOK && (s.ran() || s.Interrupted):
		s.Started, s.Refused = true, 0
	case e.Answer == AnswerOK && (s.Spent || s.Abandoned):
		s.Started, s.Interrupted = true, true
	case e.Answer == AnswerOK:
		s.Started, s.Launched, s.LaunchedAt = true, true, now
		s.Doing = Launching
		return s, []Action{Launch{Nonce: s.Nonce}}
	case !s.ran():
		s.Done = true
		return s, []Action{Remove{Rest: restAfter(e.Answer, e.RetryAfter)}}
	case e.Answer == AnswerBusy:
		s.Orphan = "the server queued the job again although it ran here"
	case s.Refused > 0:
		s.Orphan = "the server refuses the start of a job that ran here"
	default:
		s.Refused++
		s.loseLease()
	}
	return s, nil
}

// LaunchDone: the supervisor's process is there, or Error says why not.
type LaunchDone struct{ Error *wire.JobError }

func (e LaunchDone) apply(s State, now time.Time) (State, []Action) {
	if s.Doing != Launching {
		return s, nil
	}
	if e.Error != nil {
		s.Doing, s.LaunchError = Abandoning, e.Error
		return s, []Action{Warn{Text: "the job could not be launched: " + e.Error.Message}, Abandon{Nonce: s.Nonce}}
	}
	s.Doing, s.Phase, s.LaunchedAt = Idle, wire.PhaseRunning, now
	return s, []Action{Save{Durable: s.Durable, Optional: true}}
}

// Adopted is adopt's answer.
type Adopted struct {
	Answer     Answer
	RetryAfter time.Duration
}

func (e Adopted) apply(s State, now time.Time) (State, []Action) {
	if !s.Adopting {
		return s, nil
	}
	s.Adopting = false
	switch e.Answer {
	case AnswerOK:
		// A folder of an earlier life resumes as any other does: the server's word on log, cancel and secrets is news.
		s.Adopted, s.Started, s.Resume = true, true, s.Recovered || s.Readopted
		return s, []Action{Save{Durable: s.Durable, Optional: true}}
	case AnswerBusy:
		s.NotBefore = now.Add(max(e.RetryAfter, adoptRetry))
	default:
		s.Orphan = "the server does not take a job that was begun here: it ended otherwise there, or another host has it"
	}
	return s, nil
}

// mayReadopt: a server that knows nothing of a job begun here may be one restored to before the adopt.
func (s State) mayReadopt() bool { return s.Local && s.ran() && !s.Readopted }

// readopt tells it of the job once more. Its answer is final: of a job that it ended it says so.
func (s State) readopt() (State, []Action) {
	s.Resume, s.Tries, s.Adopted, s.Started, s.Readopted = false, nil, false, false, true
	return s, s.stopShipping(nil)
}

// adoptRetry is how long the agent waits before it tells the server again of a job that had no lane there.
const adoptRetry = 5 * time.Second

// AbandonDone: the claim is Won for the agent, or a supervisor had it first; Failed: neither is known.
type AbandonDone struct {
	Won    bool
	Failed bool
}

func (e AbandonDone) apply(s State, now time.Time) (State, []Action) {
	if s.Doing != Abandoning {
		return s, nil
	}
	s.Doing = Idle
	switch {
	case e.Failed:
		s.NotBefore = now.Add(saveRetry)
	case e.Won:
		s.Interrupted = s.Launched
		s.Launched, s.Abandoned, s.Claim = false, true, ClaimAbandoned
		return s, s.stopShipping(nil)
	default:
		s.Launched, s.Claim = true, ClaimLiving
	}
	return s, nil
}

// Looked is what a look at the folder found.
type Looked struct{ Folder Folder }

func (e Looked) apply(s State, _ time.Time) (State, []Action) {
	if !s.Watched() || s.Doing == Launching || s.Doing == Abandoning {
		return s, nil
	}
	f := e.Folder
	s.Claim, s.Group = f.Claim, f.Group
	if f.Result {
		s.Result, s.Lists, s.Phase = true, f.Lists, wire.PhaseEnded
		return s, []Action{Save{Durable: s.Durable, Optional: true}}
	}
	return s, nil
}

// GroupEnded: nothing of restic's process group is left.
type GroupEnded struct{}

func (GroupEnded) apply(s State, _ time.Time) (State, []Action) {
	if s.Doing != EndingGroup {
		return s, nil
	}
	s.Doing, s.Group, s.Interrupted, s.Phase = Idle, false, true, wire.PhaseEnded
	return s, nil
}

// Unlocked: the lock was seen to, or could not be.
type Unlocked struct{}

func (Unlocked) apply(s State, _ time.Time) (State, []Action) {
	if s.Doing == Unlocking {
		s.Doing, s.Swept = Idle, true
	}
	return s, nil
}

// Resumed is resume's answer; State, LogComplete and Cancel are the reply's.
type Resumed struct {
	Answer      Answer
	State       wire.State
	LogComplete bool
	Cancel      bool
}

func (e Resumed) apply(s State, now time.Time) (State, []Action) {
	if s.Doing != Resuming {
		return s, nil
	}
	s.Doing = Idle
	if s.Silent() {
		return s, nil // a drop came in between: the adopt decides
	}
	if e.Answer != AnswerOK {
		switch {
		case len(s.Tries) > 0:
		case s.mayReadopt():
			return s.readopt()
		default:
			s.Resume, s.Orphan = false, "the server knows none of the leases this job ever had"
		}
		return s, nil
	}
	s.Resume, s.Tries = false, nil
	s.Started = e.State != wire.StateAccepted && e.State != wire.StateQueued
	if s.Phase == wire.PhaseFinished && !e.State.Terminal() {
		s.Phase = wire.PhaseEnded // a restored server forgot the result
	}
	s.LogSettled = s.LogSettled || e.LogComplete
	switch {
	case !s.ran() && e.State.Terminal():
		s.Done = true
		return s, []Action{Remove{}}
	case !s.ran() && s.Started:
		s.Interrupted = true
	case e.Cancel:
		return CancelAsked{}.apply(s, now)
	}
	return s, nil
}

// Listed is the outcome of List: the listing rides on the finish, or follows it.
type Listed struct{ Rides bool }

func (e Listed) apply(s State, _ time.Time) (State, []Action) {
	if s.Doing == Listing {
		s.Doing, s.Listed, s.Following = Idle, s.Listed || e.Rides, !e.Rides
	}
	return s, nil
}

// ListingSettled: the listing is committed, or given up.
type ListingSettled struct{}

func (ListingSettled) apply(s State, _ time.Time) (State, []Action) {
	s.Listed = true
	return s, []Action{Save{Durable: s.Durable, Optional: true}}
}

// Finished is finish's answer.
type Finished struct {
	Answer Answer
	Late   bool
}

func (e Finished) apply(s State, _ time.Time) (State, []Action) {
	if s.Doing != Finishing {
		return s, nil
	}
	s.Doing = Idle
	before := !s.ran() && !s.Interrupted
	switch {
	case before && e.Answer == AnswerNotStarted && s.Nonce != "":
		s.Doing = Starting
		return s, []Action{Start{Nonce: s.Nonce, RepositoryID: s.RepositoryID}}
	case before:
		s.Done = true
		return s, []Action{Remove{}}
	case e.Answer == AnswerOK:
		s.Phase = wire.PhaseFinished
		out := []Action{Save{Durable: s.Durable, Optional: true}}
		if e.Late {
			out = append(out, Warn{Text: "the job had ended otherwise at the server; this result is kept there as a late report"})
		}
		return s, out
	case e.Answer == AnswerNotStarted:
		if !s.ran() {
			s.Doing = Starting
			return s, []Action{Start{Nonce: s.Nonce, RepositoryID: s.RepositoryID}}
		}
		s.Started = false
	case e.Answer == AnswerRefused:
		s.Orphan = "the server refuses the result"
	default:
		s.loseLease()
	}
	return s, nil
}

// LeaseLost is a 410 to a request that carried Lease.
type LeaseLost struct{ Lease string }

func (e LeaseLost) apply(s State, _ time.Time) (State, []Action) {
	if e.Lease == s.Lease && !s.Resume && s.Orphan == "" && !s.Silent() {
		s.loseLease()
	}
	return s, nil
}

// loseLease: a job that ran asks with each lease it ever had, the server may be a restored one; one
// that did not is over.
func (s *State) loseLease() {
	if s.ran() {
		s.Resume, s.Tries = true, nil
		return
	}
	s.Orphan = "the server took the job back"
}

// NotStarted: the server takes no log of the job because it knows of no start.
type NotStarted struct{}

func (NotStarted) apply(s State, _ time.Time) (State, []Action) {
	if s.ran() && !s.Resume {
		s.Shipping, s.ShipsLast, s.Started = false, false, false
	}
	return s, nil
}

// LogSettled: the server has every line of the final file.
type LogSettled struct{}

func (LogSettled) apply(s State, _ time.Time) (State, []Action) {
	s.Shipping, s.ShipsLast, s.LogSettled = false, false, true
	return s, nil
}

// LogStopped: the shipping of this log is over for good; Why is for people. The folder is kept.
type LogStopped struct{ Why string }

func (e LogStopped) apply(s State, _ time.Time) (State, []Action) {
	s.Shipping, s.ShipsLast, s.LogSettled, s.Alarm = false, false, true, e.Why
	return s, []Action{Warn{Text: e.Why}}
}

// CancelAsked: the server wants the job canceled. A supervisor that has not begun yet runs nothing then.
type CancelAsked struct{}

func (CancelAsked) apply(s State, _ time.Time) (State, []Action) {
	if s.Canceled || s.InMemory || s.ended() || s.Orphan != "" || s.Phase == wire.PhaseOffered || s.Silent() {
		return s, nil
	}
	s.Canceled = true
	return s, []Action{WriteCancel{}}
}

// CancelFailed: the cancel file could not be written; the next answer that carries the cancel tries again.
type CancelFailed struct{}

func (CancelFailed) apply(s State, _ time.Time) (State, []Action) {
	s.Canceled = false
	return s, nil
}

// DropAsked: the server no longer waits for this job here. Obeyed only for the lease the job now has.
type DropAsked struct{ Lease string }

func (e DropAsked) apply(s State, _ time.Time) (State, []Action) {
	if e.Lease != s.Lease || s.Orphan != "" || s.Silent() {
		return s, nil
	}
	if s.mayReadopt() {
		return s.readopt()
	}
	s.Orphan = "the server no longer waits for this job here"
	s.Resume = false
	if !s.ran() && slices.Contains([]Doing{Guarding, Accepting, Preflight, Starting}, s.Doing) {
		s.Doing = Idle // the answer is not waited for
	}
	return s, nil
}

// Tick lets time pass.
type Tick struct{}

func (Tick) apply(s State, _ time.Time) (State, []Action) { return s, nil }

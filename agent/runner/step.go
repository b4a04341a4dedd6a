package runner

import (
	"slices"
	"time"

	"restic-manager/shared/wire"
)

// ClaimDeadline is how long after its launch a supervisor may take to link its claim; then the agent
// tries to link it as abandoned, and whoever comes first decides.
const ClaimDeadline = 30 * time.Second

// saveRetry is how long the agent waits before it tries again to write a new lease to a full disk.
const saveRetry = 5 * time.Second

// Durable is what the rules keep of a job across a crash: their part of job.json.
type Durable struct {
	ID       string
	Delivery int
	Phase    wire.Phase
	// Lease is the one in use; Leases holds every one the job ever had, oldest first, Lease included.
	Lease  string
	Leases []string
	// Nonce is that of the latest start; empty before the first.
	Nonce string
	// RepositoryID is restic's own, as the preflight learnt it; empty when it could not.
	RepositoryID string
	// Listed: the listing after the job is settled, or rides.
	Listed bool
	// Local: the agent began the job by itself. Adopted: the server has it by now.
	Local   bool
	Adopted bool
}

// Claim is what a look at a job's folder says of the supervisor of its latest nonce.
type Claim string

// Claims.
const (
	ClaimNone      Claim = "none"      // no claim: nothing ran by this nonce, so far
	ClaimAbandoned Claim = "abandoned" // the agent took the claim: nothing will ever run by this nonce
	ClaimLiving    Claim = "living"    // the supervisor holds its lock
	ClaimGone      Claim = "gone"      // the claim is a supervisor's and the lock is free
)

// Folder is what a look at a job's folder finds. The lock is looked at before the result, else a
// supervisor that ends between the two looks would seem to have left none.
type Folder struct {
	Claim Claim
	// Group: the supervisor is gone and processes of restic's group are alive.
	Group bool
	// Result: result.json is there. Lists: it is a success of a kind that a listing follows.
	Result bool
	Lists  bool
	// Finish: finish.json is there. Rides: it holds a listing. Rejects: it is that of a rejected job.
	Finish  bool
	Rides   bool
	Rejects bool
	// Cancel: the cancel file is there.
	Cancel bool
	// InLedger: the job's id is in the ledger of what was ever run.
	InLedger bool
}

// Doing is the one thing of a job's main line whose outcome is awaited. Shipping and the listing that
// follows go on beside it.
type Doing string

// Things a job can be doing.
const (
	Idle        Doing = ""
	Guarding    Doing = "guard"
	Accepting   Doing = "accept"
	Preflight   Doing = "preflight"
	Starting    Doing = "start"
	Launching   Doing = "launch"
	Abandoning  Doing = "abandon"
	EndingGroup Doing = "end group"
	Resuming    Doing = "resume"
	Unlocking   Doing = "unlock"
	Listing     Doing = "list"
	Finishing   Doing = "finish"
)

// State is all that the rules know of one job folder. Only Durable survives a crash; the rest is found
// again by a look at the folder and by resume.
type State struct {
	Durable
	Doing Doing
	// InMemory: the disk had no room for the folder; the job is refused without one.
	InMemory bool
	// Spent: the ledger holds this id from an earlier life. It is never run again.
	Spent bool
	// Allowed: the guard was asked in this life and did not refuse. Ready: the preflight did not either.
	Allowed bool
	Ready   bool
	// Resume: resume must be answered before anything else is said about the job. Tries are the old
	// leases this round has yet to try, the next one last. NotBefore puts the next try off.
	Resume    bool
	Tries     []string
	NotBefore time.Time
	// Launched: a supervisor of Nonce may have run, or does. Since when, if this process launched it.
	Launched   bool
	LaunchedAt time.Time
	// LaunchError is why no supervisor could be started.
	LaunchError *wire.JobError
	// Recovered: the folder was found at the agent's start. Abandoned: Nonce's claim is the agent's.
	Recovered bool
	Abandoned bool
	Claim     Claim
	Group     bool
	// Started: the server knows of the start. Refused counts the starts of a job that ran which the
	// server refused in a row.
	Started bool
	Refused int
	// Refusal is why the job is rejected before its start; nil: it is not.
	Refusal *wire.JobError
	// Result: restic ended and left a result. Interrupted: it is gone and left none. Swept: what it may
	// have left in the repository was seen to.
	Result      bool
	Interrupted bool
	Swept       bool
	// Finish: the bytes of finish.json are made.
	Finish bool
	// Canceled: the cancel file is written.
	Canceled bool
	// Orphan says why the server no longer waits for this job here; empty: it does.
	Orphan string
	// Shipping: a shipper is at work; ShipsLast: it knows that the file is final. LogSettled: there is
	// nothing left for it. Alarm says why it stopped for good, so that the folder is kept; empty: it did not.
	Shipping   bool
	ShipsLast  bool
	LogSettled bool
	Alarm      string
	// Lists: a listing follows this result. Following: it is under way beside the log.
	Lists     bool
	Following bool
	// Adopting: an adopt is under way beside the job. Readopted: the server forgot one, and was told once more.
	Adopting  bool
	Readopted bool
	// Done: the folder is gone or put aside; nothing more happens.
	Done bool
}

// Silent reports whether nothing of the job is sent to the server, and no drop and no cancel is heard: it began here and
// was not adopted yet.
func (s State) Silent() bool { return s.Local && !s.Adopted }

// ran: restic may have run, or runs.
func (s State) ran() bool { return s.Launched || s.Result }

// ended: restic is gone, with or without a result.
func (s State) ended() bool { return s.Result || s.Interrupted }

// Occupies reports whether the job takes its lane at this host: until restic has ended and the server
// has been told.
func (s State) Occupies() bool { return !s.Done && s.Phase != wire.PhaseFinished }

// Named reports whether polls and hellos name the job. While an adopt is out its answer may have been lost, so that the
// server waits for a sign of life.
func (s State) Named() bool { return !s.Silent() || s.Adopting }

// Works reports whether restic runs, or may be about to.
func (s State) Works() bool { return !s.Done && !s.ended() }

// Beginning reports whether a start was asked for and its supervisor does not run yet.
func (s State) Beginning() bool { return !s.Done && (s.Doing == Starting || s.Doing == Launching) }

// Watched reports whether the folder must be looked at every few seconds.
func (s State) Watched() bool { return !s.Done && s.Launched && !s.ended() && s.Doing != EndingGroup }

// Step is the agent's rules for one job: what an event does to its state, and what must be done, in
// that order. It reads no clock, draws no random number and does no I/O: now is the time, random 128 fresh
// bits in hex of which at most one lease or nonce is made. Of the actions at most one reports an outcome
// that State.Doing awaits; when a Save or Create among them fails, the rest is dropped and SaveFailed is
// the next event.
func Step(s State, e Event, now time.Time, random string) (State, []Action) {
	if s.Done {
		return s, nil
	}
	var out []Action
	s.Leases, s.Tries = slices.Clone(s.Leases), slices.Clone(s.Tries)
	s, out = e.apply(s, now)
	return s.advance(out, now, random)
}

// advance decides what comes next when nothing is awaited.
func (s State) advance(out []Action, now time.Time, random string) (State, []Action) {
	if s.Done || s.Doing != Idle {
		return s, out
	}
	// What concerns this machine alone comes before what needs the server.
	switch {
	case s.mustAbandon(now):
		s.Doing = Abandoning
		return s, append(out, Abandon{Nonce: s.Nonce})
	case s.Launched && !s.ended() && s.Claim == ClaimGone && s.Group:
		s.Doing = EndingGroup
		return s, append(out, EndGroup{})
	case s.Launched && !s.ended() && s.Claim == ClaimGone:
		s.Interrupted, s.Phase = true, wire.PhaseEnded
	}
	if s.Orphan != "" {
		return s.advanceOrphan(out)
	}
	if s.Silent() {
		return s.advanceLocal(out, now, random)
	}
	if s.Resume {
		return s.advanceResume(out, now, random)
	}
	if !s.ran() && !s.Interrupted {
		return s.advanceBefore(out, random)
	}
	return s.advanceAfter(out)
}

// mustAbandon: a start whose supervisor was never seen is decided by the claim, which one side only
// can link. A folder found in the phase starting is such a start, and so is a launch that has shown
// nothing for too long.
func (s *State) mustAbandon(now time.Time) bool {
	if s.Nonce == "" || s.Claim != ClaimNone || s.Abandoned || s.ended() || now.Before(s.NotBefore) {
		return false
	}
	if s.Launched {
		return !s.LaunchedAt.IsZero() && now.Sub(s.LaunchedAt) >= ClaimDeadline
	}
	return s.Recovered && s.Phase != wire.PhaseOffered && s.Phase != wire.PhaseAccepted
}

// advanceOrphan: the server does not wait for this job here. What never ran is deleted; what did runs
// on to its end and is put aside, its result kept for an id that is offered again.
func (s State) advanceOrphan(out []Action) (State, []Action) {
	out = s.stopShipping(out)
	switch {
	case !s.ran() && s.Nonce != "" && s.Claim == ClaimNone && s.Recovered:
		return s, out // not before the claim is decided
	case !s.ran():
		s.Done = true
		return s, append(out, Remove{})
	case !s.ended():
		return s, out
	case s.Interrupted && !s.Swept:
		s.Doing = Unlocking
		return s, append(out, Unlock{})
	}
	if !s.Finish {
		s.Finish = true
		out = append(out, s.makeFinish())
	}
	s.Done = true
	return s, append(out, PutAside{Why: s.Orphan})
}

// advanceLocal leads a job that the server does not know of: to its start, or out of the way where nothing of it ran.
// What runs, or ran, is adopted before anything else is said of it.
func (s State) advanceLocal(out []Action, now time.Time, random string) (State, []Action) {
	switch {
	case s.ran():
		return s.adopt(out, now)
	case s.Refusal != nil:
		return s.giveUp(out, GiveUp{Why: s.Refusal.Message, Refused: true})
	case s.LaunchError != nil:
		return s.giveUp(out, GiveUp{Why: s.LaunchError.Message, Refused: true})
	case s.Spent:
		// Put aside its id stays known: the due time is asked for, and not begun here again.
		s.Done = true
		why := "the ledger has this job already"
		return s, append(out, PutAside{Why: why}, GiveUp{Why: why, Refused: true})
	case s.Recovered && s.Nonce != "" && s.Claim == ClaimNone && !s.Abandoned:
		return s, out // not before the claim is decided
	case s.Recovered, s.Interrupted:
		return s.giveUp(out, GiveUp{Why: "the agent was stopped before restic ran"})
	case !s.Allowed:
		s.Doing = Guarding
		return s, append(out, CheckGuard{})
	case !s.Ready:
		s.Doing = Preflight
		return s, append(out, CheckMachine{})
	}
	s.Phase, s.Nonce = wire.PhaseStarting, random
	s.Launched, s.LaunchedAt, s.Doing = true, now, Launching
	return s, append(out, Save{Durable: s.Durable}, Launch{Nonce: s.Nonce})
}

// giveUp ends a job of which nothing ran and nothing was said: its due time is open again.
func (s State) giveUp(out []Action, why GiveUp) (State, []Action) {
	s.Done = true
	return s, append(out, Remove{}, why)
}

// adopt tells the server of the job, once its claim was seen: before that it may yet turn out that nothing ran. What
// concerns this machine alone goes on beside it.
func (s State) adopt(out []Action, now time.Time) (State, []Action) {
	if !s.Adopting && (s.Claim != ClaimNone || s.Result) && !now.Before(s.NotBefore) {
		s.Adopting = true
		out = append(out, Adopt{Nonce: s.Nonce, RepositoryID: s.RepositoryID})
	}
	if s.Interrupted && !s.Swept {
		s.Doing = Unlocking
		out = append(out, Unlock{})
	}
	return s, out
}

// stopShipping ends the shipper where there is one.
func (s *State) stopShipping(out []Action) []Action {
	if !s.Shipping {
		return out
	}
	s.Shipping, s.ShipsLast = false, false
	return append(out, StopShipping{})
}

// advanceResume asks the server with the next old lease of this round. The round's new lease
// is durable before it is sent, and is the job's from then on.
func (s State) advanceResume(out []Action, now time.Time, random string) (State, []Action) {
	if now.Before(s.NotBefore) {
		return s, out
	}
	out = s.stopShipping(out)
	if len(s.Tries) == 0 {
		s.Tries = tries(s.Leases)
		s.Lease = random
		s.Leases = append(s.Leases, random)
		out = append(out, Save{Durable: s.Durable})
	}
	last := len(s.Tries) - 1
	old := s.Tries[last]
	s.Tries = s.Tries[:last]
	s.Doing = Resuming
	return s, append(out, Resume{Old: old, New: s.Lease})
}

// tries are the old leases of a round, the first to be tried last: the newest, which it is nearly always, then all
// from the oldest on. A resume of an earlier process may come late and move the server from an older lease to a
// newer one between two tries, never back: going upwards meets it.
func tries(leases []string) []string {
	all := slices.Clone(leases)
	if newest := len(all) - 1; newest > 0 {
		slices.Reverse(all)
		all = append(all, leases[newest])
	}
	return all
}

// advanceBefore leads a job that never ran to its start or its refusal.
func (s State) advanceBefore(out []Action, random string) (State, []Action) {
	switch {
	case s.Refusal == nil && !s.Allowed && !s.Spent && s.Phase == wire.PhaseOffered:
		s.Doing = Guarding
		return s, append(out, CheckGuard{})
	case s.Phase == wire.PhaseOffered:
		s.Doing = Accepting
		return s, append(out, Accept{Lease: s.Lease, Delivery: s.Delivery})
	case s.Finish || s.Refusal != nil:
		return s.finish(out)
	case s.Spent || s.Ready:
		return s.start(out, random)
	}
	s.Doing = Preflight
	return s, append(out, Save{Durable: s.Durable}, CheckMachine{})
}

// start draws the nonce and has it on disk before it is sent.
func (s State) start(out []Action, random string) (State, []Action) {
	s.Phase, s.Nonce = wire.PhaseStarting, random
	s.Abandoned, s.Claim, s.Recovered = false, ClaimNone, false
	s.Doing = Starting
	return s, append(out, Save{Durable: s.Durable}, Start{Nonce: s.Nonce, RepositoryID: s.RepositoryID})
}

// advanceAfter leads a job that ran, or that may never run again, to its end.
func (s State) advanceAfter(out []Action) (State, []Action) {
	if s.ran() && !s.Started {
		// The server says accepted of a job that ran: it is a restored one, or start's answer was lost.
		s.Doing = Starting
		return s, append(out, Start{Nonce: s.Nonce, RepositoryID: s.RepositoryID})
	}
	if s.ran() && !s.LogSettled && (!s.Shipping || !s.ShipsLast && s.ended()) {
		s.Shipping, s.ShipsLast = true, s.ended()
		out = append(out, Ship{Final: s.ShipsLast})
	}
	if !s.ended() {
		return s, out
	}
	switch {
	case s.Interrupted && s.ran() && !s.Swept:
		s.Doing = Unlocking
		return s, append(out, Unlock{})
	case s.Phase == wire.PhaseFinished:
		return s.settle(out)
	case s.Lists && !s.Listed && !s.Following && !s.Finish:
		s.Doing = Listing
		return s, append(out, List{})
	}
	return s.finish(out)
}

// finish makes the bytes of the result once, and sends them.
func (s State) finish(out []Action) (State, []Action) {
	if !s.Finish {
		s.Finish = true
		out = append(out, s.makeFinish())
	}
	s.Doing = Finishing
	return s, append(out, Finish{})
}

// makeFinish says what the result is made of.
func (s *State) makeFinish() MakeFinish {
	switch {
	case s.Refusal != nil:
		return MakeFinish{From: FromRefusal, Error: s.Refusal, InMemory: s.InMemory}
	case s.Result:
		return MakeFinish{From: FromResult}
	case s.Spent:
		return MakeFinish{From: FromLedger, Error: &wire.JobError{Code: wire.CodeInterrupted,
			Message: "this job ran on this host before and its result is no longer known; it was not run again. Queue a new job if it is needed"}}
	case s.Launched:
		return MakeFinish{From: FromInterruption, Error: &wire.JobError{Code: wire.CodeInterrupted,
			Message: "restic or the machine went away in the middle; retry the job"}}
	case s.LaunchError != nil:
		return MakeFinish{From: FromInterruption, Error: s.LaunchError}
	}
	return MakeFinish{From: FromInterruption, Error: &wire.JobError{Code: wire.CodeInterrupted,
		Message: "the agent went away between the start and restic's first breath; restic did not run. Retry the job"}}
}

// settle ends a job whose finish was acknowledged once its log and its listing need nothing more.
func (s State) settle(out []Action) (State, []Action) {
	switch {
	case s.Lists && !s.Listed && !s.Following:
		// The one of an earlier life is lost with it: list anew, beside the log.
		s.Following = true
		return s, append(out, FollowListing{})
	case s.Lists && !s.Listed, s.ran() && !s.LogSettled:
		return s, out
	case s.Alarm != "":
		s.Done = true
		return s, append(out, PutAside{Why: s.Alarm})
	}
	s.Done = true
	return s, append(out, Remove{KeepFinish: true})
}

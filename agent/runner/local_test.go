package runner

import (
	"reflect"
	"testing"
	"time"

	"restic-manager/shared/wire"
)

var begun = Begun{ID: testID, Lease: random(0)}

// locally is a script whose job runs here and the server does not know of it.
func (s *script) locally() *script {
	s.do(begun, Guarded{}, Preflighted{RepositoryID: "r"}, LaunchDone{}, Looked{living})
	return s
}

// localAt is the folder of a job that an earlier process began here.
func localAt(p wire.Phase, adopted bool, f Folder) Recovered {
	e := recoveredAt(p, f)
	e.Durable.Local, e.Durable.Adopted, e.Durable.Delivery = true, adopted, 0
	return e
}

func TestLocalJobGoesFromItsBeginToTheEnd(t *testing.T) {
	s := newScript(t)
	s.expect("Create CheckGuard", begun)
	s.expect("CheckMachine", Guarded{})
	s.expect("Save:starting Launch", Preflighted{RepositoryID: "r"})
	s.expect("Save?", LaunchDone{})
	s.expect("", Looked{Folder{Claim: ClaimNone}}) // it may yet turn out that nothing runs
	out := s.step(Looked{living})
	if want := []Action{Adopt{Nonce: s.state.Nonce, RepositoryID: "r"}}; !reflect.DeepEqual(out, want) {
		t.Fatalf("got %+v, want %+v", out, want)
	}
	s.expect("", Looked{living})
	s.expect("Save? Ship", Adopted{Answer: AnswerOK})
	s.expect("Save? Ship:final List", Looked{Folder{Claim: ClaimGone, Result: true, Lists: true}})
	s.expect("MakeFinish:result Finish", Listed{Rides: true})
	s.expect("Save?", Finished{Answer: AnswerOK})
	s.expect("Remove:keep", LogSettled{})
}

func TestLocalJobEndsBeforeTheServerIsBack(t *testing.T) {
	s := newScript(t).locally()
	s.expect("Save?", Looked{Folder{Claim: ClaimGone, Result: true, Lists: true}})
	if s.state.Works() {
		t.Error("the lane is taken by a restic that ended")
	}
	if !s.state.Occupies() {
		t.Error("the lane is free for the server before it has the job")
	}
	for range 100 {
		s.now = s.now.Add(time.Hour)
		s.expect("", Tick{})
	}
	s.expect("Save? Ship:final List", Adopted{Answer: AnswerOK})
}

func TestLocalJobThatCannotBeginIsGivenUp(t *testing.T) {
	no := &wire.JobError{Code: wire.CodeGuard, Message: "no"}
	for name, events := range map[string][]Event{
		"no room for the folder": {begun, SaveFailed{*no}},
		"guard":                  {begun, Guarded{Refusal: no}},
		"preflight":              {begun, Guarded{}, Preflighted{Refusal: no}},
		"no room for the nonce":  {begun, Guarded{}, Preflighted{}, SaveFailed{*no}},
		"launch":                 {begun, Guarded{}, Preflighted{}, LaunchDone{Error: no}, AbandonDone{Won: true}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScript(t)
			s.expect("Remove GiveUp", events...)
		})
	}
	s := newScript(t)
	s.do(begun, Guarded{}, Preflighted{}, LaunchDone{Error: no})
	out := s.step(AbandonDone{Won: true})
	if got, want := out[len(out)-1], (GiveUp{Why: "no", Refused: true}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestAdoptIsAskedAgainAfterAWhileWhenTheHostIsBusy(t *testing.T) {
	s := newScript(t).locally()
	s.expect("", Adopted{Answer: AnswerBusy, RetryAfter: time.Minute})
	s.now = s.now.Add(time.Minute - time.Second)
	s.expect("", Tick{})
	s.now = s.now.Add(time.Second)
	s.expect("Adopt", Tick{})
	s.expect("", Adopted{Answer: AnswerBusy})
	s.now = s.now.Add(adoptRetry - time.Second)
	s.expect("", Looked{living})
	s.now = s.now.Add(time.Second)
	s.expect("Adopt", Looked{living})
}

// TestAJobThatIsNotAdoptedRunsOnAndIsPutAside: the server had it end otherwise.
func TestAJobThatIsNotAdoptedRunsOnAndIsPutAside(t *testing.T) {
	for _, a := range []Answer{AnswerGone, AnswerRefused} {
		s := newScript(t).locally()
		s.expect("", Adopted{Answer: a})
		s.expect("", Looked{living})
		s.expect("Save? MakeFinish:result PutAside", Looked{Folder{Claim: ClaimGone, Result: true}})
	}
}

func TestNoCancelAndNoDropBeforeTheAdopt(t *testing.T) {
	s := newScript(t).locally()
	s.expect("", CancelAsked{})
	s.expect("", DropAsked{Lease: s.state.Lease})
	s.expect("", LeaseLost{Lease: s.state.Lease})
	s.do(Adopted{Answer: AnswerOK})
	s.expect("WriteCancel", CancelAsked{})
}

// TestRestartOfAnAgentWithALocalJob: what did not run is given up; what did is adopted by the lease on disk, and then
// resumed as any other.
func TestRestartOfAnAgentWithALocalJob(t *testing.T) {
	s := newScript(t)
	s.expect("Remove GiveUp", localAt(wire.PhaseAccepted, false, Folder{Claim: ClaimNone}))
	s = newScript(t)
	s.expect("Abandon", localAt(wire.PhaseStarting, false, Folder{Claim: ClaimNone}))
	s.expect("Remove GiveUp", AbandonDone{Won: true})
	s = newScript(t)
	s.expect("Remove GiveUp", localAt(wire.PhaseStarting, false, Folder{Claim: ClaimAbandoned}))
	s = newScript(t)
	s.expect("PutAside GiveUp", localAt(wire.PhaseAccepted, false, Folder{Claim: ClaimNone, InLedger: true}))
	s = newScript(t)
	s.expect("Abandon", localAt(wire.PhaseStarting, false, Folder{Claim: ClaimNone}))
	s.expect("Adopt", AbandonDone{Won: false}) // a supervisor had it first
	s = newScript(t)
	s.do(localAt(wire.PhaseStarting, false, Folder{Claim: ClaimNone}))
	s.expect("", AbandonDone{Failed: true}) // nothing is given up before the claim is decided
	s.now = s.now.Add(saveRetry)
	s.expect("Abandon", Tick{})
	for _, f := range []Folder{living, gone, {Claim: ClaimGone, Result: true, Lists: true}} {
		s := newScript(t)
		out := s.step(localAt(wire.PhaseRunning, false, f))
		if want := (Adopt{Nonce: random(901)}); len(out) == 0 || out[0] != want || s.state.Lease != random(900) {
			t.Fatalf("%+v: got %+v with lease %s, want %+v with the lease on disk", f, out, s.state.Lease, want)
		}
		if f.Claim == ClaimGone && !f.Result {
			s.do(Unlocked{})
		}
		s.expect("Save? Save:"+string(s.state.Phase)+" Resume", Adopted{Answer: AnswerOK})
		if resume := s.do(answered); len(resume) == 0 {
			t.Errorf("%+v: nothing follows the resume", f)
		}
	}
	s = newScript(t)
	s.expect("EndGroup", localAt(wire.PhaseRunning, false, Folder{Claim: ClaimGone, Group: true}))
	s.expect("Adopt Unlock", GroupEnded{})
	// One that was adopted in an earlier life resumes at once.
	newScript(t).expect("Save:running Resume", localAt(wire.PhaseRunning, true, living))
}

func TestLocalJobInterruptedWhileTheServerIsAway(t *testing.T) {
	s := newScript(t).locally()
	s.expect("Unlock", Looked{gone})
	s.expect("", Unlocked{})
	s.expect("Save? Ship:final MakeFinish:interruption Finish", Adopted{Answer: AnswerOK})

	s = newScript(t)
	s.do(begun, Guarded{}, Preflighted{}, LaunchDone{})
	s.now = s.now.Add(ClaimDeadline)
	s.expect("Abandon", Looked{Folder{Claim: ClaimNone}})
	s.expect("Remove GiveUp", AbandonDone{Won: true})
}

// TestRestoredServerIsToldOfALocalJobAgain: it was restored to before the adopt, and knows no such job.
func TestRestoredServerIsToldOfALocalJobAgain(t *testing.T) {
	s := newScript(t).locally()
	s.do(Adopted{Answer: AnswerOK})
	s.expect("StopShipping Save:running Resume", LeaseLost{Lease: s.state.Lease})
	s.do(Resumed{Answer: AnswerGone}) // the newest lease, then the first one
	for s.state.Doing == Resuming {
		s.do(Resumed{Answer: AnswerGone})
	}
	if !s.state.Adopting || s.state.Orphan != "" {
		t.Fatalf("got %+v, want the job told once more", s.state)
	}
	lease := s.state.Lease
	out := s.step(Adopted{Answer: AnswerOK})
	if resume, ok := out[len(out)-1].(Resume); !ok || resume.Old == "" {
		t.Errorf("got %+v, want the job resumed", out)
	}
	s.expect("Ship", answered)
	if s.state.Lease == lease {
		t.Error("the lease did not change with the resume")
	}
	// It may say so in a poll as well.
	dropped := newScript(t).locally()
	dropped.do(Adopted{Answer: AnswerOK})
	dropped.expect("StopShipping Adopt", DropAsked{Lease: dropped.state.Lease})
	dropped.do(Adopted{Answer: AnswerBusy})
	dropped.now = dropped.now.Add(time.Minute)
	dropped.expect("Adopt", Tick{})
	dropped.expect("", Adopted{Answer: AnswerGone})
	dropped.expect("Save? MakeFinish:result PutAside", Looked{Folder{Claim: ClaimGone, Result: true}})
	resumed := newScript(t)
	resumed.do(localAt(wire.PhaseRunning, true, living))
	resumed.expect("", DropAsked{Lease: resumed.state.Lease}) // while the resume is out
	resumed.expect("Adopt", Resumed{Answer: AnswerGone})
	// Not without end.
	s.do(LeaseLost{Lease: s.state.Lease})
	for s.state.Doing == Resuming {
		s.do(Resumed{Answer: AnswerGone})
	}
	if s.state.Orphan == "" {
		t.Error("a server that knows nothing of the job is told again and again")
	}
}

func TestDamagedLocalJobIsNotRunAgain(t *testing.T) {
	s := newScript(t)
	out := s.step(localAt(wire.PhaseAccepted, false, Folder{Claim: ClaimNone, InLedger: true}))
	if _, ok := out[0].(PutAside); !ok || !s.state.Done {
		t.Errorf("got %+v, want it put aside, so that its id stays known", out)
	}
}

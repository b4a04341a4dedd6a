package runner

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"restic-manager/shared/wire"
)

const testID = "018f0000-0000-7000-8000-000000000001"

var (
	testNow  = time.Date(2026, 11, 24, 1, 2, 3, 0, time.UTC)
	offered  = Offered{ID: testID, Delivery: 1, Lease: random(0)}
	gone     = Folder{Claim: ClaimGone}
	living   = Folder{Claim: ClaimLiving}
	answered = Resumed{Answer: AnswerOK, State: wire.StateRunning}
)

func random(n int) string { return fmt.Sprintf("%032x", n) }

// script drives one job; each step has fresh random bits.
type script struct {
	t     *testing.T
	state State
	now   time.Time
	n     int
}

func newScript(t *testing.T) *script { return &script{t: t, now: testNow} }

// do applies events and returns the names of the actions of the last one.
func (s *script) do(events ...Event) []string {
	s.t.Helper()
	var names []string
	for _, e := range events {
		names = nil
		for _, a := range s.step(e) {
			names = append(names, nameOf(a))
		}
	}
	return names
}

func (s *script) step(e Event) []Action {
	s.n++
	var out []Action
	s.state, out = Step(s.state, e, s.now, random(s.n))
	if err := obey(s.state, out); err != nil {
		s.t.Fatalf("after %T: %v: %v", e, err, out)
	}
	return out
}

// expect fails unless the events' last step gave exactly these actions.
func (s *script) expect(want string, events ...Event) {
	s.t.Helper()
	if got := strings.Join(s.do(events...), " "); got != want {
		s.t.Fatalf("after %T: got actions %q, want %q (state %+v)", events[len(events)-1], got, want, s.state)
	}
}

func nameOf(a Action) string {
	name := reflect.TypeOf(a).Name()
	switch a := a.(type) {
	case Save:
		if a.Optional {
			return name + "?"
		}
		return name + ":" + string(a.Durable.Phase)
	case MakeFinish:
		return name + ":" + string(a.From)
	case Ship:
		if a.Final {
			return name + ":final"
		}
	case Remove:
		if a.KeepFinish {
			return name + ":keep"
		}
	}
	return name
}

// obey is what holds of every step, whatever the event.
func obey(s State, out []Action) error {
	awaited := 0
	for i, a := range out {
		var need Doing
		switch a.(type) {
		case Accept, Start, Resume, Ship, List, FollowListing, Finish:
			if s.Silent() {
				return fmt.Errorf("%T of a job that was not adopted yet", a)
			}
		}
		switch a := a.(type) {
		case CheckGuard:
			need = Guarding
		case Accept:
			need = Accepting
		case CheckMachine:
			need = Preflight
		case Start:
			need = Starting
			if a.Nonce == "" || a.Nonce != s.Nonce {
				return errors.New("start without the nonce of the folder")
			}
		case Launch:
			need = Launching
			if s.Spent || s.Abandoned || s.Interrupted {
				return errors.New("launch of a job that must not run")
			}
		case Adopt:
			if !s.Silent() || !s.Adopting || a.Nonce == "" || a.Nonce != s.Nonce {
				return errors.New("adopt of a job that is not one begun here, or without the nonce of the folder")
			}
		case GiveUp:
			if !s.Done || !s.Silent() || s.ran() {
				return errors.New("a job is given up that ran, or that the server knows")
			}
		case Abandon:
			need = Abandoning
		case Resume:
			need = Resuming
			if a.New != s.Lease || !slices.Contains(s.Leases, a.Old) || !slices.Contains(s.Leases, a.New) {
				return errors.New("resume with a lease that is not the folder's")
			}
		case EndGroup:
			need = EndingGroup
		case Unlock:
			need = Unlocking
		case List:
			need = Listing
		case Finish:
			need = Finishing
		case Remove, PutAside:
			last := len(out) - 1
			if _, ok := out[last].(GiveUp); ok {
				last--
			}
			if !s.Done || i != last {
				return errors.New("the folder goes before the end")
			}
		}
		if need != Idle {
			awaited++
			if s.Doing != need {
				return fmt.Errorf("%T is not awaited: doing %q", a, s.Doing)
			}
		}
	}
	if awaited > 1 {
		return errors.New("two outcomes awaited")
	}
	return nil
}

// Points of a life that several tests begin at.
func (s *script) accepted() *script {
	s.do(offered, Guarded{}, Accepted{Answer: AnswerOK})
	return s
}

func (s *script) running() *script {
	s.accepted().do(Preflighted{RepositoryID: "r"}, StartAnswered{Answer: AnswerOK}, LaunchDone{}, Looked{living})
	return s
}

func (s *script) ended(lists bool) *script {
	s.running().do(Looked{Folder{Claim: ClaimGone, Result: true, Lists: lists}})
	return s
}

func recoveredAt(p wire.Phase, f Folder) Recovered {
	d := Durable{ID: testID, Delivery: 1, Phase: p, Lease: random(900), Leases: []string{random(900)}}
	if p != wire.PhaseOffered && p != wire.PhaseAccepted {
		d.Nonce = random(901)
	}
	return Recovered{Durable: d, Folder: f}
}

func TestJobGoesFromOfferToTheEnd(t *testing.T) {
	s := newScript(t)
	s.expect("Create CheckGuard", offered)
	s.expect("Accept", Guarded{})
	s.expect("Save:accepted CheckMachine", Accepted{Answer: AnswerOK})
	s.expect("Save:starting Start", Preflighted{RepositoryID: "r"})
	if s.state.Nonce == "" || s.state.RepositoryID != "r" {
		t.Errorf("got nonce %q and repository %q, want both", s.state.Nonce, s.state.RepositoryID)
	}
	s.expect("Launch", StartAnswered{Answer: AnswerOK})
	s.expect("Save? Ship", LaunchDone{})
	s.expect("", Looked{living})
	s.expect("Save? Ship:final List", Looked{Folder{Claim: ClaimGone, Result: true, Lists: true}})
	s.expect("MakeFinish:result Finish", Listed{Rides: true})
	if !s.state.Occupies() {
		t.Error("the lane is free before the server knows of the end")
	}
	s.expect("Save?", Finished{Answer: AnswerOK})
	if s.state.Occupies() {
		t.Error("the lane is taken after the server knows of the end")
	}
	s.expect("Remove:keep", LogSettled{})
}

func TestFolderStaysUntilLogAndListingAreSettled(t *testing.T) {
	for _, last := range []Event{LogSettled{}, ListingSettled{}} {
		s := newScript(t).ended(true)
		s.do(Listed{Rides: false}, Finished{Answer: AnswerOK})
		for _, e := range []Event{LogSettled{}, ListingSettled{}} {
			if reflect.TypeOf(e) != reflect.TypeOf(last) {
				s.do(e)
			}
			if s.state.Done {
				t.Fatalf("the folder went with %T open", last)
			}
		}
		if got := s.do(last); !slices.Contains(got, "Remove:keep") {
			t.Errorf("got %v after %T, want the folder gone", got, last)
		}
	}
}

func TestListingNeverHoldsUpTheFinish(t *testing.T) {
	s := newScript(t).ended(true)
	s.expect("MakeFinish:result Finish", Listed{Rides: false})
	if s.state.Listed {
		t.Error("a listing that follows is settled already")
	}
	if got := newScript(t).ended(false).do(Tick{}); len(got) != 0 {
		t.Errorf("got %q after the finish was asked, want nothing", got)
	}
}

func TestGuardRefusesAfterAccept(t *testing.T) {
	s := newScript(t)
	refusal := &wire.JobError{Code: wire.CodeGuard, Message: "no"}
	s.expect("Accept", offered, Guarded{Refusal: refusal})
	out := s.step(Accepted{Answer: AnswerOK})
	want := []Action{Save{Durable: s.state.Durable, Optional: true}, MakeFinish{From: FromRefusal, Error: refusal}, Finish{}}
	if !reflect.DeepEqual(out, want) {
		t.Errorf("got %+v, want %+v", out, want)
	}
	s.expect("Remove", Finished{Answer: AnswerOK})
}

func TestPreflightRefuses(t *testing.T) {
	s := newScript(t).accepted()
	s.expect("MakeFinish:refusal Finish", Preflighted{Refusal: &wire.JobError{Code: wire.CodeResticMissing}})
	s.expect("Remove", Finished{Answer: AnswerGone})
}

func TestNoRoomForTheFolderIsRejectedFromMemory(t *testing.T) {
	s := newScript(t)
	noSpace := wire.JobError{Code: wire.CodeNoSpace}
	s.expect("Accept", offered, SaveFailed{noSpace})
	out := s.step(Accepted{Answer: AnswerOK})
	want := []Action{MakeFinish{From: FromRefusal, Error: &noSpace, InMemory: true}, Finish{}}
	if !reflect.DeepEqual(out, want) {
		t.Errorf("got %+v, want %+v", out, want)
	}
	s.expect("", CancelAsked{})
	s.expect("Remove", Finished{Answer: AnswerOK})
}

func TestAcceptRefusedDeletesTheFolder(t *testing.T) {
	for _, a := range []Answer{AnswerGone, AnswerBusy, AnswerRefused} {
		s := newScript(t)
		s.do(offered, Guarded{})
		out := s.step(Accepted{Answer: a, RetryAfter: time.Second})
		want := Remove{Rest: time.Second}
		if a == AnswerRefused {
			want.Rest = refusedRest // else the same offer would come again at once
		}
		if len(out) != 1 || out[0] != want || !s.state.Done {
			t.Errorf("%s: got %+v, done %v; want %+v", a, out, s.state.Done, want)
		}
	}
}

func TestBusyLaneRests(t *testing.T) {
	s := newScript(t).accepted()
	s.do(Preflighted{})
	if got, want := s.step(StartAnswered{Answer: AnswerBusy, RetryAfter: 7 * time.Second})[0], (Remove{Rest: 7 * time.Second}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestStartRefusedDeletesTheFolder(t *testing.T) {
	s := newScript(t).accepted()
	s.expect("Remove", Preflighted{}, StartAnswered{Answer: AnswerGone})
	s.expect("", StartAnswered{Answer: AnswerOK})
}

func TestDiskFullAtEachSave(t *testing.T) {
	noSpace := SaveFailed{wire.JobError{Code: wire.CodeNoSpace}}
	t.Run("phase accepted", func(t *testing.T) {
		newScript(t).accepted().expect("MakeFinish:refusal Finish", noSpace)
	})
	t.Run("phase starting was not sent, so the job is still accepted", func(t *testing.T) {
		s := newScript(t).accepted()
		s.do(Preflighted{})
		s.expect("MakeFinish:refusal Finish", noSpace)
		if s.state.Phase != wire.PhaseAccepted || s.state.Nonce != "" {
			t.Errorf("got phase %s, nonce %q; want accepted without a nonce", s.state.Phase, s.state.Nonce)
		}
	})
	t.Run("the new lease of a resume: the old one stays and is tried later", func(t *testing.T) {
		s := newScript(t)
		s.expect("Save:running Resume", recoveredAt(wire.PhaseRunning, living))
		s.expect("", noSpace)
		if s.state.Lease != random(900) || len(s.state.Leases) != 1 {
			t.Errorf("got lease %s of %d, want the one on disk alone", s.state.Lease, len(s.state.Leases))
		}
		s.expect("", Tick{})
		s.now = s.now.Add(saveRetry)
		s.expect("Save:running Resume", Tick{})
	})
}

func TestRecoveredOfferIsAcceptedAgain(t *testing.T) {
	s := newScript(t)
	s.expect("CheckGuard", recoveredAt(wire.PhaseOffered, Folder{Claim: ClaimNone}))
	out := s.step(Guarded{})
	if want := (Accept{Lease: random(900), Delivery: 1}); len(out) != 1 || out[0] != want {
		t.Errorf("got %+v, want %+v with the lease on disk", out, want)
	}
}

func TestRecoveredJobResumesWithANewLeaseThatIsOnDiskFirst(t *testing.T) {
	for _, p := range []wire.Phase{wire.PhaseAccepted, wire.PhaseRunning, wire.PhaseEnded, wire.PhaseFinished} {
		f := Folder{Claim: ClaimNone}
		if p != wire.PhaseAccepted {
			f = Folder{Claim: ClaimGone, Result: true}
		}
		s := newScript(t)
		out := s.step(recoveredAt(p, f))
		if len(out) != 2 {
			t.Fatalf("%s: got %+v, want a save and a resume", p, out)
		}
		save, ok := out[0].(Save)
		resume, ok2 := out[1].(Resume)
		if !ok || !ok2 || save.Durable.Lease != resume.New || resume.Old != random(900) || resume.New == resume.Old {
			t.Errorf("%s: got %+v, want the new lease saved and then sent", p, out)
		}
		if s.state.Lease != resume.New {
			t.Errorf("%s: the lease in use is %s, want the new one while it is not answered", p, s.state.Lease)
		}
	}
}

func TestRecoveredAcceptedJob(t *testing.T) {
	for _, c := range []struct {
		state wire.State
		want  string
	}{
		{wire.StateAccepted, "Save:accepted CheckMachine"},
		{wire.StateRunning, "MakeFinish:interruption Finish"},
		{wire.StateCanceled, "Remove"},
	} {
		s := newScript(t)
		s.do(recoveredAt(wire.PhaseAccepted, Folder{Claim: ClaimNone}))
		s.expect(c.want, Resumed{Answer: AnswerOK, State: c.state})
	}
	s := newScript(t)
	s.do(recoveredAt(wire.PhaseAccepted, Folder{Claim: ClaimNone}))
	s.expect("Remove", Resumed{Answer: AnswerGone})
}

func TestRecoveredRejectionIsSentAgain(t *testing.T) {
	s := newScript(t)
	s.do(recoveredAt(wire.PhaseAccepted, Folder{Claim: ClaimNone, Finish: true, Rejects: true}))
	s.expect("Finish", Resumed{Answer: AnswerOK, State: wire.StateAccepted})
}

func TestRecoveredStartWithoutClaimIsAbandonedFirst(t *testing.T) {
	for _, c := range []struct {
		state wire.State
		want  string
	}{
		{wire.StateAccepted, "Save:starting CheckMachine"},
		{wire.StateRunning, "MakeFinish:interruption Finish"},
		{wire.StateFailed, "Remove"},
	} {
		s := newScript(t)
		s.expect("Abandon", recoveredAt(wire.PhaseStarting, Folder{Claim: ClaimNone}))
		s.expect("Save:starting Resume", AbandonDone{Won: true})
		s.expect(c.want, Resumed{Answer: AnswerOK, State: c.state})
	}
}

func TestAbandonedNonceIsNeverUsedAgain(t *testing.T) {
	s := newScript(t)
	s.do(recoveredAt(wire.PhaseStarting, Folder{Claim: ClaimAbandoned}), Resumed{Answer: AnswerOK, State: wire.StateAccepted})
	out := s.step(Preflighted{})
	start, ok := out[len(out)-1].(Start)
	if !ok || start.Nonce == random(901) {
		t.Errorf("got %+v, want a start with a new nonce", out)
	}
	s.expect("Launch", StartAnswered{Answer: AnswerOK})
}

func TestClaimLostToASupervisorIsAttachedTo(t *testing.T) {
	s := newScript(t)
	s.do(recoveredAt(wire.PhaseStarting, Folder{Claim: ClaimNone}))
	s.expect("Save:starting Resume", AbandonDone{Won: false})
	s.expect("Ship", answered)
	if !s.state.Watched() {
		t.Error("the supervisor is not watched")
	}
}

func TestClaimThatCannotBeLinkedIsTriedAgainBeforeAnythingElse(t *testing.T) {
	s := newScript(t)
	s.do(recoveredAt(wire.PhaseStarting, Folder{Claim: ClaimNone}))
	s.expect("", AbandonDone{Failed: true})
	// A drop deletes nothing, and nobody asks the server, before the claim is decided.
	s.expect("", DropAsked{Lease: s.state.Lease})
	s.now = s.now.Add(saveRetry)
	s.expect("Abandon", Tick{})
	s.expect("Remove", AbandonDone{Won: true})
}

func TestRecoveredLivingSupervisorIsAttachedTo(t *testing.T) {
	s := newScript(t)
	s.expect("Save:running Resume", recoveredAt(wire.PhaseRunning, living))
	s.expect("", Looked{living})
	s.expect("Ship", answered)
	s.expect("Save? Ship:final MakeFinish:result Finish", Looked{Folder{Claim: ClaimGone, Result: true}})
}

func TestServerAwayChangesNothingForARunningJob(t *testing.T) {
	s := newScript(t)
	s.do(recoveredAt(wire.PhaseRunning, living))
	for range 100 {
		s.now = s.now.Add(time.Hour)
		s.expect("", Looked{living})
	}
	s.expect("Save?", Looked{Folder{Claim: ClaimGone, Result: true}})
	s.expect("Ship:final MakeFinish:result Finish", answered)
}

func TestGroupLeftBehindIsEndedBeforeTheServerIsAsked(t *testing.T) {
	s := newScript(t)
	s.expect("EndGroup", recoveredAt(wire.PhaseRunning, Folder{Claim: ClaimGone, Group: true}))
	s.expect("", Looked{gone})
	s.expect("Save:ended Resume", GroupEnded{})
	s.expect("Ship:final Unlock", answered)
	s.expect("MakeFinish:interruption Finish", Unlocked{})
	s.expect("Save?", Finished{Answer: AnswerOK})
	s.expect("Remove:keep", LogSettled{})
}

func TestBothGoneIsInterrupted(t *testing.T) {
	s := newScript(t)
	s.expect("Save:ended Resume", recoveredAt(wire.PhaseRunning, gone))
	s.expect("Ship:final Unlock", answered)
	out := s.step(Unlocked{})
	if m, ok := out[0].(MakeFinish); !ok || m.From != FromInterruption || m.Error.Code != wire.CodeInterrupted {
		t.Errorf("got %+v, want a failed{interrupted}", out)
	}
}

func TestRunningAgentFindsItsSupervisorGone(t *testing.T) {
	t.Run("both gone", func(t *testing.T) {
		newScript(t).running().expect("Ship:final Unlock", Looked{gone})
	})
	t.Run("group alive", func(t *testing.T) {
		s := newScript(t).running()
		s.expect("EndGroup", Looked{Folder{Claim: ClaimGone, Group: true}})
		s.expect("Ship:final Unlock", GroupEnded{})
	})
}

func TestLaunchThatShowsNoClaimIsAbandoned(t *testing.T) {
	s := newScript(t).accepted()
	s.do(Preflighted{}, StartAnswered{Answer: AnswerOK}, LaunchDone{})
	s.now = s.now.Add(ClaimDeadline - time.Second)
	s.expect("", Looked{Folder{Claim: ClaimNone}})
	s.now = s.now.Add(time.Second)
	s.expect("Abandon", Looked{Folder{Claim: ClaimNone}})
	s.expect("StopShipping MakeFinish:interruption Finish", AbandonDone{Won: true})
}

func TestLaunchThatFails(t *testing.T) {
	s := newScript(t).accepted()
	s.do(Preflighted{}, StartAnswered{Answer: AnswerOK})
	why := &wire.JobError{Code: wire.CodeRestoreTarget, Message: "no"}
	s.expect("Warn Abandon", LaunchDone{Error: why})
	out := s.step(AbandonDone{Won: true})
	want := []Action{MakeFinish{From: FromInterruption, Error: why}, Finish{}}
	if !reflect.DeepEqual(out, want) {
		t.Errorf("got %+v, want %+v", out, want)
	}
	s.expect("Save? Remove:keep", Finished{Answer: AnswerOK})
}

func TestIDInTheLedgerIsNeverRunAgain(t *testing.T) {
	again := offered
	again.InLedger = true
	s := newScript(t)
	s.expect("Create Accept", again)
	s.expect("Save:starting Start", Accepted{Answer: AnswerOK})
	s.expect("MakeFinish:ledger Finish", StartAnswered{Answer: AnswerOK})
	s.expect("Save? Remove:keep", Finished{Answer: AnswerOK})
}

func TestIDInTheLedgerIsNotRunAfterACrashEither(t *testing.T) {
	for _, p := range []wire.Phase{wire.PhaseAccepted, wire.PhaseStarting} {
		s := newScript(t)
		s.do(recoveredAt(p, Folder{Claim: ClaimNone, InLedger: true}))
		if s.state.Doing == Abandoning {
			s.do(AbandonDone{Won: true})
		}
		s.expect("Save:starting Start", Resumed{Answer: AnswerOK, State: wire.StateAccepted})
		s.expect("MakeFinish:ledger Finish", StartAnswered{Answer: AnswerOK})
	}
}

func TestLostLeaseOfAStartedJobIsSoughtWithEveryLeaseItHad(t *testing.T) {
	e := recoveredAt(wire.PhaseRunning, living)
	e.Durable.Leases = []string{random(800), random(850), random(900)}
	s := newScript(t)
	out := s.step(e)
	var olds []string
	var news []string
	for range 4 {
		resume := out[len(out)-1].(Resume)
		olds, news = append(olds, resume.Old), append(news, resume.New)
		out = s.step(Resumed{Answer: AnswerGone})
	}
	if want := []string{random(900), random(800), random(850), random(900)}; !slices.Equal(olds, want) {
		t.Errorf("got old leases %v, want %v", olds, want)
	}
	if len(slices.Compact(news)) != 1 {
		t.Errorf("got new leases %v, want one per round", news)
	}
	// Nobody waits: it runs on, and is put aside at its end with its result kept.
	if len(out) != 0 || s.state.Done {
		t.Fatalf("got %+v, done %v; want the job to run on", out, s.state.Done)
	}
	s.expect("Save? MakeFinish:result PutAside", Looked{Folder{Claim: ClaimGone, Result: true}})
}

// TestLateResumeDoesNotHideTheLease: whichever lease the server has, and whenever a late resume of an earlier process
// moves it to a newer one, a round finds it.
func TestLateResumeDoesNotHideTheLease(t *testing.T) {
	leases := []string{random(700), random(750), random(800), random(850)}
	order := tries(leases)
	for first := range leases {
		for moved := first; moved < len(leases); moved++ {
			for before := range len(order) + 1 { // the try that the late resume comes before
				found := false
				for n := range order {
					now := leases[first]
					if n >= before {
						now = leases[moved]
					}
					found = found || order[len(order)-1-n] == now
				}
				if !found {
					t.Errorf("lease %d, moved to %d before try %d: not found by %v", first, moved, before, order)
				}
			}
		}
	}
}

func TestLostLeaseDuringARun(t *testing.T) {
	s := newScript(t).running()
	s.expect("", LeaseLost{Lease: random(777)}) // of an older lease: a late answer
	lease := s.state.Lease
	s.expect("StopShipping Save:running Resume", LeaseLost{Lease: lease})
	s.expect("", LeaseLost{Lease: s.state.Lease})
	s.expect("Ship", answered)
}

func TestLostLeaseOfAResult(t *testing.T) {
	s := newScript(t).ended(false)
	s.expect("StopShipping Save:ended Resume", Finished{Answer: AnswerGone})
	s.expect("Ship:final Finish", Resumed{Answer: AnswerOK, State: wire.StateRunning})
	s = newScript(t).ended(false)
	s.do(Finished{Answer: AnswerGone})
	for s.state.Doing == Resuming {
		s.do(Resumed{Answer: AnswerGone})
	}
	if !s.state.Done {
		t.Errorf("got %+v, want the folder put aside", s.state)
	}
}

func TestRestoredServerIsToldOfTheStartAgain(t *testing.T) {
	t.Run("by the log", func(t *testing.T) {
		s := newScript(t).running()
		nonce := s.state.Nonce
		out := s.step(NotStarted{})
		if want := (Start{Nonce: nonce, RepositoryID: "r"}); len(out) != 1 || out[0] != want {
			t.Errorf("got %+v, want %+v", out, want)
		}
		s.expect("Ship", StartAnswered{Answer: AnswerOK})
	})
	t.Run("by finish", func(t *testing.T) {
		s := newScript(t).ended(false)
		s.expect("Start", Finished{Answer: AnswerNotStarted})
		s.expect("Finish", StartAnswered{Answer: AnswerOK})
	})
	t.Run("by resume", func(t *testing.T) {
		s := newScript(t)
		s.do(recoveredAt(wire.PhaseRunning, living))
		s.expect("Start", Resumed{Answer: AnswerOK, State: wire.StateAccepted})
	})
	t.Run("of a result it had", func(t *testing.T) {
		s := newScript(t)
		s.do(recoveredAt(wire.PhaseFinished, Folder{Claim: ClaimGone, Result: true, Finish: true}))
		s.expect("Ship:final Finish", Resumed{Answer: AnswerOK, State: wire.StateRunning})
	})
}

func TestRepeatedStartThatIsRefused(t *testing.T) {
	s := newScript(t).running()
	s.do(NotStarted{})
	s.expect("Save:running Resume", StartAnswered{Answer: AnswerGone})
	s.expect("Start", Resumed{Answer: AnswerOK, State: wire.StateAccepted})
	s.expect("", StartAnswered{Answer: AnswerGone})
	s.expect("Save? MakeFinish:result PutAside", Looked{Folder{Claim: ClaimGone, Result: true}})

	s = newScript(t).running()
	s.do(NotStarted{})
	s.expect("", StartAnswered{Answer: AnswerBusy})
	if s.state.Orphan == "" {
		t.Error("a job that the server queued again is still shipped")
	}
}

func TestCancel(t *testing.T) {
	s := newScript(t)
	s.do(offered)
	s.expect("", CancelAsked{}) // not ours yet
	s.do(Guarded{}, Accepted{Answer: AnswerOK})
	s.expect("WriteCancel", CancelAsked{}) // the supervisor will find it
	s.expect("", CancelAsked{})
	s.expect("WriteCancel", CancelFailed{}, CancelAsked{})

	s = newScript(t).running()
	s.expect("WriteCancel", CancelAsked{})
	s = newScript(t).ended(false)
	s.expect("", CancelAsked{})
	s = newScript(t)
	s.do(recoveredAt(wire.PhaseRunning, living))
	s.expect("WriteCancel Ship", Resumed{Answer: AnswerOK, State: wire.StateRunning, Cancel: true})
	s = newScript(t)
	s.do(recoveredAt(wire.PhaseRunning, Folder{Claim: ClaimLiving, Cancel: true}))
	s.expect("Ship", Resumed{Answer: AnswerOK, State: wire.StateRunning, Cancel: true})
}

func TestDrop(t *testing.T) {
	t.Run("for another lease it is not obeyed", func(t *testing.T) {
		s := newScript(t).running()
		s.expect("", DropAsked{Lease: random(777)})
		if s.state.Orphan != "" {
			t.Error("obeyed")
		}
	})
	t.Run("before the start the folder goes at once", func(t *testing.T) {
		for _, events := range [][]Event{
			{offered},
			{offered, Guarded{}},
			{offered, Guarded{}, Accepted{Answer: AnswerOK}},
			{offered, Guarded{}, Accepted{Answer: AnswerOK}, Preflighted{}},
		} {
			s := newScript(t)
			s.do(events...)
			s.expect("Remove", DropAsked{Lease: s.state.Lease})
		}
	})
	t.Run("a started job runs on and is put aside", func(t *testing.T) {
		s := newScript(t).running()
		s.expect("StopShipping", DropAsked{Lease: s.state.Lease})
		s.expect("", LeaseLost{Lease: s.state.Lease})
		s.expect("Save? MakeFinish:result PutAside", Looked{Folder{Claim: ClaimGone, Result: true}})
	})
	t.Run("while the supervisor is being launched", func(t *testing.T) {
		s := newScript(t).accepted()
		s.do(Preflighted{}, StartAnswered{Answer: AnswerOK})
		s.expect("", DropAsked{Lease: s.state.Lease})
		s.expect("Save?", LaunchDone{})
	})
	t.Run("an ended one is put aside", func(t *testing.T) {
		s := newScript(t).ended(true)
		s.do(Listed{Rides: true}, Finished{Answer: AnswerOK})
		s.expect("StopShipping PutAside", DropAsked{Lease: s.state.Lease})
	})
	t.Run("an interrupted one leaves no lock", func(t *testing.T) {
		s := newScript(t).running()
		s.do(DropAsked{Lease: s.state.Lease})
		s.expect("Unlock", Looked{gone})
		s.expect("MakeFinish:interruption PutAside", Unlocked{})
	})
}

func TestStoppedLogKeepsTheFolder(t *testing.T) {
	s := newScript(t).running()
	s.expect("Warn", LogStopped{Why: "log_conflict"})
	s.do(Looked{living}) // restic goes on, and nothing is shipped any more
	s.expect("Save? MakeFinish:result Finish", Looked{Folder{Claim: ClaimGone, Result: true}})
	s.expect("Save? PutAside", Finished{Answer: AnswerOK})
}

func TestLateFinishIsAcknowledged(t *testing.T) {
	s := newScript(t).ended(false)
	s.expect("Save? Warn", Finished{Answer: AnswerOK, Late: true})
	s.expect("Remove:keep", LogSettled{})
}

func TestRefusedResultIsPutAside(t *testing.T) {
	s := newScript(t).ended(false)
	s.expect("StopShipping PutAside", Finished{Answer: AnswerRefused})
}

func TestRecoveredResult(t *testing.T) {
	t.Run("finish.json is resent as it is", func(t *testing.T) {
		s := newScript(t)
		s.do(recoveredAt(wire.PhaseEnded, Folder{Claim: ClaimGone, Result: true, Lists: true, Finish: true, Rides: true}))
		s.expect("Ship:final Finish", answered)
		s.expect("Save?", Finished{Answer: AnswerOK})
		s.expect("Remove:keep", LogSettled{})
	})
	t.Run("a listing that did not ride is made anew", func(t *testing.T) {
		s := newScript(t)
		s.do(recoveredAt(wire.PhaseFinished, Folder{Claim: ClaimGone, Result: true, Lists: true, Finish: true}))
		s.expect("FollowListing", Resumed{Answer: AnswerOK, State: wire.StateSucceeded, LogComplete: true})
		s.expect("Save? Remove:keep", ListingSettled{})
	})
	t.Run("an interruption is not swept twice", func(t *testing.T) {
		s := newScript(t)
		s.do(recoveredAt(wire.PhaseEnded, Folder{Claim: ClaimGone, Finish: true}))
		s.expect("Ship:final Finish", answered)
	})
}

func TestNothingHappensToAJobThatIsDone(t *testing.T) {
	s := newScript(t)
	s.do(offered, Guarded{}, Accepted{Answer: AnswerGone})
	for _, e := range []Event{Tick{}, Accepted{Answer: AnswerOK}, DropAsked{Lease: s.state.Lease}, CancelAsked{}, Looked{living}} {
		s.expect("", e)
	}
}

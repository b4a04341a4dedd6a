//go:build !race

package planner

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"restic-manager/schedule"
	"restic-manager/shared/wire"
)

// every is a rhythm by elapsed time since 1970.
type every time.Duration

func (e every) Between(from, to time.Time, limit int) []time.Time {
	var out []time.Time
	for t, ok := e.Next(from); ok && !t.After(to) && len(out) < limit; t, ok = e.Next(t) {
		out = append(out, t)
	}
	return out
}

func (e every) Next(after time.Time) (time.Time, bool) {
	return after.Truncate(time.Duration(e)).Add(time.Duration(e)).UTC(), true
}

func (e every) MayBegin(_, now time.Time) (time.Time, bool) { return now, true }

func (e every) Stops(time.Time) (time.Time, bool) { return time.Time{}, false }

// timesOf reads a policy's cron as a Go duration, where it is one.
func timesOf(p wire.ScheduledPolicy) (Times, error) {
	d, err := time.ParseDuration(p.Cron)
	if err != nil {
		return TimesOf(p, host)
	}
	return every(d), nil
}

const host = "018f0000-0000-7000-8000-00000000000a"

var t0 = time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)

func hours(h float64) time.Time { return t0.Add(time.Duration(h * float64(time.Hour))) }

// rig is one host's book and the facts of now.
type rig struct {
	t *testing.T
	b Book
	f Facts
}

// newRig has one policy that is due at each hour and accounted for up to t0; the server answers.
func newRig(t *testing.T, change ...func(*wire.ScheduledPolicy)) *rig {
	r := &rig{t: t, f: Facts{Host: host, Now: t0.Add(time.Minute), Started: t0.Add(-time.Hour), Booted: t0.Add(-2 * time.Hour), Answers: true}}
	r.configure(1, change...)
	return r
}

func (r *rig) configure(version int64, change ...func(*wire.ScheduledPolicy)) {
	p := wire.ScheduledPolicy{ID: "p1", Name: "daily", Version: version, Kind: wire.KindBackup, Cron: "1h", Zone: "UTC", AccountedUntil: t0}
	for _, c := range change {
		c(&p)
	}
	r.b = r.b.Configured(fmt.Sprint(version), wire.Schedule{Version: version, Repository: wire.RepositoryLocal, Policies: []wire.ScheduledPolicy{p}}, r.f, timesOf)
}

// at plans at a time and returns what is to be done, in words.
func (r *rig) at(now time.Time) string {
	r.t.Helper()
	r.f.Now = now
	b, actions, wake := Plan(r.b, r.f)
	r.b = b
	if !wake.IsZero() && !wake.After(now) {
		r.t.Errorf("at %s: woken at %s, which is not later", now, wake)
	}
	var words []string
	for _, a := range actions {
		switch a := a.(type) {
		case Tell:
			r.f.Asking = true
			for _, t := range a.Ticks {
				what := string(t.Outcome)
				if what == "" {
					what = "ask"
				}
				words = append(words, fmt.Sprintf("%s %s", what, t.DueAt.Format("15:04")))
			}
		case Begin:
			words = append(words, "begin "+a.DueAt.Format("15:04"))
		}
	}
	return strings.Join(words, ", ")
}

func (r *rig) expect(now time.Time, want string) {
	r.t.Helper()
	if got := r.at(now); got != want {
		r.t.Errorf("at %s: got %q, want %q (%+v)", now.Format("15:04:05"), got, want, r.b.Policies)
	}
}

// answer gives the ticks of now an outcome.
func (r *rig) answer(o wire.Outcome, due ...time.Time) {
	var ticks []wire.Tick
	var answers []wire.TickAnswer
	for _, d := range due {
		ticks = append(ticks, wire.Tick{PolicyID: "p1", DueAt: d})
		answers = append(answers, wire.TickAnswer{Outcome: o})
	}
	r.b = r.b.Answered(ticks, answers)
	r.f.Asking = false
}

func (r *rig) why(n int) string { return r.b.Policies[0].Open[n].Why }

// away cuts the server off; what was on its way is lost.
func (r *rig) away() { r.f.Answers, r.f.Asking = false, false }
func (r *rig) back() { r.f.Answers, r.f.Asking = true, false }

// restart is a new process of the agent: the book comes from the disk.
func (r *rig) restart(booted bool) {
	r.t.Helper()
	raw, err := json.Marshal(r.b)
	if err != nil {
		r.t.Fatal(err)
	}
	var b Book
	if err := json.Unmarshal(raw, &b); err != nil {
		r.t.Fatal(err)
	}
	r.b, r.f.Started, r.f.Asking = b.Compiled(timesOf), r.f.Now, false
	if booted {
		r.f.Booted = r.f.Now
	}
}

func TestDueTimeIsAskedForAndAnsweredOnce(t *testing.T) {
	r := newRig(t)
	r.expect(hours(0.99), "")
	if _, _, wake := Plan(r.b, r.f); !wake.Equal(hours(1)) {
		t.Errorf("got wake %s, want the due time", wake)
	}
	r.expect(hours(1), "ask 01:00")
	r.expect(hours(1).Add(time.Second), "") // on its way
	r.answer(wire.OutcomeRun, hours(1))
	r.expect(hours(1.5), "")
	if last := r.b.Policies[0].Last; last == nil || last.Outcome != wire.OutcomeRun || !last.At.Equal(hours(1)) {
		t.Errorf("got last %+v", last)
	}
	r.expect(hours(2), "ask 02:00")
}

func TestWithoutAnAnswerFor120SecondsTheJobBeginsHere(t *testing.T) {
	r := newRig(t)
	r.away()
	r.expect(hours(1), "")
	if _, _, wake := Plan(r.b, r.f); !wake.Equal(hours(1).Add(LocalAfter)) {
		t.Errorf("got wake %s, want %s after the due time", wake, LocalAfter)
	}
	r.expect(hours(1).Add(LocalAfter-time.Second), "")
	r.expect(hours(1).Add(LocalAfter), "begin 01:00")
	r.expect(hours(1).Add(LocalAfter+time.Minute), "")
	if !r.b.Policies[0].Open[0].Begun {
		t.Error("the book does not say that it was begun")
	}
}

// TestAPolicyThatIsDueEachMinuteDoesNotWaitForEver: the wait is for the server, not of each due time anew.
func TestAPolicyThatIsDueEachMinuteDoesNotWaitForEver(t *testing.T) {
	r := newRig(t, func(p *wire.ScheduledPolicy) { p.Cron, p.AccountedUntil = "1m", hours(1) })
	r.f.Now = hours(1)
	r.away()
	r.expect(hours(1).Add(time.Minute), "")
	r.expect(hours(1).Add(2*time.Minute), "")
	r.expect(hours(1).Add(3*time.Minute-time.Second), "")
	r.expect(hours(1).Add(3*time.Minute), "begin 01:03")
	r.expect(hours(1).Add(4*time.Minute), "")
	r.expect(hours(1).Add(5*time.Minute), "")
	r.expect(hours(1).Add(6*time.Minute), "begin 01:06")
	r.back()
	r.expect(hours(1).Add(7*time.Minute), "missed 01:01, missed 01:02, ask 01:03, missed 01:04, missed 01:05, ask 01:06, ask 01:07")
}

// TestAnAskThatHangsHoldsNothingUp: the server took the request and says nothing.
func TestAnAskThatHangsHoldsNothingUp(t *testing.T) {
	r := newRig(t)
	r.expect(hours(1), "ask 01:00")
	r.expect(hours(1).Add(LocalAfter), "begin 01:00")
}

// TestTheBookIsSavedBeforeAJobBegins: and a job that was begun is one after any crash.
func TestTheBookIsSavedBeforeAJobBegins(t *testing.T) {
	r := newRig(t)
	r.away()
	r.at(hours(1))
	r.f.Now = hours(1).Add(LocalAfter)
	b, actions, _ := Plan(r.b, r.f)
	if len(actions) != 2 || reflect.TypeOf(actions[0]) != reflect.TypeFor[Save]() || reflect.TypeOf(actions[1]) != reflect.TypeFor[Begin]() {
		t.Fatalf("got %+v, want the book saved and then the job begun", actions)
	}
	r.b = b
	r.restart(false)
	r.expect(hours(1.5), "")
}

func TestServerIsGivenTimeAfterTheAgentsStartToo(t *testing.T) {
	r := newRig(t)
	r.away()
	r.f.Now = hours(5.5)
	r.restart(true)
	r.expect(hours(5.5), "")
	r.expect(hours(5.5).Add(LocalAfter-time.Second), "")
	r.expect(hours(5.5).Add(LocalAfter), "begin 05:00")
}

// TestOfSeveralOpenDueTimesTheLastRuns: those before it are missed, each with what was in its way.
func TestOfSeveralOpenDueTimesTheLastRuns(t *testing.T) {
	r := newRig(t)
	r.f.Booted, r.f.Started = hours(2.5), hours(3.5)
	r.expect(hours(4.2), "missed 01:00, missed 02:00, missed 03:00, ask 04:00")
	for n, want := range []string{"the machine was off", "the machine was off", "the agent was stopped"} {
		if got := r.why(n); got != want {
			t.Errorf("due time %d: got %q, want %q", n+1, got, want)
		}
	}
	r.answer(wire.OutcomeMissed, hours(1), hours(2), hours(3), hours(4))
	if n := len(r.b.Policies[0].Open); n != 0 {
		t.Errorf("got %d open, want none", n)
	}
}

func TestWithoutThePasswordADueTimeWaitsForTheServer(t *testing.T) {
	r := newRig(t)
	r.away()
	r.f.Shut = "the repository's password is not kept here"
	for h := 1.0; h < 4; h += 0.25 {
		r.expect(hours(h), "")
	}
	r.back()
	r.expect(hours(3.9), "missed 01:00, missed 02:00, ask 03:00")
	if got, want := r.why(0), "the server was away and the repository's password is not kept here"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestAsleepIsSaid(t *testing.T) {
	r := newRig(t)
	r.at(hours(0.5))
	r.expect(hours(3.5), "missed 01:00, missed 02:00, ask 03:00")
	if got := r.why(0); !strings.Contains(got, "asleep") {
		t.Errorf("got %q, want that the machine was asleep", got)
	}
}

func TestNoCatchUp(t *testing.T) {
	no := func(p *wire.ScheduledPolicy) { p.NoCatchUp = true }
	r := newRig(t, no)
	r.expect(hours(1), "ask 01:00") // in time
	r.answer(wire.OutcomeRun, hours(1))
	r.f.Booted, r.f.Started = hours(3.4), hours(3.5)
	r.expect(hours(3.5), "missed 02:00, missed 03:00")
	if got, want := r.why(1), "the machine was off; the policy does not catch up"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	r.answer(wire.OutcomeMissed, hours(2), hours(3))
	// The server's being away is not the machine's being off: it begins here, in time.
	r.away()
	r.expect(hours(4), "")
	r.expect(hours(4).Add(LocalAfter), "begin 04:00")
}

func TestTooLateIsSkipped(t *testing.T) {
	late := func(p *wire.ScheduledPolicy) { p.LateSeconds = 600 }
	r := newRig(t, late)
	r.away()
	r.f.Busy = map[wire.Lane]bool{wire.LaneLong: true}
	r.expect(hours(1), "")
	r.expect(hours(1).Add(10*time.Minute), "")
	r.back()
	if got := r.at(hours(1).Add(10 * time.Minute)); got != "ask 01:00" {
		t.Errorf("at the last moment: got %q, want it asked for", got)
	}
	r.away()
	r.at(hours(1).Add(10*time.Minute + time.Second))
	r.back()
	r.expect(hours(1).Add(11*time.Minute), "skipped 01:00")
	if got := r.why(0); !strings.Contains(got, "10m") {
		t.Errorf("got %q, want how late it may begin", got)
	}
}

func TestWhatWasBegunHereIsNeverCalledMissed(t *testing.T) {
	r := newRig(t, func(p *wire.ScheduledPolicy) { p.LateSeconds = 600 })
	r.away()
	r.at(hours(1))
	r.expect(hours(1).Add(LocalAfter), "begin 01:00")
	id := wire.TickJobID("p1", host, hours(1))
	r.f.Local = map[string]bool{id: true}
	r.at(hours(2))
	r.expect(hours(2).Add(LocalAfter), "begin 02:00") // the lane is free again
	r.f.Local[wire.TickJobID("p1", host, hours(2))] = true
	r.at(hours(3))
	r.back()
	// Nothing is said of this policy before the adopts are answered, in their order.
	r.expect(hours(3.01), "")
	if r.b.Waits("p1", hours(1)) || !r.b.Waits("p1", hours(2)) || r.b.Waits("p2", hours(2)) {
		t.Error("the adopts do not go in the order of their due times")
	}
	delete(r.f.Local, id)
	r.expect(hours(3.01), "ask 01:00")
	r.answer(wire.OutcomeRun, hours(1))
	r.expect(hours(3.02), "")
	delete(r.f.Local, wire.TickJobID("p1", host, hours(2)))
	r.expect(hours(3.02), "ask 02:00, ask 03:00")
}

func TestALaneTakesOneAndABusyOneNone(t *testing.T) {
	r := newRig(t)
	second := r.b.Policies[0]
	second.ID = "p2"
	third := r.b.Policies[0]
	third.ID, third.Kind = "p3", wire.KindSnapshots
	r.b.Policies = append(r.b.Policies, second, third)
	r.away()
	r.at(hours(1))
	r.f.Busy = map[wire.Lane]bool{wire.LaneLong: true}
	r.expect(hours(1).Add(LocalAfter), "begin 01:00") // the short one's
	if r.b.Policies[0].Open[0].Begun || !r.b.Policies[2].Open[0].Begun {
		t.Errorf("got %+v, want the policy of the free lane begun", r.b.Policies)
	}
	r.f.Busy = map[wire.Lane]bool{wire.LaneShort: true}
	r.expect(hours(1.1), "begin 01:00")
	if r.b.Policies[1].Open[0].Begun {
		t.Error("one lane took two")
	}
}

func TestNothingBeginsForAHostThatIsNotTakenAnyMoreNorWithoutEnd(t *testing.T) {
	r := newRig(t)
	r.away()
	r.at(hours(1))
	r.f.Refuses = true
	r.expect(hours(1.5), "")
	r.f.Refuses, r.f.Local = false, map[string]bool{}
	for n := range MaxLocal {
		r.f.Local[fmt.Sprint(n)] = true
	}
	r.expect(hours(1.6), "")
	delete(r.f.Local, "0")
	r.expect(hours(1.7), "begin 01:00")
}

func TestARefusedBeginIsTriedLaterAndAskedForWhenTheServerIsBack(t *testing.T) {
	r := newRig(t)
	r.away()
	r.at(hours(1))
	r.at(hours(1).Add(LocalAfter))
	r.b = r.b.GaveUp("p1", hours(1), "the guard said no", hours(1.2))
	r.expect(hours(1.1), "")
	if _, _, wake := Plan(r.b, r.f); !wake.Equal(hours(1.2)) {
		t.Errorf("got wake %s, want the next try", wake)
	}
	r.expect(hours(1.2), "begin 01:00")
	r.b = r.b.GaveUp("p1", hours(1), "the guard said no", hours(1.4))
	r.back()
	r.expect(hours(1.3), "ask 01:00")
	// And if it never could: missed, with that reason.
	r.away()
	r.at(hours(2))
	if got := r.why(0); !strings.Contains(got, "the guard said no") || r.b.Policies[0].Open[0].Outcome != wire.OutcomeMissed {
		t.Errorf("got %+v, want it missed for that reason", r.b.Policies[0].Open)
	}
}

func TestAnUnassignedDueTimeIsForgottenAndAPolicyThatWentIsToo(t *testing.T) {
	r := newRig(t)
	r.expect(hours(1), "ask 01:00")
	r.b = r.b.Answered([]wire.Tick{{PolicyID: "p1", DueAt: hours(1)}}, []wire.TickAnswer{{Unassigned: true}})
	r.f.Asking = false
	r.expect(hours(1.9), "")
	if r.b.Policies[0].Last != nil {
		t.Errorf("got last %+v, want none", r.b.Policies[0].Last)
	}
	r.expect(hours(2), "ask 02:00")
	r = newRig(t)
	r.away()
	r.at(hours(1))
	r.b = r.b.Configured("2", wire.Schedule{Version: 2}, r.f, timesOf)
	r.back()
	r.expect(hours(9), "")
}

func TestAnotherCronHoldsForTheFutureAlone(t *testing.T) {
	r := newRig(t)
	r.away()
	r.at(hours(1))
	r.f.Now = hours(2.5) // 02:00 was not even looked at
	r.configure(2, func(p *wire.ScheduledPolicy) { p.Cron = "10m" })
	r.back()
	r.expect(hours(2.5), "missed 01:00, ask 02:00")
	r.answer(wire.OutcomeRun, hours(1), hours(2))
	r.expect(hours(2.5), "")
	r.expect(hours(2.5).Add(10*time.Minute), "ask 02:40")
}

func TestConfigureTakesOverWhatTheServerHasAndKeepsWhatItHasNot(t *testing.T) {
	r := newRig(t)
	r.away()
	r.at(hours(1))
	r.expect(hours(1).Add(LocalAfter), "begin 01:00")
	r.at(hours(2))
	accounted := func(p *wire.ScheduledPolicy) { p.AccountedUntil = hours(3) }
	r.f.Now = hours(2.1)
	r.configure(2, accounted)
	r.back()
	r.expect(hours(3.5), "ask 01:00") // begun here: its outcome is heard. 02:00 and 03:00 have theirs at the server
	r.answer(wire.OutcomeRun, hours(1))
	r.configure(3) // an older word of the server's does not bring anything back
	r.expect(hours(3.6), "")
}

func TestAPolicyThatIsAccountedForByNobodyBeginsNow(t *testing.T) {
	r := newRig(t)
	r.f.Now = hours(5.5)
	r.configure(2, func(p *wire.ScheduledPolicy) { p.ID, p.AccountedUntil = "p2", time.Time{} })
	r.expect(hours(5.6), "")
	r.expect(hours(6), "ask 06:00")
}

func TestAClockSetBackRepeatsNothing(t *testing.T) {
	r := newRig(t)
	r.at(hours(3))
	r.answer(wire.OutcomeRun, hours(1), hours(2), hours(3))
	r.f.UnsureUntil = hours(0) // set by hand, and the server is away
	r.away()
	for h := 0.5; h < 3.9; h += 0.5 {
		r.expect(hours(h), "")
	}
	r.back()
	r.f.UnsureUntil = time.Time{}
	r.expect(hours(4), "ask 04:00")
}

// TestAClockSetForwardIsBoundedAndMended: by a day at a policy of each minute, and by ten years at one of each hour.
func TestAClockSetForwardIsBoundedAndMended(t *testing.T) {
	r := newRig(t, func(p *wire.ScheduledPolicy) { p.Cron = "1m" })
	r.at(t0.Add(2 * time.Minute))
	r.away()
	r.f.UnsureUntil = hours(24)
	r.at(hours(24))
	p := r.b.Policies[0]
	if len(p.Open) != MaxOpen || p.Open[MaxOpen-1].Outcome != wire.OutcomeMissed {
		t.Errorf("got %d open, the last %+v; want %d, all missed", len(p.Open), p.Open[len(p.Open)-1], MaxOpen)
	}
	r.expect(hours(24).Add(LocalAfter), "") // the last of them is not the last that is due

	// The clock is set back and compared: the future is open again.
	r.f.UnsureUntil = time.Time{}
	r.back()
	r.f.Now = t0.Add(4*time.Minute + time.Second)
	want := "missed 00:01, missed 00:02, missed 00:03, missed 00:04"
	r.expect(r.f.Now, want)
	r.answer(wire.OutcomeMissed, t0.Add(time.Minute), t0.Add(2*time.Minute), t0.Add(3*time.Minute), t0.Add(4*time.Minute))
	r.expect(t0.Add(5*time.Minute), "ask 00:05")
}

// TestADueTimeBegunByAWrongClockIsClosedByTheServer: its job is adopted by then; and those before it are still to come.
func TestADueTimeBegunByAWrongClockIsClosedByTheServer(t *testing.T) {
	r := newRig(t)
	r.away()
	r.f.UnsureUntil = hours(5)
	r.at(hours(5))
	r.expect(hours(5).Add(LocalAfter), "begin 05:00")
	r.b = r.b.GaveUp("p1", hours(5), "the guard said no", time.Time{})
	r.f.UnsureUntil = time.Time{}
	r.back()
	r.expect(hours(0.9), "") // the clock is set back, and compared
	for h := 1.0; h <= 6; h++ {
		r.expect(hours(h), "ask "+hours(h).Format("15:04"))
		r.answer(wire.OutcomeRun, hours(h))
	}

	r = newRig(t)
	r.away()
	r.f.UnsureUntil = hours(5)
	r.at(hours(5))
	r.expect(hours(5).Add(LocalAfter), "begin 05:00")
	r.f.UnsureUntil = time.Time{}
	r.back()
	r.f.Local = map[string]bool{wire.TickJobID("p1", host, hours(5)): true}
	r.expect(hours(0.9), "")
	r.expect(hours(1), "ask 01:00")
	r.answer(wire.OutcomeRun, hours(1))
	r.f.Local = nil
	r.expect(hours(1.5), "ask 05:00")
	r.answer(wire.OutcomeRun, hours(5))
	for h := 2.0; h <= 5; h++ { // the last is asked for once more, and has its outcome
		r.expect(hours(h), "ask "+hours(h).Format("15:04"))
		r.answer(wire.OutcomeRun, hours(h))
	}
}

// TestManyDueTimesAreToldInBatches: a machine that was off for a week, at a policy of each minute.
func TestManyDueTimesAreToldInBatches(t *testing.T) {
	r := newRig(t, func(p *wire.ScheduledPolicy) { p.Cron = "1m" })
	now := hours(7 * 24)
	r.f.Booted, r.f.Started = now, now
	told, asked := map[time.Time]bool{}, 0
	for n := 0; n < 30; n++ {
		r.f.Now = now
		b, actions, _ := Plan(r.b, r.f)
		r.b = b
		if len(actions) == 0 {
			break
		}
		tell, ok := actions[0].(Tell)
		if !ok || len(tell.Ticks) > wire.MaxTicks {
			t.Fatalf("got %T with %d ticks, want a request of at most %d", actions[0], len(tell.Ticks), wire.MaxTicks)
		}
		answers := make([]wire.TickAnswer, len(tell.Ticks))
		for i, tick := range tell.Ticks {
			if told[tick.DueAt] {
				t.Fatalf("%s was told twice", tick.DueAt)
			}
			told[tick.DueAt] = true
			if answers[i].Outcome = tick.Outcome; tick.Outcome == "" {
				asked++
				answers[i].Outcome = wire.OutcomeRun
			}
		}
		r.b = r.b.Answered(tell.Ticks, answers)
	}
	if len(told) != 7*24*60 || asked != 1 || !told[now] {
		t.Errorf("got %d due times told and %d asked for, want %d and the last one", len(told), asked, 7*24*60)
	}
}

func TestARefusedBatchIsHalved(t *testing.T) {
	r := newRig(t)
	r.f.Batch = 2
	r.expect(hours(4.1), "missed 01:00, missed 02:00")
	r.b = r.b.Refused(wire.Tick{PolicyID: "p1", DueAt: hours(1), Outcome: wire.OutcomeMissed})
	r.f.Asking, r.f.Batch = false, 0
	r.expect(hours(4.1), "missed 02:00, missed 03:00, ask 04:00")
}

func TestBeforeTheClockIsKnownNothingIsDecided(t *testing.T) {
	r := newRig(t)
	r.f.UnsureUntil = hours(5).Add(LocalAfter)
	r.expect(hours(5), "")
	if len(r.b.Policies[0].Open) != 0 {
		t.Errorf("got %+v, want nothing looked at", r.b.Policies[0].Open)
	}
	r.expect(hours(5).Add(LocalAfter), "missed 01:00, missed 02:00, missed 03:00, missed 04:00, ask 05:00")
}

func TestATextThatIsTooLongIsCutBetweenCharacters(t *testing.T) {
	r := newRig(t)
	r.away()
	r.at(hours(1))
	r.b = r.b.GaveUp("p1", hours(1), strings.Repeat("ä", 400), hours(9))
	r.at(hours(2))
	if why := r.why(0); len(why) > wire.MaxWhy || strings.ToValidUTF8(why, "?") != why || len(why) < wire.MaxWhy-3 {
		t.Errorf("got %d bytes: %q", len(why), why)
	}
}

// nightly is due at each hour, and may begin between 22 and 2 o'clock, or at noon for 20 minutes.
func nightly(p *wire.ScheduledPolicy) {
	p.Cron = "30 * * * *"
	p.Windows = []wire.Window{{From: "22:00", To: "02:00", StopAtEnd: true}, {From: "12:45", To: "13:05"}}
}

func TestADueTimeOutsideOfItsWindowsWaitsOrIsSkipped(t *testing.T) {
	r := newRig(t, nightly, func(p *wire.ScheduledPolicy) { p.AccountedUntil = hours(10.6) })
	r.expect(hours(11.5), "skipped 11:30")
	if got := r.why(0); got != "outside its windows" {
		t.Errorf("why: got %q", got)
	}
	r.answer(wire.OutcomeSkipped, hours(11.5))
	r.expect(hours(12.5), "") // 12:45 comes before 13:30
	if got := r.b.Policies[0].Open[0]; got.Held != "outside its windows" || !got.NotBefore.Equal(hours(12.75)) {
		t.Errorf("held: got %+v, want it to wait for 12:45", got)
	}
	if _, _, wake := Plan(r.b, r.f); !wake.Equal(hours(12.75)) {
		t.Errorf("woken: got %s, want at the opening", wake)
	}
	r.expect(hours(12.7), "")
	r.expect(hours(12.75), "ask 12:30")
}

func TestTheWaitForTheServerBeginsWithTheWindow(t *testing.T) {
	r := newRig(t, nightly, func(p *wire.ScheduledPolicy) { p.AccountedUntil = hours(11.6) })
	r.f.Answers = false
	r.expect(hours(12.5), "")
	r.expect(hours(12.75), "")
	r.expect(hours(12.75).Add(LocalAfter-time.Second), "")
	r.expect(hours(12.75).Add(LocalAfter), "begin 12:30")
}

func TestAWindowThatClosedBeforeTheServerAnsweredHoldsAgain(t *testing.T) {
	r := newRig(t, nightly, func(p *wire.ScheduledPolicy) { p.Cron, p.AccountedUntil = "30 12 * * *", hours(11.6) })
	r.f.Answers, r.f.Shut = false, "the password is not kept here"
	r.expect(hours(12.75), "")
	r.expect(hours(13.2), "") // closed
	r.f.Answers = true
	r.expect(hours(13.3), "")
	r.expect(hours(22), "ask 12:30")
}

func TestAMachineThatWasOffBeginsInItsWindowAlone(t *testing.T) {
	r := newRig(t, nightly, func(p *wire.ScheduledPolicy) { p.Cron, p.AccountedUntil = "0 23 * * *", hours(0) })
	r.f.Started, r.f.Booted = hours(31), hours(31)
	r.expect(hours(31.1), "")
	r.expect(hours(36.75), "ask 23:00")
}

func TestTheServersLaterIsAskedAgain(t *testing.T) {
	r := newRig(t, nightly, func(p *wire.ScheduledPolicy) { p.AccountedUntil = hours(21.6) })
	r.expect(hours(22.5), "ask 22:30")
	r.b = r.b.Answered([]wire.Tick{{PolicyID: "p1", DueAt: hours(22.5)}}, []wire.TickAnswer{{Later: true}})
	r.f.Asking = false
	r.expect(hours(22.51), "")
	r.expect(hours(22.51).Add(LookAgain-time.Second), "")
	r.expect(hours(22.51).Add(LookAgain), "ask 22:30")
}

func TestConditionsAreLookedAtAgainEveryFiveMinutes(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*wire.ScheduledPolicy)
		is     func(*Facts, bool)
		why    string
	}{
		"battery": {func(p *wire.ScheduledPolicy) { p.SkipOnBattery = true }, func(f *Facts, is bool) { f.OnBattery = is }, "the machine ran on battery"},
		"metered": {func(p *wire.ScheduledPolicy) { p.SkipOnMetered = true }, func(f *Facts, is bool) { f.Metered = is }, "the connection was metered"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, c.change)
			c.is(&r.f, true)
			r.expect(hours(1), "")
			c.is(&r.f, false)
			r.expect(hours(1).Add(LookAgain-time.Second), "")
			r.expect(hours(1).Add(LookAgain), "ask 01:00")
			r.answer(wire.OutcomeRun, hours(1))

			c.is(&r.f, true)
			r.expect(hours(2), "")
			r.expect(hours(3), "skipped 02:00")
			if got := r.why(0); got != c.why+", until the next one was due" {
				t.Errorf("why: got %q", got)
			}

			plain := newRig(t)
			c.is(&plain.f, true)
			plain.expect(hours(1), "ask 01:00") // nobody asked for the condition
		})
	}
}

func TestWhatAConditionHeldInItsWindowSaysSo(t *testing.T) {
	r := newRig(t, nightly, func(p *wire.ScheduledPolicy) { p.SkipOnBattery, p.AccountedUntil = true, hours(11.6) })
	r.f.OnBattery = true
	r.expect(hours(12.5), "")
	r.expect(hours(12.75), "")
	r.expect(hours(13.1), "skipped 12:30") // closed, and the next one is due before it opens
	if got := r.why(0); got != "the machine ran on battery" {
		t.Errorf("why: got %q", got)
	}
}

func TestTooLateForAConditionSaysBoth(t *testing.T) {
	r := newRig(t, func(p *wire.ScheduledPolicy) { p.SkipOnBattery, p.LateSeconds = true, 900 })
	r.f.OnBattery = true
	r.expect(hours(1), "")
	r.expect(hours(1).Add(901*time.Second), "skipped 01:00")
	if got, want := r.why(0), "the machine ran on battery; it may begin at most 15m0s after it is due"; got != want {
		t.Errorf("why: got %q, want %q", got, want)
	}
}

func TestNoCatchUpIsNotForWhatWaited(t *testing.T) {
	r := newRig(t, nightly, func(p *wire.ScheduledPolicy) { p.NoCatchUp, p.AccountedUntil = true, hours(11.6) })
	r.expect(hours(12.5), "")
	r.expect(hours(12.75), "ask 12:30")
	r.f.Asking = false
	r.expect(hours(12.76), "ask 12:30")
}

func TestWhatWaitedIsKnownAfterARestart(t *testing.T) {
	r := newRig(t, nightly, func(p *wire.ScheduledPolicy) { p.NoCatchUp, p.AccountedUntil = true, hours(11.6) })
	r.expect(hours(12.5), "")
	raw, err := json.Marshal(r.b)
	if err != nil {
		t.Fatal(err)
	}
	var b Book
	if err := json.Unmarshal(raw, &b); err != nil {
		t.Fatal(err)
	}
	r.b, r.f.Started = b.Compiled(timesOf), hours(12.6)
	r.expect(hours(12.6), "")
	r.expect(hours(12.75), "ask 12:30")
}

func TestOtherWindowsHoldAtOnce(t *testing.T) {
	r := newRig(t, nightly, func(p *wire.ScheduledPolicy) { p.AccountedUntil = hours(11.6) })
	r.expect(hours(12.5), "")
	r.configure(2, nightly, func(p *wire.ScheduledPolicy) { p.Windows, p.AccountedUntil = nil, hours(11.6) })
	r.expect(hours(12.51), "ask 12:30")
}

func TestAWindowThatStopsBoundsTheRun(t *testing.T) {
	r := newRig(t, nightly, func(p *wire.ScheduledPolicy) { p.AccountedUntil, p.TimeLimitSeconds = hours(21.6), 86400 })
	r.f.Answers = false
	limit := func(now time.Time) int64 {
		r.f.Now = now
		b, actions, _ := Plan(r.b, r.f)
		r.b = b
		for _, a := range actions {
			if begin, ok := a.(Begin); ok {
				return begin.Policy.TimeLimitSeconds
			}
		}
		return 0
	}
	r.expect(hours(22.5), "")
	if got, want := limit(hours(22.5).Add(LocalAfter)), int64(3.5*3600-120); got != want {
		t.Errorf("begun at 22:32 in a window that stops at 2: got %d s, want %d", got, want)
	}
	r.f.Busy = nil
	r.b.Policies[0].Open, r.b.Policies[0].Until = nil, hours(36.4)
	r.expect(hours(36.5), "")
	r.expect(hours(36.75), "")
	if got := limit(hours(36.75).Add(LocalAfter)); got != 86400 {
		t.Errorf("begun in a window that does not stop: got %d s, want the policy's", got)
	}
}

// TestEachDueTimeHasOneOutcome: a server that comes and goes, an agent that crashes at any moment, jobs that are
// refused, work, and are adopted late; at the end each due time has exactly one outcome, none is run twice, and nothing
// that was begun is called anything but run.
func TestEachDueTimeHasOneOutcome(t *testing.T) {
	seeds := 1000
	if testing.Short() {
		seeds = 200
	}
	var runs, locals, missed, coalesced, skipped, windows, later int
	for seed := range seeds {
		w := newWorld(t, uint64(seed))
		for range 300 {
			w.move()
		}
		w.settle()
		for at, o := range w.outcomes {
			switch o {
			case wire.OutcomeRun:
				runs++
			case wire.OutcomeMissed:
				missed++
			case wire.OutcomeCoalesced:
				coalesced++
			case wire.OutcomeSkipped:
				skipped++
			}
			if w.ran[at] > 1 {
				t.Fatalf("seed %d: %s ran %d times", seed, at, w.ran[at])
			}
			// Where the answer was lost that another job stands for it, both run; the first outcome stays.
			if w.ran[at] > 0 && o != wire.OutcomeRun && o != wire.OutcomeCoalesced {
				t.Fatalf("seed %d: %s ran, and the server has %s", seed, at, o)
			}
		}
		locals += w.locals
		later += w.later
		if w.windows != nil {
			windows++
		}
		for _, at := range every(time.Hour).Between(t0, w.r.f.Now, 1<<30) {
			if w.outcomes[at] == "" {
				t.Fatalf("seed %d: %s has no outcome: %+v", seed, at, w.r.b.Policies[0].Open)
			}
		}
	}
	if runs < seeds || locals < seeds/2 || missed < seeds/2 || coalesced < seeds/10 || skipped < seeds || windows < seeds/4 || later < seeds/50 {
		t.Errorf("of %d seeds, %d with windows: %d ran, %d of them here, %d missed, %d coalesced, %d skipped, %d asked for too late: the model goes nowhere", seeds, windows, runs, locals, missed, coalesced, skipped, later)
	}
}

// world is a server and the jobs of a host as small models around the rules.
type world struct {
	t        *testing.T
	rand     *rand.Rand
	r        *rig
	disk     []byte
	outcomes map[time.Time]wire.Outcome
	ran      map[time.Time]int
	late     [][]wire.Tick // requests on their way
	works    time.Time     // the due time of the job that runs here; zero: none
	folders  map[time.Time]bool
	locals   int
	later    int
	windows  *schedule.Schedule // nil: none
}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{t: t, rand: rand.New(rand.NewPCG(7, seed)), r: newRig(t), outcomes: map[time.Time]wire.Outcome{}, ran: map[time.Time]int{}, folders: map[time.Time]bool{}}
	if w.p(20) {
		w.r.configure(1, func(p *wire.ScheduledPolicy) { p.NoCatchUp = true })
	}
	if w.p(20) {
		w.r.configure(1, func(p *wire.ScheduledPolicy) { p.LateSeconds = 900 })
	}
	if w.p(50) {
		w.bind()
	}
	w.save()
	return w
}

// bind gives the policy windows, and conditions.
func (w *world) bind() {
	w.r.configure(1, func(p *wire.ScheduledPolicy) {
		p.Cron = "0 * * * *"
		p.LateSeconds, p.NoCatchUp = []int64{0, 0, 1800, 7200}[w.rand.IntN(4)], w.p(30)
		p.SkipOnBattery, p.SkipOnMetered = w.p(50), w.p(50)
		p.Windows = [][]wire.Window{nil, {{From: "08:30", To: "13:10"}}, {{From: "22:00", To: "02:00", StopAtEnd: true}, {From: "05:00", To: "05:20"}},
			{{From: "00:05", To: "00:50"}, {From: "01:05", To: "01:50"}, {From: "03:05", To: "07:50"}}}[w.rand.IntN(4)]
		var err error
		if w.windows, err = schedule.Parse(p.Cron, p.Zone); err != nil {
			w.t.Fatal(err)
		}
		windows := make([]schedule.Window, len(p.Windows))
		for i := range p.Windows {
			windows[i] = schedule.Window(p.Windows[i])
		}
		if w.windows, err = w.windows.Within(windows, 0); err != nil {
			w.t.Fatal(err)
		}
	})
}

// open: a run may begin now, by the windows alone.
func (w *world) open() bool {
	if w.windows == nil {
		return true
	}
	at, ok := w.windows.Opening(w.r.f.Now)
	return ok && at.Equal(w.r.f.Now)
}

// mayBegin is the rule: only while a window is open, and no condition holds.
func (w *world) mayBegin(what string, at time.Time) {
	p, f := &w.r.b.Policies[0], w.r.f
	if !w.open() || p.SkipOnBattery && f.OnBattery || p.SkipOnMetered && f.Metered {
		w.t.Fatalf("%s %s at %s: in a window %v, on battery %v, metered %v; %+v", what, at, f.Now, w.open(), f.OnBattery, f.Metered, p.ScheduledPolicy)
	}
}

func (w *world) p(percent int) bool { return w.rand.IntN(100) < percent }

func (w *world) save() { w.disk, _ = json.Marshal(w.r.b) }

// serve is the server's half: the first outcome stays.
func (w *world) serve(ticks []wire.Tick) []wire.TickAnswer {
	var out []wire.TickAnswer
	for _, t := range ticks {
		o := w.outcomes[t.DueAt]
		if o == "" {
			if o = t.Outcome; o == "" {
				if !w.open() && !w.folders[t.DueAt] && w.ran[t.DueAt] == 0 {
					w.later++
					out = append(out, wire.TickAnswer{Later: true})
					continue
				}
				o = wire.OutcomeRun
				if w.p(20) && !w.folders[t.DueAt] && w.ran[t.DueAt] == 0 {
					o = wire.OutcomeCoalesced
				}
			}
			w.outcomes[t.DueAt] = o
		}
		out = append(out, wire.TickAnswer{Outcome: o})
	}
	return out
}

func (w *world) plan() {
	f := &w.r.f
	f.Busy, f.Local = map[wire.Lane]bool{wire.LaneLong: !w.works.IsZero()}, map[string]bool{}
	for at := range w.folders {
		f.Local[wire.TickJobID("p1", host, at)] = true
	}
	b, actions, _ := Plan(w.r.b, *f)
	if !w.r.b.Judges(f.Now) { // then it makes no difference
		other := *f
		other.OnBattery, other.Metered = !f.OnBattery, !f.Metered
		if same, sameActions, _ := Plan(w.r.b, other); !reflect.DeepEqual(same, b) || !reflect.DeepEqual(sameActions, actions) {
			w.t.Fatalf("conditions are not to be looked at, and decide: %+v, %+v", b, same)
		}
	}
	w.r.b = b
	for _, a := range actions {
		if w.p(2) {
			w.crash()
			return
		}
		switch a := a.(type) {
		case Save:
			w.save()
		case Tell:
			f.Asking = true
			w.late = append(w.late, slices.Clone(a.Ticks))
			for _, t := range a.Ticks {
				if p := &w.r.b.Policies[0]; t.Outcome == "" && !p.Open[p.find(t.DueAt)].Begun {
					w.mayBegin("asks for", t.DueAt)
				}
			}
		case Begin:
			w.mayBegin("begins", a.DueAt)
			if w.ran[a.DueAt] > 0 { // the ledger knows it
				w.r.b = w.r.b.GaveUp("p1", a.DueAt, "it ran", f.Now.Add(time.Hour))
				continue
			}
			if w.p(20) {
				w.r.b = w.r.b.GaveUp("p1", a.DueAt, "the preflight said no", f.Now.Add(10*time.Minute))
				continue
			}
			w.works, w.folders[a.DueAt] = a.DueAt, true
			w.ran[a.DueAt]++
			w.locals++
		}
	}
}

// crash loses what is not on disk; what restic does goes on.
func (w *world) crash() {
	var b Book
	if err := json.Unmarshal(w.disk, &b); err != nil {
		w.t.Fatal(err)
	}
	w.r.b = b.Compiled(timesOf)
	w.r.f.Asking, w.r.f.Started = false, w.r.f.Now
	for _, d := range w.r.b.Policies[0].Open { // as the runner does at its start
		if d.Begun && !w.folders[d.At] && w.ran[d.At] == 0 {
			w.r.b = w.r.b.GaveUp("p1", d.At, "the agent was stopped", time.Time{})
		}
	}
}

func (w *world) move() {
	switch n := w.rand.IntN(20); {
	case n < 8:
		w.r.f.Now = w.r.f.Now.Add(time.Duration(w.rand.IntN(600)) * time.Second)
	case n < 9:
		w.r.f.Now = w.r.f.Now.Add(time.Duration(w.rand.IntN(5*3600)) * time.Second) // it slept
	case n < 11:
		w.r.f.Answers = !w.r.f.Answers
	case n < 14 && len(w.late) > 0: // a request arrives, and perhaps its answer
		ticks := w.late[0]
		w.late = w.late[1:]
		answers := w.serve(ticks)
		if w.r.f.Asking = false; w.p(70) {
			w.r.b = w.r.b.Answered(ticks, answers)
			w.save()
		}
	case n < 15 && len(w.late) > 0: // it is lost
		w.late, w.r.f.Asking = w.late[1:], false
	case n < 16:
		w.works = time.Time{}
	case n < 18 && w.r.f.Answers: // an adopt is answered
		for at := range w.folders {
			if o := w.outcomes[at]; o == "" {
				w.outcomes[at] = wire.OutcomeRun
			}
			delete(w.folders, at)
			break
		}
	case n < 19:
		if w.p(20) {
			w.crash()
		}
	default:
		w.r.f.OnBattery, w.r.f.Metered = w.p(40), w.p(40)
	}
	w.plan()
}

// settle lets everything come to its end.
func (w *world) settle() {
	w.works, w.r.f.Answers = time.Time{}, true
	if w.windows != nil { // what is held is let go
		w.r.configure(2, func(p *wire.ScheduledPolicy) { p.Cron = "0 * * * *" })
		w.windows = &schedule.Schedule{}
		w.save()
	}
	for n := 0; n < 50; n++ {
		for at := range w.folders {
			if w.outcomes[at] == "" {
				w.outcomes[at] = wire.OutcomeRun
			}
			delete(w.folders, at)
		}
		for _, ticks := range w.late {
			w.r.b = w.r.b.Answered(ticks, w.serve(ticks))
		}
		w.late, w.r.f.Asking = nil, false
		w.plan()
	}
}

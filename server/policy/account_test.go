package policy

import (
	"testing"
	"time"

	"restic-manager/server/fleet"
	"restic-manager/shared/wire"
)

func day(d, h, m int) time.Time { return time.Date(2026, 3, d, h, m, 0, 0, time.UTC) }

func TestADueTimeKeepsItsFirstOutcome(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		host := x.keeper()
		p := x.create(x.draft())
		x.clock.Set(day(2, 2, 30))
		first := x.asks(host, p.ID, day(2, 2, 30))
		if want := wire.TickJobID(p.ID, host, day(2, 2, 30)); first.Outcome != wire.OutcomeRun || first.JobID != want {
			t.Fatalf("got %+v, want run as job %s", first, want)
		}
		j, err := x.fleet.JobByID(t.Context(), first.JobID)
		if err != nil || j.State != wire.StateQueued || j.Policy == nil || j.Policy.Name != p.Name || j.DueAt == nil || !j.DueAt.Equal(day(2, 2, 30)) {
			t.Fatalf("the job: got %+v, %v", j, err)
		}
		x.clock.Advance(time.Hour)
		for _, again := range []wire.Tick{{PolicyID: p.ID, DueAt: day(2, 2, 30)}, {PolicyID: p.ID, DueAt: day(2, 2, 30), Outcome: wire.OutcomeMissed, Why: "x"}} {
			a, err := x.tell(host, again)
			if err != nil || a[0] != first {
				t.Errorf("told again as %q: got %+v, %v, want %+v", again.Outcome, a, err, first)
			}
		}
		if got, want := x.told(p.ID, host), "02T02:30 run"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		a := x.assignment(p.ID, host)
		if !a.AccountedUntil.Equal(day(2, 2, 30)) || a.NextDueAt == nil || !a.NextDueAt.Equal(day(3, 2, 30)) {
			t.Errorf("got accounted until %v, next %v", a.AccountedUntil, a.NextDueAt)
		}
		x.whole()
	})
}

func TestOneQueuedJobStandsForAllThatComeMeanwhile(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		host := x.keeper()
		p := x.create(x.draft())
		x.clock.Set(day(2, 2, 30))
		first := x.asks(host, p.ID, day(2, 2, 30))
		x.clock.Set(day(2, 20, 0))
		// Another version asks for other paths: the queued job stands for it all the same.
		p = x.change(p, func(d *Draft) { d.Spec.Schedule.Cron, d.Spec.Backup.Paths = "0 * * * *", []string{"/srv"} })
		x.clock.Set(day(2, 21, 0))
		got := x.asks(host, p.ID, day(2, 21, 0))
		if got.Outcome != wire.OutcomeCoalesced || got.JobID != first.JobID {
			t.Errorf("got %+v, want it to be stood for by %s", got, first.JobID)
		}
		if jobs, err := x.Run(t.Context(), tester, p.ID, nil); err != nil || len(jobs) != 1 || jobs[0].Created || jobs[0].JobID != first.JobID {
			t.Errorf("run by hand: got %+v, %v, want the queued job %s", jobs, err, first.JobID)
		}
		if jobs, _, err := x.fleet.Jobs(t.Context(), fleet.JobFilter{Policy: p.ID}, fleet.Page{}); err != nil || len(jobs) != 1 {
			t.Errorf("got %d jobs, %v, want one", len(jobs), err)
		}
		x.whole()
	})
}

func TestDueTimesThatAreNoneAreRefused(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		host := x.keeper()
		p := x.create(x.draft())
		other := x.draft()
		other.Spec.Hosts = Selector{IDs: []string{p.ID}}
		elsewhere := x.create(other)
		x.clock.Set(day(2, 2, 30))
		for name, c := range map[string]struct {
			tick wire.Tick
			want string
		}{
			"invented":           {wire.Tick{PolicyID: p.ID, DueAt: day(2, 2, 29)}, "not_due"},
			"half a second":      {wire.Tick{PolicyID: p.ID, DueAt: day(2, 2, 30).Add(time.Second / 2)}, "not_due"},
			"of tomorrow":        {wire.Tick{PolicyID: p.ID, DueAt: day(3, 2, 30)}, "not_due"},
			"missed, invented":   {wire.Tick{PolicyID: p.ID, DueAt: day(2, 2, 0), Outcome: wire.OutcomeMissed}, "not_due"},
			"run without adopt":  {wire.Tick{PolicyID: p.ID, DueAt: day(2, 2, 30), Outcome: wire.OutcomeRun}, "invalid"},
			"an unknown outcome": {wire.Tick{PolicyID: p.ID, DueAt: day(2, 2, 30), Outcome: "x"}, "invalid"},
			"no policy":          {wire.Tick{PolicyID: "x", DueAt: day(2, 2, 30)}, "invalid"},
		} {
			_, err := x.tell(host, wire.Tick{PolicyID: p.ID, DueAt: day(2, 2, 30)}, c.tick)
			if err == nil {
				t.Errorf("%s: it was taken", name)
				continue
			}
			wantCode(t, err, c.want)
		}
		if got := x.told(p.ID, host); got != "" {
			t.Errorf("a refused request left %s", got)
		}
		for name, tick := range map[string]wire.Tick{
			"before it applied":      {PolicyID: p.ID, DueAt: day(1, 2, 30)},
			"another host's policy":  {PolicyID: elsewhere.ID, DueAt: day(2, 2, 30)},
			"a policy that is not":   {PolicyID: host, DueAt: day(2, 2, 30)},
			"an invented one of it":  {PolicyID: elsewhere.ID, DueAt: day(2, 2, 31)},
			"a far future one of it": {PolicyID: elsewhere.ID, DueAt: day(30, 2, 30)},
		} {
			if a, err := x.tell(host, tick); err != nil || a[0] != (wire.TickAnswer{Unassigned: true}) {
				t.Errorf("%s: got %+v, %v, want unassigned", name, a, err)
			}
		}
	})
}

// A clock that is a little ahead asks early; two minutes are allowed.
func TestADueTimeMayBeAskedForTwoMinutesEarly(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		host := x.keeper()
		p := x.create(x.draft())
		x.clock.Set(day(2, 2, 27))
		_, err := x.tell(host, wire.Tick{PolicyID: p.ID, DueAt: day(2, 2, 30)})
		wantCode(t, err, "not_due")
		x.clock.Advance(time.Minute)
		if a := x.asks(host, p.ID, day(2, 2, 30)); a.Outcome != wire.OutcomeRun {
			t.Errorf("got %+v, want run", a)
		}
	})
}

func TestDueTimesOfThePreviousVersionCount(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		host := x.keeper()
		p := x.create(x.draft())
		x.clock.Set(day(4, 13, 0))
		p = x.change(p, func(d *Draft) { d.Spec.Schedule.Cron = "0 12 * * *" })
		x.clock.Set(day(5, 12, 0))
		// The agent was cut off: it tells what it knows of the old times, then asks for the new one.
		var ticks []wire.Tick
		for d := 2; d <= 4; d++ {
			ticks = append(ticks, wire.Tick{PolicyID: p.ID, DueAt: day(d, 2, 30), Outcome: wire.OutcomeMissed, Why: "the machine was off"})
		}
		a, err := x.tell(host, append(ticks, wire.Tick{PolicyID: p.ID, DueAt: day(5, 12, 0)})...)
		if err != nil || a[0].Outcome != wire.OutcomeMissed || a[3].Outcome != wire.OutcomeRun {
			t.Fatalf("got %+v, %v", a, err)
		}
		if got, want := x.told(p.ID, host), "02T02:30 missed, 03T02:30 missed, 04T02:30 missed, 05T12:00 run"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		// Of the old schedule nothing is due any more, of the new one nothing was before.
		for _, due := range []time.Time{day(5, 2, 30), day(4, 12, 0)} {
			x.clock.Set(day(5, 12, 1))
			if a, err := x.tell(host, wire.Tick{PolicyID: p.ID, DueAt: due}); err != nil || !a[0].Unassigned {
				t.Errorf("%v: got %+v, %v, want unassigned", due, a, err)
			}
		}
		if a := x.assignment(p.ID, host); !a.AccountedUntil.Equal(day(5, 12, 0)) || !a.NextDueAt.Equal(day(6, 12, 0)) {
			t.Errorf("got %+v", a)
		}
	})
}

// What is told out of order leaves a gap open: a job of it may be adopted later.
func TestHowFarAllIsAccountedForMovesWithoutAGap(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		host := x.keeper()
		p := x.create(x.draft())
		x.clock.Set(day(4, 3, 0))
		x.asks(host, p.ID, day(4, 2, 30))
		if a := x.assignment(p.ID, host); !a.AccountedUntil.Equal(day(1, 12, 0)) || !a.NextDueAt.Equal(day(2, 2, 30)) {
			t.Errorf("with a gap: got %+v", a)
		}
		if _, err := x.tell(host, wire.Tick{PolicyID: p.ID, DueAt: day(3, 2, 30), Outcome: wire.OutcomeMissed}); err != nil {
			t.Fatal(err)
		}
		if err := x.fleet.Adopt(t.Context(), host, wire.TickJobID(p.ID, host, day(2, 2, 30)), hex32(1), adopting(p.ID, day(2, 2, 30), 1)); err != nil {
			t.Fatal(err)
		}
		if got, want := x.told(p.ID, host), "02T02:30 run, 03T02:30 missed, 04T02:30 run"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if a := x.assignment(p.ID, host); !a.AccountedUntil.Equal(day(4, 2, 30)) || !a.NextDueAt.Equal(day(5, 2, 30)) {
			t.Errorf("without: got %+v", a)
		}
		x.whole()
	})
}

func TestWhatIsTooLateIsSkipped(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		host := x.keeper()
		d := x.draft()
		d.Spec.Schedule.LateSeconds = 3600
		p := x.create(d)
		x.clock.Set(day(2, 3, 31))
		if a := x.asks(host, p.ID, day(2, 2, 30)); a.Outcome != wire.OutcomeSkipped || a.JobID != "" {
			t.Errorf("61 minutes late: got %+v, want skipped", a)
		}
		if r := x.ticks(p.ID, host); r[0].Why != "it could not begin within 1 hour after it was due" {
			t.Errorf("got why %q", r[0].Why)
		}
		x.clock.Set(day(3, 3, 10))
		a := x.asks(host, p.ID, day(3, 2, 30))
		j, err := x.fleet.JobByID(t.Context(), a.JobID)
		if err != nil || !j.ExpiresAt.Equal(day(3, 3, 30)) {
			t.Errorf("40 minutes late: got %+v, which expires %v, %v; want it to begin until 03:30", a, j.ExpiresAt, err)
		}
	})
}

func TestAHostThatCannotBackUpMissesItsDueTimes(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		host := x.keeper()
		p := x.create(x.draft())
		if err := x.db.Write(t.Context(), execs("UPDATE hosts SET kinds = '[\"snapshots\"]' WHERE id = ?", host)); err != nil {
			t.Fatal(err)
		}
		x.clock.Set(day(2, 2, 30))
		if a := x.asks(host, p.ID, day(2, 2, 30)); a.Outcome != wire.OutcomeMissed {
			t.Errorf("got %+v, want missed", a)
		}
		x.whole()
	})
}

func TestWhatNoLongerAppliesIsUnassigned(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		host := x.keeper()
		p := x.create(x.draft())
		x.clock.Set(day(2, 2, 30))
		x.asks(host, p.ID, day(2, 2, 30))
		p = x.change(p, func(d *Draft) { d.Enabled = false })
		x.clock.Set(day(3, 2, 30))
		if a := x.asks(host, p.ID, day(3, 2, 30)); !a.Unassigned {
			t.Errorf("switched off: got %+v, want unassigned", a)
		}
		p = x.change(p, func(d *Draft) { d.Enabled = true })
		if a := x.assignment(p.ID, host); !a.AccountedUntil.Equal(day(3, 2, 30)) || !a.NextDueAt.Equal(day(4, 2, 30)) {
			t.Errorf("switched on again: got %+v, want nothing of before to be due", a)
		}
		if err := x.Delete(t.Context(), tester, p.ID); err != nil {
			t.Fatal(err)
		}
		x.clock.Set(day(4, 2, 30))
		if a := x.asks(host, p.ID, day(4, 2, 30)); !a.Unassigned {
			t.Errorf("deleted: got %+v, want unassigned", a)
		}
		// What was asked before has its outcome for ever.
		if a := x.asks(host, p.ID, day(2, 2, 30)); a.Outcome != wire.OutcomeRun {
			t.Errorf("got %+v, want run", a)
		}
	})
}

func TestWhyIsOneShortLine(t *testing.T) {
	for in, want := range map[string]string{"a\nb": "a\uFFFDb", "x\u202Ey": "x\uFFFDy", "plain": "plain"} {
		if got := cleanWhy(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
	long := ""
	for range 200 {
		long += "ä"
	}
	if got := cleanWhy(long); len(got) != wire.MaxWhy {
		t.Errorf("got %d bytes, want %d", len(got), wire.MaxWhy)
	}
}

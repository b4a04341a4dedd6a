package policy

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"restic-manager/server/database"
	"restic-manager/shared/wire"
)

func TestTheServerRunsWhatIsDueWhereTheAgentDoesNot(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		old, keeps := x.host(), x.keeper()
		x.hello(old)
		p := x.create(x.draft())
		if r := x.look(); r != (Report{}) {
			t.Errorf("nothing is due: got %+v", r)
		}
		x.clock.Set(day(2, 2, 30))
		if r := x.look(); r != (Report{Run: 1}) {
			t.Errorf("got %+v, want one run", r)
		}
		if got, want := x.told(p.ID, old), "02T02:30 run"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if got := x.told(p.ID, keeps); got != "" {
			t.Errorf("the agent keeps the schedule, and the server did %s", got)
		}
		x.wantState(wire.TickJobID(p.ID, old, day(2, 2, 30)), wire.StateQueued)
		if r := x.look(); r != (Report{}) {
			t.Errorf("a second look: got %+v", r)
		}
		x.whole()
	})
}

func TestTheServerCatchesUpOnce(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		host := x.host()
		x.hello(host)
		p := x.create(x.draft())
		d := x.draft()
		d.Spec.Schedule.NoCatchUp = true
		strict := x.create(d)
		d = x.draft()
		d.Spec.Schedule.LateSeconds = 3600
		punctual := x.create(d)
		x.clock.Set(day(5, 12, 0))
		if r := x.look(); r != (Report{Run: 1, Missed: 10, Skipped: 1}) {
			t.Errorf("got %+v, want one run, 10 missed and one skipped", r)
		}
		for policy, want := range map[string]string{
			p.ID:        "02T02:30 missed, 03T02:30 missed, 04T02:30 missed, 05T02:30 run",
			strict.ID:   "02T02:30 missed, 03T02:30 missed, 04T02:30 missed, 05T02:30 missed",
			punctual.ID: "02T02:30 missed, 03T02:30 missed, 04T02:30 missed, 05T02:30 skipped",
		} {
			if got := x.told(policy, host); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
			if a := x.assignment(policy, host); !a.AccountedUntil.Equal(day(5, 2, 30)) || !a.NextDueAt.Equal(day(6, 2, 30)) {
				t.Errorf("got %+v", a)
			}
		}
		x.whole()
	})
}

// A machine that is off does not come back to a pile: its one queued job stands for all.
func TestAnOfflineMachineHasOneQueuedJob(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		host := x.host()
		d := x.draft()
		d.Spec.Schedule.Cron = "0 * * * *"
		p := x.create(d)
		for h := 13; h < 20; h++ {
			x.clock.Set(day(1, h, 0))
			x.look()
		}
		if got, want := x.told(p.ID, host), "01T13:00 run, 01T14:00 coalesced, 01T15:00 coalesced, 01T16:00 coalesced, 01T17:00 coalesced, 01T18:00 coalesced, 01T19:00 coalesced"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		x.whole()
	})
}

func TestWhatASilentAgentDoesNotTellOfIsMissedAfterSevenDays(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		host := x.keeper()
		p := x.create(x.draft())
		x.clock.Set(day(9, 2, 29))
		if r := x.look(); r != (Report{}) {
			t.Errorf("before 7 days: got %+v", r)
		}
		x.clock.Set(day(10, 2, 30))
		if r := x.look(); r != (Report{Missed: 2}) {
			t.Errorf("got %+v, want two missed", r)
		}
		// It comes back, and was on all the time: what is accounted for stays, the rest is its own to tell.
		a, err := x.tell(host, wire.Tick{PolicyID: p.ID, DueAt: day(3, 2, 30), Outcome: wire.OutcomeSkipped}, wire.Tick{PolicyID: p.ID, DueAt: day(4, 2, 30), Outcome: wire.OutcomeSkipped})
		if err != nil || a[0].Outcome != wire.OutcomeMissed || a[1].Outcome != wire.OutcomeSkipped {
			t.Errorf("got %+v, %v", a, err)
		}
		x.whole()
	})
}

// An agent that was one that keeps the schedule, and is not any more: what it told stays.
func TestTheServerTakesOverWhereTheAgentStopped(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		host := x.keeper()
		p := x.create(x.draft())
		x.clock.Set(day(4, 2, 30))
		x.asks(host, p.ID, day(4, 2, 30))
		x.hello(host) // an older version was installed
		if r := x.look(); r.Missed != 1 || r.Run+r.Coalesced != 1 {
			t.Errorf("got %+v, want the two open ones to be settled", r)
		}
		if got, want := x.told(p.ID, host), "02T02:30 missed, 03T02:30 coalesced, 04T02:30 run"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		x.whole()
	})
}

// Two replicas look at the same time, for a day of many machines: every due time has one outcome, every run one job.
func TestReplicasGiveEachDueTimeOneOutcome(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		const hosts, times = 625, 16
		ids := x.hosts(hosts, func(int) string { return "{}" })
		x.clock.Set(day(1, 11, 59)) // before the first due time of all, also of those that the spread does not move
		d := x.draft()
		d.Spec.Schedule = Timing{Cron: "0 * * * *", Zone: "UTC", SpreadSeconds: 1800}
		p := x.create(d)
		other := x.replica()
		for n := range times {
			x.clock.Set(day(1, 12+n, 30))
			var wg sync.WaitGroup
			for _, r := range []*fixture{x, other} {
				wg.Go(func() {
					if _, err := r.RunSchedules(context.Background()); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			x.look() // what one of them passed over because the other had it
		}
		var got struct{ Ticks, Runs, Jobs, Named int64 }
		x.read(&got, `SELECT (SELECT count(*) FROM ticks) AS ticks, (SELECT count(*) FROM ticks WHERE outcome = 'run') AS runs, (SELECT count(*) FROM jobs) AS jobs,
			(SELECT count(DISTINCT t.job_id) FROM ticks t JOIN jobs ON jobs.id = t.job_id AND jobs.host_id = t.host_id) AS named`)
		if got.Ticks != hosts*times || got.Runs != hosts || got.Jobs != hosts || got.Named != hosts {
			t.Errorf("got %+v, want %d due times, and one queued job for each of %d hosts", got, hosts*times, hosts)
		}
		for _, host := range []string{ids[0], ids[hosts-1]} {
			if a := x.assignment(p.ID, host); a.AccountedUntil.Before(day(1, 12+times-1, 0)) {
				t.Errorf("got %+v, want all to be accounted for", a)
			}
		}
		x.whole()
	})
}

// Berlin, 2026-10-25: the clock on the wall shows 02:30 twice. And 2027-03-28: it never does.
func TestDaylightSavingGivesOneDueTimeADay(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		host := x.host()
		x.hello(host)
		x.clock.Set(time.Date(2026, 10, 23, 12, 0, 0, 0, time.UTC))
		d := x.draft()
		d.Spec.Schedule.Zone = "Europe/Berlin"
		p := x.create(d)
		for range 4 * 24 * 4 {
			x.clock.Advance(15 * time.Minute)
			x.look()
		}
		x.clock.Set(time.Date(2027, 3, 26, 12, 0, 0, 0, time.UTC))
		x.change(p, func(d *Draft) { d.Enabled = false })
		p, err := x.ByID(t.Context(), p.ID)
		if err != nil {
			t.Fatal(err)
		}
		p = x.change(p, func(d *Draft) { d.Enabled = true })
		for range 3 * 24 * 4 {
			x.clock.Advance(15 * time.Minute)
			x.look()
		}
		var got []string
		for _, r := range x.ticks(p.ID, host) {
			got = append(got, r.DueAt.UTC().Format("01-02 15:04"))
		}
		want := []string{"10-24 00:30", "10-25 00:30", "10-26 01:30", "10-27 01:30", "03-27 01:30", "03-28 01:00", "03-29 00:30"}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

func TestDueTimesAreForgottenAfter400Days(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		host := x.host()
		p := x.create(x.draft())
		x.clock.Set(day(3, 2, 30))
		x.look()
		x.clock.Set(day(3, 2, 29).AddDate(0, 0, 400))
		if n, err := x.Expire(t.Context()); err != nil || n != 1 {
			t.Errorf("got %d, %v, want the one of 2 March to go", n, err)
		}
		if got, want := x.told(p.ID, host), "03T02:30 run"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
}

// A page holds each due time once, whatever the list is narrowed by.
func TestTheListOfDueTimesIsPagedWithoutGapOrRepetition(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		ids := x.hosts(4, func(int) string { return "{}" })
		d := x.draft()
		d.Spec.Schedule.Cron = "0 * * * *"
		p, q := x.create(d), x.create(x.draft())
		x.clock.Set(day(2, 3, 0))
		x.look()
		since := day(2, 0, 0)
		for name, c := range map[string]struct {
			f    TickFilter
			want int
		}{
			"all":           {TickFilter{}, 4 * 16},
			"of a policy":   {TickFilter{PolicyID: q.ID}, 4},
			"of a host":     {TickFilter{HostID: ids[0]}, 16},
			"missed":        {TickFilter{Outcome: wire.OutcomeMissed}, 4 * 14},
			"since":         {TickFilter{Since: &since}, 4 * 5},
			"until":         {TickFilter{Until: &since, PolicyID: p.ID}, 4 * 11},
			"of no policy":  {TickFilter{PolicyID: database.NewID()}, 0},
			"skipped there": {TickFilter{Outcome: wire.OutcomeSkipped, HostID: ids[1]}, 0},
		} {
			seen := map[string]bool{}
			var last time.Time
			for cursor := ""; ; {
				page, err := x.Ticks(t.Context(), c.f, pageOf(cursor, 3))
				if err != nil {
					t.Fatal(err)
				}
				for _, tick := range page.Ticks {
					if !last.IsZero() && tick.DueAt.After(last) {
						t.Errorf("%s: %v comes after %v", name, tick.DueAt, last)
					}
					last = tick.DueAt
					seen[tick.PolicyID+tick.HostID+tick.DueAt.String()] = true
				}
				if cursor = page.NextCursor; cursor == "" {
					break
				}
			}
			if len(seen) != c.want {
				t.Errorf("%s: got %d due times, want %d", name, len(seen), c.want)
			}
		}
		_, err := x.Ticks(t.Context(), TickFilter{}, pageOf("bm9uZQ", 3))
		wantCode(t, err, "invalid")
	})
}

// A rule of expressions may become stricter: the one policy is not due, the others go on.
func TestAnExpressionThatIsNotUnderstoodAnyMoreStopsNobodyElse(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		host := x.host()
		broken, p := x.create(x.draft()), x.create(x.draft())
		x.write(execs(`UPDATE policies SET spec = replace(spec, '30 2 * * *', '30 2 * * L') WHERE id = ?`, broken.ID))
		x.write(execs(`UPDATE policy_versions SET spec = replace(spec, '30 2 * * *', '30 2 * * L') WHERE policy_id = ?`, broken.ID))
		x.clock.Set(day(2, 2, 30))
		if r := x.look(); r != (Report{Run: 1}) {
			t.Errorf("got %+v, want the other policy's run", r)
		}
		if got, want := x.told(p.ID, host), "02T02:30 run"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if a := x.assignment(broken.ID, host); a.NextDueAt != nil {
			t.Errorf("it is due at %v", a.NextDueAt)
		}
		if _, err := x.Calendar(t.Context(), 30, 48, 0); err != nil {
			t.Error(err)
		}
		q, err := x.ByID(t.Context(), broken.ID)
		if err != nil {
			t.Fatal(err)
		}
		x.change(q, func(d *Draft) { d.Spec.Schedule.Cron = "30 3 * * *" })
		if a := x.assignment(broken.ID, host); a.NextDueAt == nil || !a.NextDueAt.Equal(day(2, 3, 30)) {
			t.Errorf("saved anew: got %+v", a)
		}
	})
}

package policy

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"restic-manager/server/database"
	"restic-manager/server/fleet"
	"restic-manager/shared/wire"
)

// newer is a host whose agent can do all that this version's can.
func (x *fixture) newer() string {
	x.t.Helper()
	id := x.host()
	x.hello(id, wire.FeatureSchedule, wire.FeatureTarget, wire.FeatureWindows, wire.FeatureLimits)
	return id
}

// nightly is due twice a day and begins at night alone.
func (x *fixture) nightly(change ...func(t *Timing)) Draft {
	d := x.draft()
	d.Spec.Schedule = Timing{Cron: "30 11,23 * * *", Zone: "UTC", Windows: []wire.Window{{From: "22:00", To: "06:00", StopAtEnd: true}}}
	for _, c := range change {
		c(&d.Spec.Schedule)
	}
	return d
}

func TestTheServerRunsInWindowsAlone(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		old := x.host()
		x.hello(old)
		d := x.nightly()
		p := x.create(d)
		d = x.nightly(func(s *Timing) { s.LateSeconds = 3600 })
		punctual := x.create(d)
		x.clock.Set(day(2, 11, 30)) // 23:30 is the first
		x.look()
		for policy, want := range map[string]string{p.ID: "01T23:30 missed", punctual.ID: "01T23:30 missed, 02T11:30 skipped"} {
			if got := x.told(policy, old); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		}
		for _, r := range x.ticks(punctual.ID, old) {
			if r.DueAt.Equal(day(2, 11, 30)) && r.Why != outsideWindows {
				t.Errorf("why: got %q", r.Why)
			}
		}
		a := x.assignment(p.ID, old)
		if !a.NextDueAt.Equal(day(2, 22, 0)) || !a.AccountedUntil.Before(day(2, 11, 30)) {
			t.Errorf("a due time that waits for its window: got %+v, want it looked at again at 22:00", a)
		}
		if r := x.look(); r != (Report{}) {
			t.Errorf("a second look: got %+v", r)
		}
		x.clock.Set(day(2, 21, 59))
		if r := x.look(); r != (Report{}) {
			t.Errorf("before the window: got %+v", r)
		}
		x.clock.Set(day(2, 22, 0))
		if r := x.look(); r != (Report{Run: 1}) {
			t.Errorf("at its opening: got %+v, want one run", r)
		}
		id := wire.TickJobID(p.ID, old, day(2, 11, 30))
		x.wantState(id, wire.StateQueued)
		if j, err := x.fleet.JobByID(t.Context(), id); err != nil || !j.ExpiresAt.Equal(day(3, 6, 0)) {
			t.Errorf("got %v, %v, want it to expire when the window closes", j.ExpiresAt, err)
		}
		x.whole()
	})
}

// TestManyThatWaitKeepNobodyWaiting: what waits for its window is not looked at again and again.
func TestManyThatWaitKeepNobodyWaiting(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		hosts := x.hosts(assignmentsAtOnce+20, func(int) string { return "{}" })
		p := x.create(x.nightly())
		x.clock.Set(day(1, 23, 30))
		x.look()
		x.clock.Set(day(2, 11, 30))
		if r := x.look(); r != (Report{}) {
			t.Errorf("got %+v, want nothing but that it ends", r)
		}
		for _, h := range hosts {
			if a := x.assignment(p.ID, h); !a.NextDueAt.Equal(day(2, 22, 0)) {
				t.Fatalf("got %+v, want it to wait until 22:00", a)
			}
		}
	})
}

func TestAnAskOutsideOfTheWindowsIsAnsweredLater(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		host := x.newer()
		p := x.create(x.nightly())
		x.clock.Set(day(1, 23, 30))
		if a := x.asks(host, p.ID, day(1, 23, 30)); a.Outcome != wire.OutcomeRun {
			t.Errorf("in the window: got %+v, want a run", a)
		}
		x.clock.Set(day(2, 11, 30))
		if a := x.asks(host, p.ID, day(2, 11, 30)); a != (wire.TickAnswer{Later: true}) {
			t.Errorf("outside: got %+v, want later", a)
		}
		if got := x.told(p.ID, host); got != "01T23:30 run" {
			t.Errorf("kept %s, want nothing of what is to come later", got)
		}
		x.clock.Set(day(2, 22, 0))
		x.cancel(wire.TickJobID(p.ID, host, day(1, 23, 30)))
		if a := x.asks(host, p.ID, day(2, 11, 30)); a.Outcome != wire.OutcomeRun {
			t.Errorf("in the next window: got %+v, want a run", a)
		}
		x.clock.Set(day(3, 5, 59).Add(30 * time.Second)) // nobody fetches it in that time
		if a := x.asks(host, p.ID, day(2, 23, 30)); a != (wire.TickAnswer{Outcome: wire.OutcomeSkipped}) {
			t.Errorf("half a minute before the closing: got %+v, want skipped, for the next one is due before it opens again", a)
		}
		x.whole()
	})
}

// cancel ends a queued job.
func (x *fixture) cancel(id string) {
	x.t.Helper()
	if _, err := x.fleet.CancelJob(x.t.Context(), tester, id); err != nil {
		x.t.Fatal(err)
	}
}

func TestAWindowThatStopsBoundsTheTimeLimit(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		host := x.newer()
		stops := x.create(x.nightly())
		x.clock.Set(day(1, 23, 30))
		x.asks(host, stops.ID, day(1, 23, 30))
		id := wire.TickJobID(stops.ID, host, day(1, 23, 30))
		x.clock.Set(day(2, 1, 0))
		lease := strings.Repeat("a", 32)
		reply, err := x.fleet.Accept(t.Context(), host, id, wire.AcceptRequest{Lease: lease, Delivery: 1})
		if err != nil || reply.TimeLimitSeconds != 5*3600 {
			t.Errorf("accepted 5 hours before the closing: got %d s, %v", reply.TimeLimitSeconds, err)
		}
		x.clock.Set(day(2, 1, 0).Add(20 * time.Second))
		if again, err := x.fleet.Accept(t.Context(), host, id, wire.AcceptRequest{Lease: lease, Delivery: 1}); err != nil || again.TimeLimitSeconds != reply.TimeLimitSeconds {
			t.Errorf("the same lease: got %d s, %v, want the same answer", again.TimeLimitSeconds, err)
		}
		resumed, err := x.fleet.Resume(t.Context(), host, id, wire.ResumeRequest{OldLease: lease, NewLease: strings.Repeat("b", 32)})
		if err != nil || resumed.TimeLimitSeconds != reply.TimeLimitSeconds {
			t.Errorf("resumed: got %d s, %v, want %d", resumed.TimeLimitSeconds, err, reply.TimeLimitSeconds)
		}

		other := x.newer()
		goes := x.create(x.nightly(func(s *Timing) { s.Windows[0].StopAtEnd = false }))
		x.clock.Set(day(2, 23, 30))
		x.asks(other, goes.ID, day(2, 23, 30))
		reply, err = x.fleet.Accept(t.Context(), other, wire.TickJobID(goes.ID, other, day(2, 23, 30)), wire.AcceptRequest{Lease: lease, Delivery: 1})
		if err != nil || reply.TimeLimitSeconds != 24*3600 {
			t.Errorf("in a window that does not stop: got %d s, %v, want a day", reply.TimeLimitSeconds, err)
		}
	})
}

// TestAnOrderOfPeopleIsOutsideOfWindows: it is queued at any time, and no window ends it.
func TestAnOrderOfPeopleIsOutsideOfWindows(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		host := x.newer()
		p := x.create(x.nightly())
		x.clock.Set(day(2, 12, 0))
		jobs, err := x.Run(t.Context(), tester, p.ID, nil)
		if err != nil || len(jobs) != 1 || !jobs[0].Created {
			t.Fatalf("got %+v, %v", jobs, err)
		}
		reply, err := x.fleet.Accept(t.Context(), host, jobs[0].JobID, wire.AcceptRequest{Lease: strings.Repeat("a", 32), Delivery: 1})
		if err != nil || reply.TimeLimitSeconds != 24*3600 {
			t.Errorf("got %d s, %v, want a day", reply.TimeLimitSeconds, err)
		}
	})
}

func TestAnAgentThatIsTooOldIsAProblem(t *testing.T) {
	const (
		forWindows = "its agent is too old for windows: upgrade it"
		forLimits  = "its agent is too old for a download limit, nice and I/O class: upgrade it"
	)
	each(t, func(t *testing.T, x *fixture) {
		silent, old, keeps, newer := x.host(), x.host(), x.keeper(), x.newer()
		x.hello(old)
		windows := x.create(x.nightly())
		d := x.draft()
		d.Spec.Schedule.SkipOnBattery = true
		battery := x.create(d)
		d = x.draft()
		d.Spec.Backup.CPUNice = 5
		limits := x.create(d)
		plain := x.create(x.draft())
		for _, c := range []struct {
			host, policy, want string
		}{
			{silent, windows.ID, ""}, {old, windows.ID, ""}, {keeps, windows.ID, forWindows}, {newer, windows.ID, ""},
			{silent, battery.ID, ""}, {old, battery.ID, ""}, {keeps, battery.ID, forWindows}, {newer, battery.ID, ""},
			{silent, limits.ID, ""}, {old, limits.ID, forLimits}, {keeps, limits.ID, forLimits}, {newer, limits.ID, ""},
			{silent, plain.ID, ""}, {old, plain.ID, ""}, {keeps, plain.ID, ""}, {newer, plain.ID, ""},
		} {
			if got := x.assignment(c.policy, c.host).Problem; got != c.want {
				t.Errorf("got problem %q, want %q", got, c.want)
			}
		}
		if s, err := x.schedule(t.Context(), keeps); err != nil || len(s.Policies) != 1 || s.Policies[0].ID != plain.ID {
			t.Errorf("the old agent is told %+v, %v, want the plain policy alone", s, err)
		}
		s, err := x.schedule(t.Context(), newer)
		if err != nil || len(s.Policies) != 4 {
			t.Fatalf("the newer agent is told %+v, %v", s, err)
		}
		for _, told := range s.Policies {
			if told.ID == windows.ID && !reflect.DeepEqual(told.Windows, windows.Spec.Schedule.Windows) || told.ID == battery.ID && !told.SkipOnBattery {
				t.Errorf("got %+v, want windows and conditions as they are", told)
			}
		}

		// Upgraded, it has the policies; what was due before is nobody's.
		x.clock.Set(day(2, 12, 0))
		version := x.scheduleVersion(keeps)
		x.again(keeps, wire.FeatureSchedule, wire.FeatureWindows, wire.FeatureLimits)
		for _, p := range []string{windows.ID, battery.ID, limits.ID} {
			if a := x.assignment(p, keeps); a.Problem != "" || !a.AccountedUntil.Equal(day(2, 12, 0)) {
				t.Errorf("upgraded: got %+v, want no problem, and that it begins now", a)
			}
		}
		if x.scheduleVersion(keeps) == version {
			t.Error("the upgraded agent is not told")
		}
		x.again(keeps, wire.FeatureSchedule)
		if got := x.assignment(windows.ID, keeps).Problem; got != forWindows {
			t.Errorf("an older version again: got problem %q, want %q", got, forWindows)
		}
		x.whole()
	})
}

// again is the hello of the next process of an agent.
func (x *fixture) again(host string, features ...string) {
	x.t.Helper()
	x.n++
	_, err := x.fleet.Hello(x.t.Context(), host, wire.HelloRequest{BootID: database.NewID(), BootNumber: int64(100 + x.n), Seq: 1, ProtocolVersion: 1, AgentVersion: "1",
		Now: x.clock.Now(), Features: features, Facts: wire.Facts{Hostname: "h"}})
	if err != nil {
		x.t.Fatal(err)
	}
}

func TestAnOrderWithLimitsIsForAgentsThatKnowThem(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		silent, old, newer := x.host(), x.keeper(), x.newer()
		for host, want := range map[string]string{silent: "", old: "limits_unsupported", newer: ""} {
			_, _, err := x.fleet.CreateJob(t.Context(), tester, fleet.NewJob{HostID: host, Kind: wire.KindBackup, Spec: &wire.BackupSpec{Paths: []string{"/etc"}, IOClass: wire.IOClassIdle}})
			wantCode(t, err, want)
		}
		_, _, err := x.fleet.CreateJob(t.Context(), tester, fleet.NewJob{HostID: old, Kind: wire.KindBackup, Spec: &wire.BackupSpec{Paths: []string{"/etc"}, UploadLimitKiB: 5}})
		wantCode(t, err, "")
	})
}

func TestWindowsAreKeptInOneForm(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		p := x.create(x.nightly(func(s *Timing) {
			s.Windows = []wire.Window{{Days: []string{"sun", "mon", "mon"}, From: "01:00", To: "02:00"},
				{Days: []string{"tue", "mon", "wed", "thu", "sun", "sat", "fri"}, From: "22:00", To: "24:00"}}
		}))
		want := []wire.Window{{Days: []string{"mon", "sun"}, From: "01:00", To: "02:00"}, {From: "22:00", To: "24:00"}}
		if !reflect.DeepEqual(p.Spec.Schedule.Windows, want) {
			t.Errorf("got %+v, want %+v", p.Spec.Schedule.Windows, want)
		}
		p = x.change(p, func(d *Draft) {
			d.Spec.Schedule.Windows, d.Spec.Schedule.SkipOnMetered = want[1:], true
			d.Spec.Backup.DownloadLimitKiB, d.Spec.Backup.CPUNice, d.Spec.Backup.IOClass = 100, 10, wire.IOClassLow
		})
		versions, err := x.Versions(t.Context(), p.ID)
		if err != nil {
			t.Fatal(err)
		}
		changes := []Change{
			{"backup.download_limit_kib", "", "100"}, {"backup.cpu_nice", "", "10"}, {"backup.io_class", "", "low"},
			{"schedule.windows", "mon, sun 01:00 to 02:00\nevery day 22:00 to 24:00", "every day 22:00 to 24:00"}, {"schedule.skip_on_metered", "", "yes"},
		}
		if got := versions[0].Changes; !reflect.DeepEqual(got, changes) {
			t.Errorf("got %+v, want %+v", got, changes)
		}
		for want, w := range map[string]wire.Window{"schedule.windows[0].days": {Days: []string{"Monday"}, From: "22:00", To: "06:00"}, "schedule.windows[0].from": {From: "late", To: "06:00"}} {
			_, err := x.Create(t.Context(), tester, x.nightly(func(s *Timing) { s.Windows = []wire.Window{w} }))
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want it to name %s", err, want)
			}
		}
	})
}

func TestWhatComesNextRespectsWindows(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		host := x.newer()
		p := x.create(x.nightly(func(s *Timing) { s.Cron = "30 11,21 * * *" }))
		x.clock.Set(day(2, 9, 0)) // 11:30 is skipped, for 21:30 comes first; that waits for 22:00
		next, err := x.Preview(t.Context(), p.Spec.Schedule)
		if err != nil || len(next.Next) != 5 || !next.Next[0].Equal(day(2, 22, 0)) || !next.Next[1].Equal(day(3, 22, 0)) {
			t.Errorf("preview: got %+v, %v", next, err)
		}
		plan, err := x.Plan(t.Context(), p.ID, Draft{p.Name, true, p.Spec})
		if err != nil || len(plan.NextRuns) != 10 || !plan.NextRuns[0].At.Equal(day(2, 22, 0)) {
			t.Errorf("plan: got %+v, %v", plan.NextRuns, err)
		}
		c, err := x.Calendar(t.Context(), 1, 48, 0)
		if err != nil || !reflect.DeepEqual(c.Due, []DueHour{{day(2, 22, 0), 1}, {day(3, 22, 0), 1}}) {
			t.Errorf("calendar: got %+v, %v", c.Due, err)
		}
		if got, err := x.ByID(t.Context(), p.ID); err != nil || got.NextDueAt == nil || !got.NextDueAt.Equal(day(2, 22, 0)) {
			t.Errorf("the policy: got next %v, %v", got.NextDueAt, err)
		}
		if got, err := x.OfHost(t.Context(), host); err != nil || !got.Policies[0].NextDueAt.Equal(day(2, 22, 0)) {
			t.Errorf("of the host: got %+v, %v", got, err)
		}
		if got, err := x.Hosts(t.Context(), p.ID, fleet.Page{}); err != nil || !got.Hosts[0].NextDueAt.Equal(day(2, 22, 0)) {
			t.Errorf("at the host: got %+v, %v", got, err)
		}
	})
}

func TestAPlanSaysWhatWindowsCannotDo(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		old := x.host()
		x.hello(old)
		d := x.nightly(func(s *Timing) { s.Cron, s.SkipOnBattery = "0 12 * * *", true })
		d.Spec.Schedule.LateSeconds = 3600
		plan, err := x.Plan(t.Context(), "", d)
		if err != nil {
			t.Fatal(err)
		}
		all := strings.Join(plan.Warnings, "\n")
		for _, want := range []string{"it never runs", "whether they run on battery or on a metered connection is not seen"} {
			if !strings.Contains(all, want) {
				t.Errorf("got warnings %q, want %q", all, want)
			}
		}
		keeps := x.keeper()
		if plan, err = x.Plan(t.Context(), "", d); err != nil || len(plan.Hosts.Problems) != 1 || plan.Hosts.Problems[0].Host.ID != keeps {
			t.Errorf("got problems %+v, %v, want the one of the old agent", plan.Hosts.Problems, err)
		}
	})
}

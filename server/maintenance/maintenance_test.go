package maintenance

import (
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"restic-manager/server/database"
	"restic-manager/server/fleet"
	"restic-manager/server/retention"
	"restic-manager/shared/wire"
)

// days makes a backup a day, the last one on the day that the clock then stands at.
func (r *rig) days(host, hostname, policy string, n int) (ids []string) {
	r.t.Helper()
	for i := range n {
		if i > 0 {
			r.clock.Advance(24*time.Hour - 30*time.Minute)
		}
		ids = append(ids, r.backup(host, hostname, policy))
	}
	return ids
}

func TestWhatNoPolicyKeepsIsRemovedAtItsTime(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		p := r.policy("daily", `{"daily":9}`)
		ids := r.days(r.host("a"), "a", p, 10)
		manual := r.backup(r.runner, "runner", "")
		r.duty()
		if n := r.count("SELECT count(*) FROM removals"); n != 0 {
			t.Fatalf("before it is due: got %d removals, want none", n)
		}
		r.night()
		r.wantThere(append(slices.Clone(ids[1:]), manual)...)
		all := r.removals()
		if len(all) != 1 || all[0].State != Done || !slices.Equal(all[0].SnapshotIDs, ids[:1]) || all[0].Total != 11 || all[0].JobID == nil {
			t.Fatalf("got %+v, want the oldest removed", all)
		}
		if n := r.count("SELECT count(*) FROM repository_maintenance WHERE last_forget_at IS NOT NULL AND next_forget_at > ?", r.clock.Now()); n != 1 {
			t.Error("it is not noted that retention has run, and when it is due next")
		}
		if n := r.count("SELECT count(*) FROM audit WHERE action = 'removal.create' AND actor_kind = 'system'"); n != 1 {
			t.Errorf("got %d rows of it in the audit trail, want 1", n)
		}
		r.night() // nothing more to go
		if len(r.removals()) != 1 || len(r.storage) != 10 {
			t.Errorf("the second night: got %d removals, want no other", len(r.removals()))
		}
		r.whole()
	})
}

// TestTheAttackOnRetention has 7 forged snapshots beside 7 good ones, put into the storage by who has the password.
func TestTheAttackOnRetention(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		p := r.policy("daily", `{"daily":7}`)
		host := r.host("a")
		good := r.days(host, "a", p, 7)
		var forged []string
		for _, id := range good {
			forged = append(forged, r.put("a", r.storage[id].Time.Add(6*time.Hour)))
		}
		r.clock.Advance(8 * time.Hour)
		r.hello(host, "a")
		r.night()
		r.wantThere(append(slices.Clone(good), forged...)...)
		if why := r.frozen(); !strings.Contains(why, "no backup that was ordered here made it") {
			t.Fatalf("got frozen %q, want a word on what nobody ordered", why)
		}
		if len(r.removals()) != 0 || r.count("SELECT count(*) FROM audit WHERE action = 'retention.freeze'") != 1 {
			t.Errorf("got %d removals; want none, and the freeze in the audit trail", len(r.removals()))
		}
		_, err := r.Begin(t.Context(), tester, r.setting, repositoryID, wire.KindForget)
		wantCode(t, err, "retention_frozen", "until a person has looked")
		_, err = r.Begin(t.Context(), tester, r.setting, repositoryID, wire.KindPrune)
		wantCode(t, err, "retention_frozen", "until a person has looked")

		// A person leaves them out: they keep nothing from being kept, and stay.
		if err := r.Unfreeze(t.Context(), tester, r.setting, repositoryID); err != nil {
			t.Fatal(err)
		}
		r.clock.Advance(12 * time.Hour)
		newest := r.backup(host, "a", p)
		r.night()
		if r.frozen() != "" {
			t.Fatalf("frozen again: %s", r.frozen())
		}
		r.wantThere(slices.Concat(good[1:], forged, []string{newest})...)

		// One more of them freezes anew.
		late := r.put("a", r.clock.Now().Add(-30*24*time.Hour))
		r.night()
		if why := r.frozen(); !strings.Contains(why, late[:8]) {
			t.Errorf("one more: got frozen %q, want %.8s named", why, late)
		}
		r.whole()
	})
}

func TestAdoptedSnapshotsCountAndThaw(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		p := r.policy("daily", `{"last":3}`)
		host := r.host("a")
		r.exec("INSERT INTO assignments (policy_id, host_id, why, since, accounted_until) VALUES (?, ?, 'all', ?, ?)", p, host, r.clock.Now(), r.clock.Now())
		old := r.put("a", r.clock.Now().AddDate(0, -2, 0))
		older := r.put("a", r.clock.Now().AddDate(0, -3, 0))
		good := r.days(host, "a", p, 2)
		r.night()
		if !strings.Contains(r.frozen(), "2 snapshots") {
			t.Fatalf("got frozen %q, want the two of before", r.frozen())
		}
		_, err := r.Adopt(t.Context(), tester, r.setting, repositoryID, []string{"ff"})
		wantCode(t, err, "invalid", "snapshot_ids")
		_, err = r.Adopt(t.Context(), tester, r.setting, strings.Repeat("0", 64), nil)
		wantCode(t, err, "invalid", "repository_id")
		if n, err := r.Adopt(t.Context(), tester, r.setting, repositoryID, []string{old, old, good[0]}); n != 1 || err != nil || r.frozen() == "" {
			t.Fatalf("one: got %d, %v, frozen %q; want 1, and still frozen", n, err, r.frozen())
		}
		if n, err := r.Adopt(t.Context(), tester, r.setting, repositoryID, nil); n != 1 || err != nil || r.frozen() != "" {
			t.Fatalf("the rest: got %d, %v, frozen %q; want 1, and thawed", n, err, r.frozen())
		}
		r.night()
		r.wantThere(good[0], good[1], old) // by their own time, in the group of the one policy of that host
		if _, there := r.storage[older]; there {
			t.Error("the oldest is still there")
		}
	})
}

func TestMoreThanAFifthWaitsForAPerson(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		p := r.policy("daily", `{"last":6}`)
		host := r.host("a")
		ids := r.days(host, "a", p, 10)
		r.night()
		all := r.removals()
		if len(all) != 1 || all[0].State != Waiting || all[0].IDCount != 4 || !strings.Contains(all[0].Why, "4 of 10") || len(r.ordered(wire.KindForget)) != 0 {
			t.Fatalf("got %+v, want 4 of 10 to wait", all)
		}
		r.wantThere(ids...)
		r.night()
		if len(r.removals()) != 1 {
			t.Fatalf("the next night: got %d removals, want the one that waits", len(r.removals()))
		}
		if _, err := r.Refuse(t.Context(), tester, all[0].ID); err != nil {
			t.Fatal(err)
		}
		_, err := r.Approve(t.Context(), tester, all[0].ID)
		wantCode(t, err, "removal_decided", "refused")
		_, err = r.Approve(t.Context(), tester, database.NewID())
		wantCode(t, err, "not_found", "no such removal")

		r.night()
		again := r.removals()[0]
		// The policy keeps one more by now: that one stays, whatever was asked before.
		r.exec("UPDATE policies SET spec = ? WHERE id = ?", `{"schedule":{"zone":"UTC"},"keep":{"last":7}}`, p)
		got, err := r.Approve(t.Context(), tester, again.ID)
		if err != nil || got.State != Ordered || !slices.Equal(got.SnapshotIDs, ids[:3]) || got.DecidedBy != "tester" || got.DecidedAt == nil {
			t.Fatalf("got %+v, %v; want the 3 that may still go ordered", got, err)
		}
		r.work()
		r.duty()
		if done := r.removals()[0]; done.State != Done || done.IDCount != 3 {
			t.Errorf("got %+v, want it done", done)
		}
		r.wantThere(ids[3:]...)
		if n := r.count("SELECT count(*) FROM audit WHERE action IN ('removal.approve', 'removal.refuse') AND actor_name = 'tester'"); n != 2 {
			t.Errorf("got %d decisions in the audit trail, want 2", n)
		}
	})
}

func TestApprovalOfWhatFrozeSince(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		host := r.host("a")
		r.days(host, "a", r.policy("daily", `{"last":2}`), 6)
		r.night()
		waits := r.removals()[0]
		r.put("a", r.clock.Now().AddDate(-1, 0, 0))
		r.clock.Advance(time.Hour)
		r.backup(host, "a", "") // lists it
		_, err := r.Approve(t.Context(), tester, waits.ID)
		wantCode(t, err, "retention_frozen", "no backup that was ordered here")
		if len(r.ordered(wire.KindForget)) != 0 {
			t.Error("a removal was ordered")
		}
	})
}

func TestWhatIsStillThereFailsTheRemoval(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		r.appendOnly = true
		ids := r.days(r.host("a"), "a", r.policy("daily", `{"daily":9}`), 10)
		r.night()
		all := r.removals()
		if len(all) != 1 || all[0].State != Failed || !strings.Contains(all[0].Why, "1 of 1 are still there ("+ids[0][:8]+")") {
			t.Errorf("got %+v, want it failed by what is still there", all)
		}
		if n := r.count("SELECT count(*) FROM repository_maintenance WHERE last_forget_at IS NOT NULL"); n != 0 {
			t.Error("it is noted that retention has run")
		}
	})
}

func TestARemovalWhoseJobDidNotRun(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		r.days(r.host("a"), "a", r.policy("daily", `{"daily":9}`), 10)
		begin := func() Removal {
			t.Helper()
			b, err := r.Begin(t.Context(), tester, r.setting, repositoryID, wire.KindForget)
			if err != nil || b.Removal == nil || b.Removal.State != Ordered {
				t.Fatalf("got %+v, %v, want a removal ordered", b, err)
			}
			return *b.Removal
		}
		first := begin()
		b, err := r.Begin(t.Context(), tester, r.setting, repositoryID, wire.KindForget)
		if err != nil || b.Removal != nil || !strings.Contains(b.Nothing, "has not ended") {
			t.Errorf("two at once: got %+v, %v, want word of the first", b, err)
		}
		if _, err := r.fleet.CancelJob(t.Context(), tester, *first.JobID); err != nil {
			t.Fatal(err)
		}
		r.duty()
		if got := r.removals()[0]; got.State != Failed || !strings.Contains(got.Why, "canceled") {
			t.Errorf("canceled: got %+v, want it failed", got)
		}
		r.clock.Advance(time.Minute)
		second := begin()
		lease := r.begin(r.runner, *second.JobID)
		r.finish(r.runner, *second.JobID, lease, wire.FinishRequest{State: wire.StateSucceeded}) // and no list comes
		r.clock.Advance(10 * time.Minute)
		r.duty()
		if got := r.removals()[0]; got.State != Ordered || len(r.ordered(wire.KindSnapshots)) != 0 {
			t.Errorf("10 minutes without a list: got %+v and %d orders, want it to wait", got, len(r.ordered(wire.KindSnapshots)))
		}
		r.clock.Advance(10 * time.Minute)
		for range 3 {
			r.duty()
		}
		lists := r.ordered(wire.KindSnapshots)
		if len(lists) != 1 {
			t.Fatalf("20 minutes without a list: got %d orders of one, want 1", len(lists))
		}
		if _, err := r.fleet.CancelJob(t.Context(), tester, lists[0].ID); err != nil { // it comes to nothing
			t.Fatal(err)
		}
		r.clock.Advance(55 * time.Minute)
		r.duty()
		if n := len(r.ordered(wire.KindSnapshots)); n != 0 {
			t.Errorf("asked again after less than an hour: %d orders", n)
		}
		r.clock.Advance(10 * time.Minute)
		r.duty()
		if n := len(r.ordered(wire.KindSnapshots)); n != 1 {
			t.Errorf("after more than an hour: got %d orders of a list, want 1", n)
		}
		r.clock.Advance(24 * time.Hour)
		r.duty()
		if got := r.removals()[0]; got.State != Failed || !strings.Contains(got.Why, "no list of snapshots") {
			t.Errorf("a day without a list: got %+v, want it failed", got)
		}
	})
}

func TestNobodyToAsk(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		r.days(r.host("a"), "a", r.policy("daily", `{"daily":9}`), 10)
		r.hello(r.runner, "runner", wire.KindBackup)
		_, err := r.Begin(t.Context(), tester, r.setting, repositoryID, wire.KindForget)
		wantCode(t, err, "guard_forbids", `the guard of "runner"`)
		_, err = r.Begin(t.Context(), tester, r.setting, repositoryID, wire.KindCheck)
		wantCode(t, err, "guard_forbids", "does not allow check")
		r.exec("UPDATE repository_settings SET runner_id = NULL WHERE id = ?", r.setting)
		_, err = r.Begin(t.Context(), tester, r.setting, repositoryID, wire.KindForget)
		wantCode(t, err, "no_runner", "choose one in its settings")
		_, err = r.Begin(t.Context(), tester, r.setting, repositoryID, wire.KindBackup)
		wantCode(t, err, "invalid", "forget, prune or check")
		_, err = r.Begin(t.Context(), tester, r.addSetting("another", "{}"), repositoryID, wire.KindForget)
		wantCode(t, err, "invalid", "repository_id")
		_, err = r.Begin(t.Context(), tester, database.NewID(), repositoryID, wire.KindForget)
		wantCode(t, err, "not_found", "no such repository")
		if len(r.removals()) != 0 {
			t.Errorf("got %+v, want nothing written down", r.removals())
		}
		r.night() // nobody is there to be told: it stands in the list
		if all := r.removals(); len(all) != 1 || all[0].State != Failed || !strings.Contains(all[0].Why, "choose one in its settings") {
			t.Errorf("by itself: got %+v, want it failed for want of a machine", all)
		}
	})
}

// TestAnOldListIsRenewedFirst: what others removed since must not count as there.
func TestAnOldListIsRenewedFirst(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		ids := r.days(r.host("a"), "a", r.policy("daily", `{"daily":3}`), 4)
		r.duty()
		delete(r.storage, ids[3]) // somebody with restic at hand
		delete(r.storage, ids[2])
		r.clock.Advance(48 * time.Hour)
		r.duty()
		if len(r.ordered(wire.KindForget)) != 0 || len(r.ordered(wire.KindSnapshots)) != 1 {
			t.Fatalf("got %d removals and %d lists ordered, want the list alone", len(r.ordered(wire.KindForget)), len(r.ordered(wire.KindSnapshots)))
		}
		b, err := r.Begin(t.Context(), tester, r.setting, repositoryID, wire.KindForget)
		if err != nil || !strings.Contains(b.Nothing, "listed first") {
			t.Errorf("asked meanwhile: got %+v, %v, want word of the list", b, err)
		}
		r.work()
		r.duty()
		if len(r.ordered()) != 0 || len(r.removals()) != 0 {
			t.Errorf("got %v, want nothing to go", r.removals())
		}
		r.wantThere(ids[:2]...)
	})
}

func TestAReportThatMayStillComeIsWaitedFor(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		p := r.policy("daily", `{"daily":9}`)
		host := r.host("a")
		other := r.host("b")
		ids := r.days(host, "a", p, 10)
		r.backup(other, "b", p)
		r.clock.Advance(5 * time.Hour)
		silent := r.put("b", r.clock.Now()) // made while the server did not hear of b
		r.clock.Advance(2 * time.Hour)
		r.night()
		if r.frozen() != "" || len(r.removals()) != 0 {
			t.Fatalf("got frozen %q and %d removals, want it to wait", r.frozen(), len(r.removals()))
		}
		r.wantThere(append(slices.Clone(ids), slices.DeleteFunc(slices.Sorted(mapKeys(r.storage)), func(id string) bool { return slices.Contains(ids, id) })...)...)
		if n := r.count("SELECT count(*) FROM repository_maintenance WHERE last_forget_at IS NOT NULL"); n != 0 {
			t.Error("it is noted that retention has run")
		}
		if b, err := r.Begin(t.Context(), tester, r.setting, repositoryID, wire.KindForget); err != nil || !strings.Contains(b.Nothing, "a report is awaited first") {
			t.Errorf("asked meanwhile: got %+v, %v, want word of the report", b, err)
		}
		if err := r.Unfreeze(t.Context(), tester, r.setting, repositoryID); err != nil || r.count("SELECT count(*) FROM snapshot_adoptions") != 0 {
			t.Errorf("what is awaited was left out for good: %v", err)
		}
		r.clock.Advance(10 * time.Hour)
		r.hello(other, "b") // and has nothing to report
		r.clock.Advance(2 * time.Hour)
		r.night()
		if !strings.Contains(r.frozen(), silent[:8]) {
			t.Errorf("heard of since: got frozen %q, want %.8s named", r.frozen(), silent)
		}
	})
}

// TestAWeekWithoutTheServerIsSevenDays: an agent that kept the schedule by itself reports all its backups at once.
func TestAWeekWithoutTheServerIsSevenDays(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		host := r.host("a")
		p := r.policy("daily", `{"daily":7}`)
		back := r.clock.Now().Add(7 * 24 * time.Hour)
		r.clock.Set(back)
		var ids []string
		for day := range 7 {
			due := back.AddDate(0, 0, day-7)
			id := r.backup(host, "a", p)
			made := r.storage[id]
			made.Time = due.Add(time.Minute)
			r.storage[id] = made
			r.exec("UPDATE snapshots SET time = ? WHERE id = ?", made.Time, id)
			// As an adopted job's row is: begun when the server learnt of it.
			r.exec("UPDATE jobs SET due_at = ?, started_at = ?, ended_at = ?, repository_id = '' WHERE snapshot_id = ?", due, back, back, id)
			ids = append(ids, id)
		}
		r.night()
		if r.frozen() != "" || len(r.removals()) != 0 {
			t.Errorf("got frozen %q, removals %+v; want all 7 days kept", r.frozen(), r.removals())
		}
		r.wantThere(ids...)
	})
}

// TestTheLiesOfAHostFreeze: a host that may report jobs cannot take another's snapshot for its own, nor another time.
func TestTheLiesOfAHostFreeze(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		p := r.policy("last", `{"last":3}`)
		host, liar := r.host("a"), r.host("b")
		ids := r.days(host, "a", p, 3)
		r.clock.Advance(time.Hour)
		j, _, err := r.fleet.CreateJob(t.Context(), tester, fleet.NewJob{HostID: liar, Kind: wire.KindBackup, PolicyID: p, Spec: &wire.BackupSpec{Paths: []string{"/home"}}})
		if err != nil {
			t.Fatal(err)
		}
		r.finish(liar, j.ID, r.begin(liar, j.ID), wire.FinishRequest{State: wire.StateSucceeded, Summary: &wire.Summary{SnapshotID: ids[1]}})
		r.night()
		if why := r.frozen(); !strings.Contains(why, ids[1][:8]) || !strings.Contains(why, "several backups") {
			t.Errorf("another's snapshot: got frozen %q, want %.8s named", why, ids[1])
		}
		r.wantThere(ids...)
		if err := r.Unfreeze(t.Context(), tester, r.setting, repositoryID); err != nil {
			t.Fatal(err)
		}
		forged := r.put("a", r.clock.Now())
		if j, _, err = r.fleet.CreateJob(t.Context(), tester, fleet.NewJob{HostID: liar, Kind: wire.KindBackup, PolicyID: p, Spec: &wire.BackupSpec{Paths: []string{"/home"}}}); err != nil {
			t.Fatal(err)
		}
		r.finish(liar, j.ID, r.begin(liar, j.ID), wire.FinishRequest{State: wire.StateFailed, Error: &wire.JobError{Code: "restic_failed", Message: "no"}, Summary: &wire.Summary{SnapshotID: forged}})
		r.clock.Advance(8 * time.Hour)
		r.hello(host, "a")
		r.night()
		if why := r.frozen(); !strings.Contains(why, forged[:8]) || !strings.Contains(why, "no backup that was ordered here") {
			t.Errorf("of a backup that failed: got frozen %q, want %.8s named", why, forged)
		}
		// It stays so until a person has looked, also when what froze it is gone.
		delete(r.storage, forged)
		r.backup(host, "a", "") // lists what is left
		r.exec("UPDATE policies SET spec = ?", `{"schedule":{"zone":"UTC"},"keep":{"last":1}}`)
		r.night()
		if r.frozen() == "" || len(r.removals()) != 0 {
			t.Errorf("gone by itself: got frozen %q, removals %+v; want it frozen still", r.frozen(), r.removals())
		}
	})
}

func TestWhoMayStillReport(t *testing.T) {
	now := time.Date(2026, 11, 27, 8, 0, 0, 0, time.UTC)
	heard := func(before time.Duration) *time.Time { at := now.Add(-before); return &at }
	for what, c := range map[string]struct {
		n    named
		made time.Time
		want bool
	}{
		"heard of since, long ago":                    {named{LastSeenAt: heard(time.Minute)}, now.Add(-5 * time.Hour), false},
		"heard of since, but just now made":           {named{LastSeenAt: heard(time.Second)}, now.Add(-59 * time.Minute), true},
		"heard of since, with a backup under way":     {named{LastSeenAt: heard(time.Minute), Open: true}, now.Add(-5 * time.Hour), true},
		"not heard of since":                          {named{LastSeenAt: heard(6 * time.Hour)}, now.Add(-5 * time.Hour), true},
		"not heard of soon enough to tell":            {named{LastSeenAt: heard(5*time.Hour - 59*time.Minute)}, now.Add(-5 * time.Hour), true},
		"never heard of":                              {named{}, now.Add(-5 * time.Hour), true},
		"not heard of for more than a week":           {named{LastSeenAt: heard(20 * 24 * time.Hour), Open: true}, now.Add(-7*24*time.Hour - time.Second), false},
		"a little ahead, as clocks are":               {named{}, now.Add(10 * time.Minute), true},
		"of the future, which no report will explain": {named{Open: true}, now.Add(11 * time.Minute), false},
	} {
		if got := c.n.mayReport(c.made, now); got != c.want {
			t.Errorf("%s: got %v, want %v", what, got, c.want)
		}
	}
}

func mapKeys[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// TestTwoReplicasAtOnce: one removal, one job.
func TestTwoReplicasAtOnce(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		r.setMaintenance(`{"zone":"UTC","enabled":true,"forget":"30 3 * * *","prune":"30 3 * * *","check":"30 3 * * *"}`)
		r.days(r.host("a"), "a", r.policy("daily", `{"daily":9}`), 10)
		r.duty()
		r.clock.Advance(24 * time.Hour)
		r.exec("UPDATE repositories SET refreshed_at = ? WHERE id = ?", r.clock.Now(), repositoryID)
		stores := []*Store{r.Store}
		for range 3 {
			s := Open(Options{DB: r.db, Fleet: r.fleet})
			if r.db.Postgres() {
				s, _, _ = r.open()
			}
			stores = append(stores, s)
		}
		var wg sync.WaitGroup
		for _, s := range stores {
			wg.Go(func() {
				for range 3 {
					if err := s.Duty(t.Context()); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if n := r.count("SELECT count(*) FROM removals"); n != 1 {
			t.Errorf("got %d removals, want 1", n)
		}
		for _, kind := range []wire.Kind{wire.KindForget, wire.KindPrune, wire.KindCheck} {
			if n := r.count("SELECT count(*) FROM jobs WHERE kind = ?", string(kind)); n != 1 {
				t.Errorf("got %d jobs of kind %s, want 1", n, kind)
			}
		}
		r.work()
		for _, s := range stores {
			wg.Go(func() {
				if err := s.Duty(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if got := r.removals(); len(got) != 1 || got[0].State != Done {
			t.Errorf("got %+v, want it done", got)
		}
		r.whole()
	})
}

func TestChecksGoRoundThePartsOfTheData(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		r.setMaintenance(`{"zone":"UTC","enabled":true,"prune":"0 5 * * 0","check":"0 4 * * *","check_parts":3,"max_unused_percent":10}`)
		r.days(r.host("a"), "a", "", 1)
		var read []string
		for day := range 7 {
			r.duty()
			r.clock.Advance(24 * time.Hour)
			r.duty()
			for _, j := range r.ordered(wire.KindCheck) {
				var spec wire.CheckSpec
				if err := json.Unmarshal(j.Spec, &spec); err != nil {
					t.Fatal(err)
				}
				read = append(read, spec.ReadDataSubset)
				if day == 1 { // one finds damage: it is not noted as read
					lease := r.begin(j.HostID, j.ID)
					r.finish(j.HostID, j.ID, lease, wire.FinishRequest{State: wire.StateFailed, Error: &wire.JobError{Code: "restic_failed", Message: "damaged"}})
				}
			}
			for _, j := range r.ordered(wire.KindPrune) {
				var spec wire.PruneSpec
				if err := json.Unmarshal(j.Spec, &spec); err != nil || spec.MaxUnusedPercent == nil || *spec.MaxUnusedPercent != 10 {
					t.Errorf("prune: got %s, %v, want the setting's limit", j.Spec, err)
				}
			}
			r.work()
			r.duty()
			want := []int64{1, 1, 2, 2, 3, 3, 3}[day] // 1, (2), 3, 1, 2, 3, 1
			if n := r.count("SELECT count(*) FROM repository_checks WHERE repository_id = ? AND parts = 3", repositoryID); n != want {
				t.Errorf("day %d: got %d parts read, want %d", day, n, want)
			}
		}
		if want := []string{"1/3", "2/3", "3/3", "1/3", "2/3", "3/3", "1/3"}; !slices.Equal(read, want) {
			t.Errorf("got %v, want %v", read, want)
		}
		if n := r.count("SELECT count(*) FROM jobs WHERE kind = 'prune' AND state = 'succeeded'"); n != 1 {
			t.Errorf("got %d prunes in the week, want 1", n)
		}
		if n := r.count("SELECT count(*) FROM repository_maintenance WHERE last_prune_at IS NOT NULL AND stored_bytes = 4711"); n != 1 {
			t.Error("the prune is not noted, or not what it left")
		}
		// The time is the start of the job: what was written since was not read.
		if n := r.count("SELECT count(*) FROM repository_checks c JOIN jobs j ON j.id = c.job_id WHERE c.checked_at = j.started_at AND j.ended_at > j.started_at"); n != 3 {
			t.Errorf("got %d parts with their check's start, want 3", n)
		}
		r.setMaintenance(`{"zone":"UTC","enabled":true,"check":"0 4 * * *","check_parts":1}`) // fewer parts
		r.duty()
		r.clock.Advance(24 * time.Hour)
		r.duty()
		if jobs := r.ordered(wire.KindCheck); len(jobs) != 1 || !strings.Contains(string(jobs[0].Spec), `"1/1"`) {
			t.Errorf("fewer parts: got %v, want part 1/1", jobs)
		}
		_, err := r.Begin(t.Context(), tester, r.setting, repositoryID, wire.KindCheck)
		wantCode(t, err, "maintenance_open", "has not ended")
	})
}

func TestTimesFollowTheSetting(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		next := func() string {
			t.Helper()
			r.duty()
			var rows []target
			if err := r.db.Read(t.Context()).Raw("SELECT next_forget_at FROM repository_maintenance").Scan(&rows).Error; err != nil || len(rows) != 1 {
				t.Fatal(rows, err)
			}
			if rows[0].NextForgetAt == nil {
				return ""
			}
			return rows[0].NextForgetAt.UTC().Format("2006-01-02 15:04")
		}
		r.exec("UPDATE repositories SET refreshed_at = ?", r.clock.Now().Add(365*24*time.Hour)) // never old
		if got := next(); got != "2026-11-20 03:30" {
			t.Errorf("04:30 in Berlin: got %s", got)
		}
		r.setMaintenance(`{"zone":"Europe/Berlin","enabled":true,"forget":"0 6 * * *"}`)
		if got := next(); got != "2026-11-20 05:00" {
			t.Errorf("changed to 06:00: got %s", got)
		}
		r.setMaintenance(`{"zone":"Europe/Berlin","enabled":false,"forget":"0 6 * * *"}`)
		if got := next(); got != "" {
			t.Errorf("switched off: got %s, want none", got)
		}
		r.clock.Advance(48 * time.Hour)
		if got := next(); got != "" {
			t.Errorf("switched off and later: got %s, want none", got)
		}
		r.exec("UPDATE repository_maintenance SET next_forget_at = ?, last_forget_at = NULL", r.clock.Now().Add(-time.Hour)) // it was due, and then switched off
		if err := r.runAll(t.Context()); err != nil || r.count("SELECT count(*) FROM repository_maintenance WHERE last_forget_at IS NOT NULL") != 0 {
			t.Errorf("due and switched off: it was done (%v)", err)
		}
		if got := next(); got != "" {
			t.Errorf("due and switched off: got %s, want none", got)
		}
		r.setMaintenance(`{"zone":"Europe/Berlin","enabled":true,"forget":"0 6 * * *"}`)
		if got := next(); got != "2026-11-22 05:00" {
			t.Errorf("on again: got %s", got)
		}
		r.clock.Advance(10 * 24 * time.Hour) // nobody did anything: it is done once
		if got := next(); got != "2026-12-02 05:00" {
			t.Errorf("after ten days away: got %s", got)
		}
	})
}

func TestPreviewTellsWithoutRemoving(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		p, q := r.policy("p", `{"last":100}`), r.policy("q", `{"last":100}`)
		host, other := r.host("a"), r.host("b")
		ids := r.days(host, "a", p, 5)
		r.days(host, "a", q, 3)
		r.days(other, "b", p, 4)
		got, err := r.Preview(t.Context(), host, p, retention.Keep{Last: 2})
		if err != nil || got.Keep != 2 || got.Remove != 3 || got.Anomalous != 0 || len(got.Snapshots) != 5 || got.Snapshots[0].ID != ids[4] ||
			!slices.Equal(got.Snapshots[0].Reasons, []string{"the last, number 1"}) || got.Snapshots[4].Keep || got.Snapshots[4].ShortID != ids[0][:8] {
			t.Errorf("one policy: got %+v, %v", got, err)
		}
		forged := r.put("a", r.clock.Now().AddDate(-1, 0, 0))
		r.clock.Advance(time.Hour)
		r.backup(other, "b", p)
		if got, err = r.Preview(t.Context(), host, "", retention.Keep{Daily: 1}); err != nil || got.Keep != 3 || got.Remove != 6 || got.Anomalous != 1 || !strings.Contains(got.Frozen, forged[:8]) {
			t.Errorf("all policies, and a forged one: got %+v, %v", got, err)
		}
		_, err = r.Preview(t.Context(), host, database.NewID(), retention.Keep{})
		wantCode(t, err, "invalid", "policy_id")
		_, err = r.Preview(t.Context(), database.NewID(), "", retention.Keep{})
		wantCode(t, err, "not_found", "no such host")
		if len(r.removals()) != 0 || r.frozen() != "" {
			t.Error("a preview changed something")
		}
	})
}

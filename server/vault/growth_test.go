package vault

import (
	"testing"
	"time"
)

const resticID = "00000000000000000000000000000000000000000000000000000000000000aa"

// Each day has one row, the last word of the day; two years are kept, and all repositories together are the sum.
func TestARepositorysGrowthIsKeptDayByDay(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		host := r.host("web-1")
		o, other := r.create("/srv/store"), r.create("/srv/other")
		r.use(host, o.ID)
		r.duty()
		if got, err := r.Growth(t.Context(), o.ID, 30); err != nil || len(got.Days) != 0 {
			t.Errorf("got %+v %v before anything is known to be there, want no day", got, err)
		}
		holds := func(setting, restic string, snapshots, size int64) {
			t.Helper()
			r.exec("INSERT INTO repositories (id, created_at, snapshot_count) VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET snapshot_count = excluded.snapshot_count", restic, r.clock.Now(), snapshots)
			r.exec("INSERT INTO repository_maintenance (repository_id, setting_id) VALUES (?, ?) ON CONFLICT (repository_id) DO NOTHING", restic, setting)
			if size > 0 {
				r.exec("UPDATE hosts SET repository_id = ?, latest_size_bytes = ? WHERE id = ?", restic, size, host)
			}
		}
		holds(o.ID, resticID, 3, 1000)
		r.clock.Advance(time.Hour)
		r.duty()
		holds(o.ID, resticID, 4, 1500)
		r.duty() // not before the hour is over
		r.clock.Advance(growEvery)
		r.duty()
		r.clock.Advance(24 * time.Hour)
		holds(other.ID, "00000000000000000000000000000000000000000000000000000000000000bb", 10, 0)
		r.exec("UPDATE repository_maintenance SET stored_bytes = 700 WHERE setting_id = ?", o.ID)
		r.duty()
		got, err := r.Growth(t.Context(), o.ID, 30)
		if err != nil || len(got.Days) != 2 {
			t.Fatalf("got %+v %v, want two days", got, err)
		}
		if d := got.Days[0]; d.Day != "2026-03-01" || d.SnapshotCount != 4 || d.SizeBytes != 1500 || d.StoredBytes != nil {
			t.Errorf("the first day: got %+v, want its last word", d)
		}
		if d := got.Days[1]; d.Day != "2026-03-02" || d.StoredBytes == nil || *d.StoredBytes != 700 {
			t.Errorf("the second day: got %+v, want what prune left", d)
		}
		if all, err := r.Growth(t.Context(), "", 1); err != nil || len(all.Days) != 1 || all.Days[0].SnapshotCount != 14 || *all.Days[0].StoredBytes != 700 {
			t.Errorf("all together: got %+v %v, want the sum of the day", all, err)
		}
		if one, err := r.Growth(t.Context(), o.ID, 1); err != nil || len(one.Days) != 1 {
			t.Errorf("one day: got %+v %v", one, err)
		}
		for _, days := range []int{0, growthKept + 1} {
			_, err = r.Growth(t.Context(), o.ID, days)
			wantCode(t, err, "invalid")
		}
		_, err = r.Growth(t.Context(), "nobody", 1)
		wantCode(t, err, "not_found")
		r.clock.Advance(growthKept * 24 * time.Hour)
		r.duty()
		var left int64
		r.read(&left, "SELECT count(*) FROM repository_growth WHERE setting_id = ?", o.ID)
		if left != 2 {
			t.Errorf("got %d rows, want those of two years: yesterday's of then and today's", left)
		}
	})
}

// The list says what needs somebody, so that nobody asks for each repository.
func TestTheListSaysWhatNeedsSomebody(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		o := r.create("/srv/store", func(n *New) { n.Maintenance = &Maintenance{CheckParts: 2} })
		r.create("/srv/other")
		second := "00000000000000000000000000000000000000000000000000000000000000bb"
		for i, restic := range []string{resticID, second} {
			r.exec("INSERT INTO repositories (id, created_at) VALUES (?, ?)", restic, r.clock.Now())
			r.exec("INSERT INTO repository_maintenance (repository_id, setting_id, frozen) VALUES (?, ?, ?)", restic, o.ID, []string{"", "forged"}[i])
			r.exec(`INSERT INTO removals (id, repository_id, made_at, snapshot_ids, id_count, total, state) VALUES (?, ?, ?, '[]', 1, 9, ?)`,
				[]string{"0190a000-0000-7000-8000-00000000000a", "0190a000-0000-7000-8000-00000000000b"}[i], restic, r.clock.Now(), []string{"waiting", "failed"}[i])
		}
		check := func(restic string, part int, at time.Time) {
			r.exec("INSERT INTO repository_checks (repository_id, parts, part, checked_at, job_id) VALUES (?, 2, ?, ?, ?)", restic, part, at, "0190a000-0000-7000-8000-00000000000c")
		}
		oldest := r.clock.Now().Add(-50 * time.Hour)
		check(resticID, 1, r.clock.Now())
		check(resticID, 2, oldest)
		check(second, 1, r.clock.Now())
		list := func() Repository {
			t.Helper()
			all, err := r.All(t.Context())
			if err != nil || len(all) != 2 {
				t.Fatal(all, err)
			}
			if b := all[1]; b.FrozenCount != 0 || b.WaitingRemovals != 0 || b.OldestVerifiedAt != nil {
				t.Errorf("the other one: got %+v", b)
			}
			return all[0]
		}
		if got := list(); got.FrozenCount != 1 || got.WaitingRemovals != 1 || got.OldestVerifiedAt != nil {
			t.Errorf("got %d frozen, %d removals, verified %v; want 1, 1, and one part never read", got.FrozenCount, got.WaitingRemovals, got.OldestVerifiedAt)
		}
		check(second, 2, r.clock.Now())
		if got := list(); got.OldestVerifiedAt == nil || !got.OldestVerifiedAt.Equal(oldest) {
			t.Errorf("got verified %v, want the oldest of all parts, %v", got.OldestVerifiedAt, oldest)
		}
	})
}

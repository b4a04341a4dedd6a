//go:build !race

package policy

import (
	"slices"
	"testing"
	"time"
)

func TestAPolicyOfTenThousandHostsIsSavedWithinSeconds(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		const n = 10_000
		ids := x.hosts(n, func(int) string { return `{"env":"prod"}` })
		d := x.draft()
		d.Spec.Schedule.SpreadSeconds = 3600
		start := time.Now()
		p := x.create(d)
		created := time.Since(start)
		start = time.Now()
		p = x.change(p, func(d *Draft) { d.Spec.Schedule.Cron = "0 4 * * *" })
		changed := time.Since(start)
		t.Logf("created in %v, changed in %v", created, changed)
		if created > 20*time.Second || changed > 20*time.Second {
			t.Errorf("created in %v, changed in %v, want seconds", created, changed)
		}
		if p.HostCount != n {
			t.Errorf("got %d hosts, want %d", p.HostCount, n)
		}
		var hours []time.Time
		x.read(&hours, "SELECT next_due_at FROM assignments WHERE policy_id = ?", p.ID)
		slices.SortFunc(hours, time.Time.Compare)
		if len(hours) != n || hours[0].Before(day(2, 4, 0)) || !hours[n-1].Before(day(2, 5, 0)) || hours[n-1].Sub(hours[0]) < 59*time.Minute {
			t.Errorf("%d due times from %v to %v, want them spread over the hour from 04:00", len(hours), hours[0], hours[len(hours)-1])
		}
		if got := x.scheduleVersion(ids[n/2]); got != 2 {
			t.Errorf("the schedule's version: got %d, want 2", got)
		}
		page, err := x.Hosts(t.Context(), p.ID, pageOf("", 1000))
		if err != nil || len(page.Hosts) != 1000 || page.Total != n || page.NextCursor == "" {
			t.Errorf("a page of its hosts: got %d of %d, %v", len(page.Hosts), page.Total, err)
		}
	})
}

package policy

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"gorm.io/gorm"

	"restic-manager/server/retention"
)

func TestAPlanTellsWhatRetentionWouldRemove(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		hosts := x.hosts(60, func(int) string { return `{}` })
		var asked []string
		var rule retention.Rule
		x.Store.outlook = func(_ *gorm.DB, id string, after retention.Rule, _ time.Time) (retention.Outlook, error) {
			asked, rule = append(asked, id), after
			o := retention.Outlook{Snapshots: 600, Removed: 120, Before: 60}
			for i, h := range hosts {
				e := retention.HostOutlook{HostID: h, Snapshots: 10, Removed: 2, Before: 1, Maintained: i > 2}
				if i%12 == 0 {
					e.Frozen = "a person must look"
				}
				o.Hosts = append(o.Hosts, e)
			}
			return o, nil
		}
		d := x.draft()
		if p, err := x.Plan(t.Context(), "", d); err != nil || p.Retention != nil || len(asked) != 0 {
			t.Fatalf("a new policy: got %+v, %v, want nothing of snapshots that it has not made", p.Retention, err)
		}
		saved, err := x.Create(t.Context(), tester, d)
		if err != nil {
			t.Fatal(err)
		}
		d.Spec.Keep = &Keep{Daily: 7, Tags: []string{"keep"}}
		d.Spec.Schedule.Zone = "Asia/Tokyo"
		p, err := x.Plan(t.Context(), saved.ID, d)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(asked, []string{saved.ID}) || rule.Keep.Daily != 7 || !slices.Equal(rule.Keep.Tags, []string{"keep"}) || rule.Zone.String() != "Asia/Tokyo" {
			t.Errorf("asked for %v by %+v, want what is to be saved", asked, rule)
		}
		r := p.Retention
		if r.Snapshots != 600 || r.Kept != 480 || r.Removed != 120 || r.RemovedBefore != 60 || r.HostCount != 60 || r.FrozenCount != 5 || r.UnkeptCount != 3 {
			t.Errorf("totals: got %+v", r)
		}
		if len(r.Hosts) != planKept || r.Hosts[0].Host.ID != hosts[0] || r.Hosts[0].Host.Name == "" || r.Hosts[0].Kept != 8 || r.Hosts[0].Frozen == "" || r.Hosts[0].Maintained {
			t.Errorf("hosts: got %d, the first %+v", len(r.Hosts), r.Hosts[0])
		}
		if !slices.ContainsFunc(p.Warnings, func(w string) bool {
			return strings.Contains(w, fmt.Sprintf("5 machines (%s", r.Hosts[0].Host.Name)) && strings.Contains(w, "a person has looked")
		}) {
			t.Errorf("warnings: got %q, want the frozen machines named", p.Warnings)
		}
	})
}

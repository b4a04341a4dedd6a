package policy

import (
	"fmt"
	"testing"

	"restic-manager/server/database"
	"restic-manager/server/fleet"
	"restic-manager/shared/wire"
)

func TestAPolicyIsRunByHand(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		hosts := x.hosts(runAtOnce+3, func(int) string { return "{}" })
		d := x.draft()
		d.Spec.RepositoryID, d.Spec.TimeLimitSeconds = x.setting("First"), 3600
		p := x.create(d)
		outside := x.host()
		other := x.draft()
		other.Spec.Hosts, other.Spec.RepositoryID = Selector{IDs: hosts[:1]}, x.setting("Second")
		q := x.create(other)
		jobs, err := x.Run(t.Context(), tester, p.ID, nil)
		if err != nil || len(jobs) != len(hosts) {
			t.Fatalf("got %d jobs, %v, want %d", len(jobs), err, len(hosts))
		}
		for _, j := range jobs {
			if !j.Created || j.Problem != "" {
				t.Fatalf("got %+v", j)
			}
		}
		j, err := x.fleet.JobByID(t.Context(), jobs[0].JobID)
		if err != nil || j.Policy == nil || j.Policy.ID != p.ID || j.DueAt != nil || j.TimeLimitSeconds != 3600 || j.CreatedBy != "tester" || j.Kind != wire.KindBackup {
			t.Errorf("got %+v, %v", j, err)
		}
		again, err := x.Run(t.Context(), tester, p.ID, []string{hosts[2]})
		if err != nil || len(again) != 1 || again[0].Created || again[0].JobID != jobs[2].JobID {
			t.Errorf("again at one host: got %+v, %v, want the queued job", again, err)
		}
		_, err = x.Run(t.Context(), tester, p.ID, []string{outside})
		wantCode(t, err, "invalid")
		_, err = x.Run(t.Context(), tester, database.NewID(), nil)
		wantCode(t, err, "not_found")
		if got, err := x.Run(t.Context(), tester, q.ID, nil); err != nil || len(got) != 1 || got[0].JobID != "" || got[0].Problem == "" {
			t.Errorf("with a problem: got %+v, %v, want no job", got, err)
		}
		var n int64
		if x.read(&n, "SELECT count(*) FROM audit WHERE action = 'policy.run'"); n != 3 {
			t.Errorf("got %d rows of the audit trail, want 3", n)
		}
		x.whole()
	})
}

func TestHostsAndJobsAreFoundByTheirPolicy(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		a, b, c, gone := x.host(), x.host(), x.host(), x.host()
		d := x.draft()
		d.Spec.Hosts = Selector{IDs: []string{a, b}}
		p := x.create(d)
		d = x.draft()
		d.Spec.Hosts, d.Enabled = Selector{IDs: []string{c}}, false
		off := x.create(d)
		if err := x.fleet.PutRepository(t.Context(), tester, b, fleet.RepositoryConfig{URL: "/srv/b", Password: "p"}); err != nil {
			t.Fatal(err)
		}
		x.change(p, func(d *Draft) { d.Spec.RepositoryID = x.setting("First") }) // b uses its own
		if _, err := x.fleet.RevokeHost(t.Context(), tester, gone); err != nil {
			t.Fatal(err)
		}
		for filter, want := range map[string][]string{p.ID: {a, b}, off.ID: {c}, fleet.NoPolicy: {b, c}, database.NewID(): {}} {
			page, err := x.fleet.Hosts(t.Context(), fleet.HostFilter{Policy: filter}, fleet.HostOrder{}, fleet.Page{})
			got := []string{}
			for _, h := range page.Hosts {
				got = append(got, h.ID)
			}
			if err != nil || fmt.Sprint(got) != fmt.Sprint(want) || page.Total != int64(len(want)) {
				t.Errorf("policy=%s: got %v of %d, %v, want %v", filter, got, page.Total, err, want)
			}
		}
		_, err := x.fleet.Hosts(t.Context(), fleet.HostFilter{Policy: "x"}, fleet.HostOrder{}, fleet.Page{})
		wantCode(t, err, "invalid")
		o, err := x.fleet.Overview(t.Context(), fleet.HostFilter{}, "")
		if err != nil || o.Unprotected != 2 {
			t.Errorf("got %d unprotected hosts, %v, want 2", o.Unprotected, err)
		}
		if o, err = x.fleet.Overview(t.Context(), fleet.HostFilter{Policy: p.ID}, ""); err != nil || o.Unprotected != 1 || o.Hosts.Total != 2 {
			t.Errorf("of the policy's: got %d of %d, %v, want 1 of 2", o.Unprotected, o.Hosts.Total, err)
		}
		if _, err := x.Run(t.Context(), tester, p.ID, nil); err != nil {
			t.Fatal(err)
		}
		if jobs, _, err := x.fleet.Jobs(t.Context(), fleet.JobFilter{Policy: p.ID}, fleet.Page{}); err != nil || len(jobs) != 1 || jobs[0].HostID != a {
			t.Errorf("got %+v, %v, want the one job", jobs, err)
		}
	})
}

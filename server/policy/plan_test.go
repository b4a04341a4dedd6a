package policy

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"restic-manager/server/fleet"
)

// Over random fleets: what a plan says is what saving does.
func TestAPlanIsWhatSavingDoes(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		r := rand.New(rand.NewPCG(7, 7))
		settings := []string{"", x.setting("First"), x.setting("Second")}
		envs := []string{"prod", "test", "dev"}
		hosts := x.hosts(24, func(i int) string {
			return fmt.Sprintf(`{"env":%q,"site":%q}`, envs[r.IntN(3)], []string{"ber", "muc"}[i%2])
		})
		for i, h := range hosts {
			if i%5 == 0 {
				if err := x.fleet.PutRepository(t.Context(), tester, h, fleet.RepositoryConfig{URL: "/srv/a", Password: "p"}); err != nil {
					t.Fatal(err)
				}
			}
		}
		some := func() (ids []string) {
			for range r.IntN(4) {
				ids = append(ids, hosts[r.IntN(len(hosts))])
			}
			return ids
		}
		random := func(d *Draft) {
			d.Enabled = r.IntN(4) > 0
			d.Spec.Hosts = Selector{All: r.IntN(6) == 0, IDs: some()}
			if r.IntN(2) == 0 {
				d.Spec.Hosts.Labels = map[string]string{"env": envs[r.IntN(3)]}
				if r.IntN(2) == 0 {
					d.Spec.Hosts.Labels["site"] = "ber"
				}
			}
			d.Spec.RepositoryID = settings[r.IntN(3)]
			d.Spec.Schedule.Cron = []string{"30 2 * * *", "0 */6 * * *", "15 3 * * 1-5"}[r.IntN(3)]
		}
		var policies []Policy
		for n := range 40 {
			d := x.draft()
			id, before := "", map[string]string{}
			if n > 3 && r.IntN(3) > 0 {
				p, err := x.ByID(t.Context(), policies[r.IntN(len(policies))].ID)
				if err != nil {
					t.Fatal(err)
				}
				d, id, before = Draft{p.Name, p.Enabled, p.Spec}, p.ID, x.whys(p.ID)
			}
			random(&d)
			version := map[string]int64{}
			for _, h := range hosts {
				version[h] = x.scheduleVersion(h)
			}
			plan, err := x.Plan(t.Context(), id, d)
			if err != nil {
				t.Fatal(err)
			}
			for _, h := range hosts {
				if x.scheduleVersion(h) != version[h] {
					t.Fatal("a plan has changed what a host is to do")
				}
			}
			var p Policy
			if id == "" {
				p = x.create(d)
				policies = append(policies, p)
			} else {
				was, _ := x.ByID(t.Context(), id)
				if p, err = x.Put(t.Context(), tester, id, d, was.Version); err != nil {
					t.Fatal(err)
				}
				if (p.Version != was.Version) != (len(plan.Changes) > 0) {
					t.Errorf("%d: planned changes %+v, and version %d became %d", n, plan.Changes, was.Version, p.Version)
				}
			}
			after := x.whys(p.ID)
			var added, removed, problems []string
			kept := 0
			for h, why := range after {
				if _, had := before[h]; had {
					kept++
				} else {
					added = append(added, h)
				}
				if _, problem, is := strings.Cut(why, ": "); is {
					problems = append(problems, h+" "+problem)
				}
			}
			for h := range before {
				if _, stays := after[h]; !stays {
					removed = append(removed, h)
				}
			}
			var planned []string
			for _, q := range plan.Hosts.Problems {
				planned = append(planned, q.Host.ID+" "+q.Problem)
			}
			same := func(what string, got, want []string) {
				slices.Sort(got)
				slices.Sort(want)
				if !slices.Equal(got, want) {
					t.Errorf("%d, %s of %+v: planned %v, saving did %v", n, what, d.Spec.Hosts, got, want)
				}
			}
			same("added", ids(plan.Hosts.Added), added)
			same("removed", ids(plan.Hosts.Removed), removed)
			same("problems", planned, problems)
			if plan.Hosts.Kept != kept || plan.Hosts.AddedCount != len(added) || plan.Hosts.RemovedCount != len(removed) || plan.Hosts.ProblemCount != len(problems) {
				t.Errorf("%d: got %+v, want %d kept, %d added, %d removed, %d problems", n, plan.Hosts, kept, len(added), len(removed), len(problems))
			}
			if id != "" && d.Enabled {
				x.wantFirstRuns(p.ID, plan.NextRuns)
			}
		}
		x.whole()
	})
}

// wantFirstRuns fails unless the planned runs begin as the saved ones.
func (x *fixture) wantFirstRuns(policy string, planned []PlanRun) {
	x.t.Helper()
	var rows []assignment
	x.read(&rows, "SELECT * FROM assignments WHERE policy_id = ? AND next_due_at IS NOT NULL ORDER BY next_due_at LIMIT 1", policy)
	switch {
	case len(rows) == 0 && len(planned) != 0, len(rows) > 0 && len(planned) == 0:
		x.t.Errorf("planned %d runs, saved %d", len(planned), len(rows))
	case len(rows) > 0 && !planned[0].At.Equal(*rows[0].NextDueAt):
		x.t.Errorf("the first run is planned at %v, and saved for %v", planned[0].At, rows[0].NextDueAt)
	}
}

func ids(refs []HostRef) (list []string) {
	for _, r := range refs {
		list = append(list, r.ID)
	}
	return list
}

func TestAPlanWarns(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		refusing, broken, old := x.keeper(), x.keeper(), x.host()
		x.hello(old)
		x.write(execs(`UPDATE hosts SET guard = '{"summary":"","kinds":["snapshots"]}' WHERE id = ?`, refusing))
		x.write(execs(`UPDATE hosts SET guard = '{"summary":"","broken":"line 3","kinds":[]}' WHERE id = ?`, broken))
		x.write(execs(`UPDATE hosts SET reported_repositories = '[{"name":"local","location":"/srv"}]' WHERE id IN ?`, []string{refusing, broken}))
		d := x.draft()
		d.Spec.Schedule.Cron = "*/5 * * * *"
		d.Spec.Hosts.IDs = []string{"0190a000-0000-7000-8000-00000000dead"}
		warnings := func() string {
			t.Helper()
			p, err := x.Plan(t.Context(), "", d)
			if err != nil {
				t.Fatal(err)
			}
			return strings.Join(p.Warnings, "\n")
		}
		got := warnings()
		for _, want := range []string{"due every 5 minutes", "1 machine named by hand is revoked or not there any more", "1 machine (host-00001) allow no backup in their guard.yaml",
			"1 machine (host-00002) refuse everything", "1 machine (host-00003) have no repository yet", "1 machine (host-00003) have an agent that does not keep the schedule"} {
			if !strings.Contains(got, want) {
				t.Errorf("got %q, want it to say %q", got, want)
			}
		}
		d.Spec.RepositoryID = x.setting("First")
		if got, want := warnings(), "2 machines (host-00001, host-00002) have a repository in their own agent.yaml"; !strings.Contains(got, want) {
			t.Errorf("got %q, want it to say %q", got, want)
		}
		d.Enabled, d.Spec.Hosts = false, Selector{}
		if got := warnings(); !strings.Contains(got, "switched off") || !strings.Contains(got, "applies to no machine") {
			t.Errorf("got %q", got)
		}
		d.Spec.Schedule.Cron = "30 2 * *"
		_, err := x.Plan(t.Context(), "", d)
		wantCode(t, err, "invalid")
	})
}

func TestAPlanShowsTheFirstTenRuns(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		x.hosts(3, func(int) string { return "{}" })
		d := x.draft()
		d.Spec.Schedule = Timing{Cron: "0 4 * * *", Zone: "Europe/Berlin"}
		p, err := x.Plan(t.Context(), "", d)
		if err != nil || len(p.NextRuns) != 10 {
			t.Fatalf("got %d runs, %v, want 10", len(p.NextRuns), err)
		}
		for i, r := range p.NextRuns {
			if want := day(2+i/3, 3, 0); !r.At.Equal(want) {
				t.Errorf("run %d: got %v, want %v", i, r.At, want)
			}
		}
		x.hosts(20, func(int) string { return "{}" })
		d.Spec.Schedule.SpreadSeconds = 600
		if p, err = x.Plan(t.Context(), "", d); err != nil || len(p.NextRuns) != 10 || p.NextRuns[9].At.Sub(p.NextRuns[0].At) > 10*time.Minute {
			t.Errorf("got %+v, %v, want those that come first", p.NextRuns, err)
		}
	})
}

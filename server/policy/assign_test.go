package policy

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"restic-manager/server/fleet"
	"restic-manager/shared/wire"
)

func pageOf(cursor string, limit int) fleet.Page { return fleet.Page{Cursor: cursor, Limit: limit} }

// whys are the hosts that the policy applies to, and why.
func (x *fixture) whys(policy string) map[string]string {
	x.t.Helper()
	var rows []assignment
	x.read(&rows, "SELECT * FROM assignments WHERE policy_id = ?", policy)
	got := map[string]string{}
	for _, a := range rows {
		got[a.HostID] = a.Why
		if a.Problem != "" {
			got[a.HostID] += ": " + a.Problem
		}
	}
	return got
}

func (x *fixture) label(host string, labels map[string]string) {
	x.t.Helper()
	if _, err := x.fleet.UpdateHost(x.t.Context(), tester, host, fleet.HostPatch{Labels: &labels}); err != nil {
		x.t.Fatal(err)
	}
}

func TestAPolicyAppliesToWhatItNames(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		a, b, c := x.host(), x.host(), x.host()
		x.label(a, map[string]string{"env": "prod", "site": "ber"})
		x.label(b, map[string]string{"env": "prod"})
		for name, s := range map[string]struct {
			hosts Selector
			want  map[string]string
		}{
			"all":               {Selector{All: true}, map[string]string{a: "all machines", b: "all machines", c: "all machines"}},
			"a label":           {Selector{Labels: map[string]string{"env": "prod"}}, map[string]string{a: "label env=prod", b: "label env=prod"}},
			"two labels":        {Selector{Labels: map[string]string{"env": "prod", "site": "ber"}}, map[string]string{a: "labels env=prod, site=ber"}},
			"by name":           {Selector{IDs: []string{c}}, map[string]string{c: "by name"}},
			"by name and label": {Selector{IDs: []string{a, c}, Labels: map[string]string{"site": "ber"}}, map[string]string{a: "by name; label site=ber", c: "by name"}},
			"none":              {Selector{}, map[string]string{}},
		} {
			d := x.draft()
			d.Spec.Hosts = s.hosts
			p := x.create(d)
			if got := x.whys(p.ID); fmt.Sprint(got) != fmt.Sprint(s.want) || p.HostCount != int64(len(s.want)) {
				t.Errorf("%s: got %v, want %v", name, got, s.want)
			}
		}
		x.whole()
	})
}

func TestAHostThatChangesGetsAndLosesPolicies(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		d := x.draft()
		d.Spec.Hosts = Selector{Labels: map[string]string{"env": "prod"}}
		p, everywhere := x.create(d), x.create(x.draft())
		secret, err := x.enroll(map[string]string{"env": "prod"})
		if err != nil {
			t.Fatal(err)
		}
		host := secret
		if got, want := x.whys(p.ID)[host], "label env=prod"; got != want {
			t.Errorf("enrolled: got %q, want %q", got, want)
		}
		version := x.scheduleVersion(host)
		x.label(host, map[string]string{"env": "test"})
		if got := x.whys(p.ID); len(got) != 0 {
			t.Errorf("labelled: got %v, want none", got)
		}
		if got := x.scheduleVersion(host); got != version+1 {
			t.Errorf("the schedule's version: got %d, want %d", got, version+1)
		}
		x.label(host, map[string]string{"env": "test", "site": "ber"})
		if got := x.scheduleVersion(host); got != version+1 {
			t.Errorf("a label that decides nothing: got version %d, want %d still", got, version+1)
		}
		if _, err := x.fleet.RevokeHost(t.Context(), tester, host); err != nil {
			t.Fatal(err)
		}
		if got := x.whys(everywhere.ID); len(got) != 0 {
			t.Errorf("revoked: got %v, want none", got)
		}
		x.whole()
	})
}

func (x *fixture) enroll(labels map[string]string) (string, error) {
	_, secret, err := x.fleet.CreateEnrollmentToken(x.t.Context(), tester, fleet.NewEnrollmentToken{Labels: labels})
	if err != nil {
		return "", err
	}
	x.n++
	r, err := x.fleet.Enroll(x.t.Context(), wire.EnrollRequest{Token: secret, AgentTokenSHA256: fmt.Sprintf("%064x", x.n), Hostname: fmt.Sprint("new-", x.n), OS: "linux", Arch: "amd64",
		AgentVersion: "1", ProtocolVersion: 1}, "192.0.2.1")
	return r.HostID, err
}

func TestAMachineUsesOneRepositoryAtATime(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		first, second := x.setting("First"), x.setting("Second")
		a, b := x.host(), x.host()
		if err := x.fleet.PutRepository(t.Context(), tester, b, fleet.RepositoryConfig{URL: "/srv/own", Password: "x"}); err != nil {
			t.Fatal(err)
		}
		at := func(repository string) Policy {
			d := x.draft()
			d.Spec.RepositoryID = repository
			return x.create(d)
		}
		d := x.draft()
		d.Enabled, d.Spec.RepositoryID = false, second
		off := x.create(d) // gives nobody anything
		p, q, own := at(first), at(second), at("")
		for name, c := range map[string]struct {
			p     Policy
			wants map[string]string
		}{
			"gives the repository": {p, map[string]string{a: "all machines", b: "all machines: uses a repository that was set for it alone; a machine uses one repository at a time"}},
			"comes later": {q, map[string]string{a: "all machines: uses repository First; a machine uses one repository at a time",
				b: "all machines: uses a repository that was set for it alone; a machine uses one repository at a time"}},
			"names none": {own, map[string]string{a: "all machines: uses repository First; a machine uses one repository at a time", b: "all machines"}},
		} {
			if got := x.whys(c.p.ID); fmt.Sprint(got) != fmt.Sprint(c.wants) {
				t.Errorf("%s: got %v, want %v", name, got, c.wants)
			}
		}
		if p.Repository != "First" || p.HostCount != 2 || p.ProblemCount != 1 {
			t.Errorf("got %+v", p)
		}
		if a := x.assignment(q.ID, a); a.NextDueAt != nil {
			t.Errorf("with a problem it is due at %v", a.NextDueAt)
		}
		if s := x.scheduleOf(a); len(s.Policies) != 1 || s.Policies[0].ID != p.ID || s.Repository != wire.RepositoryServer {
			t.Errorf("the host is to do %+v, want the one policy", s)
		}
		// The problem goes with its reason.
		if err := x.fleet.DeleteRepository(t.Context(), tester, b); err != nil {
			t.Fatal(err)
		}
		if got, want := x.whys(p.ID)[b], "all machines"; got != want {
			t.Errorf("without its own repository: got %q, want %q: it gets the first policy's", got, want)
		}
		d = x.draft()
		d.Spec.RepositoryID = off.ID
		_, err := x.Create(t.Context(), tester, d)
		wantCode(t, err, "invalid")
		x.whole()
	})
}

// A policy that gives machines a repository decides on those that were there before it: they would write to it unasked.
func TestAPolicyThatGivesARepositoryStopsThoseForAnother(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		host, other := x.host(), x.host()
		own := x.create(x.draft()) // each machine's own
		if got := x.whys(own.ID)[host]; got != "all machines" {
			t.Fatalf("got %q", got)
		}
		version := x.scheduleVersion(host)
		d := x.draft()
		d.Spec.Hosts, d.Spec.RepositoryID = Selector{IDs: []string{host}, Labels: map[string]string{"new": ""}}, x.setting("First")
		p := x.create(d)
		const problem = "all machines: uses repository First; a machine uses one repository at a time"
		if got, want := x.whys(own.ID), (map[string]string{host: problem, other: "all machines"}); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("got %v, want %v", got, want)
		}
		if s := x.scheduleOf(host); len(s.Policies) != 1 || s.Policies[0].ID != p.ID || s.Version <= version {
			t.Errorf("got %+v, want the new policy alone", s)
		}
		// So it is for a machine that comes later, whichever policy is looked at first.
		late, err := x.enroll(map[string]string{"new": ""})
		if err != nil {
			t.Fatal(err)
		}
		if got, want := x.whys(own.ID)[late], problem; got != want {
			t.Errorf("enrolled later: got %q, want %q", got, want)
		}
		if got, want := x.whys(p.ID)[late], "label new="; got != want {
			t.Errorf("enrolled later: got %q, want %q", got, want)
		}
		x.wantAssigned()
		x.whole()
	})
}

// One host that cannot use the repository does not keep the others from it.
func TestAHostThatCannotUseTheRepositoryHasAProblem(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		a, b := x.host(), x.host()
		x.write(execs("UPDATE hosts SET name = ?, name_key = ? WHERE id = ?", clashing, clashing, b))
		d := x.draft()
		d.Spec.RepositoryID = x.setting("First")
		p := x.create(d)
		const problem = "all machines: cannot use the policy's repository: its place is another machine's"
		if got, want := x.whys(p.ID), (map[string]string{a: "all machines", b: problem}); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("got %v, want %v", got, want)
		}
		name := "fine"
		if _, err := x.fleet.UpdateHost(t.Context(), tester, b, fleet.HostPatch{Name: &name}); err != nil {
			t.Fatal(err)
		}
		if got := x.whys(p.ID)[b]; got != "all machines" {
			t.Errorf("renamed: got %q, want no problem", got)
		}
	})
}

// scheduleOf is what the host's agent would be told.
func (x *fixture) scheduleOf(host string) *wire.Schedule {
	x.t.Helper()
	s, err := x.schedule(x.t.Context(), host)
	if err != nil {
		x.t.Fatal(err)
	}
	return s
}

// Labels change while policies are saved: in the end each policy applies to what it names.
func TestLabelsAndPoliciesThatChangeAtOnce(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		var hosts []string
		for range 6 {
			hosts = append(hosts, x.host())
		}
		envs := []string{"prod", "test"}
		var policies []Policy
		for _, env := range envs {
			d := x.draft()
			d.Spec.Hosts = Selector{Labels: map[string]string{"env": env}}
			policies = append(policies, x.create(d))
		}
		other := x.replica()
		var wg sync.WaitGroup
		for n, host := range hosts {
			wg.Go(func() {
				r := rand.New(rand.NewPCG(uint64(n), 1))
				for range 8 {
					labels := map[string]string{"env": envs[r.IntN(2)]}
					if _, err := other.fleet.UpdateHost(context.Background(), tester, host, fleet.HostPatch{Labels: &labels}); err != nil {
						t.Error(err)
					}
				}
			})
		}
		for n := range policies {
			wg.Go(func() {
				r := rand.New(rand.NewPCG(uint64(n), 2))
				for range 8 {
					p, err := x.ByID(context.Background(), policies[n].ID)
					if err != nil {
						t.Error(err)
						return
					}
					p.Spec.Hosts = Selector{Labels: map[string]string{"env": envs[r.IntN(2)]}}
					if _, err := x.Put(context.Background(), tester, p.ID, Draft{p.Name, true, p.Spec}, p.Version); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Go(func() {
			for range 4 {
				if _, err := other.enroll(map[string]string{"env": "prod"}); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Wait()
		x.wantAssigned()
	})
}

// wantAssigned fails unless every policy applies to exactly what it names.
func (x *fixture) wantAssigned() {
	x.t.Helper()
	var policies []row
	x.read(&policies, "SELECT * FROM policies")
	var targets []target
	x.read(&targets, selectTargets)
	for _, p := range policies {
		spec, err := decodeSpec(p.ID, p.Spec)
		if err != nil {
			x.t.Fatal(err)
		}
		want := map[string]string{}
		for _, h := range targets {
			v, err := x.judge(spec, h)
			if err != nil {
				x.t.Fatal(err)
			}
			if v.why != "" {
				want[h.ID] = v.why
				if v.problem != "" {
					want[h.ID] += ": " + v.problem
				}
			}
		}
		if got := x.whys(p.ID); fmt.Sprint(got) != fmt.Sprint(want) {
			x.t.Errorf("%s for %+v: got %v, want %v", p.Name, spec.Hosts, got, want)
		}
	}
}

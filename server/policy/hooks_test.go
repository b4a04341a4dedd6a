package policy

import (
	"strings"
	"testing"

	"restic-manager/shared/wire"
)

// offers has the host's agent say which hooks it has.
func (x *fixture) offers(host string, number int64, features []string, hooks ...string) {
	x.t.Helper()
	_, err := x.fleet.Hello(x.t.Context(), host, wire.HelloRequest{BootID: "hooks", BootNumber: number, Seq: number, ProtocolVersion: 1, AgentVersion: "1",
		Now: x.clock.Now(), Features: features, Hooks: hooks, Facts: wire.Facts{Hostname: "h"}})
	if err != nil {
		x.t.Fatal(err)
	}
}

func TestAHookThatAHostLacksIsAProblemThereUntilItComes(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		host := x.host()
		x.offers(host, 11, []string{wire.FeatureSchedule, wire.FeatureHooks}, "thaw")
		d := x.draft()
		d.Spec.Backup = wire.BackupSpec{StdinHook: "pg_dump", StdinName: "all.sql", HooksAfter: []string{"thaw"}}
		plan, err := x.Plan(t.Context(), "", d)
		if err != nil || len(plan.Hosts.Problems) != 1 || plan.Hosts.Problems[0].Problem != "has no hook pg_dump" {
			t.Fatalf("plan: got %+v %v", plan.Hosts, err)
		}
		fields := map[string]string{}
		for _, c := range plan.Changes {
			fields[c.Field] = c.After
		}
		if fields["backup.stdin_hook"] != "pg_dump" || fields["backup.stdin_name"] != "all.sql" || fields["backup.hooks_after"] != "thaw" {
			t.Errorf("changes: got %v", fields)
		}
		p := x.create(d)
		problem := func(want string) {
			t.Helper()
			if a := x.assignment(p.ID, host); a == nil || a.Problem != want {
				t.Errorf("problem: got %+v, want %q", a, want)
			}
		}
		problem("has no hook pg_dump")
		jobs, err := x.Run(t.Context(), tester, p.ID, nil)
		if err != nil || len(jobs) != 1 || jobs[0].JobID != "" || jobs[0].Problem != "has no hook pg_dump" {
			t.Errorf("run: got %+v %v", jobs, err)
		}
		before := x.scheduleVersion(host)
		x.offers(host, 12, []string{wire.FeatureSchedule, wire.FeatureHooks}, "thaw", "pg_dump")
		problem("")
		if x.scheduleVersion(host) == before {
			t.Error("the agent is not told that the policy runs now")
		}
		s, err := x.schedule(t.Context(), host)
		if err != nil || len(s.Policies) != 1 || !strings.Contains(string(s.Policies[0].Spec), `"stdin_hook":"pg_dump"`) {
			t.Errorf("schedule: got %+v %v", s, err)
		}
		jobs, err = x.Run(t.Context(), tester, p.ID, nil)
		if err != nil || len(jobs) != 1 || jobs[0].JobID == "" {
			t.Errorf("run: got %+v %v", jobs, err)
		}
		// An agent that is set back to an earlier version.
		x.offers(host, 13, []string{wire.FeatureSchedule})
		problem("has an agent (version 1) that runs no hooks; upgrade it")
		if s, err := x.schedule(t.Context(), host); err != nil || len(s.Policies) != 0 {
			t.Errorf("schedule: got %+v %v, want nothing that it cannot read", s, err)
		}
		x.whole()
	})
}

package policy

import (
	"strings"
	"testing"
	"time"

	"restic-manager/server/fleet"
	"restic-manager/shared/wire"
)

// poll asks without waiting, with the configuration that the agent has.
func (x *fixture) poll(host, config string) wire.PollReply {
	x.t.Helper()
	x.n++
	x.clock.Advance(2 * time.Minute) // a configuration is told again only after a while
	r, err := x.fleet.Poll(x.t.Context(), host, wire.PollQuery{Boot: "b1", Seq: int64(x.n), FreeLong: 1, FreeShort: 1, Config: config})
	if err != nil {
		x.t.Fatal(err)
	}
	return r
}

func TestTheScheduleRidesOnConfigure(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		host, old := x.keeper(), x.host()
		x.hello(old)
		d := x.draft()
		d.Spec.Schedule = Timing{Cron: "30 2 * * *", Zone: "Europe/Berlin", SpreadSeconds: 600, LateSeconds: 7200, NoCatchUp: true}
		d.Spec.Backup.Excludes, d.Spec.TimeLimitSeconds = []string{"*.tmp"}, 3600
		p := x.create(d)
		c := x.poll(host, "").Configure
		if c == nil || c.Schedule == nil || len(c.Schedule.Policies) != 1 {
			t.Fatalf("got %+v, want the schedule", c)
		}
		got := c.Schedule.Policies[0]
		if got.ID != p.ID || got.Name != p.Name || got.Version != 1 || got.Kind != wire.KindBackup || got.Cron != "30 2 * * *" || got.Zone != "Europe/Berlin" ||
			got.SpreadSeconds != 600 || got.LateSeconds != 7200 || !got.NoCatchUp || got.TimeLimitSeconds != 3600 || !got.AccountedUntil.Equal(day(1, 12, 0)) {
			t.Errorf("got %+v", got)
		}
		spec, err := wire.DecodeSpec(got.Kind, got.Spec)
		if b, ok := spec.(*wire.BackupSpec); err != nil || !ok || b.Paths[0] != "/home" || b.Excludes[0] != "*.tmp" {
			t.Errorf("its spec: got %+v, %v", spec, err)
		}
		if c.Schedule.Repository != wire.RepositoryLocal || c.Schedule.Secrets != nil {
			t.Errorf("got %+v: the repository is the machine's own", c.Schedule)
		}
		// It is told once, and what the agent has is known from then on.
		if again := x.poll(host, c.Version).Configure; again != nil {
			t.Errorf("told again: got %+v", again)
		}
		all, err := x.OfHost(t.Context(), host)
		if err != nil || all.ScheduleKnown != c.Schedule.Version || all.ScheduleVersion != c.Schedule.Version || !all.KeepsSchedule || len(all.Policies) != 1 {
			t.Errorf("got %+v, %v", all, err)
		}
		// An agent that does not keep the schedule gets the settings alone, by a name without a version.
		if c := x.poll(old, "").Configure; c == nil || c.Schedule != nil || strings.Contains(c.Version, ".") {
			t.Errorf("got %+v, want no schedule", c)
		}
		// A change gives it a new version, and a wake-up.
		x.change(p, func(d *Draft) { d.Spec.Backup.Paths = []string{"/srv"} })
		next := x.poll(host, c.Version).Configure
		if next == nil || next.Version == c.Version || next.Schedule.Version != c.Schedule.Version+1 || !strings.Contains(string(next.Schedule.Policies[0].Spec), "/srv") {
			t.Errorf("after a change: got %+v", next)
		}
		if all, err = x.OfHost(t.Context(), host); err != nil || all.ScheduleKnown != c.Schedule.Version {
			t.Errorf("known before the agent says so: got %+v, %v", all, err)
		}
		p, err = x.ByID(t.Context(), p.ID)
		if err != nil {
			t.Fatal(err)
		}
		x.change(p, func(d *Draft) { d.Enabled = false })
		if off := x.poll(host, next.Version).Configure; off == nil || off.Schedule == nil || len(off.Schedule.Policies) != 0 {
			t.Errorf("switched off: got %+v, want an empty schedule", off)
		}
	})
}

// What an agent claims to have cannot be newer than what there is.
func TestAnAgentCannotKnowMoreThanThereIs(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		host := x.keeper()
		x.create(x.draft())
		c := x.poll(host, "").Configure
		settings, _, _ := strings.Cut(c.Version, ".")
		for _, config := range []string{settings + ".99", settings + ".-1", settings + ".x", settings + "."} {
			if got := x.poll(host, config).Configure; got == nil {
				t.Errorf("%s: got no configuration", config)
			}
			if all, err := x.OfHost(t.Context(), host); err != nil || all.ScheduleKnown != 0 {
				t.Errorf("%s: got %+v, %v, want nothing to be known", config, all, err)
			}
		}
	})
}

func TestSecretsGoOnlyWhereAPolicyUsesTheServersRepository(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		host, idle := x.keeper(), x.keeper()
		d := x.draft()
		d.Spec.Hosts = Selector{IDs: []string{host}}
		x.create(d)
		for _, h := range []string{host, idle} {
			if err := x.fleet.PutRepository(t.Context(), tester, h, fleet.RepositoryConfig{URL: "/srv/a", Password: "p"}); err != nil {
				t.Fatal(err)
			}
		}
		c := x.poll(host, "").Configure
		if c.Schedule.Repository != wire.RepositoryServer || c.Schedule.Secrets == nil || c.Schedule.Secrets.Password != "p" || c.Schedule.Secrets.RepositoryURL != "/srv/a" {
			t.Errorf("got %+v, want the secrets", c.Schedule)
		}
		if c := x.poll(idle, "").Configure; c.Schedule.Secrets != nil {
			t.Errorf("no policy runs there: got %+v", c.Schedule.Secrets)
		}
		if err := x.fleet.PutRepository(t.Context(), tester, host, fleet.RepositoryConfig{URL: "/srv/a", Password: "q"}); err != nil {
			t.Fatal(err)
		}
		if next := x.poll(host, c.Version).Configure; next == nil || next.Schedule.Secrets.Password != "q" {
			t.Errorf("after another password: got %+v", next)
		}
		if err := x.fleet.DeleteRepository(t.Context(), tester, host); err != nil {
			t.Fatal(err)
		}
		if c := x.poll(host, "").Configure; c.Schedule.Repository != wire.RepositoryLocal || c.Schedule.Secrets != nil {
			t.Errorf("got %+v, want the machine's own repository", c.Schedule)
		}
	})
}

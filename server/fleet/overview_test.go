package fleet

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"restic-manager/server/database"
	"restic-manager/shared/wire"
)

// fleetOf is a fleet with one of everything, by name.
func (x *fixture) fleetOf(t *testing.T) map[string]string {
	t.Helper()
	hosts := map[string]string{}
	for i, name := range []string{"fine", "fresh", "failing", "first failed", "overdue", "issues", "alarm", "guard", "no restic", "list", "skew", "slow", "away", "gone", "revoked"} {
		h := x.host(name)
		hosts[name] = h
		labels := map[string]string{"env": []string{"prod", "test", ""}[i%3]}
		if i%4 == 0 {
			delete(labels, "env")
		}
		if i%2 == 0 {
			labels["site"] = "x"
		}
		if _, err := x.UpdateHost(t.Context(), tester, h, HostPatch{Labels: &labels}); err != nil {
			t.Fatal(err)
		}
		x.set(t, h, "agent_version = ?, restic_version = '0.18.0'", []string{"1.0", "1.1"}[i%2])
	}
	x.backup(hosts["overdue"], wire.StateSucceeded, 1, false)
	x.clock.Advance(72 * time.Hour)
	for name, h := range hosts {
		switch name {
		case "fresh", "overdue":
		case "first failed":
			x.backup(h, wire.StateFailed, 0, false)
		default:
			x.backup(h, wire.StateSucceeded, 1, false)
		}
	}
	x.backup(hosts["failing"], wire.StateFailed, 0, false)
	x.backup(hosts["issues"], wire.StateSucceededWithIssues, 1, false)
	x.write(t, func(tx *database.Tx) error { return raiseAlarm(tx, hosts["alarm"]) })
	x.set(t, hosts["guard"], "guard_broken = true, guard = ?", string(mustJSON(wire.GuardReport{Broken: "line 3: no such key", Kinds: []wire.Kind{}})))
	x.set(t, hosts["fine"], "guard = ?", string(mustJSON(wire.GuardReport{Summary: `"broken":"x"`, Kinds: []wire.Kind{}})))
	x.set(t, hosts["no restic"], "restic_version = ''")
	x.set(t, hosts["list"], "listing_error = 'wrong password'")
	x.set(t, hosts["skew"], "skew_seconds = -301")
	x.set(t, hosts["slow"], "skew_seconds = 300")
	x.set(t, hosts["away"], "status = 'offline', last_seen_at = ?", x.clock.Now().Add(-25*time.Hour))
	x.set(t, hosts["gone"], "status = 'offline', last_seen_at = ?", x.clock.Now().Add(-23*time.Hour))
	x.queue(hosts["fine"], wire.KindBackup)
	x.begin(hosts["slow"], x.queue(hosts["slow"], wire.KindBackup), 1)
	x.take(hosts["gone"], x.queue(hosts["gone"], wire.KindBackup), 1)
	if _, err := x.RevokeHost(t.Context(), tester, hosts["revoked"]); err != nil {
		t.Fatal(err)
	}
	return hosts
}

// set writes columns of a host.
func (x *fixture) set(t *testing.T, host, columns string, args ...any) {
	t.Helper()
	x.write(t, func(tx *database.Tx) error {
		return tx.Exec("UPDATE hosts SET "+columns+" WHERE id = ?", append(args, host)...).Error
	})
}

func TestAttentionNamesEachHostOnceByItsWorstReason(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		hosts := x.fleetOf(t)
		o, err := x.Overview(t.Context(), HostFilter{}, "")
		if err != nil {
			t.Fatal(err)
		}
		want := []string{"clone_alarm alarm", "guard_broken guard", "restic_missing no restic", "failing failing", "never_backed_up first failed", "never_backed_up fresh",
			"overdue overdue", "issues issues", "listing_failed list", "clock_skew skew", "offline away"}
		var got []string
		by := map[string]Attention{}
		for _, a := range o.Attention {
			got = append(got, a.Reason+" "+a.HostName)
			by[a.HostName] = a
			if a.HostID != hosts[a.HostName] {
				t.Errorf("%s: got the id of another host", a.HostName)
			}
		}
		if !slices.Equal(got, want) || o.AttentionTotal != int64(len(want)) {
			t.Errorf("got %q, %d in all, want %q", got, o.AttentionTotal, want)
		}
		failing := x.hostNow(hosts["failing"])
		if a := by["failing"]; a.JobID != failing.LastBackup.JobID || a.ErrorCode != wire.CodeNoSpace || a.Message != "no space left" || !a.Since.Equal(failing.LastBackup.EndedAt) {
			t.Errorf("failing: got %+v, want the job and its error", a)
		}
		if a := by["first failed"]; a.JobID == "" || a.ErrorCode != wire.CodeNoSpace || a.Since == nil {
			t.Errorf("first failed: got %+v, want the job and its error", a)
		}
		if a := by["fresh"]; a.JobID != "" || a.Since == nil {
			t.Errorf("fresh: got %+v, want no job", a)
		}
		if a := by["guard"]; a.Message != "line 3: no such key" {
			t.Errorf("guard: got %+v, want what is broken", a)
		}
		if a := by["skew"]; a.Message != "its clock is 301 seconds behind the server's" {
			t.Errorf("skew: got %+v", a)
		}
		if a := by["overdue"]; !a.Since.Equal(*x.hostNow(hosts["overdue"]).LastSuccessAt) || a.JobID != "" {
			t.Errorf("overdue: got %+v, want the last success", a)
		}
	})
}

// What a hello says of the guard is where the counts look for it, and the step that made the column finds it in what older servers kept.
func TestABrokenGuardIsCountedFromTheHelloAndFromWhatWasKept(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		broken, sound := x.host("broken"), x.host("sound")
		hello := func(host, why string, boot int64) {
			t.Helper()
			r := helloOf(fmt.Sprint("boot-", boot), boot, 1, x.clock.Now())
			r.Guard = wire.GuardReport{Summary: `"broken":"x"`, Broken: why, Kinds: []wire.Kind{}}
			if _, err := x.Hello(t.Context(), host, r); err != nil {
				t.Fatal(err)
			}
		}
		check := func(when string, want ...string) {
			t.Helper()
			var got []string
			if err := x.db.Read(t.Context()).Raw("SELECT name FROM hosts WHERE guard_broken ORDER BY name").Scan(&got).Error; err != nil || !slices.Equal(got, want) {
				t.Errorf("%s: got %v, %v, want %v", when, got, err, want)
			}
		}
		hello(broken, "line 3", 2)
		hello(sound, "", 2)
		check("after the hellos", "broken")
		x.set(t, broken, "guard_broken = false")
		for _, statement := range migrationUpdates(t, x.db.Postgres(), "0013_counted", 1) {
			x.write(t, func(tx *database.Tx) error { return tx.Exec(statement).Error })
		}
		check("after the step", "broken")
		hello(broken, "", 3)
		check("after it was mended")
	})
}

// Each number of an overview is the length of a list.
func TestCountsOfAnOverviewAreThoseOfTheLists(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		x.fleetOf(t)
		count := func(f HostFilter) int64 {
			page, err := x.Hosts(t.Context(), f, HostOrder{}, Page{Limit: 100})
			if err != nil {
				t.Fatal(err)
			}
			if int64(len(page.Hosts)) != page.Total {
				t.Fatalf("%+v: a total of %d, and %d hosts", f, page.Total, len(page.Hosts))
			}
			return page.Total
		}
		checked := 0
		for _, f := range []HostFilter{{}, {Label: "env=prod"}, {Label: "env=prod", Version: "1.1"}, {Label: "site"}, {Search: "f"}, {Version: "1.1"}, {Statuses: []string{"online", "revoked"}}, {OlderThan: 2 * time.Hour}, {NewerThan: 24 * time.Hour},
			{Protections: []Protection{Failing, AtRisk}}, {Label: "env=none"}} {
			o, err := x.Overview(t.Context(), f, "env")
			if err != nil {
				t.Fatal(err)
			}
			check := func(what string, got int64, narrow func(*HostFilter) bool) {
				t.Helper()
				n := f
				want := int64(0)
				if narrow(&n) {
					want = count(n)
				}
				if got != want {
					t.Errorf("%+v, %s: got %d, want %d", f, what, got, want)
				}
				checked++
			}
			is := func(p Protection) func(*HostFilter) bool {
				return func(n *HostFilter) bool {
					may := len(n.Protections) == 0 || slices.Contains(n.Protections, p)
					n.Protections = []Protection{p}
					return may
				}
			}
			status := func(s string) func(*HostFilter) bool {
				return func(n *HostFilter) bool {
					may := len(n.Statuses) == 0 || slices.Contains(n.Statuses, s)
					n.Statuses = []string{s}
					return may
				}
			}
			check("total", o.Hosts.Total, func(*HostFilter) bool { return true })
			for p, got := range map[Protection]int64{Protected: o.Hosts.Protected, AtRisk: o.Hosts.AtRisk, Failing: o.Hosts.Failing, NeverBackedUp: o.Hosts.NeverBackedUp, Revoked: o.Hosts.Revoked} {
				check(string(p), got, is(p))
			}
			for s, got := range map[string]int64{"online": o.Hosts.Online, "offline": o.Hosts.Offline, "never_seen": o.Hosts.NeverSeen} {
				check(s, got, status(s))
			}
			for _, l := range o.Labels {
				for _, v := range l.Values {
					check(l.Key+"="+v.Value, v.Hosts, func(n *HostFilter) bool { n.Label = l.Key + "=" + v.Value; return true })
				}
			}
			for _, v := range o.Versions {
				check("version "+v.Version, v.Hosts, func(n *HostFilter) bool { n.Version = v.Version; return true })
			}
			sum := int64(0)
			for i, g := range o.Groups {
				sum += g.Total
				if g.Value == "" && i != len(o.Groups)-1 {
					t.Errorf("%+v: hosts without the label do not come last: %+v", f, o.Groups)
				}
				if f.Label == "" && g.Value != "" {
					label := func(n *HostFilter) { n.Label = "env=" + g.Value }
					check("group "+g.Value, g.Total, func(n *HostFilter) bool { label(n); return true })
					check("failing of group "+g.Value, g.Failing, func(n *HostFilter) bool { label(n); return is(Failing)(n) })
					check("protected of group "+g.Value, g.Protected, func(n *HostFilter) bool { label(n); return is(Protected)(n) })
					check("offline of group "+g.Value, g.Offline, func(n *HostFilter) bool { label(n); return status("offline")(n) })
				}
			}
			if sum != o.Hosts.Total {
				t.Errorf("%+v: the groups have %d hosts, want %d", f, sum, o.Hosts.Total)
			}
		}
		t.Logf("%d counts", checked)
		o, err := x.Overview(t.Context(), HostFilter{}, "")
		if err != nil || o.Hosts.Total != 15 || o.Hosts.CloneAlarms != 1 || o.Jobs != (OpenJobCounts{Queued: 1, Running: 2}) || o.Groups != nil {
			t.Errorf("got %+v, %+v, groups %v, %v, want 15 hosts, an alarm, 1 queued and 2 running jobs", o.Hosts, o.Jobs, o.Groups, err)
		}
		_, err = x.Overview(t.Context(), HostFilter{}, `env" OR 1`)
		wantCode(t, err, "invalid")
		_, err = x.Overview(t.Context(), HostFilter{Protections: []Protection{"x"}}, "")
		wantCode(t, err, "invalid")
	})
}

func TestOverviewIsTheSameWhileNothingChanges(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		x.fleetOf(t)
		x.clock.Set(x.clock.Now().Truncate(time.Minute))
		first, err := x.Overview(t.Context(), HostFilter{}, "env")
		if err != nil {
			t.Fatal(err)
		}
		x.clock.Advance(59 * time.Second)
		again, err := x.Overview(t.Context(), HostFilter{}, "env")
		if err != nil || string(mustJSON(again)) != string(mustJSON(first)) {
			t.Errorf("got %s, %v,\nwant %s", mustJSON(again), err, mustJSON(first))
		}
	})
}

func TestLabelsOfAnOverviewAreBounded(t *testing.T) {
	counts := map[string]map[string]int64{}
	for k := range 60 {
		key := fmt.Sprintf("k%02d", k)
		counts[key] = map[string]int64{}
		for v := range 120 {
			counts[key][fmt.Sprintf("v%03d", v)] = int64(v / 2)
		}
	}
	got := labelCounts(counts)
	if len(got) != maxLabelKeys || got[0].Key != "k00" || len(got[0].Values) != maxLabelValues {
		t.Fatalf("got %d keys from %s on, %d values", len(got), got[0].Key, len(got[0].Values))
	}
	if v := got[0].Values[:2]; v[0] != (ValueHosts{"v118", 59}) || v[1] != (ValueHosts{"v119", 59}) {
		t.Errorf("got %v first, want the most frequent", v)
	}
}

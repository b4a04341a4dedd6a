package fleet

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"restic-manager/server/database"
	"restic-manager/server/fleet/job"
	"restic-manager/shared/wire"
)

// backup runs one on the host, to its end in the state; bytes is what it says to have read.
func (x *fixture) backup(host string, state wire.State, bytes int64, dry bool) string {
	x.t.Helper()
	x.clock.Advance(time.Second)
	j, _, err := x.CreateJob(x.t.Context(), tester, NewJob{HostID: host, Kind: wire.KindBackup, Spec: &wire.BackupSpec{Paths: []string{"/data"}, DryRun: dry}})
	if err != nil {
		x.t.Fatal(err)
	}
	if state == wire.StateRejected {
		x.take(host, j.ID, 1)
	} else {
		x.begin(host, j.ID, 1)
	}
	r := wire.FinishRequest{State: state}
	if state.Success() {
		r.Summary = &wire.Summary{TotalBytesProcessed: bytes, TotalFilesProcessed: 3, DataAdded: 2, DryRun: dry}
	} else {
		r.Error = &wire.JobError{Code: wire.CodeNoSpace, Message: "no space left"}
	}
	if _, err := x.Finish(x.t.Context(), host, j.ID, hex32(1), mustJSON(r), r); err != nil {
		x.t.Fatal(err)
	}
	return j.ID
}

func (x *fixture) hostNow(id string) Host {
	x.t.Helper()
	h, err := x.HostByID(x.t.Context(), id)
	if err != nil {
		x.t.Fatal(err)
	}
	return h
}

// Each case is what happens to a host, and what it is called then.
func TestProtection(t *testing.T) {
	expire := func(x *fixture, h string) {
		x.settle()
		_, _, err := x.CreateJob(x.t.Context(), tester, NewJob{HostID: h, Kind: wire.KindBackup, Spec: &wire.BackupSpec{Paths: []string{"/data"}}, TTL: time.Minute})
		if err != nil {
			x.t.Fatal(err)
		}
		if r := x.pass(2 * time.Minute); r.Expired != 1 {
			x.t.Fatalf("got %+v, want one expired", r)
		}
	}
	cancel := func(x *fixture, h string) {
		id := x.queue(h, wire.KindBackup)
		if _, err := x.CancelJob(x.t.Context(), tester, id); err != nil {
			x.t.Fatal(err)
		}
	}
	backup := func(state wire.State) func(*fixture, string) {
		return func(x *fixture, h string) { x.backup(h, state, 10, false) }
	}
	dry := func(state wire.State) func(*fixture, string) {
		return func(x *fixture, h string) { x.backup(h, state, 10, true) }
	}
	pass := func(d time.Duration) func(*fixture, string) {
		return func(x *fixture, _ string) { x.clock.Advance(d) }
	}
	alarm := func(x *fixture, h string) { x.write(x.t, func(tx *database.Tx) error { return raiseAlarm(tx, h) }) }
	clear := func(x *fixture, h string) {
		if _, err := x.ClearCloneAlarm(x.t.Context(), tester, h); err != nil {
			x.t.Fatal(err)
		}
	}
	revoke := func(x *fixture, h string) {
		if _, err := x.RevokeHost(x.t.Context(), tester, h); err != nil {
			x.t.Fatal(err)
		}
	}
	lose := func(x *fixture, h string) {
		x.settle()
		x.begin(h, x.queue(h, wire.KindBackup), 1)
		x.pass(2 * time.Minute)
		x.clock.Advance(wire.LostAfter)
		if r := x.pass(4 * time.Minute); r.Lost != 1 {
			x.t.Fatalf("got %+v, want one lost", r)
		}
	}
	interrupt := func(x *fixture, h string) { // its folder is gone: three polls do not name it
		x.settle()
		x.begin(h, x.queue(h, wire.KindBackup), 1)
		x.pass(2 * time.Minute)
		for seq := range int64(job.UnnamedPolls) {
			x.poll(h, 2+seq)
		}
	}
	check := func(x *fixture, h string) {
		x.begin(h, x.queue(h, wire.KindCheck), 1)
		x.end(h, x.newest(h), 1, wire.StateFailed)
	}
	ok, issues, failed, rejected := backup(wire.StateSucceeded), backup(wire.StateSucceededWithIssues), backup(wire.StateFailed), backup(wire.StateRejected)
	each(t, func(t *testing.T, x *fixture) {
		for i, c := range []struct {
			name  string
			steps []func(*fixture, string)
			want  Protection
			last  wire.State
		}{
			{"new", nil, NeverBackedUp, ""},
			{"first failed", []func(*fixture, string){failed}, NeverBackedUp, wire.StateFailed},
			{"backed up", []func(*fixture, string){ok}, Protected, wire.StateSucceeded},
			{"just in time", []func(*fixture, string){ok, pass(48 * time.Hour)}, Protected, wire.StateSucceeded},
			{"overdue", []func(*fixture, string){ok, pass(48*time.Hour + time.Microsecond)}, AtRisk, wire.StateSucceeded},
			{"with issues", []func(*fixture, string){ok, issues}, AtRisk, wire.StateSucceededWithIssues},
			{"whole again", []func(*fixture, string){issues, ok}, Protected, wire.StateSucceeded},
			{"failed", []func(*fixture, string){ok, failed}, Failing, wire.StateFailed},
			{"failed long ago", []func(*fixture, string){ok, failed, pass(72 * time.Hour)}, Failing, wire.StateFailed},
			{"mended", []func(*fixture, string){failed, ok}, Protected, wire.StateSucceeded},
			{"rejected", []func(*fixture, string){ok, rejected}, Failing, wire.StateRejected},
			{"expired", []func(*fixture, string){ok, expire}, Failing, wire.StateExpired},
			{"lost", []func(*fixture, string){ok, lose}, Failing, wire.StateLost},
			{"interrupted", []func(*fixture, string){ok, interrupt}, Failing, wire.StateFailed},
			{"canceled", []func(*fixture, string){ok, cancel}, Protected, wire.StateSucceeded},
			{"canceled after a failure", []func(*fixture, string){ok, failed, cancel}, Failing, wire.StateFailed},
			{"another kind failed", []func(*fixture, string){ok, check}, Protected, wire.StateSucceeded},
			{"dry run", []func(*fixture, string){dry(wire.StateSucceeded)}, NeverBackedUp, ""},
			{"dry run after a failure", []func(*fixture, string){ok, failed, dry(wire.StateSucceeded)}, Failing, wire.StateFailed},
			{"failed dry run", []func(*fixture, string){ok, dry(wire.StateFailed)}, Protected, wire.StateSucceeded},
			{"clone alarm", []func(*fixture, string){ok, alarm}, Failing, wire.StateSucceeded},
			{"clone alarm cleared", []func(*fixture, string){ok, alarm, clear}, Protected, wire.StateSucceeded},
			{"clone alarm before any backup", []func(*fixture, string){alarm}, NeverBackedUp, ""},
			{"revoked", []func(*fixture, string){ok, failed, revoke}, Revoked, wire.StateFailed},
		} {
			h := x.host(fmt.Sprintf("%02d", i))
			for _, step := range c.steps {
				step(x, h)
				x.Seen(h)
				x.flush()
			}
			got := x.hostNow(h)
			last := wire.State("")
			if got.LastBackup != nil {
				last = got.LastBackup.State
				j := x.job(got.LastBackup.JobID)
				if j.State != last || !j.EndedAt.Equal(got.LastBackup.EndedAt) || j.HostID != h || j.Kind != wire.KindBackup {
					t.Errorf("%s: the last backup is %+v, its job %+v", c.name, got.LastBackup, j)
				}
				if want := j.Error; want != nil && want.Code != got.LastBackup.ErrorCode || want == nil && got.LastBackup.ErrorCode != "" {
					t.Errorf("%s: got error %q, want that of %+v", c.name, got.LastBackup.ErrorCode, want)
				}
			}
			if got.Protection != c.want || last != c.last {
				t.Errorf("%s: got %s after a backup that %q, want %s after %q", c.name, got.Protection, last, c.want, c.last)
			}
			page, err := x.Hosts(t.Context(), HostFilter{Search: got.Name, Protections: []Protection{c.want}}, HostOrder{}, Page{})
			if err != nil || len(page.Hosts) != 1 || page.Total != 1 {
				t.Errorf("%s: its list has %d hosts, total %d, %v, want it", c.name, len(page.Hosts), page.Total, err)
			}
		}
		x.whole()
	})
}

// newest is the newest job of a host.
func (x *fixture) newest(host string) string {
	x.t.Helper()
	jobs, _, err := x.Jobs(x.t.Context(), JobFilter{HostID: host}, Page{Limit: 1})
	if err != nil || len(jobs) == 0 {
		x.t.Fatalf("got %v, %v, want a job", jobs, err)
	}
	return jobs[0].ID
}

func TestOverdueAfterIsASetting(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		h := x.host("web")
		x.backup(h, wire.StateSucceeded, 1, false)
		x.settings.OverdueAfter = time.Hour
		x.clock.Advance(time.Hour + time.Second)
		if got := x.hostNow(h).Protection; got != AtRisk {
			t.Errorf("got %s, want at_risk after an hour", got)
		}
	})
}

// The size is the newest snapshot's, where restic stored it; else what the last backup that succeeded read.
func TestLatestSize(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		h := x.host("h")
		if got := x.hostNow(h).LatestSizeBytes; got != 0 {
			t.Errorf("before any backup: got %d, want 0", got)
		}
		x.backup(h, wire.StateSucceeded, 5000, false)
		x.backup(h, wire.StateFailed, 0, false)
		x.backup(h, wire.StateSucceeded, 70, true)
		if got := x.hostNow(h).LatestSizeBytes; got != 5000 {
			t.Errorf("after a backup: got %d, want its 5000", got)
		}
		line := func(n int, size int64) []byte { // 0: of a restic that stored no summary
			summary := fmt.Sprintf(`"total_bytes_processed":%d`, n)
			with := fmt.Sprintf(`"total_bytes_processed":%d`, size)
			return []byte(strings.Replace(string(snapshotLine(n, "h")), summary, with, 1))
		}
		j := x.queue(h, wire.KindSnapshots)
		for _, c := range []struct {
			what  string
			lines [][]byte
			want  int64
		}{
			{"a list with the newest's size", [][]byte{line(1, 10), line(3, 30), line(2, 20)}, 30},
			{"the newest without one", [][]byte{line(1, 10), line(4, 0), line(2, 20)}, 5000},
			{"none left", nil, 5000},
			{"of another hostname", [][]byte{[]byte(strings.Replace(string(line(5, 50)), `"h"`, `"other"`, 1))}, 5000},
		} {
			if err := x.list(h, x.draw(h, j), repo(5), c.lines, 10); err != nil {
				t.Fatal(err)
			}
			if got := x.hostNow(h).LatestSizeBytes; got != c.want {
				t.Errorf("%s: got %d, want %d", c.what, got, c.want)
			}
		}
	})
}

// The migration finds in the jobs what the columns say.
func TestTheColumnsOfProtectionAreThoseOfTheJobs(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		x.settle()
		for i, states := range [][]wire.State{{}, {wire.StateSucceeded, wire.StateFailed}, {wire.StateFailed, wire.StateSucceededWithIssues}, {wire.StateRejected}} {
			h := x.host(fmt.Sprint("h", i))
			for n, state := range states {
				x.backup(h, state, int64(100+n), false)
			}
			x.backup(h, wire.StateSucceeded, 7, true)
			if _, err := x.CancelJob(t.Context(), tester, x.queue(h, wire.KindBackup)); err != nil {
				t.Fatal(err)
			}
		}
		read := func() (rows []hostRow) {
			if err := x.db.Read(t.Context()).Raw("SELECT * FROM hosts ORDER BY name_key").Scan(&rows).Error; err != nil {
				t.Fatal(err)
			}
			return rows
		}
		want := read()
		x.write(t, func(tx *database.Tx) error {
			return tx.Exec("UPDATE hosts SET last_backup_state = '', last_backup_at = NULL, last_backup_job_id = NULL, last_backup_error = '', success_bytes = 0, latest_size_bytes = 0").Error
		})
		for _, statement := range migrationUpdates(t, x.db.Postgres(), "0005_protection", 3) {
			x.write(t, func(tx *database.Tx) error { return tx.Exec(statement).Error })
		}
		got := read()
		for i := range want {
			if fmt.Sprintf("%+v", pictureOf(got[i])) != fmt.Sprintf("%+v", pictureOf(want[i])) {
				t.Errorf("host %s:\n got %+v\nwant %+v", want[i].Name, pictureOf(got[i]), pictureOf(want[i]))
			}
		}
	})
}

func pictureOf(r hostRow) []any {
	id := ""
	if r.LastBackupJobID != nil {
		id = *r.LastBackupJobID
	}
	return []any{r.LastBackupState, at(r.LastBackupAt), id, r.LastBackupError, r.SuccessBytes, r.LatestSizeBytes}
}

func TestEveryHostIsVisitedOnceInEachOrder(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		var all []string
		for i := range 14 {
			h := x.host(fmt.Sprintf("host-%02d", i))
			all = append(all, h)
			if i%3 > 0 {
				x.backup(h, []wire.State{wire.StateSucceeded, wire.StateSucceededWithIssues, wire.StateFailed, wire.StateSucceeded}[i%4], int64(i/4), false)
			}
			labels := map[string]string{}
			if i%5 > 0 {
				labels["site"] = []string{"", "B", "a", "b", "a"}[i%5]
			}
			if _, err := x.UpdateHost(t.Context(), tester, h, HostPatch{Labels: &labels}); err != nil {
				t.Fatal(err)
			}
			x.write(t, func(tx *database.Tx) error {
				return tx.Exec("UPDATE hosts SET agent_version = ?, snapshot_count = ?, status = ?, last_seen_at = ? WHERE id = ?", []string{"", "v1", "V2", "v10"}[i%4], i%3,
					[]string{"online", "offline", "never_seen"}[i%3], []*time.Time{nil, ptr(tx.Now), ptr(tx.Now.Add(-time.Hour))}[i%3], h).Error
			})
		}
		slices.Sort(all)
		for _, sort := range HostSorts {
			for _, o := range []HostOrder{{Sort: sort}, {Sort: sort, Descending: true}, {Sort: sort, Group: "site"}, {Sort: sort, Descending: true, Group: "site"}} {
				whole, err := x.Hosts(t.Context(), HostFilter{}, o, Page{Limit: 100})
				if err != nil {
					t.Fatalf("%+v: %v", o, err)
				}
				var want []string
				for _, h := range whole.Hosts {
					want = append(want, h.ID)
				}
				n := 0
				got := walk(t, func(p Page) ([]Host, string, error) {
					// What changes no host's place in this order happens between the pages; that hosts grow overdue does not.
					n++
					x.clock.Advance(20 * time.Minute)
					x.write(t, func(tx *database.Tx) error { return tx.Exec("UPDATE hosts SET skew_seconds = ?", n).Error })
					page, err := x.Hosts(t.Context(), HostFilter{}, o, p)
					if page.Total != 14 {
						t.Errorf("%+v: got a total of %d, want 14", o, page.Total)
					}
					return page.Hosts, page.NextCursor, err
				}, func(h Host) string { return h.ID })
				if !slices.Equal(got, want) {
					t.Errorf("%+v by pages: got %v, want %v", o, got, want)
				}
				if sorted := slices.Sorted(slices.Values(got)); !slices.Equal(sorted, all) {
					t.Errorf("%+v: got %v, want each host once: %v", o, sorted, all)
				}
				x.ordered(t, o, whole.Hosts)
			}
		}
	})
}

// ordered fails unless the hosts are in the order.
func (x *fixture) ordered(t *testing.T, o HostOrder, hosts []Host) {
	t.Helper()
	at := func(t *time.Time) string {
		if t == nil {
			return ""
		}
		return t.Format(time.RFC3339Nano)
	}
	key := func(h Host) string {
		switch o.Sort {
		case "last_success":
			return at(h.LastSuccessAt)
		case "last_seen":
			return at(h.LastSeenAt)
		case "protection":
			return fmt.Sprint(slices.Index(Protections, h.Protection))
		case "snapshots":
			return fmt.Sprintf("%010d", h.SnapshotCount)
		case "size":
			return fmt.Sprintf("%010d", h.LatestSizeBytes)
		case "version":
			return h.AgentVersion
		case "status":
			return fmt.Sprint(slices.Index([]string{"offline", "never_seen", "online", "revoked"}, h.Status))
		}
		return ""
	}
	for i := 1; i < len(hosts); i++ {
		a, b := hosts[i-1], hosts[i]
		if ga, gb := a.Labels["site"], b.Labels["site"]; o.Group != "" && ga != gb {
			if ga == "" || gb != "" && ga > gb {
				t.Errorf("%+v: %q comes before %q", o, ga, gb)
			}
			continue
		}
		ka, kb := key(a)+"\x00"+a.Name, key(b)+"\x00"+b.Name
		if o.Descending {
			ka, kb = kb, ka
		}
		if ka >= kb {
			t.Errorf("%+v: %q comes before %q", o, key(a)+" "+a.Name, key(b)+" "+b.Name)
		}
	}
}

func TestCursorOfAnotherOrderIsRefused(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		x.host("a")
		x.host("b")
		first, err := x.Hosts(t.Context(), HostFilter{}, HostOrder{Sort: "size"}, Page{Limit: 1})
		if err != nil || first.NextCursor == "" {
			t.Fatalf("got %+v, %v, want a cursor", first, err)
		}
		for _, o := range []HostOrder{{}, {Sort: "snapshots"}, {Sort: "size", Descending: true}, {Sort: "size", Group: "a"}} {
			_, err := x.Hosts(t.Context(), HostFilter{}, o, Page{Cursor: first.NextCursor})
			wantCode(t, err, "invalid")
		}
		for _, bad := range []string{"x", encodeCursor("a"), encodeCursor(hostPlace{Sort: "size asc "}), encodeCursor(hostPlace{Sort: "size asc ", Name: "a\x00"})} {
			_, err := x.Hosts(t.Context(), HostFilter{}, HostOrder{Sort: "size"}, Page{Cursor: bad})
			wantCode(t, err, "invalid")
		}
		_, err = x.Hosts(t.Context(), HostFilter{}, HostOrder{Sort: "name_key; --"}, Page{})
		wantCode(t, err, "invalid")
		_, err = x.Hosts(t.Context(), HostFilter{}, HostOrder{Group: `a"'`}, Page{})
		wantCode(t, err, "invalid")
	})
}

// The end of a backup is noted on its host, so that the sweeper has to have the host's row first: it leaves alone what a
// message of the host has in hand, and never waits for it the wrong way round.
func TestSweepLeavesABackupWhoseHostIsInHand(t *testing.T) {
	x := newFixture(t, "postgres")
	x.settle()
	busy, idle := x.host("busy"), x.host("idle")
	for _, h := range []string{busy, idle} {
		if _, _, err := x.CreateJob(t.Context(), tester, NewJob{HostID: h, Kind: wire.KindBackup, Spec: &wire.BackupSpec{Paths: []string{"/data"}}, TTL: time.Minute}); err != nil {
			t.Fatal(err)
		}
	}
	x.clock.Advance(30 * time.Second)
	x.sweep()
	x.clock.Advance(30 * time.Second)
	x.flush()
	x.write(t, func(tx *database.Tx) error {
		if _, err := lockHost(tx, busy); err != nil {
			return err
		}
		if r := x.sweep(); r.Expired != 1 {
			t.Errorf("while the host is in hand: got %+v, want the other one's expired", r)
		}
		return nil
	})
	if got := x.hostNow(idle).LastBackup; got == nil || got.State != wire.StateExpired {
		t.Errorf("the idle host: got %+v, want an expired backup", got)
	}
	if r := x.sweep(); r.Expired != 1 {
		t.Errorf("afterwards: got %+v, want it expired", r)
	}
	if got := x.hostNow(busy).LastBackup; got == nil || got.State != wire.StateExpired {
		t.Errorf("the busy host: got %+v, want an expired backup", got)
	}
}

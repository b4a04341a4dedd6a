package fleet

import (
	"context"
	"strings"
	"testing"
	"time"

	"restic-manager/server/database"
	"restic-manager/shared/wire"
)

// about queues a job about another repository than the host's own.
func (x *fixture) about(host string, kind wire.Kind, target Target) string {
	x.t.Helper()
	spec, err := wire.NewSpec(kind)
	if err != nil {
		x.t.Fatal(err)
	}
	if kind == wire.KindForget {
		spec = &wire.ForgetSpec{SnapshotIDs: []string{repo(9)}}
	}
	j, _, err := x.CreateJob(x.t.Context(), tester, NewJob{HostID: host, Kind: kind, Spec: spec, Target: &target})
	if err != nil {
		x.t.Fatal(err)
	}
	return j.ID
}

// setting is one more repository as people set it up, without secrets.
func (x *fixture) setting(url string) string {
	x.t.Helper()
	id := database.NewID()
	x.write(x.t, func(tx *database.Tx) error {
		return tx.Exec(`INSERT INTO repository_settings (id, name, name_key, url, sealed_password, env_keys, sealed_env, maintenance_env_keys,
			sealed_maintenance_env, created_at, updated_at, secrets_changed_at) VALUES (?, ?, ?, ?, '', '[]', '', '[]', '', ?, ?, ?)`,
			id, id, id, url, tx.Now, tx.Now, tx.Now).Error
	})
	return id
}

// maintained tells which setting, and whose, is noted for a repository.
func (x *fixture) maintained(repository string) (setting, host string) {
	x.t.Helper()
	var rows []struct{ SettingID, HostID string }
	err := x.db.Read(x.t.Context()).Raw(`SELECT setting_id, coalesce(CAST(host_id AS text), '') AS host_id FROM repository_maintenance
		WHERE repository_id = ?`, repository).Scan(&rows).Error
	if err != nil {
		x.t.Fatal(err)
	}
	if len(rows) == 0 {
		return "", ""
	}
	return rows[0].SettingID, rows[0].HostID
}

func TestATargetIsOfferedAndOpenedInPlaceOfTheHostsOwnRepository(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		h := x.host("runner")
		x.use(h, repo(1))
		target := Target{SettingID: settingA, HostID: h, RepositoryID: repo(2)}
		var asked Target
		x.Use(Hooks{TargetSecrets: func(_ context.Context, t Target, _ wire.Kind, by string) (*wire.Secrets, error) {
			asked = t
			return &wire.Secrets{RepositoryURL: "/srv/other", Password: by}, nil
		}})
		id := x.about(h, wire.KindCheck, target)
		want := wire.RepositoryRef{Name: wire.RepositoryTarget, ID: repo(2)}
		if got := x.job(id); got.Repository != want || got.Target == nil || got.Target.SettingID != settingA || got.Target.HostID != h {
			t.Errorf("queued: got %+v about %+v, want %+v", got.Repository, got.Target, want)
		}
		if o := x.poll(h, 2).Offer; o == nil || o.Repository != want {
			t.Fatalf("offer: got %+v, want %+v", o, want)
		}
		a, err := x.Accept(t.Context(), h, id, wire.AcceptRequest{Lease: hex32(1), Delivery: 1})
		if err != nil || a.Repository != want || a.Secrets == nil || a.Secrets.RepositoryURL != "/srv/other" || a.Secrets.Password != h || asked != target {
			t.Errorf("accept: got %+v of %+v, %v, want the target's secrets for its runner", a, asked, err)
		}
		r, err := x.Resume(t.Context(), h, id, wire.ResumeRequest{OldLease: hex32(1), NewLease: hex32(2)})
		if err != nil || r.Repository != want || r.Secrets == nil || r.Secrets.RepositoryURL != "/srv/other" {
			t.Errorf("resume: got %+v, %v", r, err)
		}
		if err := x.Start(t.Context(), h, id, hex32(2), wire.StartRequest{StartNonce: hex32(2), RepositoryID: repo(2)}); err != nil {
			t.Fatal(err)
		}
		x.end(h, id, 2, wire.StateSucceeded)
		again, _, err := x.RetryJob(t.Context(), tester, id, "")
		if err != nil || again.Target == nil || again.Target.SettingID != settingA || again.Repository != want {
			t.Errorf("retry: got %+v, %v, want the same target", again.Target, err)
		}
		if got := x.repositoryOf(h); got != repo(1) {
			t.Errorf("the host's own repository became %.8s", got)
		}
		x.whole()
	})
}

// A job about a repository and those of hosts that have it as their own exclude each other, and wake each other.
func TestATargetIsHeldAsTheRepositoryItIs(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		x.settle()
		runner, host, other := x.host("runner"), x.host("host"), x.host("other")
		x.use(host, repo(1))
		x.use(runner, repo(2))
		x.use(other, repo(2))
		x.clock.Advance(time.Minute)
		x.flush()
		backup := x.queue(host, wire.KindBackup)
		x.begin(host, backup, 1)
		prune := x.about(runner, wire.KindPrune, Target{SettingID: settingA, RepositoryID: repo(1)})
		x.wantWaiting("a backup of the repository's host", prune, "repository_busy", backup)
		if o := x.poll(runner, 2).Offer; o != nil {
			t.Fatalf("offer while the repository is held: got %+v, want none", o)
		}
		_, err := x.Accept(t.Context(), runner, prune, wire.AcceptRequest{Lease: hex32(2), Delivery: 1})
		wantCode(t, err, wire.ProblemRepositoryBusy)
		beside := x.queue(other, wire.KindBackup)
		x.begin(other, beside, 3) // the runner's own repository is free for others

		poll := x.waits(t, runner, 3)
		x.end(host, backup, 1, wire.StateSucceeded)
		if r := <-poll; r.Offer == nil || r.Offer.JobID != prune {
			t.Fatalf("after the backup: got %+v, want the prune's offer", r)
		}
		x.begin(runner, prune, 2)
		next := x.queue(host, wire.KindBackup)
		x.wantWaiting("maintenance of the host's repository", next, "repository_busy", prune)
		_, err = x.Accept(t.Context(), host, next, wire.AcceptRequest{Lease: hex32(4), Delivery: 1})
		wantCode(t, err, wire.ProblemRepositoryBusy)
		poll = x.waits(t, host, 3)
		if err := x.PollFloor(t.Context()); err != nil {
			t.Fatal(err)
		}
		stillWaits(t, x, poll, "the repository is held")
		x.end(runner, prune, 2, wire.StateSucceeded)
		if r := <-poll; r.Offer == nil || r.Offer.JobID != next {
			t.Fatalf("after the prune: got %+v, want the backup's offer", r)
		}
		x.whole()
	})
}

// A shared job does not pass an older exclusive one that is about its host's repository.
func TestASharedJobLetsAnOlderTargetGoFirst(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		x.settle()
		runner, a, b := x.host("runner"), x.host("a"), x.host("b")
		x.use(a, repo(1))
		x.use(b, repo(1))
		running := x.queue(a, wire.KindBackup)
		x.begin(a, running, 1)
		check := x.about(runner, wire.KindCheck, Target{SettingID: settingA, RepositoryID: repo(1)})
		later := x.queue(b, wire.KindBackup)
		x.wantWaiting("behind the check", later, "turn", check)
		poll := x.waits(t, b, 2)
		if _, err := x.CancelJob(t.Context(), tester, check); err != nil {
			t.Fatal(err)
		}
		if r := <-poll; r.Offer == nil || r.Offer.JobID != later {
			t.Fatalf("after the check left the queue: got %+v, want the backup's offer", r)
		}
	})
}

func TestFloorFindsATargetThatIsFree(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		runner, host := x.host("runner"), x.host("host")
		x.use(host, repo(1))
		held := x.queue(host, wire.KindCheck)
		x.begin(host, held, 1)
		id := x.about(runner, wire.KindPrune, Target{SettingID: settingA, RepositoryID: repo(1)})
		x.clock.Advance(time.Minute)
		poll := x.waits(t, runner, 2)
		floor := func() {
			if err := x.PollFloor(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		floor()
		stillWaits(t, x, poll, "the target is held")
		x.write(t, func(tx *database.Tx) error {
			return tx.Exec("UPDATE jobs SET holding = false, hold_released_at = ? WHERE id = ?", tx.Now, held).Error
		})
		floor()
		if r := <-poll; r.Offer == nil || r.Offer.JobID != id {
			t.Fatalf("poll: got %+v, want the offer", r)
		}
	})
}

// What a start learns is the target's: it is held from then on, also by the next delivery, and the host's own stays.
func TestStartLearnsTheTargetAndNotTheHostsOwnRepository(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		runner, host := x.host("runner"), x.host("host")
		x.use(host, repo(1))
		busy := x.queue(host, wire.KindBackup)
		x.begin(host, busy, 1)
		id := x.about(runner, wire.KindPrune, Target{SettingID: settingA})
		x.take(runner, id, 2)
		err := x.Start(t.Context(), runner, id, hex32(2), wire.StartRequest{StartNonce: hex32(2), RepositoryID: repo(1)})
		wantCode(t, err, wire.ProblemRepositoryBusy)
		x.wantState(id, wire.StateQueued)
		if o := x.poll(runner, 2).Offer; o != nil {
			t.Fatalf("offer though it is known to be held: got %+v", o)
		}
		if got := x.repositoryOf(runner); got != "" {
			t.Errorf("the runner was tied to %.8s", got)
		}
		x.end(host, busy, 1, wire.StateSucceeded)
		if _, err := x.Accept(t.Context(), runner, id, wire.AcceptRequest{Lease: hex32(3), Delivery: 2}); err != nil {
			t.Fatal(err)
		}
		if err := x.Start(t.Context(), runner, id, hex32(3), wire.StartRequest{StartNonce: hex32(3), RepositoryID: repo(1)}); err != nil {
			t.Fatal(err)
		}
		if got := x.job(id).Repository.ID; got != repo(1) {
			t.Errorf("the job's repository: got %.8s, want the learnt one", got)
		}
		x.whole()
	})
}

// Where the address leads to another repository by now, nothing runs there.
func TestAJobAboutOneRepositoryDoesNotRunOnAnother(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		h := x.host("runner")
		setting := x.setting("/srv/all")
		x.write(t, func(tx *database.Tx) error {
			for i, frozen := range []string{"", "look at it"} {
				if err := lockRepository(tx, repo(i+1)); err != nil {
					return err
				}
				if err := tx.Exec("INSERT INTO repository_maintenance (repository_id, setting_id, frozen) VALUES (?, ?, ?)", repo(i+1), setting, frozen).Error; err != nil {
					return err
				}
			}
			return nil
		})
		id := x.about(h, wire.KindForget, Target{SettingID: setting, RepositoryID: repo(1)})
		x.take(h, id, 1)
		err := x.Start(t.Context(), h, id, hex32(1), wire.StartRequest{StartNonce: hex32(1), RepositoryID: repo(2)})
		wantCode(t, err, wire.ProblemLeaseLost)
		j := x.job(id)
		if j.State != wire.StateCanceled || j.Error == nil || j.Error.Code != wire.CodeWrongRepository || j.StartedAt != nil {
			t.Errorf("got %s %+v, want it canceled before it started", j.State, j.Error)
		}
		// It is not noted as there any more; what a person is to look at stays.
		frozen := x.about(h, wire.KindForget, Target{SettingID: setting, RepositoryID: repo(2)})
		x.take(h, frozen, 2)
		wantCode(t, x.Start(t.Context(), h, frozen, hex32(2), wire.StartRequest{StartNonce: hex32(2), RepositoryID: repo(3)}), wire.ProblemLeaseLost)
		if one, _ := x.maintained(repo(1)); one != "" {
			t.Errorf("noted: got setting %q, want none", one)
		}
		if two, _ := x.maintained(repo(2)); two != setting {
			t.Errorf("frozen: got setting %q, want %q", two, setting)
		}
		x.whole()
	})
}

func TestAnAgentThatKnowsNoTargetsGetsNone(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		h := x.host("old")
		old := helloOf("b2", 2, 1, x.clock.Now())
		old.Features = nil
		if _, err := x.Hello(t.Context(), h, old); err != nil {
			t.Fatal(err)
		}
		order := NewJob{HostID: h, Kind: wire.KindPrune, Spec: &wire.PruneSpec{}, Target: &Target{SettingID: settingA}}
		_, _, err := x.CreateJob(t.Context(), tester, order)
		wantCode(t, err, "target_unsupported")
		if _, err := x.Hello(t.Context(), h, helloOf("b3", 3, 1, x.clock.Now())); err != nil {
			t.Fatal(err)
		}
		if _, _, err := x.CreateJob(t.Context(), tester, order); err != nil {
			t.Errorf("after the upgrade: got %v", err)
		}
		order.Kind, order.Spec = wire.KindBackup, &wire.BackupSpec{Paths: []string{"/a"}}
		_, _, err = x.CreateJob(t.Context(), tester, order)
		wantCode(t, err, "invalid")
	})
}

// The list of a target is that repository's; the host keeps its own, and the repository is noted for its setting.
func TestTheListOfATargetLeavesTheHostsOwnAlone(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		x.clock.Advance(time.Minute)
		runner, host := x.host("runner"), x.host("host")
		setting := x.setting("/srv/all")
		own := x.queue(runner, wire.KindSnapshots)
		if err := x.list(runner, x.draw(runner, own), repo(1), snapshotLines(1, 2, "runner"), 9); err != nil {
			t.Fatal(err)
		}
		id := x.about(runner, wire.KindSnapshots, Target{SettingID: setting})
		if err := x.list(runner, x.draw(runner, id), repo(2), snapshotLines(1, 7, "host"), 9); err != nil {
			t.Fatal(err)
		}
		if got := x.repositoryOf(runner); got != repo(1) {
			t.Errorf("the runner's own repository became %.8s", got)
		}
		var count int64
		if err := x.db.Read(t.Context()).Raw("SELECT snapshot_count FROM repositories WHERE id = ?", repo(2)).Scan(&count).Error; err != nil || count != 7 {
			t.Errorf("the target's list: got %d snapshots, %v, want 7", count, err)
		}
		if s, h := x.maintained(repo(2)); s != setting || h != "" {
			t.Errorf("noted: got setting %q of host %q, want %q of none", s, h, setting)
		}
		mine := x.setting("/srv/{host}")
		id = x.about(runner, wire.KindSnapshots, Target{SettingID: mine, HostID: host})
		if err := x.list(runner, x.draw(runner, id), repo(3), snapshotLines(1, 1, "host"), 9); err != nil {
			t.Fatal(err)
		}
		if s, h := x.maintained(repo(3)); s != mine || h != host {
			t.Errorf("noted: got setting %q of host %q, want %q of %q", s, h, mine, host)
		}
		if err := x.CommitListing(t.Context(), runner, x.draw(runner, id), wire.CommitRequest{Error: "no such bucket"}); err != nil {
			t.Fatal(err)
		}
		if got := x.hostNow(runner).ListingError; got != "" {
			t.Errorf("a list of another repository that failed is shown as the host's own: %q", got)
		}
		x.whole()
	})
}

// A host that uses a setting makes its repository known by its own work too.
func TestARepositoryIsNotedWhenAHostOfItsSettingIsTied(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		x.clock.Advance(time.Minute)
		shared, each := x.setting("/srv/all"), x.setting("/srv/{host}")
		for i, s := range []string{shared, each, ""} {
			h := x.host([]string{"a", "b", "c"}[i])
			x.write(t, func(tx *database.Tx) error {
				return x.PutRepositories(tx, s, []ResolvedRepository{{HostID: h, RepositoryConfig: RepositoryConfig{URL: "/srv/x", Password: "p"}}})
			})
			id := x.queue(h, wire.KindBackup)
			x.take(h, id, 10+i)
			if err := x.Start(t.Context(), h, id, hex32(10+i), wire.StartRequest{StartNonce: hex32(10 + i), RepositoryID: repo(10 + i)}); err != nil {
				t.Fatal(err)
			}
			wantHost := ""
			if s == each {
				wantHost = h
			}
			if gotSetting, gotHost := x.maintained(repo(10 + i)); gotSetting != s || gotHost != wantHost {
				t.Errorf("noted: got setting %q of host %q, want %q of %q", gotSetting, gotHost, s, wantHost)
			}
			// What was forgotten is found again by the next list, also by a host that is tied to it.
			x.write(t, func(tx *database.Tx) error { return tx.Exec("DELETE FROM repository_maintenance").Error })
			if err := x.list(h, x.draw(h, id), repo(10+i), snapshotLines(1, 1, "h"), 9); err != nil {
				t.Fatal(err)
			}
			if gotSetting, gotHost := x.maintained(repo(10 + i)); gotSetting != s || gotHost != wantHost {
				t.Errorf("noted by a list: got setting %q of host %q, want %q of %q", gotSetting, gotHost, s, wantHost)
			}
		}
	})
}

// Each end of a job asks who waits: both parts of that question have an index.
func TestWhoWaitsForARepositoryIsFoundByIndexes(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		plan := x.plan(queuedOn(repo(1), "DISTINCT jobs.host_id", "jobs.hold <> 'none'"), keyArg(repo(1)))
		if !strings.Contains(plan, "jobs_target") || strings.Contains(plan, "SCAN jobs\n") || strings.Contains(plan, "Seq Scan") {
			t.Errorf("got the plan\n%s\nwant an index for each part", plan)
		}
	})
}

package vault

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pressly/goose/v3"

	"restic-manager/server/database"
	"restic-manager/server/database/databasetest"
	"restic-manager/server/fault"
	"restic-manager/server/fleet"
	"restic-manager/shared/wire"
)

func (r *rig) hostNow(id string) fleet.Host {
	r.t.Helper()
	h, err := r.fleet.HostByID(r.t.Context(), id)
	if err != nil {
		r.t.Fatal(err)
	}
	return h
}

// found has the host's agent learn the id of its repository.
func (r *rig) found(host, repository string) {
	r.t.Helper()
	j, _, err := r.fleet.CreateJob(r.t.Context(), tester, fleet.NewJob{HostID: host, Kind: wire.KindCheck, Spec: &wire.CheckSpec{}})
	if err != nil {
		r.t.Fatal(err)
	}
	lease := strings.ReplaceAll(j.ID, "-", "")
	if _, err := r.fleet.Accept(r.t.Context(), host, j.ID, wire.AcceptRequest{Lease: lease, Delivery: 1}); err != nil {
		r.t.Fatal(err)
	}
	if err := r.fleet.Start(r.t.Context(), host, j.ID, lease, wire.StartRequest{StartNonce: lease, RepositoryID: repository}); err != nil {
		r.t.Fatal(err)
	}
	if _, err := r.fleet.Finish(r.t.Context(), host, j.ID, lease, []byte("{}"), wire.FinishRequest{State: wire.StateSucceeded}); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) scheduleVersion(host string) (v int64) {
	r.t.Helper()
	r.read(&v, "SELECT schedule_version FROM hosts WHERE id = ?", host)
	return v
}

// A host keeps its folder for as long as it uses the repository: under another name, and at another address.
func TestAHostKeepsItsFolder(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		o := r.create("rest:https://old.example/{host}")
		web, db := r.host("web"), r.host("db")
		r.use(web, o.ID)
		r.use(db, o.ID)
		if _, err := r.fleet.UpdateHost(t.Context(), tester, web, fleet.HostPatch{Name: of("frontend")}); err != nil {
			t.Fatal(err)
		}
		r.update(o.ID, Patch{Password: of("second")})
		if got := r.handed(web); got.RepositoryURL != "rest:https://old.example/web" || got.Password != "second" {
			t.Errorf("renamed: got %+v, want its old folder", got)
		}
		r.update(o.ID, Patch{URL: of("rest:https://new.example/all/{host}")})
		for host, want := range map[string]string{web: "rest:https://new.example/all/web", db: "rest:https://new.example/all/db"} {
			if got := r.handed(host); got.RepositoryURL != want || got.Password != "second" {
				t.Errorf("moved: got %+v, want %s", got, want)
			}
		}
		if h := r.hostNow(web).Repository; h == nil || h.SettingID != o.ID || h.Name != o.Name || h.URL != "rest:https://new.example/all/web" {
			t.Errorf("shown with the host: got %+v", h)
		}
		hosts, err := r.Hosts(t.Context(), o.ID)
		if err != nil || len(hosts) != 2 || hosts[0].Name != "db" || hosts[1].Name != "frontend" || hosts[1].URL != "rest:https://new.example/all/web" {
			t.Errorf("hosts: got %+v, %v", hosts, err)
		}
		r.found(web, strings.Repeat("a", 64))
		if c := r.get(o.ID).Contents; len(c) != 1 || c[0].RepositoryID != strings.Repeat("a", 64) || c[0].Host == nil || c[0].Host.ID != web || c[0].Host.Name != "frontend" {
			t.Errorf("what was found there: got %+v, want web's", c)
		}
		r.use(web, o.ID) // once more changes nothing
		if got := r.handed(web).RepositoryURL; got != "rest:https://new.example/all/web" {
			t.Errorf("given again: got %s", got)
		}
		if got := r.get(o.ID); got.HostCount != 2 || !got.PerHost {
			t.Errorf("got %+v", got)
		}
	})
}

func TestTwoHostsNeverShareAFolder(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		o := r.create("/srv/{host}")
		first, same, old, none := r.host("web 1"), r.host("WEB-1"), r.host("old"), r.host("日本")
		r.use(first, o.ID)
		err := r.Use(t.Context(), tester, same, o.ID)
		if f := wantCode(t, err, "folder_taken"); !strings.Contains(f.Message, "web 1") || !strings.Contains(f.Message, "WEB-1") {
			t.Errorf("got %q, want both names", f.Message)
		}
		if h := r.hostNow(same).Repository; h != nil {
			t.Errorf("the refused host has %+v", h)
		}
		wantCode(t, r.Use(t.Context(), tester, none, o.ID), "no_folder")

		// The folder of a host that has another name by now is its own still.
		r.use(old, o.ID)
		if _, err := r.fleet.UpdateHost(t.Context(), tester, old, fleet.HostPatch{Name: of("renamed")}); err != nil {
			t.Fatal(err)
		}
		wantCode(t, r.Use(t.Context(), tester, r.host("old"), o.ID), "folder_taken")

		// Hosts of one folder each, by an address that had none: the names decide, and all or none.
		shared := r.create("/srv/all")
		a, b := r.host("a b"), r.host("a-b")
		r.use(a, shared.ID)
		r.use(b, shared.ID)
		_, err = r.Update(t.Context(), tester, shared.ID, Patch{URL: of("/srv/each/{host}")})
		wantCode(t, err, "folder_taken")
		if got := r.handed(a).RepositoryURL; got != "/srv/all" || r.get(shared.ID).URL != "/srv/all" {
			t.Errorf("after a refused change: got %s", got)
		}
	})
}

// What a policy asks: those that can, and why the others cannot; or all of them.
func TestAssignIsAllOrSaysWhoCannot(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		o := r.create("/srv/{host}")
		a, b, c := r.host("a"), r.host("x 1"), r.host("x-1")
		gone := r.host("gone")
		if _, err := r.fleet.RevokeHost(t.Context(), tester, gone); err != nil {
			t.Fatal(err)
		}
		err := r.db.Write(t.Context(), func(tx *database.Tx) error { return r.Assign(tx, o.ID, []string{a, b, c}) })
		wantCode(t, err, "folder_taken")
		if n := r.get(o.ID).HostCount; n != 0 {
			t.Errorf("after a refusal %d hosts use it, want none", n)
		}
		var problems map[string]*fault.Error
		r.write(func(tx *database.Tx) (err error) {
			problems, err = r.TryAssign(tx, o.ID, []string{a, b, c, gone, database.NewID()})
			return err
		})
		if len(problems) != 2 || problems[gone] == nil || problems[gone].Code != "host_revoked" || (problems[b] == nil) == (problems[c] == nil) {
			t.Errorf("problems: got %v, want one of the two and the revoked one", problems)
		}
		if n := r.get(o.ID).HostCount; n != 2 {
			t.Errorf("%d hosts use it, want 2", n)
		}
		err = r.db.Write(t.Context(), func(tx *database.Tx) error { return r.Assign(tx, database.NewID(), nil) })
		wantCode(t, err, "not_found")
	})
}

// Another repository unties a host from the list it showed; another password does not. Agents are woken for both.
func TestWhatChangesIsToldToHosts(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		o := r.create("/srv/all")
		h := r.host("web")
		r.use(h, o.ID)
		tie := func() {
			r.write(func(tx *database.Tx) error {
				if err := tx.Exec("INSERT INTO repositories (id, created_at) VALUES (?, ?) ON CONFLICT (id) DO NOTHING", strings.Repeat("a", 64), tx.Now).Error; err != nil {
					return err
				}
				return tx.Exec("UPDATE hosts SET repository_id = ? WHERE id = ?", strings.Repeat("a", 64), h).Error
			})
		}
		for _, c := range []struct {
			what       string
			do         func()
			tied, told bool
		}{
			{"a password", func() { r.update(o.ID, Patch{Password: of("second")}) }, true, true},
			{"an environment", func() { r.update(o.ID, Patch{Env: &map[string]string{"AWS_REGION": "x"}}) }, true, true},
			{"a second set of credentials", func() { r.update(o.ID, Patch{MaintenanceEnv: &map[string]string{"AWS_REGION": "y"}}) }, true, false},
			{"a name", func() { r.update(o.ID, Patch{Name: of("other")}) }, true, false},
			{"an address", func() { r.update(o.ID, Patch{URL: of("/srv/other")}) }, false, true},
			{"another repository", func() { r.use(h, r.create("/srv/third").ID) }, false, true},
			{"one of its own", func() {
				if err := r.fleet.PutRepository(t.Context(), tester, h, fleet.RepositoryConfig{URL: "/srv/own", Password: "x"}); err != nil {
					t.Fatal(err)
				}
			}, false, true},
			{"none", func() {
				if err := r.fleet.DeleteRepository(t.Context(), tester, h); err != nil {
					t.Fatal(err)
				}
			}, false, true},
		} {
			tie()
			before := r.scheduleVersion(h)
			wake, cancel := r.db.Hub.Subscribe(database.TopicWake(h))
			c.do()
			told := false
			select {
			case <-wake:
				told = true
			default:
			}
			cancel()
			if repository := r.hostNow(h).Repository; c.what == "one of its own" && (repository == nil || repository.SettingID != "" || repository.URL != "/srv/own") {
				t.Errorf("%s: got %+v, want it of no setting", c.what, repository)
			}
			if tied := r.hostNow(h).RepositoryID != nil; tied != c.tied {
				t.Errorf("%s: tied is %t, want %t", c.what, tied, c.tied)
			}
			if counted := r.scheduleVersion(h) > before; counted != c.told || told != c.told {
				t.Errorf("%s: counted is %t and told is %t, want %t", c.what, counted, told, c.told)
			}
		}
	})
}

// What was found at an address is not believed of the next one, but a person's look at what is frozen is not skipped.
func TestAnotherAddressForgetsWhatWasFound(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		o := r.create("/srv/all")
		one, two := strings.Repeat("1", 64), strings.Repeat("2", 64)
		r.write(func(tx *database.Tx) error {
			for id, frozen := range map[string]string{one: "", two: "snapshots of nobody"} {
				if err := tx.Exec("INSERT INTO repositories (id, created_at, snapshot_count) VALUES (?, ?, 5)", id, tx.Now).Error; err != nil {
					return err
				}
				if err := tx.Exec("INSERT INTO repository_maintenance (repository_id, setting_id, frozen) VALUES (?, ?, ?)", id, o.ID, frozen).Error; err != nil {
					return err
				}
			}
			for part := range 10 {
				err := tx.Exec("INSERT INTO repository_checks (repository_id, parts, part, checked_at, job_id) VALUES (?, 10, ?, ?, ?)",
					two, part+1, tx.Now.Add(time.Duration(part)*time.Hour), database.NewID()).Error
				if err != nil {
					return err
				}
			}
			return nil
		})
		got := r.get(o.ID)
		if len(got.Contents) != 2 || got.SnapshotCount != 10 {
			t.Fatalf("got %+v, want two repositories of 5 snapshots", got)
		}
		for _, c := range got.Contents {
			if frozen := c.RepositoryID == two; frozen != (c.Frozen != "") || frozen != (c.FullyCheckedAt != nil) || c.Parts != 10 || frozen && (c.CheckedParts != 10 || !c.FullyCheckedAt.Equal(r.clock.Now())) {
				t.Errorf("got %+v", c)
			}
		}
		r.update(o.ID, Patch{Password: of("other")})
		if n := len(r.get(o.ID).Contents); n != 2 {
			t.Errorf("after another password: %d repositories, want 2", n)
		}
		got = r.update(o.ID, Patch{URL: of("/srv/other")})
		if len(got.Contents) != 1 || got.Contents[0].RepositoryID != two {
			t.Errorf("after another address: got %+v, want the frozen one", got.Contents)
		}
	})
}

// manyHosts are as many as one change hands something new in this test.
const manyHosts = 2000

func TestTwoThousandHostsInOneChange(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		o := r.create("rest:https://backup.example/{host}")
		ids, names := make([]string, manyHosts), make([]string, manyHosts)
		for i := range ids {
			ids[i], names[i] = database.NewID(), fmt.Sprint("host-", i)
		}
		r.write(func(tx *database.Tx) error { return insertHosts(tx, ids, names) })
		began := time.Now()
		r.write(func(tx *database.Tx) error { return r.Assign(tx, o.ID, ids) })
		assigned := time.Since(began)
		began = time.Now()
		r.update(o.ID, Patch{Password: of("another"), URL: of("rest:https://new.example/{host}")})
		t.Logf("assigned in %s, changed in %s", assigned, time.Since(began))
		var n int64
		r.read(&n, "SELECT count(*) FROM host_repositories JOIN hosts ON hosts.id = host_id WHERE setting_id = ? AND url = 'rest:https://new.example/' || hosts.name AND schedule_version = 2", o.ID)
		if n != manyHosts {
			t.Errorf("%d hosts have what they are to have, want %d", n, manyHosts)
		}
		for i := 0; i < manyHosts; i += 499 {
			if got := r.handed(ids[i]); got.Password != "another" || got.RepositoryURL != "rest:https://new.example/"+names[i] {
				t.Errorf("%s: got %+v", names[i], got)
			}
		}
		if got := r.get(o.ID); got.HostCount != manyHosts {
			t.Errorf("got %d hosts", got.HostCount)
		}
	})
}

// Whoever accepts while the repository changes gets what it was or what it is, never a mixture, and the last change
// stands for all.
func TestAcceptsBesideChangesGetOneOrTheOther(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		o := r.create("rest:https://backup-0.example/{host}", func(n *New) { n.Password = "secret-0" })
		var hosts []string
		for i := range 8 {
			hosts = append(hosts, r.host(fmt.Sprint("h", i)))
		}
		r.write(func(tx *database.Tx) error { return r.Assign(tx, o.ID, hosts) })
		const changes = 15
		var work sync.WaitGroup
		done := make(chan struct{})
		work.Go(func() {
			defer close(done)
			for i := 1; i <= changes; i++ {
				_, err := r.Update(t.Context(), tester, o.ID, Patch{URL: of(fmt.Sprintf("rest:https://backup-%d.example/{host}", i)), Password: of(fmt.Sprint("secret-", i))})
				if err != nil {
					t.Errorf("change %d: %v", i, err)
				}
			}
		})
		for i, h := range hosts {
			work.Go(func() {
				for n := 0; ; n++ {
					if s, err := r.tryAccept(t.Context(), h, n); err != nil {
						t.Errorf("accept: %v", err)
						return
					} else if number := strings.TrimPrefix(s.Password, "secret-"); s.RepositoryURL != fmt.Sprintf("rest:https://backup-%s.example/h%d", number, i) {
						t.Errorf("got %s with %s", s.RepositoryURL, s.Password)
					}
					if i%2 == 1 { // another change of the same host's row beside it
						if _, err := r.fleet.UpdateHost(t.Context(), tester, h, fleet.HostPatch{Labels: &map[string]string{"n": fmt.Sprint(n)}}); err != nil {
							t.Errorf("label: %v", err)
						}
					}
					select {
					case <-done:
						return
					default:
					}
				}
			})
		}
		work.Wait()
		for i, h := range hosts {
			if got := r.handed(h); got.Password != fmt.Sprint("secret-", changes) || got.RepositoryURL != fmt.Sprintf("rest:https://backup-%d.example/h%d", changes, i) {
				t.Errorf("in the end: got %+v", got)
			}
		}
		found, err := r.fleet.CheckInvariants(t.Context())
		if err != nil || len(found) > 0 {
			t.Errorf("invariants: got %v, %v", found, err)
		}
	})
}

// tryAccept takes a job of the host and ends it.
func (r *rig) tryAccept(ctx context.Context, host string, n int) (wire.Secrets, error) {
	j, _, err := r.fleet.CreateJob(ctx, tester, fleet.NewJob{HostID: host, Kind: wire.KindSnapshots, Spec: &wire.SnapshotsSpec{}})
	if err != nil {
		return wire.Secrets{}, err
	}
	a, err := r.fleet.Accept(ctx, host, j.ID, wire.AcceptRequest{Lease: strings.ReplaceAll(j.ID, "-", ""), Delivery: 1})
	if err != nil {
		return wire.Secrets{}, fmt.Errorf("take %d: %w", n, err)
	}
	_, err = r.fleet.CancelJob(ctx, tester, j.ID)
	return *a.Secrets, err
}

// A repository that was given to a host before there were settings goes on as it was.
func TestADatabaseOfBeforeGoesOn(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		fresh := *r // what seals, on a database that is up to date
		r.url = emptyLike(t, r)
		host := database.NewID()
		before := oldDatabase(t, r.url, r.db.Postgres())
		exec := func(query string, args ...any) {
			t.Helper()
			if r.db.Postgres() {
				for i := 1; strings.Contains(query, "?"); i++ {
					query = strings.Replace(query, "?", fmt.Sprint("$", i), 1)
				}
			}
			if _, err := before.Exec(query, args...); err != nil {
				t.Fatal(err)
			}
		}
		exec(`INSERT INTO hosts (id, name, name_key, labels, status, created_at, token_sha256, hostname, facts, guard, kinds, reported_repositories,
			agent_version, restic_version, protocol_version) VALUES (?, 'web', 'web', '{}', 'online', ?, ?, 'web', '{}', '{}', '[]', '[]', '1', '', 1)`, host, r.clock.Now(), strings.Repeat("a", 64))
		exec(`INSERT INTO host_repositories (host_id, url, env_keys, sealed_password, sealed_env, updated_at) VALUES (?, '/srv/web', '["AWS_REGION"]', ?, ?, ?)`, host,
			fresh.fleet.Seal("host_repositories", host, "sealed_password", []byte("old secret")), fresh.fleet.Seal("host_repositories", host, "sealed_env", []byte(`{"AWS_REGION":"x"}`)), r.clock.Now())
		job := database.NewID()
		exec(`INSERT INTO jobs (id, host_id, kind, lane, hold, state, spec, created_by, time_limit_seconds, queued_at, expires_at)
			VALUES (?, ?, 'backup', 'long', 'shared', 'queued', '{"paths":["/a"]}', 'x', 60, ?, ?)`, job, host, r.clock.Now(), r.clock.Now().Add(time.Hour))
		before.Close()

		r.open()
		a, err := r.fleet.Accept(t.Context(), host, job, wire.AcceptRequest{Lease: strings.Repeat("a", 32), Delivery: 1})
		if err != nil || a.Repository.Name != wire.RepositoryServer || a.Secrets == nil || a.Secrets.Password != "old secret" || a.Secrets.RepositoryURL != "/srv/web" || a.Secrets.Env["AWS_REGION"] != "x" {
			t.Errorf("a job of before: got %+v, %v", a, err)
		}
		if h := r.hostNow(host).Repository; h == nil || h.URL != "/srv/web" || h.SettingID != "" || h.Name != "" {
			t.Errorf("shown: got %+v", h)
		}
		if j, err := r.fleet.JobByID(t.Context(), job); err != nil || j.Target != nil {
			t.Errorf("its job: got %+v, %v", j.Target, err)
		}
		o := r.create("/srv/{host}", func(n *New) { n.Password = "new secret" })
		r.use(host, o.ID)
		if got := r.handed(host); got.Password != "new secret" || got.RepositoryURL != "/srv/web" {
			t.Errorf("with a setting: got %+v", got)
		}
	})
}

// emptyLike is one more empty database of the same engine.
func emptyLike(t *testing.T, r *rig) string {
	if r.db.Postgres() {
		return databasetest.New(t, "postgres")
	}
	return databasetest.New(t, "sqlite")
}

// oldDatabase has the schema of before there were settings.
func oldDatabase(t *testing.T, url string, postgres bool) *sql.DB {
	t.Helper()
	driver, dialect, folder := "sqlite", goose.DialectSQLite3, "sqlite"
	if postgres {
		driver, dialect, folder = "pgx", goose.DialectPostgres, "postgres"
	}
	db, err := sql.Open(driver, url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	steps, err := goose.NewProvider(dialect, db, os.DirFS("../../migrations/"+folder))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := steps.UpTo(t.Context(), 6); err != nil {
		t.Fatal(err)
	}
	return db
}

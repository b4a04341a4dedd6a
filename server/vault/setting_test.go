package vault

import (
	"encoding/base64"
	"slices"
	"strings"
	"testing"
	"time"

	"restic-manager/server/database"
	"restic-manager/server/fleet"
	"restic-manager/shared/wire"
)

// No secret stands in a column, an error, the audit trail or what is shown; whoever may ask gets them as they were.
func TestSecretsAreSealedWhereverTheyAre(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		o := r.create("rest:https://backup.example/{host}", func(n *New) {
			n.Password = "canary-password"
			n.Env = map[string]string{"RESTIC_REST_USERNAME": "canary-user", "RESTIC_REST_PASSWORD": "canary-env"}
			n.MaintenanceEnv = map[string]string{"RESTIC_REST_PASSWORD": "canary-maintenance"}
		})
		h := r.host("web")
		r.use(h, o.ID)
		if _, err := r.Reveal(t.Context(), tester, o.ID); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Kit(t.Context(), tester, o.ID, "canary-passphrase"); err != nil {
			t.Fatal(err)
		}
		r.update(o.ID, Patch{Password: of("canary-second"), MaintenanceEnv: &map[string]string{"RESTIC_REST_PASSWORD": "canary-third"}})
		for _, p := range []Patch{
			{Password: of("canary-broken\n")}, {Env: &map[string]string{"canary_key": "canary-value"}}, {Env: &map[string]string{"RESTIC_REST_PASSWORD": "canary\nvalue"}},
			{URL: of("rest:https://user:canary-url@backup.example/x")},
		} {
			_, err := r.Update(t.Context(), tester, o.ID, p)
			if wantCode(t, err, "invalid"); strings.Contains(err.Error(), "canary-") || strings.Contains(err.Error(), "canary\n") {
				t.Errorf("an error repeats a secret: %v", err)
			}
		}
		if dump := r.dump(); strings.Contains(dump, "canary") {
			t.Errorf("a secret is readable in the database: %.400s", dump[strings.Index(dump, "canary")-100:])
		}
		s, err := r.Reveal(t.Context(), tester, o.ID)
		if err != nil || s.Password != "canary-second" || s.Env["RESTIC_REST_PASSWORD"] != "canary-env" || s.MaintenanceEnv["RESTIC_REST_PASSWORD"] != "canary-third" {
			t.Errorf("revealed: got %+v, %v", s, err)
		}
		got := r.handed(h)
		if got.Password != "canary-second" || got.Env["RESTIC_REST_USERNAME"] != "canary-user" || got.RepositoryURL != "rest:https://backup.example/web" {
			t.Errorf("handed to the host: got %+v", got)
		}
		var n int64
		r.read(&n, "SELECT count(*) FROM audit WHERE action = 'repository.reveal' AND target = ?", "repository:"+o.ID)
		if n != 2 {
			t.Errorf("got %d rows of the audit trail for 2 times of telling", n)
		}
	})
}

// A value sealed for one row opens in no other, so that swapping rows gives nobody another's repository.
func TestSealedValuesAreBoundToTheirPlace(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		a, b := r.create("/srv/a"), r.create("/srv/b")
		r.write(func(tx *database.Tx) error {
			return tx.Exec("UPDATE repository_settings SET sealed_password = (SELECT sealed_password FROM repository_settings WHERE id = ?) WHERE id = ?", a.ID, b.ID).Error
		})
		if _, err := r.Reveal(t.Context(), tester, b.ID); err == nil {
			t.Error("another row's password was opened")
		}
	})
}

func TestCreateMakesAPasswordAndShowsWhatItWas(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		runner := r.host("runner")
		o := r.create("s3:https://s3.example/bucket/path", func(n *New) {
			n.Name, n.AppendOnly, n.RunnerID = "  Off site  ", true, runner
			n.Env = map[string]string{"AWS_SECRET_ACCESS_KEY": "x", "AWS_ACCESS_KEY_ID": "y"}
			n.Maintenance = &Maintenance{Zone: "Europe/Berlin", Prune: "0 3 * * 0", CheckParts: 28, Enabled: true}
		})
		if o.Name != "Off site" || o.Backend != "s3" || o.PerHost || !o.AppendOnly || !slices.Equal(o.EnvKeys, []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}) ||
			len(o.MaintenanceEnvKeys) != 0 || o.Runner == nil || o.Runner.Name != "runner" || !o.KitStale || o.Maintenance.Prune != "0 3 * * 0" || o.Maintenance.CheckParts != 28 {
			t.Errorf("got %+v", o)
		}
		s, err := r.Reveal(t.Context(), tester, o.ID)
		if raw, bad := base64.RawURLEncoding.DecodeString(s.Password); err != nil || bad != nil || len(raw) != 32 {
			t.Errorf("the password made: got %d bytes, %v, %v, want 32", len(raw), err, bad)
		}
		all, err := r.All(t.Context())
		if err != nil || len(all) != 1 || all[0].ID != o.ID {
			t.Errorf("listed: got %+v, %v", all, err)
		}
		_, err = r.Create(t.Context(), tester, New{Name: "OFF SITE", URL: "/srv/x"})
		wantCode(t, err, "name_taken")
	})
}

func TestWhatCannotBeIsRefused(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		o := r.create("/srv/x")
		revoked := r.host("gone")
		if _, err := r.fleet.RevokeHost(t.Context(), tester, revoked); err != nil {
			t.Fatal(err)
		}
		for what, p := range map[string]Patch{
			"no name":          {Name: of(" ")},
			"a hidden name":    {Name: of("a\u202eb")},
			"no location":      {URL: of("")},
			"an unknown zone":  {Maintenance: &Maintenance{Zone: "Mars/Olympus"}},
			"this machine's":   {Maintenance: &Maintenance{Zone: "Local"}},
			"a bad schedule":   {Maintenance: &Maintenance{Prune: "every day"}},
			"too many parts":   {Maintenance: &Maintenance{CheckParts: 257}},
			"too much unused":  {Maintenance: &Maintenance{MaxUnusedPercent: of(101)}},
			"no such runner":   {RunnerID: of(database.NewID())},
			"a revoked runner": {RunnerID: &revoked},
			"no id of a host":  {RunnerID: of("x' OR 1=1")},
			"an empty secret":  {Password: of("")},
		} {
			if _, err := r.Update(t.Context(), tester, o.ID, p); err == nil {
				t.Errorf("%s: was taken", what)
			} else {
				wantCode(t, err, "invalid")
			}
		}
		_, err := r.Update(t.Context(), tester, database.NewID(), Patch{Name: of("y")})
		wantCode(t, err, "not_found")
		if got := r.get(o.ID); got.UpdatedAt != o.UpdatedAt || got.Name != o.Name {
			t.Errorf("a refused change changed it: %+v", got)
		}
	})
}

func TestAChangeOfNothingIsNone(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		o := r.create("/srv/x", func(n *New) { n.Password, n.Env = "secret", map[string]string{"AWS_REGION": "x"} })
		r.clock.Advance(time.Minute)
		got := r.update(o.ID, Patch{Name: &o.Name, URL: &o.URL, Password: of("secret"), Env: &map[string]string{"AWS_REGION": "x"}, MaintenanceEnv: &map[string]string{},
			AppendOnly: of(false), RunnerID: of(""), Maintenance: &o.Maintenance})
		if got.UpdatedAt != o.UpdatedAt {
			t.Errorf("updated at %v, want %v", got.UpdatedAt, o.UpdatedAt)
		}
		var n int64
		r.read(&n, "SELECT count(*) FROM audit WHERE action = 'repository.update'")
		if n != 0 {
			t.Errorf("got %d rows of the audit trail, want none", n)
		}
	})
}

func TestDeleteIsRefusedWhileItIsUsed(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		o := r.create("/srv/x")
		h := r.host("web")
		r.use(h, o.ID)
		refused := func(by string) {
			t.Helper()
			err := r.Delete(t.Context(), tester, o.ID)
			if f := wantCode(t, err, "repository_used"); !strings.Contains(f.Message, by) {
				t.Errorf("got %q, want it to name %q", f.Message, by)
			}
		}
		refused("1 host")
		if err := r.fleet.DeleteRepository(t.Context(), tester, h); err != nil {
			t.Fatal(err)
		}
		r.write(func(tx *database.Tx) error {
			return tx.Exec(`INSERT INTO policies (id, name, name_key, enabled, version, spec, created_at, updated_at) VALUES (?, 'p', 'p', true, 1, ?, ?, ?)`,
				database.NewID(), `{"repository_id":"`+o.ID+`"}`, tx.Now, tx.Now).Error
		})
		if got := r.get(o.ID); got.PolicyCount != 1 || got.HostCount != 0 {
			t.Errorf("got %d policies and %d hosts, want 1 and 0", got.PolicyCount, got.HostCount)
		}
		refused("1 policy")
		r.write(func(tx *database.Tx) error { return tx.Exec("DELETE FROM policies").Error })
		target, err := r.Target(t.Context(), o.ID, h)
		if err != nil {
			t.Fatal(err)
		}
		j, _, err := r.fleet.CreateJob(t.Context(), tester, fleet.NewJob{HostID: h, Kind: wire.KindSnapshots, Spec: &wire.SnapshotsSpec{}, Target: &target})
		if err != nil {
			t.Fatal(err)
		}
		refused("1 job")
		if _, err := r.fleet.CancelJob(t.Context(), tester, j.ID); err != nil {
			t.Fatal(err)
		}
		if err := r.Delete(t.Context(), tester, o.ID); err != nil {
			t.Fatal(err)
		}
		_, err = r.ByID(t.Context(), o.ID)
		wantCode(t, err, "not_found")
		if got, err := r.fleet.JobByID(t.Context(), j.ID); err != nil || got.Target == nil || got.Target.Name != "" {
			t.Errorf("a job of before: got %+v, %v", got.Target, err)
		}
	})
}

// The second set of credentials is for the runner: no other host gets it, whatever job it is given.
func TestOnlyTheRunnerGetsTheCredentialsThatRemove(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		runner, other := r.host("runner"), r.host("other")
		o := r.create("rest:https://backup.example/{host}", func(n *New) {
			n.Password, n.RunnerID = "p", runner
			n.Env = map[string]string{"RESTIC_REST_USERNAME": "append"}
			n.MaintenanceEnv = map[string]string{"RESTIC_REST_USERNAME": "remove"}
		})
		r.use(other, o.ID)
		ask := func(by string) wire.Secrets {
			t.Helper()
			target, err := r.Target(t.Context(), o.ID, other)
			if err != nil {
				t.Fatal(err)
			}
			return r.accept(by, fleet.NewJob{HostID: by, Kind: wire.KindSnapshots, Spec: &wire.SnapshotsSpec{}, Target: &target})
		}
		for by, want := range map[string]string{runner: "remove", other: "append"} {
			if got := ask(by); got.Env["RESTIC_REST_USERNAME"] != want || got.RepositoryURL != "rest:https://backup.example/other" || got.Password != "p" {
				t.Errorf("got %+v, want the credentials that %s", got, want)
			}
		}
		if got := r.handed(other); got.Env["RESTIC_REST_USERNAME"] != "append" {
			t.Errorf("with a job of its own: got %+v", got)
		}
		r.update(o.ID, Patch{MaintenanceEnv: &map[string]string{}})
		if got := ask(runner); got.Env["RESTIC_REST_USERNAME"] != "append" {
			t.Errorf("without a second set: got %+v, want the first", got)
		}
	})
}

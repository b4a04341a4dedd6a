package api

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"restic-manager/server/fleet"
	"restic-manager/server/vault"
	"restic-manager/shared/wire"
)

func TestARepositoryFromSetUpToForgotten(t *testing.T) {
	each(t, nil, func(t *testing.T, r *rig) {
		w := newWorld(r)
		var o vault.Repository
		r.must(request{method: "POST", path: "/api/repositories", as: w.admin, body: `{"name":"Off site","url":"rest:https://backup.example/{host}","password":"hunter2hunter2",
			"env":{"RESTIC_REST_USERNAME":"hosts","RESTIC_REST_PASSWORD":"hunter2append"},"maintenance_env":{"RESTIC_REST_PASSWORD":"hunter2remove"},"append_only":true,
			"maintenance":{"zone":"Europe/Berlin","prune":"0 3 * * 0","enabled":true}}`}, &o)
		path := "/api/repositories/" + o.ID
		a := w.host()
		hosts := "/api/hosts/" + a.id
		for body, want := range map[string]int{
			`{"setting_id":"` + o.ID + `","url":"/srv/x","password":"x"}`: 422, `{"setting_id":"` + o.ID + `","env":{}}`: 422, `{"setting_id":"` + nobody + `"}`: 422, `{"setting_id":"x"}`: 422, `{}`: 422, `{"url":"/srv/x"}`: 422,
		} {
			if got := r.call(request{method: "PUT", path: hosts + "/repository", as: w.admin, body: body}); got.status != want {
				t.Errorf("PUT %s: got %d, want %d: %s", body, got.status, want, got.body)
			}
		}
		r.must(request{method: "PUT", path: hosts + "/repository", as: w.admin, body: `{"setting_id":"` + o.ID + `"}`}, nil)
		var h fleet.Host
		r.must(request{method: "GET", path: hosts, as: w.admin}, &h)
		if h.Repository == nil || h.Repository.SettingID != o.ID || h.Repository.Name != "Off site" || h.Repository.URL != "rest:https://backup.example/"+h.Name {
			t.Errorf("the host's repository: got %+v", h.Repository)
		}
		if got := r.call(request{method: "DELETE", path: path, as: w.admin}); got.status != 409 || got.code() != "repository_used" {
			t.Errorf("deleted while it is used: got %d %s", got.status, got.code())
		}
		var list struct{ Repositories []vault.Repository }
		r.must(request{method: "GET", path: "/api/repositories", as: w.admin}, &list)
		if len(list.Repositories) != 1 || list.Repositories[0].HostCount != 1 || !list.Repositories[0].KitStale {
			t.Errorf("listed: got %+v", list.Repositories)
		}

		// A test is a job about the repository, from any host whose agent knows such jobs.
		other := w.host()
		var j fleet.Job
		r.must(request{method: "POST", path: path + "/test", as: w.admin, body: fmt.Sprintf(`{"host_id":%q}`, other.id)}, &j)
		if j.Kind != wire.KindSnapshots || j.Target == nil || j.Target.SettingID != o.ID || j.Target.HostID != other.id || j.Repository.Name != wire.RepositoryTarget {
			t.Errorf("the test: got %s about %+v", j.Kind, j.Target)
		}
		r.must(request{method: "POST", path: "/api/jobs/" + j.ID + "/cancel", as: w.admin}, nil)

		var secrets vault.Secrets
		r.must(request{method: "POST", path: path + "/reveal", as: w.admin, body: wellFormed["revealRepository"]}, &secrets)
		if secrets.Password != "hunter2hunter2" || secrets.Env["RESTIC_REST_PASSWORD"] != "hunter2append" || secrets.MaintenanceEnv["RESTIC_REST_PASSWORD"] != "hunter2remove" {
			t.Errorf("revealed: got %+v", secrets)
		}
		kit := r.must(request{method: "POST", path: path + "/kit", as: w.admin, body: wellFormed["makeRecoveryKit"]}, nil)
		if got := kit.header.Get("Content-Type"); got != "application/octet-stream" || !bytes.HasPrefix(kit.body, []byte("-----BEGIN AGE ENCRYPTED FILE-----\n")) {
			t.Errorf("the kit: got %s, %.60q", got, kit.body)
		}
		if got := kit.header.Get("Content-Disposition"); got != `attachment; filename="recovery-kit-Off-site.age"` {
			t.Errorf("the kit's name: got %s", got)
		}
		r.must(request{method: "GET", path: path, as: w.admin}, &o)
		if o.KitStale || o.KitMadeAt == nil {
			t.Errorf("after the kit: got %+v", o)
		}

		r.must(request{method: "DELETE", path: hosts + "/repository", as: w.admin}, nil)
		r.must(request{method: "DELETE", path: path, as: w.admin}, nil)
		trail := r.must(request{method: "GET", path: "/api/audit?limit=1000", as: w.admin}, nil)
		for _, action := range []string{"repository.create", "repository.put", "repository.reveal", "repository.kit", "repository.delete"} {
			if !strings.Contains(string(trail.body), action) {
				t.Errorf("the audit trail lacks %s", action)
			}
		}
		if strings.Contains(string(trail.body)+r.words.String(), "hunter2") {
			t.Error("the audit trail or the log holds a secret")
		}
	})
}

// Who has a session and not its password learns no secret, and guessing counts as at the sign-in.
func TestSecretsAreToldForThePasswordOnly(t *testing.T) {
	each(t, nil, func(t *testing.T, r *rig) {
		w := newWorld(r)
		path := "/api/repositories/" + w.repository()
		for _, c := range []struct{ call, body string }{
			{"/reveal", `{"current_password":"a wrong wrong wrong one"}`}, {"/kit", `{"passphrase":"twelve and more","current_password":"a wrong wrong wrong one"}`},
		} {
			if a := r.call(request{method: "POST", path: path + c.call, as: w.admin, body: c.body}); a.status != 422 || a.code() != "wrong_password" {
				t.Errorf("%s with a wrong password: got %d %s", c.call, a.status, a.code())
			}
		}
		if a := r.call(request{method: "POST", path: path + "/kit", as: w.admin, body: `{"passphrase":"short","current_password":"` + goodSecret + `"}`}); a.status != 422 || a.code() != "invalid" {
			t.Errorf("a short passphrase: got %d %s", a.status, a.code())
		}
		limited := false
		for range 10 {
			a := r.call(request{method: "POST", path: path + "/reveal", as: w.admin, body: `{"current_password":"a wrong wrong wrong one"}`})
			limited = limited || a.status == 429
		}
		if !limited {
			t.Error("guesses are not limited")
		}
		for what, q := range map[string]request{"the right one": {method: "POST", path: path + "/reveal", as: w.admin, body: wellFormed["revealRepository"]},
			"a sign-in": {method: "POST", path: "/api/auth/login", body: fmt.Sprintf(`{"username":%q,"password":%q}`, adminName, goodSecret)}} {
			if a := r.call(q); a.status != 429 {
				t.Errorf("%s after too many guesses: got %d, want 429", what, a.status)
			}
		}
		r.clock.turn(2 * time.Minute)
		r.must(request{method: "POST", path: path + "/reveal", as: w.admin, body: wellFormed["revealRepository"]}, nil)
		r.must(request{method: "POST", path: path + "/reveal", as: w.admin, body: wellFormed["revealRepository"]}, nil)
	})
}

//go:build !race

package api

import (
	"slices"
	"testing"
	"time"

	"restic-manager/server/access"
	"restic-manager/server/database"
)

// believe makes the server hold every sign-in for what it was when it was last looked up: the moment between the
// check of a request and its write, as long as the test wants it.
func (r *rig) believe() {
	still := r.clock.now()
	r.Server.o.Access = access.Open(access.Options{DB: r.db, Now: func() time.Time { return still }})
}

// An operator who is demoted, disabled, signed out or deleted after the request was let in and before it writes,
// writes nothing: the transaction that writes asks again.
func TestADemotionBetweenCheckAndWriteIsObeyed(t *testing.T) {
	yes, viewer, operator := true, access.Viewer, access.Operator
	ends := map[string]func(t *testing.T, r *rig, id string, need access.Role) error{
		"demoted": func(t *testing.T, r *rig, id string, need access.Role) error {
			role := &operator
			if need != access.Administrator {
				role = &viewer
			}
			_, err := r.access.UpdateOperator(t.Context(), database.System, id, access.OperatorPatch{Role: role})
			return err
		},
		"disabled": func(t *testing.T, r *rig, id string, _ access.Role) error {
			_, err := r.access.UpdateOperator(t.Context(), database.System, id, access.OperatorPatch{Disabled: &yes})
			return err
		},
		"deleted": func(t *testing.T, r *rig, id string, _ access.Role) error {
			return r.access.DeleteOperator(t.Context(), database.System, id)
		},
		"signed out": func(t *testing.T, r *rig, id string, _ access.Role) error {
			list, err := r.access.Sessions(t.Context(), id)
			if err != nil {
				return err
			}
			return r.access.DeleteSession(t.Context(), database.System, id, list[0].ID)
		},
	}
	each(t, nil, func(t *testing.T, r *rig) {
		w := newWorld(r)
		r.believe()
		n := 0
		for _, row := range r.table() {
			if !row.Permission.signedIn() || row.Method == get || slices.Contains(looks, row.ID) {
				continue
			}
			for how, end := range ends {
				if how == "demoted" && row.Permission == Self {
					continue // whoever is signed in may
				}
				q, _ := w.person(row)
				id, name := w.account(access.Administrator)
				q.as = r.signIn(name)
				if row.ID == "deleteSession" {
					q.path = "/api/sessions/" + w.session(name)
				}
				r.must(request{method: "GET", path: "/api/auth/me", as: q.as}, nil) // from now on it is believed
				if err := end(t, r, id, role(row.Permission)); err != nil {
					t.Fatal(err)
				}
				before := r.dump(t, "login_throttle", "sessions", "hosts")
				a := r.call(q)
				if how == "signed out" && row.ID == "logout" { // it is done already
					continue
				}
				if a.status != 403 && a.status != 401 && a.status != 404 {
					t.Errorf("%s by one who was %s in between: got %d %s", row.ID, how, a.status, a.body)
				}
				for _, words := range changed(before, r.dump(t, "login_throttle", "sessions", "hosts")) {
					t.Errorf("%s by one who was %s in between changed %s", row.ID, how, words)
				}
				n++
			}
			q, _ := w.person(row) // and one who still may, may
			_, name := w.account(access.Administrator)
			q.as = r.signIn(name)
			if row.ID == "deleteSession" {
				q.path = "/api/sessions/" + w.session(name)
			}
			r.must(q, nil)
		}
		t.Logf("%d checks", n)
	})
}

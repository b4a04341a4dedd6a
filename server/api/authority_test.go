package api

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"restic-manager/server/database"
	"restic-manager/shared/wire"
)

// faults take away what the server decides by.
var faults = map[string]func(t *testing.T, r *rig){
	"the database": func(t *testing.T, r *rig) {
		if err := r.db.Close(); err != nil {
			t.Fatal(err)
		}
	},
	"the table of operators": dropping("operators"),
	"the table of sessions":  dropping("sessions"),
	"the table of hosts":     dropping("hosts"),
	"the audit trail":        dropping("audit"),
	"the form of every password's hash": func(t *testing.T, r *rig) {
		r.exec(t, "UPDATE operators SET password_hash = '$argon2id$'")
	},
}

func dropping(table string) func(*testing.T, *rig) {
	return func(t *testing.T, r *rig) { r.exec(t, "ALTER TABLE "+table+" RENAME TO away") }
}

func (r *rig) exec(t *testing.T, sql string) {
	t.Helper()
	if err := r.db.Write(t.Context(), func(tx *database.Tx) error { return tx.Exec(sql).Error }); err != nil {
		t.Fatal(err)
	}
}

// Without what it decides by the server lets nobody do more than before: each row for each principal that was
// refused stays refused, and no sign-in and no enrollment succeeds that would not have.
func TestWithoutWhatItDecidesByNobodyMayDoMore(t *testing.T) {
	for what, take := range faults {
		t.Run(what, func(t *testing.T) {
			each(t, func(o *Options) { o.MetricsToken = "figures" }, func(t *testing.T, r *rig) {
				all := r.principals()
				calls := map[string]map[string]request{}
				for _, row := range r.table() {
					calls[row.ID] = map[string]request{}
					for who, sign := range all {
						calls[row.ID][who] = request{method: row.Method, path: row.somewhere(), as: sign(), body: wellFormed[row.ID]}
					}
				}
				take(t, r)
				waits := []time.Duration{time.Minute}
				if what == "the database" { // while the caches hold, and after
					waits = []time.Duration{0, time.Minute}
				}
				for _, wait := range waits {
					r.clock.turn(wait)
					n := 0
					for _, row := range r.table() {
						for who, q := range calls[row.ID] {
							if may(who, row) {
								continue
							}
							if a := r.call(q); a.status < 400 {
								t.Errorf("%s on %s %s: got %d %.200s, and was refused before", who, row.Method, row.Path, a.status, a.body)
							}
							n++
						}
					}
					if n < 700 {
						t.Errorf("%d checks, want 700 and more", n)
					}
				}
				for name, q := range map[string]request{
					"a wrong password":     {method: "POST", path: "/api/auth/login", body: `{"username":"ada","password":"a wrong wrong wrong one"}`},
					"an empty password":    {method: "POST", path: "/api/auth/login", body: `{"username":"ada","password":""}`},
					"a used set-up":        {method: "POST", path: "/api/setup", body: wellFormed["setup"]},
					"an unknown token":     {method: "POST", path: "/api/agents/enroll", body: wellFormed["enroll"]},
					"an unknown secret":    {method: "POST", path: "/api/agents/hello", body: wellFormed["hello"], as: principal{"Authorization": {"Bearer " + wire.AgentTokenPrefix + hexOf(32)}, wire.HeaderProtocol: {"1"}}},
					"an unknown session":   {method: "GET", path: "/api/hosts", as: principal{"Cookie": {cookieNameInsecure + "=" + hexOf(32)}}},
					"the disabled account": {method: "POST", path: "/api/auth/login", body: fmt.Sprintf(`{"username":"dora","password":%q}`, goodSecret)},
				} {
					if a := r.call(q); a.status < 400 {
						t.Errorf("%s: got %d %s", name, a.status, a.body)
					}
				}
				if strings.Contains(r.words.String(), "panicked") {
					t.Error("a request panicked")
				}
			})
		})
	}
}

package access

import (
	"fmt"
	"testing"
	"time"

	"restic-manager/server/database"
	"restic-manager/server/database/databasetest"
	"restic-manager/server/fault"
)

// env is one database with as many replicas as wanted on it.
type env struct {
	*Access
	clock *databasetest.Clock
	url   string
}

// each runs the test on both engines.
func each(t *testing.T, test func(t *testing.T, e *env)) {
	t.Parallel()
	for _, engine := range databasetest.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			e := &env{clock: databasetest.NewClock(time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)), url: databasetest.Migrated(t, engine)}
			e.Access = e.replica(t)
			test(t, e)
		})
	}
}

func (e *env) replica(t *testing.T) *Access {
	t.Helper()
	db, err := database.Open(t.Context(), database.Options{URL: e.url, Now: e.clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	if err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return Open(Options{DB: db, Now: e.clock.Now, Parallel: 2, Cheap: true}) // TestAHash… and TestPasswordsAreStored… check the real one
}

const (
	password = "four unusual words here"
	address  = "192.0.2.1"
)

var console = database.Actor{Kind: "console", Name: "console"}

// operator makes an account.
func (e *env) operator(t *testing.T, name string, role Role) OperatorAccount {
	t.Helper()
	o, err := e.CreateOperator(t.Context(), console, NewOperator{Username: name, Password: password, Role: role})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func (e *env) login(t *testing.T, name string) (secret string, p Principal) {
	t.Helper()
	secret, _, err := e.Login(t.Context(), name, password, address, "test")
	if err != nil {
		t.Fatal(err)
	}
	p, err = e.Authenticate(t.Context(), secret)
	if err != nil {
		t.Fatal(err)
	}
	return secret, p
}

// wantCode fails unless the error is the fault with that code; an empty code is no error.
func wantCode(t *testing.T, what string, err error, code string) {
	t.Helper()
	if code == "" && err == nil || code != "" && fault.Is(err, code) {
		return
	}
	t.Errorf("%s: got %v, want %q", what, err, code)
}

// actions are the audit trail, oldest first.
func (e *env) actions(t *testing.T) []string {
	t.Helper()
	entries, _, err := e.Audit(t.Context(), AuditFilter{}, Page{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for i := len(entries) - 1; i >= 0; i-- {
		list = append(list, entries[i].Actor.Kind+" "+entries[i].Action)
	}
	return list
}

func TestRolesIncludeThoseBelow(t *testing.T) {
	roles := []Role{Viewer, Operator, Administrator}
	for i, have := range roles {
		for j, want := range roles {
			if got := have.Includes(want); got != (i >= j) {
				t.Errorf("%s includes %s: got %v", have, want, got)
			}
		}
		if have.Includes("") || Role("").Includes(have) || Role("root").Includes(have) || have.Includes("root") {
			t.Errorf("%s: an unknown role counts", have)
		}
	}
}

func TestExpireRemovesWhatIsOverAndNothingElse(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		if _, _, err := e.SetupCode(t.Context()); err != nil {
			t.Fatal(err)
		}
		e.operator(t, "ann", Administrator)
		idle, _ := e.login(t, "ann")
		e.clock.Advance(40 * time.Minute)
		live, _ := e.login(t, "ann")
		e.clock.Advance(30 * time.Minute)
		if _, _, err := e.Login(t.Context(), "ann", "wrong", "192.0.2.9", ""); err == nil {
			t.Fatal("a wrong password was right")
		}
		if err := e.Expire(t.Context()); err != nil {
			t.Fatal(err)
		}
		counts := map[string]int{}
		for _, table := range []string{"sessions", "setup_codes", "login_throttle"} {
			var n int64
			if err := e.db.Read(t.Context()).Table(table).Count(&n).Error; err != nil {
				t.Fatal(err)
			}
			counts[table] = int(n)
		}
		if got, want := fmt.Sprint(counts), fmt.Sprint(map[string]int{"sessions": 1, "setup_codes": 0, "login_throttle": 2}); got != want {
			t.Errorf("rows left: got %s, want %s", got, want)
		}
		_, err := e.Authenticate(t.Context(), idle)
		wantCode(t, "the idle session", err, "unauthorized")
		_, err = e.Authenticate(t.Context(), live)
		wantCode(t, "the live session", err, "")
	})
}

func TestTheAuditTrailCannotBeChanged(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		e.operator(t, "ann", Administrator)
		for _, sql := range []string{"UPDATE audit SET action = 'x'", "DELETE FROM audit"} {
			err := e.db.Write(t.Context(), func(tx *database.Tx) error { return tx.Exec(sql).Error })
			if err == nil {
				t.Errorf("%s: got no error", sql)
			}
		}
		if got := e.actions(t); len(got) != 1 || got[0] != "console operator.create" {
			t.Errorf("got %v", got)
		}
	})
}

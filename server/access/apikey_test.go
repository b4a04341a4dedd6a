package access

import (
	"slices"
	"strings"
	"testing"
	"time"

	"restic-manager/server/database"
)

func TestAnAPIKeyStandsForItsRoleUntilItEnds(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		k, secret, err := e.CreateAPIKey(t.Context(), console, NewAPIKey{Name: " nightly report ", Role: Viewer, ExpiresIn: time.Hour})
		if err != nil || k.Name != "nightly report" || !strings.HasPrefix(secret, APIKeyPrefix) {
			t.Fatalf("got %+v, %q, %v", k, secret, err)
		}
		if strings.Contains(e.dump(t, "api_keys", "audit"), secret) {
			t.Error("the secret stands in the database")
		}
		p, err := e.AuthenticateKey(t.Context(), secret)
		if want := (Principal{OperatorID: k.ID, Username: "nightly report", Role: Viewer, Key: true}); err != nil || p != want {
			t.Errorf("got %+v, %v, want %+v", p, err, want)
		}
		list, err := e.APIKeys(t.Context())
		if err != nil || len(list) != 1 || list[0].LastUsedAt == nil || !list[0].LastUsedAt.Equal(e.clock.Now()) {
			t.Errorf("keys: got %+v, %v, want one that was used now", list, err)
		}
		_, err = e.Authenticate(t.Context(), secret)
		wantCode(t, "a key as a session", err, "unauthorized")
		_, err = e.AuthenticateKey(t.Context(), hashed(secret))
		wantCode(t, "the hash as a key", err, "unauthorized")
		e.clock.Advance(time.Hour)
		_, err = e.AuthenticateKey(t.Context(), secret)
		wantCode(t, "an expired key", err, "unauthorized")
	})
}

// TestADeletedKeyWritesNothing: what was let in before the deletion was committed writes nothing after it.
func TestADeletedKeyWritesNothing(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		k, secret, err := e.CreateAPIKey(t.Context(), console, NewAPIKey{Name: "k", Role: Operator})
		if err != nil {
			t.Fatal(err)
		}
		p, err := e.AuthenticateKey(t.Context(), secret)
		if err != nil {
			t.Fatal(err)
		}
		write := func(need Role) error {
			return e.db.Write(p.While(t.Context(), need), func(tx *database.Tx) error { return tx.Audit(p.Actor(address), "test", "test", nil) })
		}
		if err := write(Operator); err != nil {
			t.Errorf("an operator's key: %v", err)
		}
		wantCode(t, "an operator's key as administrator", write(Administrator), "forbidden")
		if err := e.DeleteAPIKey(t.Context(), console, k.ID); err != nil {
			t.Fatal(err)
		}
		wantCode(t, "after the deletion", write(Viewer), "unauthorized")
		_, err = e.AuthenticateKey(t.Context(), secret)
		wantCode(t, "a deleted key", err, "unauthorized")
		wantCode(t, "deleted again", e.DeleteAPIKey(t.Context(), console, k.ID), "not_found")
	})
}

func TestAKeyMayWhatItsScopesSay(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		for name, c := range map[string]struct {
			n      NewAPIKey
			role   Role
			scopes []Scope
		}{
			"a viewer's":         {NewAPIKey{Role: Viewer}, Viewer, []Scope{FleetRead}},
			"an operator's":      {NewAPIKey{Role: Operator}, Operator, Scopes},
			"one that reads":     {NewAPIKey{Scopes: []Scope{FleetRead}}, Viewer, []Scope{FleetRead}},
			"one for policies":   {NewAPIKey{Scopes: []Scope{PoliciesWrite, FleetRead, FleetRead}}, Operator, []Scope{FleetRead, PoliciesWrite}},
			"one that is told":   {NewAPIKey{Role: Operator, Scopes: []Scope{FleetRead}}, Viewer, []Scope{FleetRead}},
			"one that only runs": {NewAPIKey{Scopes: []Scope{JobsWrite}}, Operator, []Scope{JobsWrite}},
		} {
			c.n.Name = name
			k, secret, err := e.CreateAPIKey(t.Context(), console, c.n)
			if err != nil || k.Role != c.role || !slices.Equal(k.Scopes, c.scopes) {
				t.Errorf("%s: got %+v, %v, want %s with %v", name, k, err, c.role, c.scopes)
			}
			p, err := e.AuthenticateKey(t.Context(), secret)
			if err != nil || !slices.Equal(p.KeyScopes(), c.scopes) {
				t.Errorf("%s: got %+v, %v", name, p, err)
			}
			for _, scope := range Scopes {
				need := Operator
				if scope == FleetRead {
					need = Viewer
				}
				if err := p.Allows(need, scope); (err == nil) != slices.Contains(c.scopes, scope) {
					t.Errorf("%s for %s: got %v", name, scope, err)
				}
			}
			if err := p.Allows(Viewer, AnyScope); err != nil {
				t.Errorf("%s: which key it is: %v", name, err)
			}
		}
		list, err := e.APIKeys(t.Context())
		if err != nil || len(list) != 6 {
			t.Fatalf("got %d keys, %v", len(list), err)
		}
		for _, k := range list {
			if len(k.Scopes) == 0 {
				t.Errorf("%s is listed without its scopes", k.Name)
			}
		}
		person := Principal{Role: Operator}
		if err := person.Allows(Operator, HostsWrite); err != nil || person.KeyScopes() != nil {
			t.Errorf("a person has no scopes: %v", err)
		}
	})
}

// TestAKeyFromBeforeScopesKeepsWhatItCould: its row names none.
func TestAKeyFromBeforeScopesKeepsWhatItCould(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		secret := APIKeyPrefix + newSecret()
		err := e.db.Write(t.Context(), func(tx *database.Tx) error {
			return tx.Exec("INSERT INTO api_keys (id, name, role, secret_sha256, created_at, created_by) VALUES (?, 'old', 'operator', ?, ?, 'ann')", database.NewID(), hashed(secret), tx.Now).Error
		})
		if err != nil {
			t.Fatal(err)
		}
		p, err := e.AuthenticateKey(t.Context(), secret)
		if err != nil || !slices.Equal(p.KeyScopes(), Scopes) {
			t.Errorf("got %+v, %v", p, err)
		}
	})
}

func TestAPIKeysThatAreRefused(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		for what, n := range map[string]NewAPIKey{
			"no name":          {Role: Viewer},
			"a name of two":    {Name: "a\nb", Role: Viewer},
			"an administrator": {Name: "k", Role: Administrator},
			"no role":          {Name: "k"},
			"an unknown scope": {Name: "k", Scopes: []Scope{FleetRead, "people:write"}},
			"the scope of all": {Name: "k", Scopes: []Scope{AnyScope}},
			"a viewer's jobs":  {Name: "k", Role: Viewer, Scopes: []Scope{FleetRead, JobsWrite}},
			"a second":         {Name: "k", Role: Viewer, ExpiresIn: time.Second},
			"a century":        {Name: "k", Role: Viewer, ExpiresIn: 100 * 365 * 24 * time.Hour},
		} {
			_, _, err := e.CreateAPIKey(t.Context(), console, n)
			wantCode(t, what, err, "invalid")
		}
	})
}

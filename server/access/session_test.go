package access

import (
	"strings"
	"testing"
	"time"

	"restic-manager/server/database"
)

func TestSignInGivesASessionOfOnesOwn(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		ann := e.operator(t, "Ann", Operator)
		secret, s, err := e.Login(t.Context(), "aNN", password, address, "curl/8\x00"+strings.Repeat("ä", 300))
		if err != nil {
			t.Fatal(err)
		}
		p, err := e.Authenticate(t.Context(), secret)
		if err != nil || p != (Principal{OperatorID: ann.ID, Username: "Ann", Role: Operator, SessionID: s.ID}) {
			t.Errorf("got %+v, %v", p, err)
		}
		second, other, err := e.Login(t.Context(), "Ann", password, address, "")
		if err != nil || second == secret || other.ID == s.ID {
			t.Errorf("a second sign-in got the same session: %v", err)
		}
		list, err := e.Sessions(t.Context(), ann.ID)
		if err != nil || len(list) != 2 || list[0].ID != other.ID || list[1].Address != address || !strings.HasPrefix(list[1].UserAgent, "curl/8ä") {
			t.Errorf("got %+v, %v", list, err)
		}
		o, err := e.OperatorByID(t.Context(), ann.ID)
		if err != nil || o.LastLoginAt == nil || !o.LastLoginAt.Equal(e.clock.Now()) {
			t.Errorf("last sign-in: got %v, %v; want %v", o.LastLoginAt, err, e.clock.Now())
		}
	})
}

func TestTheDatabaseHoldsNoSecret(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		code, _, err := e.SetupCode(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		codes := e.dump(t, "setup_codes")
		secret, _, err := e.Setup(t.Context(), code, "ann", password, address, "")
		if err != nil {
			t.Fatal(err)
		}
		all := codes + e.dump(t, "operators", "sessions", "audit", "login_throttle")
		for what, s := range map[string]string{"password": password, "session": secret, "code": code, "bare code": strings.ReplaceAll(code, "-", "")} {
			if strings.Contains(all, s) {
				t.Errorf("the %s stands in the database", what)
			}
		}
		var hash string
		if err := e.db.Read(t.Context()).Raw("SELECT password_hash FROM operators").Scan(&hash).Error; err != nil {
			t.Fatal(err)
		}
		_, _, err = e.Login(t.Context(), "ann", hash, address, "")
		wantCode(t, "the hash as password", err, "bad_credentials")
		_, err = e.Authenticate(t.Context(), hashed(secret))
		wantCode(t, "the session's hash as cookie", err, "unauthorized")
	})
}

func (e *env) dump(t *testing.T, tables ...string) string {
	t.Helper()
	var b strings.Builder
	for _, table := range tables {
		rows, err := e.db.Read(t.Context()).Raw("SELECT * FROM " + table).Rows()
		if err != nil {
			t.Fatal(err)
		}
		columns, _ := rows.Columns()
		for rows.Next() {
			values := make([]any, len(columns))
			for i := range values {
				values[i] = new(any)
			}
			if err := rows.Scan(values...); err != nil {
				t.Fatal(err)
			}
			for _, v := range values {
				switch v := (*v.(*any)).(type) {
				case string:
					b.WriteString(v + "\n")
				case []byte:
					b.Write(append(v, '\n'))
				}
			}
		}
		if err := rows.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

func TestWrongUnknownAndDisabledAnswerTheSame(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		e.operator(t, "root", Administrator)
		bob := e.operator(t, "bob", Viewer)
		disabled := true
		if _, err := e.UpdateOperator(t.Context(), console, bob.ID, OperatorPatch{Disabled: &disabled}); err != nil {
			t.Fatal(err)
		}
		var first string
		for _, c := range [][2]string{{"root", "wrong password!"}, {"nobody", password}, {"bob", password}, {"root", ""}, {"", ""}, {"root\x00", password}, {"root", strings.Repeat("x", 1e6)}, {"\xff", password}} {
			secret, s, err := e.Login(t.Context(), c[0], c[1], address, "")
			wantCode(t, c[0], err, "bad_credentials")
			if first == "" {
				first = err.Error()
			}
			if err == nil || err.Error() != first || secret != "" || s != (Session{}) {
				t.Errorf("%q: got %q, %+v, %v; want nothing but %q", c[0], secret, s, err, first)
			}
		}
	})
}

func TestSessionsEndByTime(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		e.operator(t, "ann", Administrator)
		busy, p := e.login(t, "ann")
		idle, _ := e.login(t, "ann")
		for range 11*6 + 5 { // 11 h 50 min, a request each 10 min
			e.clock.Advance(10 * time.Minute)
			if _, err := e.Authenticate(t.Context(), busy); err != nil {
				t.Fatalf("after %v: %v", e.clock.Now(), err)
			}
		}
		_, err := e.Authenticate(t.Context(), idle)
		wantCode(t, "an hour without a request", err, "unauthorized")
		if list, err := e.Sessions(t.Context(), p.OperatorID); err != nil || len(list) != 1 {
			t.Errorf("live sessions: got %+v, %v; want the busy one", list, err)
		}
		e.clock.Advance(9*time.Minute + 59*time.Second)
		_, err = e.Authenticate(t.Context(), busy)
		wantCode(t, "before 12 hours", err, "")
		e.clock.Advance(500 * time.Millisecond)
		_, err = e.Authenticate(t.Context(), busy)
		wantCode(t, "still, from the cache", err, "")
		e.clock.Advance(500 * time.Millisecond)
		_, err = e.Authenticate(t.Context(), busy)
		wantCode(t, "at 12 hours", err, "unauthorized")
	})
}

func TestAnIdleHourIsExact(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		e.operator(t, "ann", Administrator)
		secret, _ := e.login(t, "ann")
		e.clock.Advance(time.Hour - time.Microsecond)
		_, err := e.Authenticate(t.Context(), secret)
		wantCode(t, "just before", err, "")
		e.clock.Advance(time.Hour)
		_, err = e.Authenticate(t.Context(), secret)
		wantCode(t, "an hour later", err, "unauthorized")
	})
}

func TestUseIsWrittenDownEveryFiveMinutesAtMost(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		e.operator(t, "ann", Administrator)
		secret, p := e.login(t, "ann")
		start := e.clock.Now()
		used := func() time.Duration {
			list, err := e.Sessions(t.Context(), p.OperatorID)
			if err != nil || len(list) != 1 {
				t.Fatal(list, err)
			}
			return list[0].LastUsedAt.Sub(start)
		}
		for _, c := range []struct{ wait, want time.Duration }{{299 * time.Second, 0}, {time.Second, 300 * time.Second}, {299 * time.Second, 300 * time.Second}, {time.Second, 600 * time.Second}} {
			e.clock.Advance(c.wait)
			if _, err := e.Authenticate(t.Context(), secret); err != nil {
				t.Fatal(err)
			}
			if got := used(); got != c.want {
				t.Errorf("after %v: got %v, want %v", e.clock.Now().Sub(start), got, c.want)
			}
		}
	})
}

func TestWhatEndsSessionsEndsThemOnEveryReplicaWithinASecond(t *testing.T) {
	yes, newPassword := true, "quite another long one"
	for name, end := range map[string]func(t *testing.T, e *env, p Principal) error{
		"logout": func(t *testing.T, e *env, p Principal) error { return e.Logout(t.Context(), p, address) },
		"revoked": func(t *testing.T, e *env, p Principal) error {
			return e.DeleteSession(t.Context(), console, p.OperatorID, p.SessionID)
		},
		"disabled": func(t *testing.T, e *env, p Principal) error {
			_, err := e.UpdateOperator(t.Context(), console, p.OperatorID, OperatorPatch{Disabled: &yes})
			return err
		},
		"password set by another": func(t *testing.T, e *env, p Principal) error {
			_, err := e.UpdateOperator(t.Context(), console, p.OperatorID, OperatorPatch{Password: &newPassword})
			return err
		},
		"password reset": func(t *testing.T, e *env, p Principal) error {
			return e.ResetPassword(t.Context(), console, "ANN", newPassword)
		},
		"deleted": func(t *testing.T, e *env, p Principal) error {
			return e.DeleteOperator(t.Context(), console, p.OperatorID)
		},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, e *env) {
				e.operator(t, "root", Administrator)
				e.operator(t, "ann", Administrator)
				secret, p := e.login(t, "ann")
				other := e.replica(t)
				if _, err := other.Authenticate(t.Context(), secret); err != nil {
					t.Fatal(err)
				}
				if err := end(t, e, p); err != nil {
					t.Fatal(err)
				}
				_, err := e.Authenticate(t.Context(), secret)
				wantCode(t, "here at once", err, "unauthorized")
				e.clock.Advance(999 * time.Millisecond)
				_, err = other.Authenticate(t.Context(), secret)
				wantCode(t, "there after 999 ms", err, "unauthorized")
			})
		})
	}
}

func TestARoleTakesEffectWithinASecond(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		e.operator(t, "root", Administrator)
		ann := e.operator(t, "ann", Administrator)
		secret, _ := e.login(t, "ann")
		viewer := Viewer
		if _, err := e.UpdateOperator(t.Context(), console, ann.ID, OperatorPatch{Role: &viewer}); err != nil {
			t.Fatal(err)
		}
		p, err := e.Authenticate(t.Context(), secret)
		if err != nil || p.Role != Viewer {
			t.Errorf("got %+v, %v; want a viewer", p, err)
		}
	})
}

func TestOneEndsOnlyOnesOwnSessions(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		e.operator(t, "ann", Administrator)
		bob := e.operator(t, "bob", Viewer)
		secret, ann := e.login(t, "ann")
		for _, c := range [][2]string{{bob.ID, ann.SessionID}, {ann.OperatorID, database.NewID()}, {ann.OperatorID, "x"}, {"x", ann.SessionID}} {
			wantCode(t, c[0]+" "+c[1], e.DeleteSession(t.Context(), console, c[0], c[1]), "not_found")
		}
		_, err := e.Authenticate(t.Context(), secret)
		wantCode(t, "ann's session", err, "")
	})
}

func TestAuthenticateRefusesWhatIsNoSession(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		for _, secret := range []string{"", "x", strings.Repeat("x", 43), strings.Repeat("x", 1e6), "\x00", "\xff", "' OR 1=1 --"} {
			_, err := e.Authenticate(t.Context(), secret)
			wantCode(t, secret[:min(len(secret), 20)], err, "unauthorized")
		}
	})
}

func TestTheCacheDoesNotGrowForEver(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		e.operator(t, "ann", Administrator)
		secret, _ := e.login(t, "ann")
		e.mu.Lock()
		for range 5000 {
			e.cache[newSecret()] = cached{at: e.clock.Now()}
		}
		e.mu.Unlock()
		e.clock.Advance(time.Second)
		if _, err := e.Authenticate(t.Context(), secret); err != nil {
			t.Fatal(err)
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		if len(e.cache) != 1 {
			t.Errorf("got %d entries, want 1", len(e.cache))
		}
	})
}

package access

import (
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"restic-manager/server/fault"
)

func TestTheCodeMakesOneAdministratorAndIsUsedUp(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		needed, err := e.SetupNeeded(t.Context())
		if err != nil || !needed {
			t.Fatalf("got %v, %v; want set-up needed", needed, err)
		}
		code, expires, err := e.SetupCode(t.Context())
		if err != nil || !regexp.MustCompile(`^([0-9A-HJKMNP-TV-Z]{4}-){3}[0-9A-HJKMNP-TV-Z]{4}$`).MatchString(code) || !expires.Equal(e.clock.Now().Add(15*time.Minute)) {
			t.Fatalf("got %q until %v, %v", code, expires, err)
		}
		_, _, err = e.Setup(t.Context(), "0000-0000-0000-0000", "ann", password, address, "")
		wantCode(t, "a wrong code", err, "bad_setup_code")
		_, _, err = e.Setup(t.Context(), code, "ann", "short", address, "")
		wantCode(t, "a bad password", err, "invalid")
		typed := " " + strings.ToLower(strings.NewReplacer("-", " ", "0", "o", "1", "l").Replace(code)) + "\n"
		secret, _, err := e.Setup(t.Context(), typed, "ann", password, address, "")
		if err != nil {
			t.Fatalf("the code as people type it: %v", err)
		}
		p, err := e.Authenticate(t.Context(), secret)
		if err != nil || p.Role != Administrator || p.Username != "ann" {
			t.Errorf("got %+v, %v; want ann signed in", p, err)
		}
		if o, err := e.OperatorByID(t.Context(), p.OperatorID); err != nil || o.LastLoginAt == nil || !o.LastLoginAt.Equal(e.clock.Now()) {
			t.Errorf("last sign-in: got %v, %v; want %v", o.LastLoginAt, err, e.clock.Now())
		}
		_, _, err = e.Setup(t.Context(), code, "eve", password, address, "")
		wantCode(t, "the code once more", err, "setup_done")
		if needed, err := e.SetupNeeded(t.Context()); err != nil || needed {
			t.Errorf("got %v, %v; want no set-up needed", needed, err)
		}
		if code, _, err := e.SetupCode(t.Context()); err != nil || code != "" {
			t.Errorf("got %q, %v; want no code any more", code, err)
		}
		if got, want := e.actions(t), []string{"console operator.create", "operator session.create"}; !slices.Equal(got, want) {
			t.Errorf("audit: got %v, want %v", got, want)
		}
	})
}

func TestACodeIsGoodForFifteenMinutes(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		code, _, err := e.SetupCode(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		e.clock.Advance(15 * time.Minute)
		_, _, err = e.Setup(t.Context(), code, "ann", password, address, "")
		wantCode(t, "after 15 minutes", err, "bad_setup_code")
		again, _, err := e.SetupCode(t.Context())
		if err != nil || again == code {
			t.Fatalf("the next start: got the same code or %v", err)
		}
		e.clock.Advance(15*time.Minute - time.Microsecond)
		_, _, err = e.Setup(t.Context(), again, "ann", password, address, "")
		wantCode(t, "just before", err, "")
	})
}

func TestAHundredParallelSetUpsMakeOneAdministrator(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		other := e.replica(t)
		var codes []string
		for _, a := range []*Access{e.Access, other} { // each replica printed its own
			code, _, err := a.SetupCode(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			codes = append(codes, code)
		}
		var mu sync.Mutex
		got := map[string]int{}
		var wg sync.WaitGroup
		for i := range 100 {
			a := []*Access{e.Access, other}[i%2]
			wg.Go(func() {
				for {
					_, _, err := a.Setup(t.Context(), codes[i/2%2], "ann", password, "192.0.2."+string(rune('0'+i%10))+string(rune('0'+i/10)), "")
					code := "made"
					if f := fault.As(err); f != nil {
						code = f.Code
					} else if err != nil {
						code = err.Error()
					}
					if code == "busy" {
						continue // more at once than may wait: the client tries again
					}
					mu.Lock()
					got[code]++
					mu.Unlock()
					return
				}
			})
		}
		wg.Wait()
		list, _, err := e.Operators(t.Context(), Page{})
		if err != nil || len(list) != 1 || got["made"] != 1 || got["setup_done"]+got["bad_setup_code"] != 99 {
			t.Errorf("got %v and %d operators, %v; want one made, 99 refused", got, len(list), err)
		}
	})
}

func TestCodesCannotBeGuessedForEver(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		if _, _, err := e.SetupCode(t.Context()); err != nil {
			t.Fatal(err)
		}
		for range addressLimit.free {
			_, _, err := e.Setup(t.Context(), newSetupCode(), "ann", password, address, "")
			wantCode(t, "a guess", err, "bad_setup_code")
		}
		_, _, err := e.Setup(t.Context(), newSetupCode(), "ann", password, address, "")
		wantCode(t, "one more", err, "rate_limited")
	})
}

func TestTheEnvironmentsAdministratorIsMadeOnlyWhileThereIsNone(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		wantCode(t, "a bad password", e.EnsureAdmin(t.Context(), "ann", "password1234"), "invalid")
		code, _, err := e.SetupCode(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := e.EnsureAdmin(t.Context(), "ann", password); err != nil {
			t.Fatal(err)
		}
		_, _, err = e.Setup(t.Context(), code, "eve", password, address, "")
		wantCode(t, "a code printed before", err, "setup_done")
		if err := e.EnsureAdmin(t.Context(), "eve", "x"); err != nil {
			t.Errorf("the second start: got %v, want it ignored", err)
		}
		if err := e.replica(t).EnsureAdmin(t.Context(), "ann", "quite another long one"); err != nil {
			t.Errorf("another replica: got %v, want it ignored", err)
		}
		e.login(t, "ann")
		list, _, err := e.Operators(t.Context(), Page{})
		if err != nil || len(list) != 1 || list[0].Role != Administrator {
			t.Errorf("got %+v, %v; want ann alone", list, err)
		}
	})
}

func TestReplicasThatStartTogetherMakeOneAdministrator(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		var wg sync.WaitGroup
		for range 8 {
			a := e.replica(t)
			wg.Go(func() {
				if err := a.EnsureAdmin(t.Context(), "ann", password); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		list, _, err := e.Operators(t.Context(), Page{})
		if err != nil || len(list) != 1 {
			t.Errorf("got %+v, %v; want ann alone", list, err)
		}
	})
}

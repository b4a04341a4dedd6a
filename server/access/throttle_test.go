package access

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"restic-manager/server/fault"
)

func TestAThousandWrongPasswordsAreCheckedTenTimesAMinute(t *testing.T) {
	for name, guesses := range map[string]int{"ann": 1000, "nobody": 250} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, e *env) {
				e.operator(t, "ann", Administrator)
				var checked []time.Time
				for i := range guesses { // one every 300 ms from ever new addresses
					_, _, err := e.Login(t.Context(), name, fmt.Sprintf("a wrong guess %d", i), fmt.Sprintf("198.51.%d.%d", i/250, i%250), "")
					if fault.Is(err, "bad_credentials") {
						checked = append(checked, e.clock.Now())
					} else if f := fault.As(err); f == nil || f.Code != "rate_limited" || f.RetryAfter <= 0 || f.RetryAfter > time.Minute {
						t.Fatalf("got %v", err)
					}
					e.clock.Advance(300 * time.Millisecond)
				}
				for i := range checked {
					n := 0
					for _, at := range checked[i:] {
						if at.Sub(checked[i]) < time.Minute {
							n++
						}
					}
					if n > 10 {
						t.Fatalf("%d guesses were checked within a minute, want at most 10", n)
					}
				}
				if len(checked) < 9 {
					t.Errorf("only %d of %d were checked: the account is locked out", len(checked), guesses)
				}
			})
		})
	}
}

func TestParallelGuessesDoNotSlipThrough(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		e.operator(t, "ann", Administrator)
		var mu sync.Mutex
		codes := map[string]int{}
		var wg sync.WaitGroup
		for i := range 40 {
			wg.Go(func() {
				_, _, err := e.Login(t.Context(), "ann", "a wrong guess", fmt.Sprintf("198.51.100.%d", i), "")
				f := fault.As(err)
				if f == nil {
					t.Errorf("got %v", err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				codes[f.Code]++
			})
		}
		wg.Wait()
		if codes["bad_credentials"] != accountLimit.free || codes["rate_limited"] != 40-accountLimit.free {
			t.Errorf("got %v, want %d checked", codes, accountLimit.free)
		}
	})
}

func TestOneAddressIsSlowedAcrossAccounts(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		checked := 0
		for i := range 100 {
			_, _, err := e.Login(t.Context(), fmt.Sprintf("user%d", i), "a wrong guess", fmt.Sprintf("2001:db8::%x", i+1), "")
			if fault.Is(err, "bad_credentials") {
				checked++
			}
		}
		if checked != addressLimit.free {
			t.Errorf("one IPv6 network: got %d checked, want %d", checked, addressLimit.free)
		}
		_, _, err := e.Login(t.Context(), "somebody", "a wrong guess", "2001:db8:0:1::1", "")
		wantCode(t, "another network", err, "bad_credentials")
	})
}

func TestARightPasswordForgivesTheAccountButNotTheAddress(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		e.operator(t, "ann", Administrator)
		for i := range 20 { // a right one of ann's between guesses at others
			_, _, err := e.Login(t.Context(), fmt.Sprintf("user%d", i), "a wrong guess", address, "")
			wantCode(t, "guess", err, "bad_credentials")
			e.login(t, "ann")
		}
		refused := 0
		for i := range 20 {
			if _, _, err := e.Login(t.Context(), fmt.Sprintf("other%d", i), "a wrong guess", address, ""); fault.Is(err, "rate_limited") {
				refused++
			}
		}
		if want := 40 - addressLimit.free; refused != want {
			t.Errorf("got %d refused, want %d: ann's sign-ins washed the guesses off", refused, want)
		}
	})
}

func TestAPauseEnds(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		e.operator(t, "ann", Administrator)
		for range accountLimit.free {
			_, _, _ = e.Login(t.Context(), "ann", "a wrong guess", address, "")
		}
		_, _, err := e.Login(t.Context(), "ann", password, address, "")
		wantCode(t, "the right one, too soon", err, "rate_limited")
		e.clock.Advance(fault.As(err).RetryAfter)
		_, _, err = e.Login(t.Context(), "ann", password, address, "")
		wantCode(t, "the right one, after the pause", err, "")
		for range accountLimit.free {
			_, _, err := e.Login(t.Context(), "ann", "a wrong guess", address, "")
			wantCode(t, "after a right one all is forgotten", err, "bad_credentials")
		}
		e.clock.Advance(forgetFailures)
		_, _, err = e.Login(t.Context(), "ann", "a wrong guess", address, "")
		wantCode(t, "a quarter of an hour later", err, "bad_credentials")
		_, _, err = e.Login(t.Context(), "ann", password, address, "")
		wantCode(t, "and the right one", err, "")
	})
}

func TestAResetPasswordLiftsThePause(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		e.operator(t, "ann", Administrator)
		for i := range accountLimit.free + 1 {
			_, _, _ = e.Login(t.Context(), "ann", "a wrong guess", fmt.Sprintf("198.51.100.%d", i), "")
		}
		if err := e.ResetPassword(t.Context(), console, "ann", password); err != nil {
			t.Fatal(err)
		}
		_, _, err := e.Login(t.Context(), "ann", password, address, "")
		wantCode(t, "after the reset", err, "")
	})
}

func TestPausesGrowToTheirMost(t *testing.T) {
	l := limit{free: 2, first: time.Second, most: 10 * time.Second}
	for failures, want := range map[int]time.Duration{0: 0, 1: 0, 2: time.Second, 3: 2 * time.Second, 5: 8 * time.Second, 6: 10 * time.Second, 1 << 30: 10 * time.Second} {
		if got := l.pause(failures); got != want {
			t.Errorf("after %d failures: got %v, want %v", failures, got, want)
		}
	}
}

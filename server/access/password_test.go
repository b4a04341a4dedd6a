package access

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"restic-manager/server/fault"
)

func TestAHashVerifiesItsPasswordOnly(t *testing.T) {
	h := newHasher(2, owasp)
	hash, err := h.hash(t.Context(), "four unusual words")
	if err != nil || !strings.HasPrefix(hash, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Fatalf("got %s, %v", hash, err)
	}
	again, _ := h.hash(t.Context(), "four unusual words")
	if hash == again {
		t.Error("two hashes of one password are equal: no salt")
	}
	composed, _ := h.hash(t.Context(), "caf\u00e9 caf\u00e9 caf\u00e9")
	for _, c := range []struct {
		hash, password string
		want           bool
	}{
		{hash, "four unusual words", true},
		{hash, "four unusual word", false},
		{hash, "four unusual words ", false},
		{hash, hash, false},
		{hash, "", false},
		{composed, "cafe\u0301 cafe\u0301 cafe\u0301", true},
		{"", "", false},
		{"", "four unusual words", false},
		{h.dummy.String(), "anything", false},
	} {
		if got, err := h.verify(t.Context(), c.hash, c.password); err != nil || got != c.want {
			t.Errorf("%q: got %v, %v; want %v", c.password, got, err, c.want)
		}
	}
}

// Published by the makers of Argon2: `echo -n password | argon2 somesalt -id -t 2 -k 65536 -p 1 -l 32`.
func TestVerifyReadsForeignFigures(t *testing.T) {
	const foreign = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	if got, err := newHasher(1, owasp).verify(t.Context(), foreign, "password"); err != nil || !got {
		t.Errorf("got %v, %v; want true", got, err)
	}
}

func TestDamagedHashesAreErrorsNotAccess(t *testing.T) {
	h := newHasher(1, owasp)
	for _, hash := range []string{
		"x", "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ", "$argon2i$v=19$m=19456,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
		"$argon2id$v=16$m=19456,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc", "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ$",
		"$argon2id$v=19$m=99999999,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc", "$argon2id$v=19$m=19456,t=0,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
		"$argon2id$v=19$m=19456,t=2,p=0$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc", "$argon2id$v=19$m=19456,t=2,p=1$!$!",
	} {
		if got, err := h.verify(t.Context(), hash, "password"); got || !errors.Is(err, errHash) {
			t.Errorf("%s: got %v, %v; want an error", hash, got, err)
		}
	}
}

func TestHashingIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHasher(2, owasp)
		h.running <- struct{}{}
		h.running <- struct{}{} // two hashes that take for ever
		ctx, cancel := context.WithCancel(t.Context())
		results := make(chan error, cap(h.waiting))
		for range cap(h.waiting) {
			go func() {
				_, err := h.verify(ctx, "", "x")
				results <- err
			}()
		}
		synctest.Wait()
		_, err := h.verify(ctx, "", "x")
		if f := fault.As(err); f == nil || f.Code != "busy" || f.RetryAfter <= 0 {
			t.Errorf("one more than may wait: got %v, want busy", err)
		}
		cancel()
		for range cap(h.waiting) {
			if err := <-results; !errors.Is(err, context.Canceled) {
				t.Errorf("a waiter whose client has gone: got %v", err)
			}
		}
	})
}

func TestPasswordsThatAreRefused(t *testing.T) {
	for _, p := range []string{
		"", "short", "elevenchars", strings.Repeat("ä", 11), strings.Repeat("xk", 65), "bad\xff" + "utf8 here ok",
		"123456789012", "aaaaaaaaaaaa", "abcdefghijkl", "987654321098", "qwertyuiopas", "QWERTYUIOPASDFGHJKL",
		"Password1234", "P@ssw0rd12345", "password!!!!!", "passwordpassword", "correcthorsebatterystaple", "correct horse battery staple",
		"administrator", "Administrator1", "resticmanager", "restic-manager!", "letmeinplease", "abcabcabcabc", "xyz1xyz1xyz1",
		"margarethe1986", "margarethe.margarethe.", "margarethemargarethe", "!!!!WELCOME!!!!", "1234welcome1234", "zaq12wsxcde3", "            x",
	} {
		if err := CheckPassword("margarethe", p); !fault.Is(err, "invalid") {
			t.Errorf("%q: got %v, want a refusal", p, err)
		}
	}
}

func TestPasswordsThatAreTaken(t *testing.T) {
	for _, p := range []string{
		"four unusual words", "a password for tests only", "tulip-anvil-59-gravy", "aV9$kq2!zPw7", "здравствуй дорогой", strings.Repeat("ä€", 6) + "x!",
		"correct horse battery stapler", "0193b2c4d5e6f7a8", "the backup of my disks", strings.Repeat("qm", 4) + "7 tulips",
		strings.Repeat("tulip anvil gravy ", 7), "wasserflasche-am-fenster",
	} {
		if err := CheckPassword("margarethe", p); err != nil {
			t.Errorf("%q: got %v, want it taken", p, err)
		}
	}
}

func TestUsernames(t *testing.T) {
	for name, ok := range map[string]bool{
		"ann": true, "Ann.B-c_d@e+f": true, "0": true, strings.Repeat("a", 64): true,
		"": false, " ann": false, "ann b": false, ".ann": false, "-ann": false, strings.Repeat("a", 65): false, "ann\x00": false, "änn": false, "ann\n": false, "<b>": false,
	} {
		if err := CheckUsername(name); (err == nil) != ok {
			t.Errorf("%q: got %v, want taken %v", name, err, ok)
		}
	}
}

// A list of known names must not be had from a clock: an unknown name costs a whole hash too.
func TestAnUnknownNameCostsAsMuchAsAKnownOne(t *testing.T) {
	h := newHasher(1, owasp)
	hash, err := h.hash(t.Context(), "four unusual words")
	if err != nil {
		t.Fatal(err)
	}
	// argon2id fills its memory in each pass: as much memory and as many passes are as much time, on any machine.
	memory := func(hash string) uint64 {
		var all []uint64
		for range 3 {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			if ok, err := h.verify(t.Context(), hash, "wrong"); ok || err != nil {
				t.Fatal(ok, err)
			}
			runtime.ReadMemStats(&after)
			all = append(all, after.TotalAlloc-before.TotalAlloc)
		}
		return slices.Min(all) >> 20
	}
	if known, unknown := memory(hash), memory(""); known != unknown || unknown != uint64(owasp.memory)>>10 {
		t.Errorf("known %d MiB, unknown %d MiB, want %d for both", known, unknown, owasp.memory>>10)
	}
	if h.dummy.cost != owasp {
		t.Errorf("an unknown name costs %+v, want %+v", h.dummy.cost, owasp)
	}
}

func TestPasswordsAreStoredAtTheFullCost(t *testing.T) {
	if got, want := Open(Options{}).hasher.cost, (cost{memory: 19456, time: 2, threads: 1}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// Five hundred guesses at a known name and five hundred at an unknown one, drawn: their medians differ by less than
// 5 %. In turn they would differ by the garbage collector, which comes every so many hashes. The hash is a small one,
// so that what is beside it would show; noise only adds, so that the best of five rounds counts. Beside other tests it
// is a hundred of each, and a quarter: what a hash left out would show.
func TestMediansOfKnownAndUnknownNamesAreTheSame(t *testing.T) {
	h := newHasher(1, cost{memory: 1024, time: 1, threads: 1})
	hash, err := h.hash(t.Context(), "four unusual words")
	if err != nil {
		t.Fatal(err)
	}
	guesses, limit := 100, 0.25
	if os.Getenv("RESTIC_MANAGER_FAULTS") == "full" {
		guesses, limit = 500, 0.05
	}
	best := 1.0
	for range 5 {
		took := map[string][]time.Duration{}
		for range guesses {
			both := []string{hash, ""}
			rand.Shuffle(2, func(i, j int) { both[i], both[j] = both[j], both[i] })
			for _, stored := range both {
				start := time.Now()
				if ok, err := h.verify(t.Context(), stored, "a wrong wrong wrong one"); ok || err != nil {
					t.Fatal(ok, err)
				}
				took[stored] = append(took[stored], time.Since(start))
			}
		}
		slices.Sort(took[hash])
		slices.Sort(took[""])
		known, unknown := took[hash][guesses/2], took[""][guesses/2]
		t.Logf("known %s, unknown %s", known, unknown)
		if best = min(best, math.Abs(float64(known-unknown))/float64(max(known, unknown))); best < limit {
			return
		}
	}
	t.Errorf("they differ by %.1f %%, want less than %.0f %%", 100*best, 100*limit)
}

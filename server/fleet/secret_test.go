package fleet

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"restic-manager/server/fault"
	"restic-manager/shared/wire"
)

// secretForm is what a scanner of secrets may look for.
var secretForm = regexp.MustCompile(`^rme_[A-Za-z0-9_-]{43}$`)

func TestTenThousandSecretsDifferAndHaveTheirForm(t *testing.T) {
	seen, bits := map[string]bool{}, map[byte]int{}
	for range 10_000 {
		s := newSecret(wire.EnrollmentTokenPrefix)
		if seen[s] || !secretForm.MatchString(s) {
			t.Fatalf("%q is there twice, or has another form", s)
		}
		seen[s] = true
		for _, b := range []byte(strings.TrimPrefix(s, wire.EnrollmentTokenPrefix)) {
			bits[b]++
		}
	}
	if len(bits) != 64 {
		t.Errorf("%d letters are used, want all 64", len(bits))
	}
}

func TestTheDatabaseHoldsNoTokenAndFindsEachByItsHash(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		for i := range 20 {
			token, agent := x.token(), fmt.Sprintf("rma_secret%02d", i)
			if _, err := x.Enroll(t.Context(), enrollOf(token, agent, "web"), ""); err != nil {
				t.Fatal(err)
			}
			if host, err := x.Authenticate(t.Context(), agent); err != nil || host == "" {
				t.Fatalf("got %q, %v", host, err)
			}
			for _, table := range []string{"enrollment_tokens", "hosts", "audit", "server_state"} {
				var rows []map[string]any
				if err := x.db.Read(t.Context()).Table(table).Find(&rows).Error; err != nil {
					t.Fatal(err)
				}
				if text := fmt.Sprint(rows); strings.Contains(text, token) || strings.Contains(text, strings.TrimPrefix(token, wire.EnrollmentTokenPrefix)) || strings.Contains(text, agent) {
					t.Fatalf("%s holds a secret", table)
				}
			}
			for _, none := range []string{shaHex([]byte(agent)), agent + "x", strings.ToUpper(agent), agent[:len(agent)-1]} {
				if host, err := x.Authenticate(t.Context(), none); err == nil {
					t.Errorf("%q was taken for the secret of %s", none, host)
				}
			}
		}
	})
}

// A hundred clients that race for a thousand tokens make a thousand hosts: each token one. Each token is tried by
// four of them, by all with RESTIC_MANAGER_FAULTS=full.
func TestHundredParallelEnrollsWithAThousandTokensMakeAThousandHosts(t *testing.T) {
	tokens, clients, tries := 1000, 100, 4
	if os.Getenv("RESTIC_MANAGER_FAULTS") == "full" {
		tries = clients
	}
	each(t, func(t *testing.T, x *fixture) {
		secrets := make([]string, tokens)
		for i := range secrets {
			secrets[i] = x.token()
		}
		var made, refused atomic.Int64
		var wg sync.WaitGroup
		for c := range clients {
			wg.Go(func() {
				for n := range tokens * tries / clients {
					i := (c + n*clients/tries) % tokens // each token is tried by this many at about the same time
					_, err := x.Enroll(t.Context(), enrollOf(secrets[i], fmt.Sprintf("rma_%d_%d", c, i), fmt.Sprintf("web%d", i)), "")
					switch {
					case err == nil:
						made.Add(1)
					case fault.Is(err, wire.ProblemEnrollmentTokenInvalid):
						refused.Add(1)
					default:
						t.Errorf("client %d, token %d: %v", c, i, err)
						return
					}
				}
			})
		}
		wg.Wait()
		var hosts, used int64
		if err := x.db.Read(t.Context()).Table("hosts").Count(&hosts).Error; err != nil {
			t.Fatal(err)
		}
		if err := x.db.Read(t.Context()).Table("enrollment_tokens").Where("used_at IS NOT NULL AND host_id IS NOT NULL").Count(&used).Error; err != nil {
			t.Fatal(err)
		}
		t.Logf("%d enrolled, %d refused, %d hosts, %d tokens used", made.Load(), refused.Load(), hosts, used)
		if made.Load() != hosts || hosts != used || hosts != int64(tokens) || made.Load()+refused.Load() != int64(tokens*tries) {
			t.Errorf("got %d enrolled, %d hosts, %d tokens used; want %d each", made.Load(), hosts, used, tokens)
		}
	})
}

// What was sealed for one place opens in none of a hundred others, nor when one bit of it is another.
func TestSealedValueOpensInNoneOfAHundredOtherPlaces(t *testing.T) {
	key := make([]byte, KeySize)
	s, err := newSealer(key)
	if err != nil {
		t.Fatal(err)
	}
	at := place{"host_repositories", "0190a000-0000-7000-8000-000000000001", "sealed_password"}
	sealed := s.seal(at, []byte("correct horse battery staple"))
	for i := range 100 {
		other := at
		switch i % 3 {
		case 0:
			other.row = fmt.Sprintf("0190a000-0000-7000-8000-%012d", i+2)
		case 1:
			other.column = fmt.Sprintf("sealed_%d", i)
		default:
			other.table = fmt.Sprintf("table_%d", i)
		}
		if plain, err := s.open(other, sealed); err == nil {
			t.Errorf("%v opened it: %q", other, plain)
		}
	}
	for i := range len(sealed) * 8 {
		bad := append([]byte(nil), sealed...)
		bad[i/8] ^= 1 << (i % 8)
		if plain, err := s.open(at, bad); err == nil {
			t.Errorf("bit %d changed, and it opened: %q", i, plain)
		}
	}
	if plain, err := s.open(at, sealed); err != nil || string(plain) != "correct horse battery staple" {
		t.Errorf("in its place: got %q, %v", plain, err)
	}
}

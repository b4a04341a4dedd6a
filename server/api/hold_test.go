package api

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"restic-manager/server/fleet"
	"restic-manager/shared/wire"
)

// TestAHoldTakesNothingAway: it waits as asked, and the agent's own poll goes on beside it and is not ended.
func TestAHoldTakesNothingAway(t *testing.T) {
	each(t, nil, func(t *testing.T, r *rig) {
		a := r.enroll("alpha")
		a.hello()
		type outcome struct {
			answered
			err error
		}
		polled := make(chan outcome, 1)
		poll := a.pollPath(3 * time.Second)
		go func() {
			got, err := r.try(context.Background(), request{method: "GET", path: poll, as: a.as})
			polled <- outcome{got, err}
		}()
		began := time.Now()
		var h wire.HoldReply
		r.must(request{method: "GET", path: "/api/agents/hold?seconds=1", as: a.as}, &h)
		if took := time.Since(began); took < time.Second {
			t.Errorf("held for %s, want 1s at least", took)
		}
		if time.Since(h.ServerTime).Abs() > time.Minute || h.Part != 0 {
			t.Errorf("got %+v, want the server's time", h)
		}
		select {
		case got := <-polled:
			t.Errorf("the poll ended with the hold: %d %s %v", got.status, got.body, got.err)
		default:
		}
		if got := <-polled; got.err != nil || got.status != 200 {
			t.Errorf("the poll: got %d %s %v, want 200", got.status, got.body, got.err)
		}
		for _, query := range []string{"seconds=61", "seconds=-1", "seconds=x", "parts=61"} {
			if got := r.call(request{method: "GET", path: "/api/agents/hold?" + query, as: a.as}); got.status != 422 && got.status != 400 {
				t.Errorf("%s: got %d, want it refused", query, got.status)
			}
		}
	})
}

func TestAHoldInPartsSendsEachWhenItIsDue(t *testing.T) {
	each(t, nil, func(t *testing.T, r *rig) {
		a := r.enroll("alpha")
		q, err := http.NewRequest("GET", r.url+"/api/agents/hold?seconds=1&parts=4", nil)
		if err != nil {
			t.Fatal(err)
		}
		q.Header = http.Header(a.as).Clone()
		answer, err := r.client.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		var first time.Time
		n := 0
		for s := bufio.NewScanner(answer.Body); s.Scan(); {
			var p wire.HoldReply
			if err := json.Unmarshal(s.Bytes(), &p); err != nil {
				t.Fatal(err)
			}
			if n++; p.Part != n {
				t.Errorf("got part %d, want %d", p.Part, n)
			}
			if n == 1 {
				first = time.Now()
			}
		}
		if took := time.Since(first); n != 4 || took < 500*time.Millisecond {
			t.Errorf("got %d parts, the first %s before the end; want 4, spread over a second", n, took)
		}
	})
}

// TestHoldsOfAHostAreBounded: the ninth at once is refused, another host's is not, and those that ended make room.
func TestHoldsOfAHostAreBounded(t *testing.T) {
	each(t, nil, func(t *testing.T, r *rig) {
		a, b := r.enroll("alpha"), r.enroll("beta")
		for range maxHolds {
			if !r.holds.enter(a.id) {
				t.Fatal("there is no room for what is allowed")
			}
		}
		hold := func(a *agent) answered {
			return r.call(request{method: "GET", path: "/api/agents/hold?seconds=0", as: a.as})
		}
		if got := hold(a); got.status != 429 || got.header.Get("Retry-After") == "" {
			t.Errorf("one too many: got %d, want 429 with Retry-After", got.status)
		}
		if got := hold(b); got.status != 200 {
			t.Errorf("another host's: got %d, want 200", got.status)
		}
		r.holds.leave(a.id)
		for range 2 { // what was let in leaves again
			if got := hold(a); got.status != 200 {
				t.Errorf("after one ended: got %d, want 200", got.status)
			}
		}
	})
}

func TestAHoldEndsWhenTheServerStops(t *testing.T) {
	each(t, nil, func(t *testing.T, r *rig) {
		a := r.enroll("alpha")
		got := make(chan answered, 1)
		go func() {
			held, _ := r.try(context.Background(), request{method: "GET", path: "/api/agents/hold?seconds=60", as: a.as})
			got <- held
		}()
		for !r.holding(a.id) {
			time.Sleep(time.Millisecond) // until it is in; the test's own limit ends it
		}
		r.Stop()
		if held := <-got; held.status != 503 {
			t.Errorf("got %d, want 503", held.status)
		}
	})
}

func (r *rig) holding(host string) bool {
	r.holds.mu.Lock()
	defer r.holds.mu.Unlock()
	return r.holds.inside[host] > 0
}

// TestTheDoctorsTicketOpensTheHoldAlone: made with the server's key, of now, and for nothing else.
func TestTheDoctorsTicketOpensTheHoldAlone(t *testing.T) {
	each(t, nil, func(t *testing.T, r *rig) {
		ticket := func(key byte, at time.Time) string {
			s, err := fleet.Ticket([]byte(strings.Repeat(string(rune(key)), 32)), at)
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		now := r.clock.now()
		right := ticket(0, now)
		for _, c := range []struct {
			name, path, bearer string
			want               int
		}{
			{"the hold", "/api/agents/hold?seconds=0", right, 200},
			{"another agents' call", r.enroll("alpha").pollPath(0), right, 401},
			{"people's call", "/api/hosts", right, 401},
			{"another key", "/api/agents/hold?seconds=0", ticket(1, now), 401},
			{"an old one", "/api/agents/hold?seconds=0", ticket(0, now.Add(-10*time.Minute)), 401},
			{"one of tomorrow", "/api/agents/hold?seconds=0", ticket(0, now.Add(24*time.Hour)), 401},
			{"another time under the same sum", "/api/agents/hold?seconds=0", strings.Replace(right, "rmd_1", "rmd_2", 1), 401},
			{"no sum", "/api/agents/hold?seconds=0", strings.SplitAfter(right, ".")[0], 401},
		} {
			got := r.call(request{method: "GET", path: c.path, as: principal{"Authorization": {"Bearer " + c.bearer}, wire.HeaderProtocol: {"1"}}})
			if got.status != c.want {
				t.Errorf("%s: got %d %s, want %d", c.name, got.status, got.body, c.want)
			}
		}
	})
}

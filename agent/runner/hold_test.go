package runner

import (
	"errors"
	"testing"
	"time"

	"restic-manager/agent/client"
)

// TestPollsThatAreCutTwiceAreHeldShorter: a proxy that ends silent connections is learnt from, a server that is
// away is not.
func TestPollsThatAreCutTwiceAreHeldShorter(t *testing.T) {
	const wait = 30 * time.Second
	reset, gateway := &client.Error{Err: errors.New("connection reset")}, &client.Error{Status: 504, Err: errors.New("timeout")}
	type poll struct {
		took time.Duration
		err  error
	}
	for _, c := range []struct {
		name  string
		polls []poll
		want  time.Duration // of the next hold
	}{
		{"one cut", []poll{{20 * time.Second, reset}}, wait},
		{"two cuts", []poll{{20 * time.Second, reset}, {20 * time.Second, reset}}, 15 * time.Second},
		{"two cuts by a gateway", []poll{{20 * time.Second, reset}, {12 * time.Second, gateway}}, 9 * time.Second},
		{"an answer between", []poll{{20 * time.Second, reset}, {wait, nil}, {20 * time.Second, reset}}, wait},
		{"never below 5 s", []poll{{5 * time.Second, reset}, {5 * time.Second, reset}}, shortestHold},
		{"a server that is away", []poll{{time.Second, reset}, {time.Second, reset}, {time.Second, reset}}, wait},
		{"a server that refuses", []poll{{20 * time.Second, &client.Error{Status: 503}}, {20 * time.Second, &client.Error{Status: 503}}}, wait},
	} {
		var h holdLimit
		for _, p := range c.polls {
			h.learn(wait, p.took, p.err)
		}
		if got := h.within(wait); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
	var h holdLimit
	h.learn(wait, 20*time.Second, reset)
	h.learn(wait, 20*time.Second, reset)
	for range goodToForget {
		h.learn(15*time.Second, 15*time.Second, nil)
	}
	if got := h.within(wait); got != wait {
		t.Errorf("after %d good polls: got %s, want %s again", goodToForget, got, wait)
	}
}

package runner

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"restic-manager/agent/client"
)

const someServer = "https://backup.example"

// holdRig is a limit in a state folder of its own, at a time that is turned by hand.
type holdRig struct {
	*holdLimit
	t   *testing.T
	at  time.Time
	dir string
}

func newHoldRig(t *testing.T) *holdRig {
	r := &holdRig{t: t, at: time.Date(2026, 11, 27, 8, 0, 0, 0, time.UTC), dir: t.TempDir()}
	r.restart()
	return r
}

func (r *holdRig) restart() {
	r.holdLimit = newHoldLimit(r.dir, someServer, func() time.Time { return r.at }, slog.New(slog.DiscardHandler))
}

func (r *holdRig) want(what string, want time.Duration) {
	r.t.Helper()
	if got := r.within(30 * time.Second); got != want {
		r.t.Errorf("%s: got a hold of %s, want %s", what, got, want)
	}
}

var errReset = &client.Error{Err: errors.New("connection reset")}

// TestPollsThatAreCutAtTheSameAgeAreHeldShorter: a proxy that ends silent connections is learnt from, a server that is
// away is not.
func TestPollsThatAreCutAtTheSameAgeAreHeldShorter(t *testing.T) {
	const wait = 30 * time.Second
	gateway := &client.Error{Status: 504, Err: errors.New("timeout")}
	type poll struct {
		took time.Duration
		err  error
	}
	for _, c := range []struct {
		name  string
		polls []poll
		want  time.Duration // of the next hold
	}{
		{"one cut", []poll{{20 * time.Second, errReset}}, wait},
		{"two cuts", []poll{{20 * time.Second, errReset}, {20 * time.Second, errReset}}, 15 * time.Second},
		{"two cuts by a gateway, nearly at the same age", []poll{{20 * time.Second, errReset}, {20500 * time.Millisecond, gateway}}, 15 * time.Second},
		{"two cuts at different ages", []poll{{20 * time.Second, errReset}, {12 * time.Second, errReset}}, wait},
		{"two of three at one age, not in a row", []poll{{20 * time.Second, errReset}, {12 * time.Second, errReset}, {20 * time.Second, errReset}}, wait},
		{"a longer answer between", []poll{{20 * time.Second, errReset}, {wait, nil}, {20 * time.Second, errReset}}, wait},
		{"a shorter answer between", []poll{{20 * time.Second, errReset}, {11 * time.Second, nil}, {20 * time.Second, errReset}}, 15 * time.Second},
		{"never below 5 s", []poll{{5 * time.Second, errReset}, {5 * time.Second, errReset}}, ShortestHold},
		{"a server that is away", []poll{{time.Second, errReset}, {time.Second, errReset}, {time.Second, errReset}}, wait},
		{"a server that refuses", []poll{{20 * time.Second, &client.Error{Status: 503}}, {20 * time.Second, &client.Error{Status: 503}}}, wait},
		{"nobody answered until the poll's own limit", []poll{{45 * time.Second, errReset}, {45 * time.Second, errReset}}, wait},
	} {
		h := newHoldRig(t)
		for _, p := range c.polls {
			h.learn(wait, p.took, p.err)
		}
		h.want(c.name, c.want)
		h.restart()
		h.want(c.name+", after a restart", c.want)
	}
}

// TestALimitIsTriedAgainAfterADay: the way may have been mended.
func TestALimitIsTriedAgainAfterADay(t *testing.T) {
	h := newHoldRig(t)
	for range cutsToLearn {
		h.learn(30*time.Second, 20*time.Second, errReset)
	}
	h.at = h.at.Add(HoldKept)
	h.want("within the day", 15*time.Second)
	h.at = h.at.Add(time.Second)
	h.want("after it", 30*time.Second)
	if _, err := ReadHold(h.dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file: got %v, want it gone", err)
	}
	h.restart()
	h.want("after it, and a restart", 30*time.Second)
}

// TestWhatDoctorFindsHoldsForTheRunningAgent: from the next poll on, for this server, and until doctor finds better.
func TestWhatDoctorFindsHoldsForTheRunningAgent(t *testing.T) {
	h := newHoldRig(t)
	h.want("at first", 30*time.Second)
	write := func(found Hold) {
		t.Helper()
		if err := WriteHold(h.dir, found); err != nil {
			t.Fatal(err)
		}
	}
	write(Hold{ServerURL: someServer, Seconds: 10, FoundAt: h.at, FoundBy: FoundByDoctor})
	h.want("found", 10*time.Second)
	write(Hold{ServerURL: someServer, Seconds: 20, FoundAt: h.at, FoundBy: FoundByDoctor})
	h.want("found again", 20*time.Second)
	if err := ForgetHold(h.dir); err != nil {
		t.Fatal(err)
	}
	h.want("found to be well", 30*time.Second)
	write(Hold{ServerURL: "https://other.example", Seconds: 10, FoundAt: h.at, FoundBy: FoundByDoctor})
	h.want("of another server", 30*time.Second)
	write(Hold{ServerURL: someServer, Seconds: 10, FoundAt: h.at.Add(48 * time.Hour), FoundBy: FoundByDoctor})
	h.want("of a clock that was ahead", 30*time.Second)
	for _, seconds := range []int{0, 4, 61, -1} {
		write(Hold{ServerURL: someServer, Seconds: seconds, FoundAt: h.at})
		h.want("no limit", 30*time.Second)
	}
	if err := os.WriteFile(HoldPath(h.dir), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	h.want("damaged", 30*time.Second)
	h.dir = filepath.Join(h.dir, "gone")
	h.restart()
	for range cutsToLearn {
		h.learn(30*time.Second, 20*time.Second, errReset)
	}
	h.want("learnt without a folder to keep it in", 15*time.Second)
}

// TestAHerdThatCameBackTogetherDoesNotComeAgainTogether: ten thousand agents have a server again within 6 s. In no ten seconds of the
// minute after do they ask much more than on average.
func TestAHerdThatCameBackTogetherDoesNotComeAgainTogether(t *testing.T) {
	const agents, window = 10_000, 10
	var seconds [60]int
	all := 0
	for range agents {
		var s Scatter
		s.Held(20*time.Second, 25*time.Second) // before the server went
		s.Failed()
		for at := (Span{0, 6 * time.Second}).Draw() + s.Span(DefaultTiming, false).Draw(); at < 66*time.Second; {
			if at >= 6*time.Second {
				seconds[(at-6*time.Second)/time.Second]++
				all++
			}
			s.Held(time.Second, time.Second)
			at += s.Span(DefaultTiming, false).Draw()
		}
	}
	for i := window; i <= len(seconds); i++ {
		here := 0
		for _, n := range seconds[i-window : i] {
			here += n
		}
		if most := 1.5 * float64(all) * window / float64(len(seconds)); float64(here) > most {
			t.Errorf("from second %d on: %d ask within %d s, want %.0f at most", i-window, here, window, most)
		}
	}
	var s Scatter
	if got := s.Span(DefaultTiming, true); got != DefaultTiming.HoldBusy {
		t.Errorf("with a job: got a hold of %v, want %v", got, DefaultTiming.HoldBusy)
	}
	if s.Held(20*time.Second, time.Second); s.done {
		t.Error("a poll that was answered at once scatters nobody")
	}
}

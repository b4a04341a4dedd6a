package doctor

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"restic-manager/agent/runner"
	"restic-manager/shared/checkup"
)

// pipes is a network in memory, so that a minute's hold takes no minute.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.closed) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipes"} }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case p.conns <- far:
		return near, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// underClock runs a test in a bubble of its own time, with a server on a network in memory.
func underClock(t *testing.T, f *fake, test func(t *testing.T, r *rig)) {
	synctest.Test(t, func(t *testing.T) {
		network := newPipes()
		s := &http.Server{Handler: f}
		done := make(chan struct{})
		go func() { defer close(done); _ = s.Serve(network) }()
		r := newRig(t, "http://localhost")
		r.NoHold, r.names = false, []string{"config", "server", "answer", "buffering", "hold"}
		r.Outside.Dial = network.dial
		test(t, r)
		s.Close()
		<-done
	})
}

// TestHowLongAHoldSurvives: what is found is what the agent polls with.
func TestHowLongAHoldSurvives(t *testing.T) {
	for name, c := range map[string]struct {
		server  *fake
		want    finds
		seconds int // of the agent's limit; 0: none
		holds   int // what the report says
		takes   time.Duration
	}{
		"nothing cuts":            {&fake{}, finds{"hold", checkup.Good, []string{"may wait for 1m0s"}}, 0, 60, time.Minute},
		"cut at 10 s":             {&fake{cut: 10 * time.Second}, finds{"hold", checkup.Warning, []string{"cut after 10.0 s", "polls for 5s at most"}}, 5, 5, 20 * time.Second},
		"cut at 9.9 s":            {&fake{cut: 9900 * time.Millisecond}, finds{"hold", checkup.Warning, []string{"cut after 9.9 s", "polls for 5s at most"}}, 5, 5, 0},
		"a gateway's 504 at 25":   {&fake{cut: 24 * time.Second, status: 504}, finds{"hold", checkup.Warning, []string{"cut after 24.0 s", "polls for 18s at most"}}, 18, 20, 0},
		"cut at 35 s":             {&fake{cut: 35 * time.Second}, finds{"hold", checkup.Good, []string{"longer than agents ask for"}}, 0, 30, 0},
		"cut at 3 s":              {&fake{cut: 3 * time.Second}, finds{"hold", checkup.Wrong, []string{"not even 5s", "may look offline"}}, 5, 0, 0},
		"forgotten at 21 s":       {&fake{cut: 21 * time.Second, silent: true}, finds{"hold", checkup.Warning, []string{"for 25s is never answered", "may wait for 20s", "polls for 18s at most"}}, 18, 20, 0},
		"refused by the server":   {&fake{busy: true}, finds{"hold", checkup.Warning, []string{"not found out", "rate_limited", "polls as before"}}, 0, 0, 0},
		"cut once, and not again": {&fake{cut: 10 * time.Second, onceCut: true}, finds{"hold", checkup.Warning, []string{"was not when it was tried again", "polls as before"}}, 0, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			underClock(t, c.server, func(t *testing.T, r *rig) {
				began := time.Now()
				report := r.must(c.want, finds{"buffering", checkup.Good, nil})
				if took := time.Since(began); c.takes > 0 && (took < c.takes || took > c.takes+10*time.Second) {
					t.Errorf("got %s, want about %s", took, c.takes)
				}
				if report.HoldSeconds != c.holds {
					t.Errorf("the report: got %d s, want %d", report.HoldSeconds, c.holds)
				}
				got, err := runner.ReadHold(r.Paths.State)
				switch {
				case c.seconds == 0 && !errors.Is(err, fs.ErrNotExist):
					t.Errorf("the agent's limit: got %+v, %v, want none", got, err)
				case c.seconds > 0 && (err != nil || got.Seconds != c.seconds || got.FoundBy != runner.FoundByDoctor || got.ServerURL != "http://localhost"):
					t.Errorf("the agent's limit: got %+v, %v, want %d s", got, err, c.seconds)
				}
			})
		})
	}
}

// TestAWayThatWasMendedTakesTheLimitAway: the agent need not wait for a day.
func TestAWayThatWasMendedTakesTheLimitAway(t *testing.T) {
	underClock(t, &fake{}, func(t *testing.T, r *rig) {
		if err := runner.WriteHold(r.Paths.State, runner.Hold{ServerURL: "http://localhost", Seconds: 7, FoundAt: time.Now()}); err != nil {
			t.Fatal(err)
		}
		r.must(finds{"hold", checkup.Good, []string{"the agent's limit of 7 s is taken away"}})
		if _, err := runner.ReadHold(r.Paths.State); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("got %v, want it gone", err)
		}
	})
}

func TestAStateFolderThatCannotBeWrittenIsTold(t *testing.T) {
	underClock(t, &fake{cut: 10 * time.Second}, func(t *testing.T, r *rig) {
		r.Paths.State += "/gone"
		r.must(finds{"hold", checkup.Warning, []string{"run doctor as the agent's user", "hold.json cannot be written"}})
	})
}

func TestAProxyThatBuffersIsTold(t *testing.T) {
	underClock(t, &fake{buffered: true}, func(t *testing.T, r *rig) {
		report := r.must(finds{"buffering", checkup.Warning, []string{"keeps answers back", "came after 4.0 s in place of 0.5 s"}}, finds{"hold", checkup.Good, nil})
		if !report.OK {
			t.Error("agents work so: got not well")
		}
	})
}

func TestAHoldThatIsInterruptedFindsNothing(t *testing.T) {
	underClock(t, &fake{}, func(t *testing.T, r *rig) {
		r.names = []string{"config"}
		r.look() // writes agent.yaml
		o := r.Options
		o.complete()
		d := &doctor{Options: o}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		d.config(ctx)
		d.server(ctx)
		d.answers(ctx)
		if got := d.hold(ctx); got.State != checkup.Skipped {
			t.Errorf("got %+v, want it skipped", got)
		}
		if _, err := runner.ReadHold(r.Paths.State); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("got %v, want no limit", err)
		}
	})
}

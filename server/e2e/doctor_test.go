package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"
)

// impatient is a proxy in front of a server that ends every request that is older than its patience, as a balancer's
// idle time does. It notes how long each poll asked to be held.
type impatient struct {
	forward  *httputil.ReverseProxy
	patience time.Duration

	mu    sync.Mutex // guards polls
	polls []int      // seconds, in their order
}

func newImpatient(t testing.TB, s *server, patience time.Duration) (*impatient, string) {
	u, err := url.Parse(s.url)
	if err != nil {
		t.Fatal(err)
	}
	p := &impatient{forward: httputil.NewSingleHostReverseProxy(u), patience: patience}
	p.forward.FlushInterval = -1
	p.forward.ErrorHandler = func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }
	front := httptest.NewServer(p)
	t.Cleanup(front.Close)
	return p, front.URL
}

func (p *impatient) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/api/agents/next-command" {
		seconds, _ := strconv.Atoi(r.URL.Query().Get("wait"))
		p.mu.Lock()
		p.polls = append(p.polls, seconds)
		p.mu.Unlock()
	}
	ctx, cancel := context.WithTimeout(r.Context(), p.patience)
	defer cancel()
	p.forward.ServeHTTP(w, r.WithContext(ctx))
}

func (p *impatient) asked() []int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]int(nil), p.polls...)
}

// diagnosis is what a doctor prints with --json.
type diagnosis struct {
	OK          bool `json:"ok"`
	HoldSeconds int  `json:"hold_seconds"`
	Checks      []struct{ Name, State, Detail, Hint string }
	code        int
	text        string
}

func (d diagnosis) state(name string) string {
	for _, c := range d.Checks {
		if c.Name == name {
			return c.State
		}
	}
	return "not there"
}

// doctor runs one of the two programs' doctors to its end.
func doctor(t testing.TB, name string, env []string, args ...string) diagnosis {
	t.Helper()
	cmd := exec.Command(program(t, name, env), append([]string{"doctor", "--json"}, args...)...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}, env...)
	out, err := cmd.Output()
	d := diagnosis{text: string(out)}
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		d.code = e.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(out, &d); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	return d
}

// TestDoctors: the agent's finds how long the way lets it poll, and the agent does that; a revoked host is told. The
// server's finds its own address well, and later that it is away.
func TestDoctors(t *testing.T) {
	t.Parallel()
	for _, engine := range databases {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, engine)
			proxy, address := newImpatient(t, s, 7*time.Second)
			front := *s
			front.url = address
			a := newAgent(t, &front, restics[1])
			a.init()

			own := []string{"--listen", s.listen, "--data-dir", s.dir, "--public-url", s.url}
			var env []string
			if s.database != "" {
				env = append(env, "DATABASE_URL="+s.database)
			}
			ofServer := make(chan diagnosis, 1)
			go func() { ofServer <- doctor(t, "restic-manager", env, own...) }()

			ofAgent := []string{"--config", a.config, "--state-dir", a.data}
			d := doctor(t, "restic-manager-agent", a.env, ofAgent...)
			if d.code != 0 || !d.OK || d.HoldSeconds != 5 || d.state("hold") != "warning" {
				t.Errorf("the agent's doctor: got exit code %d, want 0, and polls for 5 s found:\n%s", d.code, d.text)
			}
			for _, name := range []string{"config", "dns", "tcp", "answer", "clock", "accepted", "compression", "buffering", "guard", "restic", "folders", "repository"} {
				if got := d.state(name); got != "ok" {
					t.Errorf("%s: got %s, want ok:\n%s", name, got, d.text)
				}
			}
			// Its polls are cut until then, so it may be unreachable just now; but it runs.
			if got := d.state("service"); got == "wrong" || got == "skipped" {
				t.Errorf("service: got %s, want it to run:\n%s", got, d.text)
			}
			var limit struct {
				Seconds int    `json:"seconds"`
				FoundBy string `json:"found_by"`
			}
			if raw, err := os.ReadFile(filepath.Join(a.data, "hold.json")); err != nil || json.Unmarshal(raw, &limit) != nil || limit.Seconds != 5 || limit.FoundBy != "doctor" {
				t.Errorf("the agent's limit: got %s, %v, want 5 s by doctor", raw, err)
			}
			a.kill()
			before := len(proxy.asked())
			a.launch()
			// The first polls after a start are held for anything from a second on, and never for longer than the limit.
			eventually(t, 40*time.Second, "the agent polls as doctor found, from its first poll on", func() error {
				polls := proxy.asked()[before:]
				if len(polls) > 0 && slices.Max(polls) > limit.Seconds {
					t.Fatalf("it asked for %v s, want %d s at most", polls, limit.Seconds)
				}
				if n := len(polls); n < 3 || polls[n-1] != limit.Seconds {
					return fmt.Errorf("it asked for %v s, want three polls, the last one for %d s", polls, limit.Seconds)
				}
				return nil
			})

			s.do("POST", "/api/hosts/"+a.hostID+"/revoke", nil, nil)
			if d := doctor(t, "restic-manager-agent", a.env, append(ofAgent, "--no-hold")...); d.code != 1 || d.state("accepted") != "wrong" || d.state("answer") != "ok" {
				t.Errorf("a revoked host: got exit code %d, want 1:\n%s", d.code, d.text)
			}

			d = <-ofServer
			if d.code != 0 || !d.OK || d.state("hold") != "ok" || d.state("key") != "ok" || d.state("invariants") != "ok" || d.state("address") != "ok" {
				t.Errorf("the server's doctor: got exit code %d, want 0 and a held request over its own address:\n%s", d.code, d.text)
			}
			s.kill()
			if d := doctor(t, "restic-manager", env, own...); d.code != 1 || d.state("server") != "wrong" || d.state("invariants") != "ok" {
				t.Errorf("after the server was killed: got exit code %d, want 1:\n%s", d.code, d.text)
			}
		})
	}
}

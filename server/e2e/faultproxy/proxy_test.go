package faultproxy

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// rig is a server that counts what it saw, behind a proxy.
type rig struct {
	t *testing.T
	*Proxy
	client http.Client

	mu   sync.Mutex // guards seen
	seen []string
}

func newRig(t *testing.T, f Faults) *rig {
	t.Helper()
	r := &rig{t: t}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		b, err := io.ReadAll(q.Body)
		if err != nil {
			return
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.seen = append(r.seen, string(b))
		fmt.Fprintf(w, "answer %d to %s", len(r.seen), b)
	}))
	t.Cleanup(s.Close)
	p, err := New(s.URL, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	r.Proxy = p
	p.Set(f)
	r.client = http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	return r
}

func (r *rig) post(body string) (string, error) {
	r.t.Helper()
	a, err := r.client.Post(r.URL()+"/x?y=1", "text/plain", strings.NewReader(body))
	if err != nil {
		return "", err
	}
	defer a.Body.Close()
	b, err := io.ReadAll(a.Body)
	return string(b), err
}

func (r *rig) saw() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.seen, " ")
}

func TestFaultsDoWhatTheySay(t *testing.T) {
	for name, c := range map[string]struct {
		faults Faults
		fails  bool
		saw    string
	}{
		"none":        {Faults{}, false, "a"},
		"lose before": {Faults{LoseBefore: 1}, true, ""},
		"lose after":  {Faults{LoseAfter: 1}, true, "a"},
		"copies":      {Faults{Copies: 2}, false, "a a a"},
		"cut reply":   {Faults{CutReply: 1}, true, "a"},
		"cut body":    {Faults{CutBody: 1}, true, ""},
		"stray":       {Faults{Stray: 1, Late: time.Hour}, true, "a"},
		"late":        {Faults{Late: time.Hour}, false, "a a"},
		"delay":       {Faults{Delay: time.Millisecond}, false, "a"},
	} {
		t.Run(name, func(t *testing.T) {
			body := "a"
			if name == "cut body" {
				body = "abcdef"
			}
			r := newRig(t, c.faults)
			got, err := r.post(body)
			if (err != nil) != c.fails {
				t.Errorf("reply: got %q, %v, want a failure: %v", got, err, c.fails)
			}
			r.Settle()
			if saw := r.saw(); saw != c.saw {
				t.Errorf("the server saw %q, want %q", saw, c.saw)
			}
		})
	}
}

func TestSwallowedRequestIsNeverAnswered(t *testing.T) {
	r := newRig(t, Faults{Swallow: 1})
	r.client.Timeout = 100 * time.Millisecond
	if got, err := r.post("a"); err == nil || r.saw() != "" {
		t.Errorf("got %q, and the server saw %q, want no answer and nothing seen", got, r.saw())
	}
}

func TestOneSeedDrawsTheSame(t *testing.T) {
	var runs [2]string
	for i := range runs {
		r := newRig(t, Faults{LoseBefore: 0.5})
		for n := range 40 {
			_, _ = r.post(fmt.Sprint(n))
		}
		runs[i] = r.saw()
	}
	if runs[0] != runs[1] || runs[0] == "" {
		t.Errorf("two runs of one seed: got %s and %s", runs[0], runs[1])
	}
}

func TestCutRefusesAndHealLetsPass(t *testing.T) {
	r := newRig(t, Faults{})
	r.Cut()
	if _, err := r.post("a"); err == nil {
		t.Error("a request over a cut line was answered")
	}
	r.Heal()
	if _, err := r.post("b"); err != nil || r.saw() != "b" {
		t.Errorf("after the cut: got %v, the server saw %q, want b", err, r.saw())
	}
}

func TestFrozenLineGoesOnWhereItWas(t *testing.T) {
	r := newRig(t, Faults{})
	r.Freeze()
	done := make(chan error, 1)
	go func() { _, err := r.post("a"); done <- err }()
	select {
	case err := <-done:
		t.Fatalf("a request over a frozen line: got %v, want it to wait", err)
	case <-time.After(100 * time.Millisecond):
	}
	r.Heal()
	if err := <-done; err != nil || r.saw() != "a" {
		t.Errorf("after the thaw: got %v, the server saw %q, want a", err, r.saw())
	}
}

func TestLimitHoldsOverTCP(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write(make([]byte, 3000))
			c.Close()
		}
	}()
	p, err := NewTCP(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	read := func() (int, time.Duration, error) {
		began := time.Now()
		c, err := net.Dial("tcp", p.Address())
		if err != nil {
			return 0, 0, err
		}
		defer c.Close()
		b, err := io.ReadAll(c)
		return len(b), time.Since(began), err
	}
	if n, _, err := read(); n != 3000 || err != nil {
		t.Errorf("no limit: got %d bytes, %v, want 3000", n, err)
	}
	p.Limit(10_000)
	if n, took, err := read(); n != 3000 || err != nil || took < 250*time.Millisecond {
		t.Errorf("10,000 B/s: got %d bytes in %s, %v, want 3000 in 0.3 s", n, took, err)
	}
	p.Cut()
	if n, _, _ := read(); n != 0 {
		t.Errorf("over a cut line: got %d bytes", n)
	}
}

package client

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"restic-manager/shared/wire"
)

var quiet = log.New(io.Discard, "", 0)

// TestEachCallSaysWhatTheProtocolSays compares method, path, headers and body of every call.
func TestEachCallSaysWhatTheProtocolSays(t *testing.T) {
	ref := wire.JobRef{ID: job, Lease: lease}
	ctx := context.Background()
	records := `{"t":"2026-01-01T00:00:00Z","s":"out","text":"` + strings.Repeat("a line that compresses ", 100) + `"}` + "\n"
	for _, tc := range []struct {
		name, method, uri, lease, body, reply string
		anonymous                             bool
		call                                  func(c *Client) error
	}{
		{name: "enroll", method: "POST", uri: "/api/agents/enroll", anonymous: true, body: `"token":"rme_x"`, reply: `{"host_id":"` + job + `","name":"n","settings":{}}`,
			call: func(c *Client) error {
				r, err := c.Enroll(ctx, wire.EnrollRequest{Token: "rme_x"})
				return expect(err, r.HostID == job && r.Name == "n")
			}},
		{name: "hello", method: "POST", uri: "/api/agents/hello", body: `"boot_id":"b"`, reply: `{"mark":"m","server_time":"2026-01-01T00:00:00Z"}`,
			call: func(c *Client) error {
				r, err := c.Hello(ctx, wire.HelloRequest{BootID: "b"})
				return expect(err, r.Mark == "m")
			}},
		{name: "poll", method: "GET", uri: "/api/agents/next-command?boot=b&free_long=1&free_short=0&jobs=" + job + "%3A" + lease + "&mark=m&seq=7&wait=0", reply: `{"mark":"m2","cancel":["` + job + `"]}`,
			call: func(c *Client) error {
				r, err := c.Poll(ctx, wire.PollQuery{Boot: "b", Seq: 7, Mark: "m", FreeLong: 1, Jobs: []wire.JobRef{ref}})
				return expect(err, r.Mark == "m2" && len(r.Cancel) == 1)
			}},
		{name: "accept", method: "POST", uri: "/api/agents/jobs/" + job + "/accept", lease: lease, body: `"delivery":3`, reply: `{"kind":"backup","spec":{},"unknown":1}`,
			call: func(c *Client) error {
				r, err := c.Accept(ctx, job, wire.AcceptRequest{Lease: lease, Delivery: 3})
				return expect(err, r.Kind == wire.KindBackup)
			}},
		{name: "start", method: "POST", uri: "/api/agents/jobs/" + job + "/start", lease: lease, body: `"start_nonce":"n"`, reply: `{}`,
			call: func(c *Client) error { return c.Start(ctx, ref, wire.StartRequest{StartNonce: "n"}) }},
		{name: "resume", method: "POST", uri: "/api/agents/jobs/" + job + "/resume", lease: lease, body: `"old_lease":"o"`, reply: `{"state":"running","next_line":4}`,
			call: func(c *Client) error {
				r, err := c.Resume(ctx, job, wire.ResumeRequest{OldLease: "o", NewLease: lease})
				return expect(err, r.State == wire.StateRunning && r.NextLine == 4)
			}},
		{name: "log", method: "POST", uri: "/api/agents/jobs/" + job + "/log?first_line=1&lines=1&sum_before=s", lease: lease, body: records, reply: `{"next_line":2,"cancel":true}`,
			call: func(c *Client) error {
				r, err := c.AppendLog(ctx, ref, wire.LogQuery{FirstLine: 1, Lines: 1, SumBefore: "s"}, PrepareBody([]byte(records)))
				return expect(err, r.NextLine == 2 && r.Cancel)
			}},
		{name: "log without lines", method: "POST", uri: "/api/agents/jobs/" + job + "/log?first_line=1&lines=0&sum_before=", lease: lease, reply: `{"next_line":9,"cancel":false}`,
			call: func(c *Client) error {
				r, err := c.AppendLog(ctx, ref, wire.LogQuery{FirstLine: 1}, Body{})
				return expect(err, r.NextLine == 9)
			}},
		{name: "progress", method: "POST", uri: "/api/agents/jobs/" + job + "/progress", lease: lease, body: `"seq":5`, reply: `{"cancel":true}`,
			call: func(c *Client) error {
				r, err := c.Progress(ctx, ref, wire.Progress{Seq: 5})
				return expect(err, r.Cancel)
			}},
		{name: "finish", method: "POST", uri: "/api/agents/jobs/" + job + "/finish", lease: lease, body: `{"state":"failed"}`, reply: `{"late":true}`,
			call: func(c *Client) error {
				r, err := c.Finish(ctx, ref, []byte(`{"state":"failed"}`))
				return expect(err, r.Late)
			}},
		{name: "listing", method: "POST", uri: "/api/agents/listings", lease: lease, body: `"job_id":"` + job + `"`, reply: `{"token":"` + lease + `","max_part_bytes":9}`,
			call: func(c *Client) error {
				r, err := c.BeginListing(ctx, ref)
				return expect(err, r.Token == lease && r.MaxPartBytes == 9)
			}},
		{name: "adopt", method: "POST", uri: "/api/agents/jobs/" + job + "/adopt", lease: lease, body: `"policy_id":"p"`, reply: `{}`,
			call: func(c *Client) error { return c.Adopt(ctx, ref, wire.AdoptRequest{PolicyID: "p"}) }},
		{name: "ticks", method: "POST", uri: "/api/agents/ticks", body: `"policy_id":"p"`, reply: `{"ticks":[{"outcome":"run","job_id":"` + job + `"}]}`,
			call: func(c *Client) error {
				r, err := c.Ticks(ctx, wire.TicksRequest{Ticks: []wire.Tick{{PolicyID: "p"}}})
				return expect(err, len(r.Ticks) == 1 && r.Ticks[0].Outcome == wire.OutcomeRun)
			}},
		{name: "part", method: "PUT", uri: "/api/agents/listings/" + lease + "/parts/2", lease: lease, body: "{}\n", reply: `{}`,
			call: func(c *Client) error { return c.PutListingPart(ctx, ref, lease, 2, PrepareBody([]byte("{}\n"))) }},
		{name: "commit", method: "POST", uri: "/api/agents/listings/" + lease + "/commit", lease: lease, body: `"count":3`, reply: `{}`,
			call: func(c *Client) error { return c.CommitListing(ctx, ref, lease, wire.CommitRequest{Count: 3}) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, c := serve(t, replyWith(200, "application/json; charset=utf-8", tc.reply))
			if err := tc.call(c); err != nil {
				t.Fatal(err)
			}
			got := s.requests()
			if len(got) != 1 {
				t.Fatalf("requests: got %d, want 1", len(got))
			}
			r := got[0]
			if r.method != tc.method || r.uri != tc.uri {
				t.Errorf("got %s %s, want %s %s", r.method, r.uri, tc.method, tc.uri)
			}
			if !strings.Contains(r.body, tc.body) {
				t.Errorf("body: got %q, want %q in it", r.body, tc.body)
			}
			bearer, protocol := "Bearer "+token, "1"
			if tc.anonymous {
				bearer, protocol = "", ""
			}
			for name, want := range map[string]string{"Authorization": bearer, wire.HeaderProtocol: protocol, wire.HeaderLease: tc.lease} {
				if r.header.Get(name) != want {
					t.Errorf("%s: got %q, want %q", name, r.header.Get(name), want)
				}
			}
			if strings.Contains(r.uri, token) {
				t.Errorf("the secret is in the address: %s", r.uri)
			}
		})
	}
}

func expect(err error, ok bool) error {
	if err == nil && !ok {
		return errors.New("the reply was not taken over")
	}
	return err
}

func TestBaseKeepsThePathBeforeIt(t *testing.T) {
	s, c := serve(t, replyWith(200, "application/json", `{}`))
	c.base.Path = "/backups x"
	if err := c.Start(context.Background(), wire.JobRef{ID: job}, wire.StartRequest{}); err != nil {
		t.Fatal(err)
	}
	if got, want := s.requests()[0].uri, "/backups%20x/api/agents/jobs/"+job+"/start"; got != want {
		t.Errorf("address: got %s, want %s", got, want)
	}
}

// TestFinalAnswersAreAskedOnce walks the statuses whose answer stays the same.
func TestFinalAnswersAreAskedOnce(t *testing.T) {
	for status, code := range map[int]string{400: "invalid", 401: "unauthorized", 403: "forbidden", 404: "not_found", 409: "log_gap", 410: "lease_lost", 413: "too_large", 416: "x", 422: "invalid", 423: "repository_busy", 426: "protocol_too_old"} {
		s, c := serve(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "7")
			problem(w, status, `{"title":"no","status":1,"code":"`+code+`","next_line":12,"min_protocol_version":2,"help_url":"https://x","boot_number":3}`)
		})
		_, err := c.AppendLog(context.Background(), wire.JobRef{ID: job}, wire.LogQuery{}, Body{})
		var p *wire.Problem
		if !errors.As(err, &p) {
			t.Fatalf("%d: got %v, want a problem", status, err)
		}
		if p.Code != code || p.Status != status || p.NextLine != 12 || p.MinProtocolVersion != 2 || p.HelpURL != "https://x" || p.BootNumber != 3 {
			t.Errorf("%d: got %+v", status, p)
		}
		var e *Error
		if !errors.As(err, &e) || !e.Final || e.RetryAfter != 7*time.Second || Code(err) != code || !Final(err) {
			t.Errorf("%d: got %+v, want it final with Retry-After", status, e)
		}
		if n := len(s.requests()); n != 1 {
			t.Errorf("%d: got %d requests, want 1", status, n)
		}
	}
}

// TestStrangeRepliesAreTriedAgain gives what proxies, captive portals and dying servers answer, then the
// server's word.
func TestStrangeRepliesAreTriedAgain(t *testing.T) {
	html := "<html>Sign in to the hotel's network</html>"
	for name, bad := range map[string]func(w http.ResponseWriter){
		"HTML with 200":               func(w http.ResponseWriter) { say(w, 200, "text/html", html) },
		"HTML called JSON":            func(w http.ResponseWriter) { say(w, 200, "application/json", html) },
		"an empty 200":                func(w http.ResponseWriter) { say(w, 200, "application/json", "") },
		"a JSON array":                func(w http.ResponseWriter) { say(w, 200, "application/json", "[]") },
		"JSON of somebody else":       func(w http.ResponseWriter) { say(w, 200, "application/json", `{"status":"ok"}`) },
		"JSON cut in the middle":      func(w http.ResponseWriter) { say(w, 200, "application/json", `{"next_line":`) },
		"a wrong type":                func(w http.ResponseWriter) { say(w, 200, "application/json", `{"next_line":"2"}`) },
		"two values":                  func(w http.ResponseWriter) { say(w, 200, "application/json", `{"next_line":2}{}`) },
		"204 where a reply is wanted": func(w http.ResponseWriter) { w.WriteHeader(204) },
		"500":                         func(w http.ResponseWriter) { problem(w, 500, `{"code":"internal"}`) },
		"502 in HTML":                 func(w http.ResponseWriter) { say(w, 502, "text/html", html) },
		"503 of the server":           func(w http.ResponseWriter) { problem(w, 503, `{"code":"unavailable"}`) },
		"429 of the server":           func(w http.ResponseWriter) { problem(w, 429, `{"code":"rate_limited"}`) },
		"404 of a proxy":              func(w http.ResponseWriter) { say(w, 404, "text/html", html) },
		"403 of a proxy":              func(w http.ResponseWriter) { say(w, 403, "text/html", html) },
		"407":                         func(w http.ResponseWriter) { say(w, 407, "text/html", html) },
		"a redirect":                  func(w http.ResponseWriter) { w.Header().Set("Location", "/login"); w.WriteHeader(302) },
		"a reply that is too large": func(w http.ResponseWriter) {
			say(w, 200, "application/json", `{"next_line":2,"x":"`+strings.Repeat("x", maxReply)+`"}`)
		},
		"a connection that is cut": func(w http.ResponseWriter) { cut(w, "") },
		"a reply that is cut":      func(w http.ResponseWriter) { cut(w, "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{") },
	} {
		t.Run(name, func(t *testing.T) {
			s, c := serve(t, func(n int, w http.ResponseWriter, _ *http.Request) {
				if n < 2 {
					bad(w)
					return
				}
				say(w, 200, "application/json", `{"next_line":2}`)
			})
			line := []byte(strings.Repeat("x", 5000) + "\n")
			r, err := c.AppendLog(context.Background(), wire.JobRef{ID: job, Lease: lease}, wire.LogQuery{FirstLine: 1, Lines: 1}, PrepareBody(line))
			if err != nil || r.NextLine != 2 {
				t.Fatalf("got %+v, %v, want the server's word", r, err)
			}
			seen := s.requests()
			if len(seen) != 3 {
				t.Errorf("requests: got %d, want 3", len(seen))
			}
			for i, r := range seen {
				if r.body != string(line) || r.header.Get(wire.HeaderLease) != lease {
					t.Errorf("try %d: the body or the lease was not sent again", i)
				}
			}
		})
	}
}

// cut writes raw bytes and closes the connection.
func cut(w http.ResponseWriter, raw string) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	io.WriteString(conn, raw)
	conn.Close()
}

func TestTriesEndAndTheLastErrorIsKept(t *testing.T) {
	s, c := serve(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "3")
		problem(w, 503, `{"title":"away","code":"unavailable"}`)
	})
	_, err := c.Hello(context.Background(), wire.HelloRequest{})
	if got := len(s.requests()); got != DefaultTries {
		t.Errorf("tries: got %d, want %d", got, DefaultTries)
	}
	var e *Error
	if !errors.As(err, &e) || e.Final || e.RetryAfter != 3*time.Second || Code(err) != wire.ProblemUnavailable {
		t.Errorf("got %+v (%v)", e, err)
	}
	_, err = c.Once().Hello(context.Background(), wire.HelloRequest{})
	if got := len(s.requests()); got != DefaultTries+1 || Code(err) != wire.ProblemUnavailable {
		t.Errorf("once: got %d more requests and %v, want one", got-DefaultTries, err)
	}
}

func TestPollIsTriedOnce(t *testing.T) {
	s, c := serve(t, replyWith(503, "text/html", "x"))
	if _, err := c.Poll(context.Background(), wire.PollQuery{Boot: "b"}); err == nil || Final(err) {
		t.Errorf("got %v, want an error that is worth another try", err)
	}
	if n := len(s.requests()); n != 1 {
		t.Errorf("requests: got %d, want 1", n)
	}
}

// TestSilentServerEndsThePoll has a server that takes the request and says nothing.
func TestSilentServerEndsThePoll(t *testing.T) {
	s := &recorder{answer: func(_ int, _ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }}
	url := listen(t, s)
	c := connect(t, Options{ServerURL: url, pollGrace: 20 * time.Millisecond})
	_, err := c.Poll(context.Background(), wire.PollQuery{Boot: "b"})
	if !errors.Is(err, context.DeadlineExceeded) || Final(err) {
		t.Errorf("got %v, want a time-out that is worth another try", err)
	}
}

func TestShortPollsAreGivenUpLater(t *testing.T) {
	c := connect(t, Options{ServerURL: "http://127.0.0.1:1"})
	for hold, want := range map[time.Duration]time.Duration{0: 30 * time.Second, time.Second: 30 * time.Second, 15 * time.Second: 30 * time.Second,
		25 * time.Second: 40 * time.Second, 55 * time.Second: 70 * time.Second} {
		if got := c.pollLimit(hold); got != want {
			t.Errorf("hold %s: got %s, want %s", hold, got, want)
		}
	}
}

func TestEachTryOfAShortCallHasItsOwnLimit(t *testing.T) {
	s := &recorder{answer: func(n int, w http.ResponseWriter, r *http.Request) {
		if n == 0 {
			<-r.Context().Done()
			return
		}
		say(w, 200, "application/json", `{}`)
	}}
	c := connect(t, Options{ServerURL: listen(t, s), tryLimit: 50 * time.Millisecond})
	if err := c.Start(context.Background(), wire.JobRef{ID: job}, wire.StartRequest{}); err != nil {
		t.Errorf("got %v, want the second try to succeed", err)
	}
}

func TestCanceledContextEndsACall(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	_, c := serve(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
		cancel()
		say(w, 503, "text/html", "")
	})
	c.retrying = newRetrying(c.retrying.HTTPClient, 9, func(int, time.Duration, error) time.Duration { return time.Hour })
	if err := c.Start(ctx, wire.JobRef{ID: job}, wire.StartRequest{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}

func TestErrorsHoldNoAddressAndNoSecret(t *testing.T) {
	c := connect(t, Options{ServerURL: "http://127.0.0.1:1", Proxy: "http://user:hunter2@127.0.0.1:1", Tries: 1})
	_, poll := c.Poll(context.Background(), wire.PollQuery{Boot: "b", Jobs: []wire.JobRef{{ID: job, Lease: lease}}})
	_, hello := c.Hello(context.Background(), wire.HelloRequest{})
	_, redirecting := serve(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "https://elsewhere.example/?secret="+lease)
		w.WriteHeader(307)
	})
	_, moved := redirecting.Once().Hello(context.Background(), wire.HelloRequest{})
	if !strings.Contains(moved.Error(), "https://elsewhere.example") {
		t.Errorf("got %v, want the other address named", moved)
	}
	for _, err := range []error{poll, hello, moved} {
		if err == nil {
			t.Fatal("no error")
		}
		for _, secret := range []string{lease, token, "hunter2", "/api/agents", "wait="} {
			if strings.Contains(err.Error(), secret) {
				t.Errorf("%q is in %q", secret, err)
			}
		}
	}
}

func TestLargeBodiesAreCompressedOnce(t *testing.T) {
	plain := []byte(strings.Repeat(`{"t":"2026-01-01T00:00:00Z","s":"out","text":"x"}`+"\n", 1000))
	b := PrepareBody(plain)
	if b.encoding != "zstd" || b.Size() > len(plain)/10 {
		t.Errorf("got %q of %d bytes for %d", b.encoding, b.Size(), len(plain))
	}
	if b := PrepareBody(plain[:100]); b.encoding != "" || b.Size() != 100 {
		t.Errorf("a small body: got %q of %d bytes", b.encoding, b.Size())
	}
	noise := make([]byte, 4096)
	for i, v := 0, uint32(1); i < len(noise); i++ {
		v = v*1664525 + 1013904223
		noise[i] = byte(v >> 24)
	}
	if b := PrepareBody(noise); b.encoding != "" {
		t.Errorf("a body that does not shrink was compressed to %d of %d", b.Size(), len(noise))
	}
	var finish wire.FinishRequest
	finish.Error = &wire.JobError{Message: strings.Repeat("why ", 1000)}
	data, _ := json.Marshal(finish)
	s, c := serve(t, replyWith(200, "application/json", `{"late":false}`))
	if _, err := c.Finish(context.Background(), wire.JobRef{ID: job}, data); err != nil {
		t.Fatal(err)
	}
	if got := s.requests()[0]; got.body != string(data) || got.header.Get("Content-Encoding") != "zstd" {
		t.Errorf("finish: its bytes changed on the way")
	}
}

// TestAConnectionIsUsedAgain whatever the server answers: ten thousand agents that shake hands anew for each poll would take
// the server many times the processor time.
func TestAConnectionIsUsedAgain(t *testing.T) {
	var mu sync.Mutex
	from := map[string]bool{}
	_, c := serve(t, func(n int, w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		from[r.RemoteAddr] = true
		mu.Unlock()
		switch n % 4 {
		case 0:
			say(w, 200, "application/json", `{"mark":"m","unknown":"`+strings.Repeat("x", 100_000)+`"}`)
		case 1:
			problem(w, 409, `{"status":409,"code":"job_gone"}`)
		case 2:
			problem(w, 503, `{"status":503,"code":"starting"}`)
		case 3:
			say(w, 502, "text/html", "<html>"+strings.Repeat("proxy ", 10_000))
		}
	})
	for range 12 {
		c.Poll(t.Context(), wire.PollQuery{Boot: "b"})
	}
	if len(from) != 1 {
		t.Errorf("the polls came over %d connections, want one for all", len(from))
	}
}

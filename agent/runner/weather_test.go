package runner

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"restic-manager/agent/guard"
	"restic-manager/shared/wire"
)

// everyCall is each request an agent makes.
var everyCall = []string{"hello", "next-command", "accept", "start", "resume", "log", "progress", "finish", "token", "part", "commit"}

func problemReply(status int, p wire.Problem) *rawReply {
	p.Status, p.Title = status, p.Code
	b, err := json.Marshal(p)
	if err != nil {
		panic(err)
	}
	return &rawReply{status: status, header: map[string]string{"Content-Type": wire.ProblemContentType, "Retry-After": "1"}, body: string(b)}
}

func html(status int) *rawReply {
	return &rawReply{status: status, header: map[string]string{"Content-Type": "text/html"}, body: "<html><body>" + http.StatusText(status) + "</body></html>"}
}

// TestWhateverAnswersInTheServersPlaceIsWaitedFor gives the first two of each call an answer that is not the
// server's last word, and restarts the agent in the middle, so that each call is met.
func TestWhateverAnswersInTheServersPlaceIsWaitedFor(t *testing.T) {
	replies := map[string]*rawReply{
		"429":                     problemReply(429, wire.Problem{Code: wire.ProblemRateLimited}),
		"503":                     problemReply(503, wire.Problem{Code: wire.ProblemUnavailable}),
		"500":                     problemReply(500, wire.Problem{Code: "internal"}),
		"401, revoked by mistake": problemReply(401, wire.Problem{Code: wire.ProblemUnauthorized}),
		"426, a server set back":  problemReply(426, wire.Problem{Code: wire.ProblemProtocolTooOld, MinProtocolVersion: 9}),
		"200 of a captive portal": html(200),
		"redirect to a portal":    {status: 302, header: map[string]string{"Location": "http://portal.example/login"}},
		"204 of nobody":           {status: 204},
		"200 with half a JSON":    {status: 200, header: map[string]string{"Content-Type": "application/json"}, body: `{"mark":"x","lea`},
		"problem without a code":  {status: 409, header: map[string]string{"Content-Type": wire.ProblemContentType}, body: `{"title":"Conflict"}`},
		"JSON error of a gateway": {status: 410, header: map[string]string{"Content-Type": "application/json"}, body: `{"code":"lease_lost"}`},
	}
	for _, status := range []int{401, 404, 409, 410, 413, 426, 429, 502} {
		replies[fmt.Sprintf("%d of a proxy", status)] = html(status)
	}
	for name, reply := range replies {
		t.Run(name, func(t *testing.T) {
			s, m := start(t)
			m.timing.Ride = time.Nanosecond // the listing follows, in parts
			m.write("restic/lines", "700")
			m.write("restic/wait", "")
			s.set(func() {
				s.fault = func(_ string, n int) fault {
					if n <= 2 {
						return fault{raw: reply}
					}
					return fault{}
				}
			})
			j := m.backup()
			m.boot()
			m.waitFor("restic to run", func() bool {
				return m.lines("restic/ran") == 1 && s.is(func() bool { return j.state == wire.StateRunning })
			})
			m.kill()
			m.boot()
			m.waitFor("the resume", func() bool { return s.count("resume") > 2 })
			m.write("restic/go", "")
			m.settled(j)
			m.wants(j, wire.StateSucceeded, "", 1)
			m.wantsWholeLog(j)
			if len(s.held[testRepository]) != 3 {
				t.Errorf("got %d snapshots, want 3", len(s.held[testRepository]))
			}
			for _, call := range everyCall {
				if s.count(call) < 3 {
					t.Errorf("got %d of %s, want it asked again after both answers", s.count(call), call)
				}
			}
		})
	}
}

// TestLastWordsAboutARequest gives each call an answer that asking again will not change.
func TestLastWordsAboutARequest(t *testing.T) {
	tooLarge := wire.Problem{Status: 413, Code: wire.ProblemTooLarge}
	invalid := wire.Problem{Status: 422, Code: wire.ProblemInvalid}
	lost := wire.Problem{Status: 410, Code: wire.ProblemLeaseLost}
	for _, c := range []struct {
		call    string
		problem wire.Problem
		times   int
		state   wire.State
		runs    int
		held    int
		aside   int
	}{
		{"accept", invalid, 1, wire.StateSucceeded, 1, 3, 0},
		{"accept", tooLarge, 1, wire.StateSucceeded, 1, 3, 0},
		{"accept", wire.Problem{Status: 410, Code: wire.ProblemJobGone}, 1, wire.StateSucceeded, 1, 3, 0},
		{"log", tooLarge, 99, wire.StateSucceeded, 1, 3, 1},
		{"log", invalid, 99, wire.StateSucceeded, 1, 3, 1},
		{"log", lost, 1, wire.StateSucceeded, 1, 3, 0}, // of a lease that resume then finds
		{"progress", tooLarge, 99, wire.StateSucceeded, 1, 3, 0},
		{"progress", lost, 1, wire.StateSucceeded, 1, 3, 0},
		{"finish", tooLarge, 99, wire.StateRunning, 1, 0, 1},
		{"finish", invalid, 99, wire.StateRunning, 1, 0, 1},
		{"finish", lost, 1, wire.StateSucceeded, 1, 3, 0},
		{"token", invalid, 99, wire.StateSucceeded, 1, 0, 0},
		{"token", lost, 99, wire.StateSucceeded, 1, 0, 0},
		{"part", tooLarge, 99, wire.StateSucceeded, 1, 0, 0},
		{"commit", invalid, 99, wire.StateSucceeded, 1, 0, 0},
	} {
		t.Run(fmt.Sprintf("%s %d", c.call, c.problem.Status), func(t *testing.T) {
			s, m := start(t)
			if c.call == "part" || c.call == "commit" {
				m.timing.Ride = time.Nanosecond
			}
			j := m.backup()
			s.set(func() {
				s.fault = func(name string, n int) fault {
					if name == c.call && n <= c.times {
						return fault{problem: &c.problem}
					}
					return fault{}
				}
			})
			m.boot()
			m.waitFor("the job to go", func() bool {
				return s.is(func() bool { return j.state == c.state && s.counts["finish"] > 0 }) && len(m.folders("jobs")) == 0
			})
			if j.finish != nil {
				m.wants(j, c.state, "", c.runs)
			} else if n := m.lines("restic/ran"); n != c.runs {
				t.Errorf("restic ran %d times, want %d", n, c.runs)
			}
			if got := len(s.held[testRepository]); got != c.held {
				t.Errorf("got %d snapshots held, want %d", got, c.held)
			}
			if got := len(m.folders("aside")); got != c.aside {
				t.Errorf("got %d folders put aside, want %d", got, c.aside)
			}
		})
	}
}

func TestCancelBeforeTheStartRunsNothing(t *testing.T) {
	for _, at := range []string{"accept", "start"} {
		t.Run("at the "+at, func(t *testing.T) {
			s, m := start(t)
			j := m.backup()
			s.set(func() {
				s.fault = func(name string, n int) fault {
					if name != at || n > 1 {
						return fault{}
					}
					return fault{do: func() { s.set(func() { j.state, j.cancel = wire.StateCanceled, true }) }}
				}
			})
			m.boot()
			m.waitFor("the folder to go", func() bool { return s.count(at) > 0 && len(m.folders("jobs")) == 0 })
			if n := m.lines("restic/ran"); n != 0 || j.state != wire.StateCanceled || s.count("finish") > 0 {
				t.Errorf("restic ran %d times, state %s, %d finishes; want a canceled job that nobody ran or reports", n, j.state, s.count("finish"))
			}
		})
	}
	t.Run("between the start and restic", func(t *testing.T) {
		s, m := start(t)
		j := m.backup()
		s.set(func() {
			s.fault = func(name string, n int) fault {
				if name != "start" || n > 1 {
					return fault{}
				}
				// The server has it in the answer to the next message; the file is what the supervisor finds.
				return fault{do: func() { m.write("state/jobs/"+j.offer.JobID+"/cancel", "") }}
			}
		})
		m.boot()
		m.settled(j)
		m.wants(j, wire.StateCanceled, wire.CodeCanceled, 0)
		m.wantsWholeLog(j)
	})
}

func TestCancelAfterTheEndChangesNothing(t *testing.T) {
	s, m := start(t)
	j := m.backup()
	s.set(func() {
		s.fault = func(name string, n int) fault {
			if name != "token" {
				return fault{}
			}
			return fault{do: func() { s.set(func() { j.cancel = true }) }}
		}
	})
	m.boot()
	m.settled(j)
	m.wants(j, wire.StateSucceeded, "", 1)
	if j.result.SignalSent {
		t.Error("a signal was sent after the end")
	}
}

func TestTimeLimitIsKept(t *testing.T) {
	s, m := start(t)
	m.write("restic/wait", "")
	j := m.backup()
	s.set(func() { j.offer.TimeLimitSeconds = 1 })
	m.boot()
	m.settled(j)
	m.wants(j, wire.StateFailed, wire.CodeTimeLimit, 1)
	m.wantsWholeLog(j)
	if !j.result.SignalSent || j.result.ElapsedSeconds < 1 {
		t.Errorf("got %+v, want a signal after a second", j.result)
	}
}

func TestVerdictsOfHelloAreObeyed(t *testing.T) {
	for _, verdict := range []wire.Verdict{wire.VerdictContinue, wire.VerdictCancel, wire.VerdictDrop} {
		t.Run(string(verdict), func(t *testing.T) {
			s, m := start(t)
			m.write("restic/wait", "")
			j := m.backup()
			m.boot()
			m.waitFor("restic to run", func() bool { return m.lines("restic/ran") == 1 && s.is(func() bool { return j.lines > 0 }) })
			hellos := s.count("hello")
			s.set(func() { s.verdict, s.boot = verdict, "forgotten" })
			m.waitFor("another hello", func() bool { return s.count("hello") > hellos })
			switch verdict {
			case wire.VerdictCancel:
				m.settled(j)
				m.wants(j, wire.StateCanceled, wire.CodeCanceled, 1)
				return
			case wire.VerdictDrop:
				m.waitFor("the status to say so", func() bool { st := m.status(); return len(st.Jobs) == 1 && st.Jobs[0].Message != "" })
			}
			m.write("restic/go", "")
			if verdict == wire.VerdictDrop {
				m.waitFor("the folder to be put aside", func() bool { return len(m.folders("aside")) == 1 && len(m.folders("jobs")) == 0 })
				if j.finish != nil {
					t.Error("a dropped job was reported")
				}
				return
			}
			m.settled(j)
			m.wants(j, wire.StateSucceeded, "", 1)
		})
	}
}

func TestHelloIsSaidAgainNowAndThen(t *testing.T) {
	s, m := start(t)
	m.timing.Hello = Span{30 * time.Millisecond, 40 * time.Millisecond}
	m.boot()
	m.waitFor("three hellos", func() bool { return s.count("hello") > 2 })
	if s.count("next-command") == 0 {
		t.Error("got no poll between the hellos")
	}
}

func TestHelloIsSaidAgainWhenTheClockWasSet(t *testing.T) {
	c := newSkewClock()
	rules := guard.Open(guard.Options{Path: filepath.Join(t.TempDir(), "guard.yaml")})
	p := &poller{Runner: &Runner{c: Config{Guard: rules}, clock: c, now: time.Now}, greeted: true, next: time.Now().Add(time.Hour)}
	p.told = p.toTell()
	c.measure(time.Now(), time.Now(), time.Now())
	if p.mustGreet() {
		t.Error("hello is due although nothing happened")
	}
	for _, jump := range []time.Duration{wire.MaxSkew, -wire.MaxSkew} {
		c.jumped = func(time.Time, time.Time) time.Duration { return jump }
		if skew, stale := c.now(time.Now()); skew != nil || !stale || !p.mustGreet() {
			t.Errorf("after a jump of %s: got skew %v, stale %v, hello due %v; want no skew and a hello", jump, skew, stale, p.mustGreet())
		}
	}
}

func TestOldFoldersPutAsideAreDeleted(t *testing.T) {
	s, m := start(t)
	for _, name := range []string{"old", "young"} {
		if err := os.MkdirAll(m.path("state/aside/"+name), 0o700); err != nil {
			t.Fatal(err)
		}
		m.write("state/aside/"+name+"/log.ndjson", "{}\n")
	}
	long := time.Now().Add(-2 * m.timing.KeepAside)
	if err := os.Chtimes(m.path("state/aside/old"), long, long); err != nil {
		t.Fatal(err)
	}
	m.boot()
	m.waitFor("the old folder to go", func() bool { return len(m.folders("aside")) == 1 && s.count("hello") > 0 })
	if got := m.folders("aside"); got[0] != "young" {
		t.Errorf("got %v left, want the young one", got)
	}
}

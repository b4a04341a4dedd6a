package api

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"restic-manager/server/access"
)

func TestLevelOfARequestInTheLog(t *testing.T) {
	s := testServer(t)
	rows := map[string]*Route{}
	for _, r := range s.table() {
		rows[r.ID] = r
	}
	const moment, long = 20 * time.Millisecond, 1100 * time.Millisecond
	for _, c := range []struct {
		id         string // empty: no route
		code       int
		took, body time.Duration
		want       slog.Level
	}{
		{"listHosts", 200, moment, 0, slog.LevelDebug},
		{"nextCommand", 200, 25 * time.Second, 0, slog.LevelDebug},
		{"nextCommand", 0, 25 * time.Second, 0, slog.LevelDebug}, // the agent went away
		{"readLog", 200, 25 * time.Second, 0, slog.LevelDebug},
		{"healthz", 200, moment, 0, slog.LevelDebug},
		{"createJob", 201, moment, 0, slog.LevelInfo},
		{"acceptJob", 200, moment, 0, slog.LevelInfo},
		{"finishJob", 200, moment, 0, slog.LevelInfo},
		{"login", 401, moment, 0, slog.LevelInfo},
		{"getHost", 404, moment, 0, slog.LevelInfo},
		{"appendLog", 200, moment, 0, slog.LevelDebug},
		{"", 200, long, 0, slog.LevelDebug},
		{"", 404, moment, 0, slog.LevelDebug},
		{"listHosts", 500, moment, 0, slog.LevelError},
		{"nextCommand", 500, moment, 0, slog.LevelError},
		{"putRepository", 507, moment, 0, slog.LevelError},
		{"", 500, moment, 0, slog.LevelError},
		{"nextCommand", 503, long, 0, slog.LevelDebug},
		{"hello", 429, moment, 0, slog.LevelDebug},
		{"reportProgress", 429, long, 0, slog.LevelDebug},
		{"listHosts", 200, long, 0, slog.LevelWarn},
		{"createJob", 201, long, 0, slog.LevelWarn},
		{"appendLog", 200, long, moment, slog.LevelWarn},
		{"appendLog", 200, long, long, slog.LevelDebug}, // the client's line is slow, not the server
		{"downloadLog", 200, time.Minute, 0, slog.LevelDebug},
	} {
		x := &exchange{server: s, code: c.code, receiving: c.body}
		if c.id != "" {
			if x.route = rows[c.id]; x.route == nil {
				t.Fatalf("no route %s", c.id)
			}
		}
		if got := x.level(c.took); got != c.want {
			t.Errorf("%q with %d after %s (%s for its body): got %s, want %s", c.id, c.code, c.took, c.body, got, c.want)
		}
	}
}

// TestBodysTimeIsNotTheServers sends a body whose second half comes late.
func TestBodysTimeIsNotTheServers(t *testing.T) {
	s := testServer(t)
	x := &exchange{server: s}
	x.start = time.Now()
	from, to := io.Pipe()
	go func() {
		io.WriteString(to, "{")
		timer := time.NewTimer(100 * time.Millisecond)
		<-timer.C
		io.WriteString(to, "}")
		to.Close()
	}()
	r, err := http.NewRequest("POST", "/", from)
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.readBody(x, r, 100, false)
	if err != nil {
		t.Fatal(err)
	}
	b.release()
	if x.receiving < 100*time.Millisecond || x.receiving > time.Since(x.start) {
		t.Errorf("got %s, want at least 100ms", x.receiving)
	}
}

// TestLogTellsChangesAndNotLooks: at the usual level an operator's order and an agent's result are in the log,
// looking and polling are not.
func TestLogTellsChangesAndNotLooks(t *testing.T) {
	each(t, nil, func(t *testing.T, r *rig) {
		order := r.operator("otto", access.Operator)
		a := r.enroll("alpha")
		a.hello()
		j := a.running(order)
		for _, path := range []string{"/api/hosts", "/api/jobs/" + j.id} {
			r.must(request{method: "GET", path: path, as: order}, nil)
		}
		r.must(request{method: "GET", path: a.pollPath(0), as: a.as}, nil)
		r.call(request{method: "GET", path: "/api/hosts/" + nobody, as: order})
		told := map[string]string{}
		for line := range strings.Lines(r.words.String()) {
			var level, method, route string
			if !strings.Contains(line, " msg=request ") {
				continue
			}
			for word := range strings.FieldsSeq(line) {
				fmt.Sscanf(word, "level=%s", &level)
				fmt.Sscanf(word, "method=%s", &method)
				fmt.Sscanf(word, "route=%s", &route)
			}
			told[method+" "+route] += level + " "
		}
		for route, want := range map[string]string{
			"POST /api/hosts/{id}/jobs": "INFO ", "POST /api/agents/jobs/{id}/start": "INFO ", "POST /api/agents/enroll": "INFO ",
			"GET /api/hosts": "DEBUG ", "GET /api/jobs/{id}": "DEBUG ", "GET /api/hosts/{id}": "INFO ",
		} {
			if got := told[route]; got != want {
				t.Errorf("%s: got %q, want %q", route, got, want)
			}
		}
		if got := told["GET /api/agents/next-command"]; got == "" || strings.Trim(got, "DEBUG ") != "" {
			t.Errorf("polls: got %q, want DEBUG only", got)
		}
	})
}

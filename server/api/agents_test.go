package api

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"restic-manager/server/database"
	"restic-manager/server/fault"
	"restic-manager/server/fleet"
	"restic-manager/shared/wire"
)

// records are n log records, with their sum.
func records(n int) []byte {
	var b []byte
	for i := range n {
		b = wire.AppendRecord(b, time.Date(2026, 11, 24, 8, 0, 0, i*1000, time.UTC), wire.StreamOut, fmt.Appendf(nil, "line %d of a log", i+1), wire.MaxRecord)
	}
	return b
}

func TestAJobFromTheOrderToTheDownload(t *testing.T) {
	each(t, nil, func(t *testing.T, r *rig) {
		admin := r.signIn(adminName)
		a := r.enroll("alpha")
		a.hello()
		j := a.running(admin)
		log := records(1200)
		parts := bytes.SplitAfter(log, []byte("\n"))
		var sent []byte
		for i, c := range []struct {
			lines    int
			encoding string
		}{{400, ""}, {400, "gzip"}, {400, "zstd"}} {
			plain := bytes.Join(parts[i*400:i*400+c.lines], nil)
			q := wire.LogQuery{FirstLine: int64(i*400 + 1), Lines: int64(c.lines), SumBefore: sha(string(sent))}
			body, h := plain, http.Header{}
			switch c.encoding {
			case "gzip":
				body = gzipOf(t, plain)
			case "zstd":
				body = zstdOf(t, plain)
			}
			if c.encoding != "" {
				h.Set("Content-Encoding", c.encoding)
			}
			for range 2 { // a repeated request stores nothing
				var reply wire.LogReply
				r.must(request{method: "POST", path: "/api/agents/jobs/" + j.id + "/log?" + q.Encode(), as: j.as, bytes: body, header: h}, &reply)
				if want := int64(i*400 + c.lines + 1); reply.NextLine != want {
					t.Fatalf("%s: got next_line %d, want %d", c.encoding, reply.NextLine, want)
				}
			}
			sent = append(sent, plain...)
		}
		r.must(j.request("progress", toJSON(t, wire.Progress{Seq: 1, PercentDone: 0.5, CurrentFiles: []string{"/etc/x"}})), nil)
		j.finish(t, 1200, sha(string(log)))
		var page fleet.LogPage
		var got []fleet.LogLine
		for !page.Complete {
			r.must(request{method: "GET", path: fmt.Sprintf("/api/jobs/%s/log?after=%d&limit=500&wait=5", j.id, page.Next), as: admin}, &page)
			got = append(got, page.Lines...)
			if len(got) >= 1200 && !page.Complete {
				t.Fatalf("all lines are there, and not complete: %+v", page.Problem)
			}
		}
		for i, l := range got {
			if l.N != int64(i+1) || l.Text != fmt.Sprintf("line %d of a log", i+1) || l.Stream != "out" {
				t.Fatalf("line %d: got %+v", i+1, l)
			}
		}
		if len(got) != 1200 {
			t.Errorf("got %d lines, want 1200", len(got))
		}
		text := r.must(request{method: "GET", path: "/api/jobs/" + j.id + "/log.txt", as: admin}, nil)
		if n := strings.Count(string(text.body), "line "); n != 1200 {
			t.Errorf("the download has %d lines, want 1200", n)
		}
		if d := text.header.Get("Content-Disposition"); d != `attachment; filename="job-`+j.id+`.txt"` || text.header.Get("Content-Type") != "text/plain; charset=utf-8" {
			t.Errorf("got %q, %q", d, text.header.Get("Content-Type"))
		}
		var job fleet.Job
		r.must(request{method: "GET", path: "/api/jobs/" + j.id, as: admin}, &job)
		if job.State != wire.StateSucceeded || !job.LogComplete || job.LogReceived != 1200 {
			t.Errorf("got %s, complete %v, %d lines", job.State, job.LogComplete, job.LogReceived)
		}
	})
}

// A job of another host must look as one that does not exist: byte for byte, but for the request's id.
func TestForeignJobsAnswerAsUnknownOnes(t *testing.T) {
	each(t, nil, func(t *testing.T, r *rig) {
		admin := r.signIn(adminName)
		mine, other := r.enroll("alpha"), r.enroll("beta")
		mine.hello()
		other.hello()
		for name, j := range map[string]*running{"accepted": mine.accepted(admin)} {
			thief := &running{a: other, as: principal{}}
			for k, v := range other.as {
				thief.as[k] = v
			}
			thief.as[wire.HeaderLease] = []string{j.lease} // even with the right lease
			ask := func(id, call string) answered {
				thief.id = id
				body := map[string]string{
					"accept": toJSON(t, wire.AcceptRequest{Lease: j.lease, Delivery: 1}), "start": toJSON(t, wire.StartRequest{StartNonce: hexOf(16)}),
					"resume":   toJSON(t, wire.ResumeRequest{OldLease: j.lease, NewLease: hexOf(16)}),
					"progress": `{"seq":1}`, "finish": `{"state":"rejected","log_sha256":"` + sha("") + `"}`,
					"log?first_line=1&lines=0": "", "log?" + wire.LogQuery{FirstLine: 1, Lines: 1, SumBefore: sha("")}.Encode(): string(records(1)),
					"listing": "",
				}[call]
				if call == "listing" {
					return r.call(request{method: "POST", path: "/api/agents/listings", as: thief.as, body: `{"job_id":"` + id + `"}`})
				}
				return r.call(thief.request(call, body))
			}
			for _, call := range []string{"accept", "start", "resume", "progress", "finish", "log?first_line=1&lines=0", "log?" + wire.LogQuery{FirstLine: 1, Lines: 1, SumBefore: sha("")}.Encode(), "listing"} {
				foreign, unknown, none := ask(j.id, call), ask(database.NewID(), call), ask("x", call)
				if foreign.status < 400 || foreign.status >= 500 {
					t.Errorf("%s, %s: got %d: %s", name, call, foreign.status, foreign.body)
					continue
				}
				if foreign.withoutID(t) != unknown.withoutID(t) || none.withoutID(t) != unknown.withoutID(t) {
					t.Errorf("%s, %s: a foreign job answers %d %s, an unknown one %d %s, an id that is none %d %s", name, call, foreign.status, foreign.body, unknown.status, unknown.body, none.status, none.body)
				}
			}
			var job fleet.Job
			r.must(request{method: "GET", path: "/api/jobs/" + j.id, as: admin}, &job)
			if job.State != wire.StateAccepted {
				t.Errorf("the job became %s", job.State)
			}
		}
	})
}

func TestIdsInBodiesDoNotCount(t *testing.T) {
	each(t, nil, func(t *testing.T, r *rig) {
		admin := r.signIn(adminName)
		mine, other := r.enroll("alpha"), r.enroll("beta")
		mine.hello()
		other.hello()
		victim := other.accepted(admin)
		j := mine.accepted(admin)
		r.must(j.request("start", fmt.Sprintf(`{"start_nonce":%q,"repository_id":%q,"id":%q,"job_id":%q,"host_id":%q,"lease":%q}`, hexOf(16), sha(mine.id), victim.id, victim.id, other.id, victim.lease)), nil)
		for id, want := range map[string]wire.State{j.id: wire.StateRunning, victim.id: wire.StateAccepted} {
			var job fleet.Job
			r.must(request{method: "GET", path: "/api/jobs/" + id, as: admin}, &job)
			if job.State != want {
				t.Errorf("got %s, want %s", job.State, want)
			}
		}
	})
}

func TestAgentsMaySayMoreThanIsKnown(t *testing.T) {
	each(t, nil, func(t *testing.T, r *rig) {
		a := r.enroll("alpha")
		body := strings.Replace(toJSON(t, a.helloBody()), "{", `{"quantum":{"a":[1]},`, 1)
		r.must(request{method: "POST", path: "/api/agents/hello", as: a.as, body: body}, nil)
		// Without a content type, and compressed.
		body = toJSON(t, a.helloBody())
		r.must(request{method: "POST", path: "/api/agents/hello", as: a.as, bytes: zstdOf(t, []byte(body)), header: http.Header{"Content-Encoding": {"zstd"}}}, nil)
	})
}

func TestProtocolVersionIsChecked(t *testing.T) {
	each(t, func(o *Options) { o.HelpURL = "https://help.example" }, func(t *testing.T, r *rig) {
		a := r.enroll("alpha")
		for version, want := range map[string]int{"": 400, "x": 400, "0": 400, "-1": 400, "1": 200, "7": 200} {
			as := principal{"Authorization": a.as["Authorization"], wire.HeaderProtocol: {version}}
			got := r.call(request{method: "POST", path: "/api/agents/hello", as: as, body: toJSON(t, a.helloBody())})
			if got.status != want {
				t.Errorf("%q: got %d, want %d: %s", version, got.status, want, got.body)
			}
		}
	})
	s := testServer(t)
	s.o.HelpURL = "https://help.example"
	err := s.checkVersion(1, 2)
	if p, _ := s.problem(&exchange{}, err); p.Status != 426 || p.Code != wire.ProblemProtocolTooOld || p.MinProtocolVersion != 2 || p.HelpURL != "https://help.example" {
		t.Errorf("got %+v", p)
	}
}

func TestRateOfOneHost(t *testing.T) {
	each(t, func(o *Options) { o.Limits = Limits{} }, func(t *testing.T, r *rig) {
		a, b := r.enroll("alpha"), r.enroll("beta")
		limited := 0
		for range 60 {
			got := r.call(request{method: "GET", path: a.pollPath(0), as: a.as})
			if got.status == 429 {
				limited++
				if got.header.Get("Retry-After") == "" || got.code() != wire.ProblemRateLimited {
					t.Fatalf("got %v %s", got.header, got.body)
				}
			}
		}
		if limited < 10 || limited > 40 {
			t.Errorf("%d of 60 polls were refused, want those beyond a burst of 20 and 2 a second", limited)
		}
		if got := r.call(request{method: "POST", path: "/api/agents/hello", as: b.as, body: toJSON(t, b.helloBody())}); got.status != 200 {
			t.Errorf("another host: got %d", got.status)
		}
		limited = 0
		for range 60 {
			if got := r.call(request{method: "POST", path: "/api/agents/enroll", body: `{}`}); got.status == 429 {
				limited++
			}
		}
		if limited < 10 || limited > 42 { // the two above count
			t.Errorf("%d of 60 enrollments were refused, want those beyond a burst of 20 and 2 a second", limited)
		}
	})
}

func TestPollEndsWithTheServerAndWithTheClient(t *testing.T) {
	each(t, nil, func(t *testing.T, r *rig) {
		agents := []*agent{r.enroll("alpha"), r.enroll("beta")}
		for _, a := range agents {
			a.hello()
		}
		ctx, leave := context.WithCancel(t.Context())
		type result struct {
			a   answered
			err error
		}
		gone, stopped := make(chan result, 1), make(chan result, 1)
		go func() {
			a, err := r.try(ctx, request{method: "GET", path: agents[0].pollPath(50 * time.Second), as: agents[0].as})
			gone <- result{a, err}
		}()
		go func() {
			a, err := r.try(t.Context(), request{method: "GET", path: agents[1].pollPath(50 * time.Second), as: agents[1].as})
			stopped <- result{a, err}
		}()
		r.waitPolls(2)
		leave()
		<-gone
		r.waitPolls(1)
		begin := time.Now()
		r.Stop()
		got := <-stopped
		if got.err != nil || got.a.status != 200 && got.a.status != 503 {
			t.Errorf("got %d %v, want an answer", got.a.status, got.err)
		}
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("the poll ended %s after the stop", took)
		}
		if a := r.call(request{method: "GET", path: "/readyz"}); a.status != 503 {
			t.Errorf("readyz while stopping: got %d, want 503", a.status)
		}
		if a := r.call(request{method: "GET", path: "/healthz"}); a.status != 200 || string(a.body) != "ok\n" {
			t.Errorf("healthz while stopping: got %d", a.status)
		}
	})
}

// waitPolls waits until so many polls are held.
func (r *rig) waitPolls(want int64) {
	r.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for {
		st, err := r.fleet.Stats(r.t.Context())
		if err != nil {
			r.t.Fatal(err)
		}
		if st.LongPolls == want {
			return
		}
		select {
		case <-deadline:
			r.t.Fatalf("%d polls are held, want %d", st.LongPolls, want)
		case <-tick.C:
		}
	}
}

func TestWithoutItsDatabaseTheServerAsksToComeAgain(t *testing.T) {
	each(t, nil, func(t *testing.T, r *rig) {
		admin := r.signIn(adminName)
		a := r.enroll("alpha")
		a.hello()
		j := a.running(admin)
		if err := r.db.Close(); err != nil {
			t.Fatal(err)
		}
		r.clock.turn(10 * time.Second) // past every cache
		for _, row := range r.table() {
			if row.ID == "healthz" || row.ID == "openapi" || row.ID == "readyz" || row.Permission == Metrics {
				continue
			}
			q := request{method: row.Method, path: strings.NewReplacer("{id}", j.id, "{token}", hexOf(16), "{n}", "0").Replace(row.Path), as: admin}
			if row.Permission == Agent {
				q.as = j.as
			}
			if row.hasBody() {
				q.body = wellFormed[row.ID]
			}
			switch row.ID {
			case "nextCommand":
				q.path = a.pollPath(0)
			case "adoptJob":
				due := time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC) // as the body says
				q.path = strings.Replace(q.path, j.id, wire.TickJobID(nobody, a.id, due), 1)
			case "appendLog":
				q.path += "?" + wire.LogQuery{FirstLine: 1, Lines: 1, SumBefore: sha("")}.Encode()
				q.body = string(records(1))
			}
			got := r.call(q)
			if got.status == 503 && got.code() == wire.ProblemUnavailable && got.header.Get("Retry-After") != "" {
				continue
			}
			// What is answered from memory may be: nothing that needs the database.
			if row.ID == "me" || row.ID == "installScript" || row.ID == "downloadAgent" || row.ID == "reportProgress" || row.ID == "hold" || row.ID == "nextCommand" && got.status == 409 {
				continue
			}
			t.Errorf("%s %s: got %d %s, want 503", row.Method, row.Path, got.status, got.body)
		}
		if strings.Contains(r.words.String(), "panicked") {
			t.Error("a request panicked")
		}
	})
}

// wellFormed are bodies that pass every check of form.
var wellFormed = map[string]string{
	"setup": `{"code":"AAAA","username":"x","password":"` + goodSecret + `"}`, "login": `{"username":"ada","password":"` + goodSecret + `"}`,
	"changePassword": `{"current":"` + goodSecret + `","new":"another fine long secret"}`, "createOperator": `{"username":"x","password":"another fine long secret","role":"viewer"}`,
	"updateOperator": `{"disabled":true}`, "createEnrollmentToken": `{}`, "updateHost": `{"name":"x"}`, "putRepository": `{"url":"/r","password":"x"}`,
	"createJob":        `{"kind":"backup","args":["/a"]}`,
	"createRepository": `{"name":"x","url":"rest:https://backup.example/x"}`, "updateRepository": `{"append_only":true}`, "testRepository": `{"host_id":"` + nobody + `"}`, "rotateRepository": `{}`,
	"revealRepository": `{"current_password":"` + goodSecret + `"}`, "makeRecoveryKit": `{"passphrase":"twelve and more","current_password":"` + goodSecret + `"}`,
	"createAPIKey": `{"name":"k","role":"viewer"}`, "adoptSnapshots": `{"repository_id":"` + sha("r") + `"}`, "unfreezeRepository": `{"repository_id":"` + sha("r") + `"}`,
	"maintainRepository": `{"repository_id":"` + sha("r") + `","kind":"check"}`, "previewRetention": `{"host_id":"` + nobody + `","keep":{"daily":7}}`,
	"recordTicks": `{"ticks":[{"policy_id":"` + nobody + `","due_at":"2026-11-24T00:00:00Z"}]}`, "adoptJob": `{"policy_id":"` + nobody + `","due_at":"2026-11-24T00:00:00Z","kind":"backup","spec":{"paths":["/a"]},"start_nonce":"0123456789abcdef0123456789abcdef","repository":"local"}`,
	"createPolicy": policyBody("x"), "putPolicy": strings.Replace(policyBody("x"), `{`, `{"enabled":true,"version":1,`, 1), "runPolicy": `{}`, "planPolicy": policyBody("planned"), "importPolicies": `{"kind":"backrest","file":"eyJyZXBvcyI6W3siaWQiOiJhIiwidXJpIjoiL2EifV19"}`, "planRepository": `{"name":"planned","url":"/srv/planned"}`,
	"previewSchedule": `{"cron":"30 2 * * *","zone":"Europe/Berlin"}`,
	"enroll":          `{"token":"rme_0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef","agent_token_sha256":"` + sha("x") + `","hostname":"h","os":"linux","arch":"amd64","agent_version":"1","protocol_version":1}`,
	"hello":           `{"boot_id":"0123456789abcdef0123456789abcdef","boot_number":1,"seq":1,"protocol_version":1,"agent_version":"1","now":"2026-11-24T00:00:00Z"}`,
	"acceptJob":       `{"lease":"0123456789abcdef0123456789abcdef","delivery":1}`, "startJob": `{"start_nonce":"0123456789abcdef0123456789abcdef"}`,
	"resumeJob":      `{"old_lease":"0123456789abcdef0123456789abcdef","new_lease":"1123456789abcdef0123456789abcdef"}`,
	"reportProgress": `{"seq":1}`, "finishJob": `{"state":"failed","error":{"code":"restic_failed","message":"x"},"log_sha256":"` + sha("") + `"}`,
	"beginListing": `{"job_id":"` + nobody + `"}`, "putListingPart": `{"id":"` + sha("s") + `"}` + "\n", "commitListing": `{"parts":1,"count":1,"sha256":"` + sha("x") + `","repository_id":"` + sha("r") + `"}`,
}

func TestPanicsAreToldByTheirIDAlone(t *testing.T) {
	s := testServer(t)
	x := &exchange{ResponseWriter: nopWriter{http.Header{}}, server: s, id: "abc"}
	func() {
		defer s.recovered(x)
		panic("secret of the stack")
	}()
	if x.code != 500 {
		t.Errorf("got %d, want 500", x.code)
	}
	if p, _ := s.problem(x, fmt.Errorf("read the row: %w", fmt.Errorf("password hunter2"))); strings.Contains(p.Detail, "hunter2") || p.Code != "internal_error" || p.RequestID != "abc" {
		t.Errorf("got %+v", p)
	}
	if p, _ := s.problem(x, fmt.Errorf("append: %w", fault.New(fault.Full, "no_space", "The disk is full."))); p.Status != 507 {
		t.Errorf("got %d, want 507", p.Status)
	}
}

type nopWriter struct{ h http.Header }

func (w nopWriter) Header() http.Header       { return w.h }
func (nopWriter) Write(b []byte) (int, error) { return len(b), nil }
func (nopWriter) WriteHeader(int)             {}

func TestMetrics(t *testing.T) {
	each(t, func(o *Options) { o.MetricsToken = "figures" }, func(t *testing.T, r *rig) {
		admin := r.signIn(adminName)
		a := r.enroll("alpha")
		a.hello()
		j := a.running(admin)
		log := records(10)
		r.must(request{method: "POST", path: "/api/agents/jobs/" + j.id + "/log?" + wire.LogQuery{FirstLine: 1, Lines: 10, SumBefore: sha("")}.Encode(), as: j.as, bytes: log}, nil)
		r.CountViolations(2)
		got := string(r.must(request{method: "GET", path: "/metrics", as: principal{"Authorization": {"Bearer figures"}}}, nil).body)
		for _, line := range []string{
			`restic_manager_build_info{go="go`, `version="test"} 1`, `restic_manager_up 1`, `restic_manager_hosts{status="offline"} 0`, `restic_manager_hosts{status="online"} `,
			`restic_manager_jobs{kind="backup",state="running"} 1`, "restic_manager_queue_depth 0", "restic_manager_queue_oldest_seconds 0", "restic_manager_long_polls_held 0",
			"restic_manager_dispatch_seconds_count 1", `restic_manager_dispatch_seconds_bucket{le="+Inf"} 1`, "restic_manager_log_lines_total 10", fmt.Sprintf("restic_manager_log_bytes_total %d", len(log)),
			"restic_manager_offline_sweeps_total 0", "restic_manager_invariant_violations_total 2", `restic_manager_http_requests_total{code="200",method="POST",route="/api/agents/jobs/{id}/log"} 1`,
			`restic_manager_http_request_seconds_count{method="POST",route="/api/agents/hello"} 1`,
		} {
			if !strings.Contains(got, line) {
				t.Errorf("the metrics lack %s", line)
			}
		}
		if strings.Contains(got, j.id) || strings.Contains(got, a.id) {
			t.Error("the metrics hold an id")
		}
	})
}

func TestTheLogOfRequestsHoldsNoSecrets(t *testing.T) {
	each(t, nil, func(t *testing.T, r *rig) {
		admin := r.signIn(adminName)
		a := r.enroll("alpha")
		a.hello()
		j := a.running(admin)
		r.call(request{method: "GET", path: "/api/hosts?search=canarysearch", as: admin})
		said := r.words.String()
		for name, secret := range map[string]string{"cookie": strings.SplitN(admin["Cookie"][0], "=", 2)[1], "bearer": strings.TrimPrefix(a.as["Authorization"][0], "Bearer "),
			"lease": j.lease, "password": goodSecret, "query": "canarysearch", "token": wire.EnrollmentTokenPrefix} {
			if strings.Contains(said, secret) {
				t.Errorf("the log holds a %s", name)
			}
		}
		if !strings.Contains(said, "route=/api/hosts/{id}/jobs") || !strings.Contains(said, "status=201") {
			t.Errorf("the log does not tell the order of the job:\n%s", lastLines(said, 5))
		}
	})
}

package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/labstack/echo/v4"

	"restic-manager/server/access"
	"restic-manager/shared/wire"
)

// proxied are headers by which anybody may claim to be somebody else.
func proxied() (all []http.Header) {
	for _, address := range []string{"10.9.9.9", "127.0.0.1", "::1", "2001:db8::1", "203.0.113.7, 10.0.0.1", "unknown", "\"[2001:db8::1]:4711\"", "0.0.0.0", "1.2.3.4:80", ",,,"} {
		all = append(all, http.Header{"X-Forwarded-For": {address}}, http.Header{"X-Real-Ip": {address}, "True-Client-Ip": {address}, "Cf-Connecting-Ip": {address}},
			http.Header{"Forwarded": {"for=" + address + ";proto=https"}, "X-Forwarded-For": {address, address}, "X-Client-Ip": {address}, "X-Forwarded-Proto": {"https"}})
	}
	return all
}

// Who speaks to the server without a proxy that it knows is counted and written down by the address of the
// connection, whatever the headers say.
func TestSpoofedAddressesChangeNeitherLimitsNorTheTrail(t *testing.T) {
	each(t, func(o *Options) { o.InsecureHTTP, o.Limits = true, Limits{} }, func(t *testing.T, r *rig) {
		for _, h := range proxied() {
			a := r.call(request{method: "POST", path: "/api/auth/login", header: h, body: toJSON(t, map[string]string{"username": adminName, "password": goodSecret})})
			if c := a.header.Get("Set-Cookie"); a.status != 204 || !strings.HasPrefix(c, cookieNameInsecure+"=") {
				t.Errorf("%v: got %d %q, want a cookie as over plain HTTP", h, a.status, c)
			}
		}
		refused := 0
		for i := range 100 {
			if r.call(request{method: "POST", path: "/api/agents/enroll", header: proxied()[i%30], body: wellFormed["enroll"]}).status == 429 {
				refused++
			}
		}
		if len(proxied()) != 30 || refused < 50 {
			t.Errorf("%d of 100 enrollments were refused, want those beyond the limit of one address", refused)
		}
		for i := range 60 { // each at another account, from what says to be another address
			r.call(request{method: "POST", path: "/api/auth/login", header: proxied()[i%30], body: fmt.Sprintf(`{"username":"guess%d","password":"a wrong wrong wrong one"}`, i)})
		}
		if a := r.call(request{method: "POST", path: "/api/auth/login", header: proxied()[0], body: `{"username":"somebody","password":"a wrong wrong wrong one"}`}); a.status != 429 {
			t.Errorf("guesses from ever new addresses: got %d, want 429 for the one they come from", a.status)
		}
		r.clock.turn(access.SessionIdle / 2) // past the pause
		admin := r.signIn(adminName)
		var list struct{ Sessions []access.Session }
		r.must(request{method: "GET", path: "/api/sessions", as: admin}, &list)
		var trail struct{ Entries []access.AuditEntry }
		r.must(request{method: "GET", path: "/api/audit?limit=1000", as: admin}, &trail)
		for _, s := range list.Sessions {
			if s.Address != "127.0.0.1" {
				t.Errorf("a session from %q, want 127.0.0.1", s.Address)
			}
		}
		for _, e := range trail.Entries {
			if e.Actor.Address != "127.0.0.1" && e.Actor.Kind != "system" {
				t.Errorf("an entry of the trail from %q, want 127.0.0.1", e.Actor.Address)
			}
		}
		if len(list.Sessions) < 30 || len(trail.Entries) < 30 {
			t.Errorf("got %d sessions and %d entries, want 30 and more", len(list.Sessions), len(trail.Entries))
		}
	})
}

// A cookie that somebody planted before the sign-in is worth nothing after it: each sign-in makes its own.
func TestAPlantedSessionIsWorthNothingAfterTheSignIn(t *testing.T) {
	each(t, nil, func(t *testing.T, r *rig) {
		seen := map[string]bool{}
		for range 20 {
			planted := principal{"Cookie": {cookieNameInsecure + "=" + hexOf(32)}}
			a := r.must(request{method: "POST", path: "/api/auth/login", as: planted, body: toJSON(t, map[string]string{"username": adminName, "password": goodSecret})}, nil)
			cookie, _, _ := strings.Cut(a.header.Get("Set-Cookie"), ";")
			if cookie == planted["Cookie"][0] || seen[cookie] {
				t.Fatalf("the sign-in gave %s, which was there before", cookie)
			}
			seen[cookie] = true
			if got := r.call(request{method: "GET", path: "/api/auth/me", as: planted}); got.status != 401 {
				t.Errorf("the planted cookie after the sign-in: got %d, want 401", got.status)
			}
			r.must(request{method: "GET", path: "/api/auth/me", as: principal{"Cookie": {cookie}}}, nil)
		}
	})
}

// Looking changes nothing: every GET for everybody, with every parameter that it takes. The poll alone writes the
// sign of life and the leases that it names.
func TestNoGETChangesTheDatabase(t *testing.T) {
	each(t, func(o *Options) { o.MetricsToken = "figures" }, func(t *testing.T, r *rig) {
		w := newWorld(r)
		host := w.host()
		j := host.running(w.admin)
		var calls []request
		for _, row := range r.table() {
			if row.Method != get {
				continue
			}
			if row.ID == "nextCommand" {
				continue
			}
			q := request{method: "GET", path: row.somewhere(), as: w.admin}
			if row.Permission.signedIn() {
				q, _ = w.person(row)
				q.body = ""
			}
			calls = append(calls, q)
			for _, p := range readContract(t).Paths[row.Path]["get"].Parameters {
				if p.In == "query" {
					for _, v := range []string{"1", "x", "true", "delete", "2026-11-24T00:00:00Z", nobody} {
						more := q
						more.path += "?" + p.Name + "=" + v
						if p.Name != "wait" {
							calls = append(calls, more)
						}
					}
				}
			}
		}
		if err := r.fleet.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		before := r.dump(t)
		for _, q := range calls {
			for _, as := range []principal{q.as, nil, host.as, {"Authorization": {"Bearer figures"}}} {
				q.as = as
				r.call(q)
				r.call(request{method: "HEAD", path: q.path, as: as})
			}
		}
		if err := r.fleet.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, words := range changed(before, r.dump(t)) {
			if !strings.HasPrefix(words, "hosts: ") { // the agent's bearer is a sign of life, wherever it is shown
				t.Errorf("after %d GETs: %s", len(calls), words)
			}
		}
		r.must(request{method: "GET", path: host.pollPath(0) + "&jobs=" + j.id + ":" + j.lease, as: host.as}, nil)
		if err := r.fleet.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, words := range changed(before, r.dump(t)) {
			if !strings.HasPrefix(words, "hosts: ") && !strings.HasPrefix(words, "jobs: ") {
				t.Errorf("a poll changed %s", words)
			}
		}
	})
}

// Over HTTPS every answer tells the browser to stay with it for a year: errors, pages and refusals too. Over plain
// HTTP none does: it would lock people out of a server that has no certificate.
func TestEveryAnswerOverHTTPSHasHSTS(t *testing.T) {
	for url, want := range map[string]string{"https://backup.example.com": "max-age=31536000", "http://localhost": "", "": ""} {
		t.Run(url, func(t *testing.T) {
			each(t, func(o *Options) {
				o.PublicURL = url
				o.Web = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("page")) })
			}, func(t *testing.T, r *rig) {
				for _, row := range r.table() {
					for _, m := range []string{row.Method, "OPTIONS", "TRACE"} {
						a := r.call(request{method: m, path: row.somewhere(), body: `{}`, header: http.Header{"Origin": {"https://evil.example"}, "Access-Control-Request-Method": {"PUT"}}})
						if got := a.header.Get("Strict-Transport-Security"); got != want {
							t.Errorf("%s %s, %d: HSTS is %q, want %q", m, row.Path, a.status, got, want)
						}
						checkHeaders(t, row.Path, a)
					}
				}
				for _, path := range []string{"/", "/hosts/x", "/assets/nothing.js", "//", "/%2e%2e/"} {
					a := r.call(request{method: "GET", path: path})
					csp := a.header.Get("Content-Security-Policy")
					if a.header.Get("Strict-Transport-Security") != want || !strings.Contains(csp, "frame-ancestors 'none'") || strings.Contains(csp, "unsafe") || a.header.Get("X-Content-Type-Options") != "nosniff" {
						t.Errorf("%s: got %v", path, a.header)
					}
				}
			})
		})
	}
}

// The handlers' panics and errors hold what must not be told.
var tells = []string{"SELECT password_hash FROM operators", "/var/lib/restic-manager/secret.key", "goroutine 7 [running]", "hunter2hunter2"}

func burst(n int) {
	switch n % 5 {
	case 0:
		panic(strings.Join(tells, "; "))
	case 1:
		panic(fmt.Errorf("read the row: %w", errors.New(strings.Join(tells, "; "))))
	case 2:
		var none map[string]int
		none[tells[0]] = 1
	case 3:
		_ = tells[len(tells)+n] //nolint:staticcheck // meant to fail
	}
	panic(struct{ Secret []string }{tells})
}

// A handler that breaks tells the caller a request id and nothing else, five hundred times over, and the server
// goes on.
func TestFiveHundredPanicsTellNothingAndEndNothing(t *testing.T) {
	each(t, nil, func(t *testing.T, r *rig) {
		n := 0
		next := func() int { n++; return n }
		type out struct{ Body struct{} }
		r.register(append(r.table(),
			route(get, "/api/broken/raw", Public, "brokenRaw", "Breaks", raw(func(*Server, echo.Context, *exchange) error { burst(next()); return nil }, contractOfText)),
			route(post, "/api/broken/person", Public, "brokenPerson", "Breaks", operate(func(context.Context, *none) (*out, error) { burst(next()); return nil, nil })),
			route(post, "/api/agents/broken", Agent, "brokenAgent", "Breaks", answer(func(context.Context, caller, struct{}) (struct{}, error) { burst(next()); return struct{}{}, nil })),
			route(get, "/api/broken/fails", Public, "brokenFails", "Fails", operate(func(context.Context, *none) (*out, error) {
				return nil, errors.New(strings.Join(tells, "; "))
			})),
		))
		host := r.enroll("alpha")
		for i := range 500 {
			q := []request{{method: "GET", path: "/api/broken/raw"}, {method: "POST", path: "/api/broken/person"}, {method: "POST", path: "/api/agents/broken", as: host.as, body: `{}`},
				{method: "GET", path: "/api/broken/raw"}, {method: "GET", path: "/api/broken/fails"}}[i%5]
			a := r.call(q)
			if a.status != 500 || a.code() != "internal_error" || a.problem(t).RequestID == "" {
				t.Fatalf("%s: got %d %s", q.path, a.status, a.body)
			}
			for _, word := range append(tells, "panic", ".go", "runtime", "restic-manager/", "nil map", "index out") {
				if strings.Contains(string(a.body), word) {
					t.Fatalf("%s tells %q: %s", q.path, word, a.body)
				}
			}
			checkHeaders(t, q.path, a)
		}
		if got := strings.Count(r.words.String(), "a request panicked"); got != 400 {
			t.Errorf("the log tells of %d panics, want 400", got)
		}
		r.must(request{method: "GET", path: "/healthz"}, nil)
		host.hello()
	})
}

// What helps whoever runs a program helps whoever attacks it: none of it is there.
func TestNothingForDebuggingIsPublic(t *testing.T) {
	each(t, nil, func(t *testing.T, r *rig) {
		admin := r.signIn(adminName)
		for _, path := range []string{"/debug/pprof/", "/debug/pprof/heap", "/debug/vars", "/debug/requests", "/metrics", "/swagger", "/swagger/index.html", "/docs", "/api/docs", "/openapi.json", "/openapi.yaml", "/api/openapi.yaml",
			"/api/schemas", "/schemas/Host.json", "/api/debug/pprof", "/.env", "/.git/config", "/config", "/api/config", "/server-status", "/actuator", "/graphql", "/restic-manager.db", "/secret.key", "/api/version", "/trace"} {
			for _, as := range []principal{nil, admin} {
				if a := r.call(request{method: "GET", path: path, as: as}); a.status != 404 {
					t.Errorf("GET %s: got %d, want 404", path, a.status)
				}
			}
		}
		for name, values := range r.call(request{method: "GET", path: "/api/hosts"}).header {
			if l := strings.ToLower(name); l == "server" || strings.Contains(l, "powered") || strings.Contains(strings.Join(values, ""), wire.AgentTokenPrefix) {
				t.Errorf("the answer says %s: %v", name, values)
			}
		}
	})
}

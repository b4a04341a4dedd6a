package api

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"restic-manager/server/access"
	"restic-manager/server/database"
	"restic-manager/server/fleet"
	"restic-manager/shared/wire"
)

func TestBodiesThatAreRefused(t *testing.T) {
	each(t, nil, func(t *testing.T, r *rig) {
		admin := r.signIn(adminName)
		host := r.enroll("alpha")
		jobs := "/api/hosts/" + host.id + "/jobs"
		for name, c := range map[string]struct {
			method, path, body, contentType, encoding string
			want                                      int
		}{
			"unknown field":                    {"POST", "/api/enrollment-tokens", `{"nmae":"x"}`, "application/json", "", 422},
			"field in another case":            {"POST", "/api/enrollment-tokens", `{"Name":"x"}`, "application/json", "", 422},
			"wrong type":                       {"POST", "/api/enrollment-tokens", `{"name":7}`, "application/json", "", 422},
			"null":                             {"POST", "/api/enrollment-tokens", `null`, "application/json", "", 422},
			"array":                            {"POST", "/api/enrollment-tokens", `[]`, "application/json", "", 422},
			"text":                             {"POST", "/api/enrollment-tokens", `"x"`, "application/json", "", 422},
			"missing field":                    {"POST", "/api/auth/login", `{"username":"ada"}`, "application/json", "", 422},
			"trailing data":                    {"POST", "/api/enrollment-tokens", `{} {}`, "application/json", "", 400},
			"key twice":                        {"POST", "/api/enrollment-tokens", `{"name":"a","name":"b"}`, "application/json", "", 400},
			"not JSON":                         {"POST", "/api/enrollment-tokens", `name=x`, "application/json", "", 400},
			"empty":                            {"POST", "/api/enrollment-tokens", ` `, "application/json", "", 400},
			"too deep":                         {"POST", jobs, `{"kind":"backup","spec":` + strings.Repeat(`{"a":`, 50) + `1` + strings.Repeat(`}`, 50) + `}`, "application/json", "", 400},
			"form":                             {"POST", "/api/enrollment-tokens", `{}`, "application/x-www-form-urlencoded", "", 415},
			"text/plain":                       {"POST", "/api/enrollment-tokens", `{}`, "text/plain", "", 415},
			"no content type":                  {"POST", "/api/enrollment-tokens", `{}`, "", "", 415},
			"compressed":                       {"POST", "/api/enrollment-tokens", `{}`, "application/json", "gzip", 415},
			"too large":                        {"POST", "/api/auth/login", `{"username":"` + strings.Repeat("x", 70_000) + `","password":"x"}`, "application/json", "", 413},
			"10 MB":                            {"POST", jobs, `{"kind":"backup","args":["/` + strings.Repeat("x", 10_000_000) + `"]}`, "application/json", "", 413},
			"body where none belongs":          {"POST", "/api/hosts/" + host.id + "/revoke", `{"id":"x"}`, "application/json", "", 422},
			"the id in the body":               {"PATCH", "/api/hosts/" + host.id, `{"id":"` + database.NewID() + `","name":"x"}`, "application/json", "", 422},
			"the host in the body":             {"POST", jobs, `{"kind":"backup","args":["/a"],"host_id":"` + database.NewID() + `"}`, "application/json", "", 422},
			"nothing to change":                {"PATCH", "/api/hosts/" + host.id, `{}`, "application/json", "", 422},
			"unknown kind":                     {"POST", jobs, `{"kind":"format"}`, "application/json", "", 422},
			"args and spec":                    {"POST", jobs, `{"kind":"backup","args":["/a"],"spec":{"paths":["/a"]}}`, "application/json", "", 422},
			"args of another kind":             {"POST", jobs, `{"kind":"prune","args":["--force"]}`, "application/json", "", 422},
			"flag as path":                     {"POST", jobs, `{"kind":"backup","args":["--password-command=id"]}`, "application/json", "", 422},
			"unknown field in spec":            {"POST", jobs, `{"kind":"backup","spec":{"paths":["/a"],"options":["x"]}}`, "application/json", "", 422},
			"wrong type in spec":               {"POST", jobs, `{"kind":"backup","spec":{"paths":"hunter2hunter2"}}`, "application/json", "", 422},
			"spec is no object":                {"POST", jobs, `{"kind":"backup","spec":["/a"]}`, "application/json", "", 422},
			"spec in another case":             {"POST", jobs, `{"kind":"backup","spec":{"paths":["/a"],"Paths":["/b"]}}`, "application/json", "", 400},
			"wrong type, repository":           {"PUT", "/api/hosts/" + host.id + "/repository", `{"url":"/r","password":{"x":"hunter2hunter2"}}`, "application/json", "", 422},
			"unknown field, repository":        {"PUT", "/api/hosts/" + host.id + "/repository", `{"url":"/r","password":"hunter2hunter2","x":1}`, "application/json", "", 422},
			"password restic reads as another": {"PUT", "/api/hosts/" + host.id + "/repository", `{"url":"/r","password":"hunter2hunter2 "}`, "application/json", "", 422},
			"long password":                    {"PUT", "/api/hosts/" + host.id + "/repository", `{"url":"/r","password":"` + strings.Repeat("hunter2", 1000) + `"}`, "application/json", "", 422},
		} {
			t.Run(name, func(t *testing.T) {
				h := http.Header{}
				if c.contentType != "" {
					h.Set("Content-Type", c.contentType)
				}
				if c.encoding != "" {
					h.Set("Content-Encoding", c.encoding)
				}
				a := r.call(request{method: c.method, path: c.path, bytes: []byte(c.body), as: admin, header: h})
				if a.status != c.want {
					t.Errorf("got %d, want %d: %.300s", a.status, c.want, a.body)
				}
				if bytes.Contains(a.body, []byte("hunter2")) || bytes.Contains(a.body, []byte(`"value"`)) {
					t.Errorf("the answer repeats what was sent: %s", a.body)
				}
			})
		}
		if strings.Contains(r.words.String(), "hunter2") {
			t.Error("the log repeats what was sent")
		}
	})
}

func TestQueriesThatAreRefused(t *testing.T) {
	each(t, nil, func(t *testing.T, r *rig) {
		admin := r.signIn(adminName)
		for path, want := range map[string]int{
			"/api/hosts?unknown=1": 422, "/api/hosts?limit=0": 422, "/api/hosts?limit=1001": 422, "/api/hosts?limit=x": 422, "/api/hosts?limit=1&limit=2": 400,
			"/api/hosts?search=%00": 422, "/api/hosts?search=%ff": 422, "/api/hosts?search=a%0ab": 422, "/api/hosts?search=%zz": 400, "/api/hosts?status=up": 422,
			"/api/hosts?cursor=nonsense": 422, "/api/jobs?state=queued,flying": 422, "/api/jobs?kind=x": 422, "/api/jobs?before=yesterday": 422,
			"/api/jobs?host=x": 200, "/api/jobs?host=" + database.NewID(): 200, "/api/jobs?state=queued,running": 200, "/api/jobs?before=2026-11-24T00:00:00Z": 200,
			"/api/changes?wait=26": 422, "/api/changes?wait=-1": 422, "/api/audit?cursor=x": 422, "/api/audit?action=%25": 200, "/api/hosts?search=%25_%27%22%5c": 200,
			"/api/operators?cursor=%f0%9f%98%80": 422, "/api/enrollment-tokens?cursor=e30": 422, "/api/jobs?cursor=WzEsMl0": 422, "/api/hosts;x=y?limit=1": 404,
		} {
			if a := r.call(request{method: "GET", path: path, as: admin}); a.status != want {
				t.Errorf("GET %s: got %d, want %d: %.200s", path, a.status, want, a.body)
			}
		}
	})
}

func TestBoundsAreToldInWholeNumbers(t *testing.T) {
	each(t, nil, func(t *testing.T, r *rig) {
		admin := r.signIn(adminName)
		for want, q := range map[string]request{
			"body.expires_in_seconds: give 2592000 or less.": {method: "POST", path: "/api/enrollment-tokens", body: `{"expires_in_seconds":2592001}`},
			"query.wait: give 25 or less.":                   {method: "GET", path: "/api/changes?wait=26"},
			"query.limit: give 1 or more.":                   {method: "GET", path: "/api/hosts?limit=0"},
		} {
			q.as = admin
			if got := r.call(q).problem(t).Detail; !strings.HasSuffix(got, want) {
				t.Errorf("got %q, want %q at its end", got, want)
			}
		}
	})
}

func TestIdsThatAreNoneAreAnsweredAsUnknownOnes(t *testing.T) {
	each(t, nil, func(t *testing.T, r *rig) {
		admin := r.signIn(adminName)
		for _, row := range r.table() {
			if !strings.Contains(row.Path, "{id}") || !row.Permission.signedIn() {
				continue
			}
			body := ""
			if row.hasBody() {
				body = wellFormed[row.ID]
			}
			ask := func(id string) answered {
				return r.call(request{method: row.Method, path: strings.NewReplacer("{id}", id, "{snapshot}", hexOf(32)).Replace(row.Path), as: admin, body: body})
			}
			want := ask(database.NewID())
			if want.status != 404 {
				t.Errorf("%s %s: got %d for an unknown id, want 404", row.Method, row.Path, want.status)
				continue
			}
			for _, id := range []string{"x", "1", "%00", "%ff", "..", "%2e%2e%2f", strings.ToUpper(database.NewID()), "'--", strings.Repeat("a", 36), "%F0%9F%98%80", "{" + database.NewID() + "}"} {
				a := ask(id)
				if id == ".." && a.code() == "not_found" { // a path of its own
					continue
				}
				if a.status != 404 || a.withoutID(t) != want.withoutID(t) {
					t.Errorf("%s %s with %q: got %d %s, want as for an unknown one: %s", row.Method, row.Path, id, a.status, a.body, want.body)
				}
			}
		}
	})
}

func TestSignInAndOut(t *testing.T) {
	each(t, nil, func(t *testing.T, r *rig) {
		a := r.call(request{method: "POST", path: "/api/auth/login", body: `{"username":"ada","password":"` + goodSecret + `"}`})
		if a.status != 204 || len(a.body) != 0 {
			t.Fatalf("got %d %q, want 204 and nothing", a.status, a.body)
		}
		cookie := a.header.Get("Set-Cookie")
		for _, part := range []string{cookieNameInsecure + "=", "HttpOnly", "SameSite=Strict", "Path=/", "Expires="} {
			if !strings.Contains(cookie, part) {
				t.Errorf("the cookie %q lacks %s", cookie, part)
			}
		}
		me := principal{"Cookie": {strings.SplitN(cookie, ";", 2)[0]}}
		other := r.signIn(adminName)
		var list struct{ Sessions []access.Session }
		r.must(request{method: "GET", path: "/api/sessions", as: me}, &list)
		if len(list.Sessions) != 2 {
			t.Errorf("got %d sessions, want 2", len(list.Sessions))
		}
		out := r.must(request{method: "POST", path: "/api/auth/logout", as: me}, nil)
		if c := out.header.Get("Set-Cookie"); !strings.Contains(c, "Max-Age=0") {
			t.Errorf("signing out set %q, want the cookie gone", c)
		}
		if a := r.call(request{method: "GET", path: "/api/auth/me", as: me}); a.status != 401 {
			t.Errorf("after signing out: got %d, want 401", a.status)
		}
		r.must(request{method: "GET", path: "/api/auth/me", as: other}, nil)
		wrong := r.call(request{method: "POST", path: "/api/auth/login", body: `{"username":"ada","password":"wrong wrong wrong"}`})
		unknown := r.call(request{method: "POST", path: "/api/auth/login", body: `{"username":"nobody","password":"wrong wrong wrong"}`})
		if wrong.status != 401 || wrong.withoutID(t) != unknown.withoutID(t) {
			t.Errorf("a wrong password and an unknown name differ: %s, %s", wrong.body, unknown.body)
		}
	})
}

func TestSecureCookieBehindHTTPS(t *testing.T) {
	each(t, func(o *Options) { o.PublicURL = "https://backup.example.com" }, func(t *testing.T, r *rig) {
		a := r.call(request{method: "POST", path: "/api/auth/login", body: `{"username":"ada","password":"` + goodSecret + `"}`,
			header: http.Header{"Origin": {"https://backup.example.com"}, "Sec-Fetch-Site": {"same-origin"}}})
		cookie := a.header.Get("Set-Cookie")
		if a.status != 204 || !strings.HasPrefix(cookie, cookieName+"=") || !strings.Contains(cookie, "Secure") {
			t.Errorf("got %d %q", a.status, cookie)
		}
		if a.header.Get("Strict-Transport-Security") == "" {
			t.Error("no HSTS")
		}
		value := strings.SplitN(strings.TrimPrefix(cookie, cookieName+"="), ";", 2)[0]
		if a := r.call(request{method: "GET", path: "/api/auth/me", as: principal{"Cookie": {cookieNameInsecure + "=" + value}}}); a.status != 401 {
			t.Errorf("the name without the prefix: got %d, want 401", a.status)
		}
	})
}

func TestOrderOfAJob(t *testing.T) {
	each(t, nil, func(t *testing.T, r *rig) {
		admin := r.signIn(adminName)
		host := r.enroll("alpha")
		host.hello()
		path := "/api/hosts/" + host.id + "/jobs"
		var first, again, other fleet.Job
		key := http.Header{"Idempotency-Key": {"k1"}}
		a := r.must(request{method: "POST", path: path, as: admin, header: key, body: `{"kind":"backup","args":["/etc"]}`}, &first)
		if a.status != 201 || first.State != wire.StateQueued || first.HostID != host.id || first.CreatedBy == "" {
			t.Errorf("got %d %+v", a.status, first)
		}
		a = r.must(request{method: "POST", path: path, as: admin, header: key, body: `{"kind":"backup","args":["/etc"]}`}, &again)
		if a.status != 200 || again.ID != first.ID {
			t.Errorf("the same key: got %d %s, want 200 and %s", a.status, again.ID, first.ID)
		}
		r.must(request{method: "POST", path: path, as: admin, body: `{"kind":"backup","spec":{"paths":["/srv/a\nb"],"tags":["x"]},"time_limit_seconds":60,"ttl_seconds":600}`}, &other)
		if other.ID == first.ID || other.TimeLimitSeconds != 60 || !strings.Contains(string(other.Spec), `a\nb`) {
			t.Errorf("got %+v", other)
		}
		for _, bad := range []string{"x y", "é", strings.Repeat("k", 129)} {
			if a := r.call(request{method: "POST", path: path, as: admin, header: http.Header{"Idempotency-Key": {bad}}, body: `{"kind":"backup","args":["/etc"]}`}); a.status != 422 {
				t.Errorf("the key %q: got %d, want 422", bad, a.status)
			}
		}
		var canceled, retried fleet.Job
		if a := r.must(request{method: "POST", path: "/api/jobs/" + first.ID + "/cancel", as: admin}, &canceled); a.status != 202 || canceled.State != wire.StateCanceled {
			t.Errorf("cancel: got %d %s", a.status, canceled.State)
		}
		if a := r.must(request{method: "POST", path: "/api/jobs/" + first.ID + "/retry", as: admin}, &retried); a.status != 201 || retried.RetryOf == nil || *retried.RetryOf != first.ID {
			t.Errorf("retry: got %d %+v", a.status, retried)
		}
		var list struct{ Jobs []fleet.Job }
		r.must(request{method: "GET", path: "/api/jobs?state=canceled&host=" + host.id, as: admin}, &list)
		if len(list.Jobs) != 1 || list.Jobs[0].ID != first.ID {
			t.Errorf("got %d canceled jobs", len(list.Jobs))
		}
		retry := request{method: "POST", path: "/api/jobs/" + first.ID + "/retry", as: admin, header: http.Header{"Idempotency-Key": {"k2"}}}
		for i, want := range []int{200, 200} { // what waits already asks the same
			if a := r.must(retry, &again); a.status != want || again.ID != retried.ID {
				t.Errorf("retry %d under a key: got %d %s, want %d and %s", i+1, a.status, again.ID, want, retried.ID)
			}
		}
		r.must(request{method: "POST", path: "/api/jobs/" + retried.ID + "/cancel", as: admin}, nil)
		retry.header = http.Header{"Idempotency-Key": {"k3"}}
		for i, want := range []int{201, 200} {
			if a := r.must(retry, &other); a.status != want || other.ID == retried.ID || *other.RetryOf != first.ID {
				t.Errorf("retry %d under a new key: got %d %s, want %d and another job", i+1, a.status, other.ID, want)
			}
		}
	})
}

func TestListsAreNeverNull(t *testing.T) {
	each(t, nil, func(t *testing.T, r *rig) {
		admin := r.signIn(adminName)
		host := r.enroll("alpha")
		for _, path := range []string{"/api/hosts", "/api/hosts/" + host.id, "/api/jobs", "/api/hosts/" + host.id + "/snapshots", "/api/enrollment-tokens", "/api/operators", "/api/audit", "/api/sessions", "/api/changes"} {
			var v any
			r.must(request{method: "GET", path: path, as: admin}, &v)
			for _, where := range nulls(v, path) {
				t.Errorf("%s is null", where)
			}
		}
	})
}

// nulls finds what is null but for times that were not yet.
func nulls(v any, at string) (found []string) {
	switch v := v.(type) {
	case nil:
		if !strings.HasSuffix(at, "_at") {
			return []string{at}
		}
	case map[string]any:
		for k, e := range v {
			found = append(found, nulls(e, at+"."+k)...)
		}
	case []any:
		for _, e := range v {
			found = append(found, nulls(e, at+"[]")...)
		}
	}
	return found
}

func TestListsAreCompressedForThoseWhoTakeIt(t *testing.T) {
	each(t, nil, func(t *testing.T, r *rig) {
		admin := r.signIn(adminName)
		for _, name := range []string{"a", "b", "c", "d"} {
			r.enroll(name).hello()
		}
		a := r.must(request{method: "GET", path: "/api/hosts", as: admin, header: http.Header{"Accept-Encoding": {"gzip"}}}, nil)
		if a.header.Get("Content-Encoding") != "gzip" {
			t.Fatalf("got encoding %q of %d bytes", a.header.Get("Content-Encoding"), len(a.body))
		}
		z, err := gzip.NewReader(bytes.NewReader(a.body))
		if err != nil {
			t.Fatal(err)
		}
		plain, err := io.ReadAll(z)
		if err != nil || !json.Valid(plain) {
			t.Errorf("not JSON within: %v", err)
		}
	})
}

func TestTailWaitsAndChangesAreTold(t *testing.T) {
	each(t, nil, func(t *testing.T, r *rig) {
		admin := r.signIn(adminName)
		var first fleet.ChangesPage
		r.must(request{method: "GET", path: "/api/changes", as: admin}, &first)
		done := make(chan fleet.ChangesPage)
		go func() {
			var p fleet.ChangesPage
			defer func() { done <- p }()
			for since := first.Next; p.Topics == nil || !contains(p.Topics, "hosts"); since = p.Next {
				a, err := r.try(t.Context(), request{method: "GET", path: "/api/changes?wait=20&since=" + since, as: admin})
				if err != nil || a.status != 200 || json.Unmarshal(a.body, &p) != nil {
					return
				}
			}
		}()
		r.enroll("alpha")
		select {
		case p := <-done:
			if !contains(p.Topics, "hosts") {
				t.Errorf("got %v, want hosts", p.Topics)
			}
		case <-time.After(10 * time.Second):
			t.Error("no change was told in 10 s")
		}
	})
}

func contains(list []string, s string) bool {
	for _, e := range list {
		if e == s {
			return true
		}
	}
	return false
}

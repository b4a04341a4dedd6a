package api

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"restic-manager/server/access"
	"restic-manager/server/database"
	"restic-manager/server/database/databasetest"
	"restic-manager/shared/wire"
)

// somewhere is the row's path with ids that nothing has.
func (r *Route) somewhere() string {
	return strings.NewReplacer("{id}", database.NewID(), "{token}", hexOf(16), "{n}", "0", "{snapshot}", hexOf(32)).Replace(r.Path)
}

// who may call what: the permissions each principal has.
var grants = map[string][]Permission{
	"anonymous":                {Public, Setup},
	"malformed cookie":         {Public, Setup},
	"malformed bearer":         {Public, Setup},
	"expired session":          {Public, Setup},
	"ended session":            {Public, Setup},
	"disabled operator":        {Public, Setup},
	"secret's hash as cookie":  {Public, Setup},
	"cookie's secret as token": {Public, Setup},
	"viewer":                   {Public, Setup, Self, Viewer},
	"operator":                 {Public, Setup, Self, Viewer, Operator},
	"administrator":            {Public, Setup, Self, Viewer, Operator, Administrator},
	"agent":                    {Public, Setup, Agent},
	"revoked agent":            {Public, Setup},
	"deleted agent":            {Public, Setup},
	"enrollment token":         {Public, Setup},
	"metrics token":            {Public, Setup, Metrics},
	"two bearers":              {Public, Setup},
	"agent's secret as cookie": {Public, Setup},
	"another agent":            {Public, Setup, Agent},
	"set-up code as bearer":    {Public, Setup},
	"set-up code as cookie":    {Public, Setup},
	"viewer's key":             {Public, Setup, Viewer},
	"operator's key":           {Public, Setup, Viewer, Operator},
	"key of policies":          {Public, Setup, Viewer, Operator},
	"key that only orders":     {Public, Setup, Viewer, Operator},
	"key of hosts and storage": {Public, Setup, Viewer, Operator},
	"key that reads":           {Public, Setup, Viewer},
	"expired key":              {Public, Setup},
	"deleted key":              {Public, Setup},
	"key as cookie":            {Public, Setup},
}

// scoped are the scopes of those keys that have not all of their role's.
var scoped = map[string][]access.Scope{
	"viewer's key":             {access.FleetRead},
	"key that reads":           {access.FleetRead},
	"key of policies":          {access.FleetRead, access.PoliciesWrite},
	"key that only orders":     {access.JobsWrite},
	"key of hosts and storage": {access.RepositoriesWrite, access.HostsWrite},
}

// may reports whether the principal may call the row.
func may(who string, row *Route) bool {
	scopes, has := scoped[who]
	return slices.Contains(grants[who], row.Permission) && (!has || row.scope == "" || row.scope == access.AnyScope || slices.Contains(scopes, row.scope))
}

func (r *rig) principals() map[string]func() principal {
	expired := r.signIn(adminName)
	key := func(role access.Role, lasts time.Duration) (id, secret string) {
		k, secret, err := r.access.CreateAPIKey(r.t.Context(), database.Actor{Kind: "console", Name: "test"}, access.NewAPIKey{Name: "k", Role: role, ExpiresIn: lasts})
		if err != nil {
			r.t.Fatal(err)
		}
		return k.ID, secret
	}
	_, expiredKey := key(access.Operator, time.Minute)
	r.clock.turn(access.SessionLifetime + time.Second)
	const code = "ABCD-EFGH-JKMN-PQRS" // as if printed by a replica that has not heard of the set-up
	err := r.db.Write(r.t.Context(), func(tx *database.Tx) error {
		return tx.Exec("INSERT INTO setup_codes (code_sha256, created_at, expires_at) VALUES (?, ?, ?)",
			sha(strings.ReplaceAll(code, "-", "")), tx.Now, tx.Now.Add(access.SetupCodeLifetime)).Error
	})
	if err != nil {
		r.t.Fatal(err)
	}
	admin := r.signIn(adminName)
	ended := r.signIn(adminName)
	r.must(request{method: "POST", path: "/api/auth/logout", as: ended}, nil)
	viewer, operator := r.operator("vera", access.Viewer), r.operator("otto", access.Operator)
	disabled := r.operator("dora", access.Administrator)
	var list struct{ Operators []access.OperatorAccount }
	r.must(request{method: "GET", path: "/api/operators", as: admin}, &list)
	i := slices.IndexFunc(list.Operators, func(o access.OperatorAccount) bool { return o.Username == "dora" })
	r.must(request{method: "PATCH", path: "/api/operators/" + list.Operators[i].ID, as: admin, body: `{"disabled":true}`}, nil)
	with := func(who string) string {
		_, secret, err := r.access.CreateAPIKey(r.t.Context(), database.Actor{Kind: "console", Name: "test"}, access.NewAPIKey{Name: who, Scopes: scoped[who]})
		if err != nil {
			r.t.Fatal(err)
		}
		return secret
	}
	_, viewerKey := key(access.Viewer, 0)
	_, operatorKey := key(access.Operator, 0)
	deletedID, deletedKey := key(access.Operator, 0)
	r.must(request{method: "DELETE", path: "/api/api-keys/" + deletedID, as: admin}, nil)
	agent, revoked, deleted := r.enroll("alpha"), r.enroll("beta"), r.enroll("gamma")
	for _, a := range []string{revoked.id, deleted.id} {
		r.must(request{method: "POST", path: "/api/hosts/" + a + "/revoke", as: admin}, nil)
	}
	r.must(request{method: "DELETE", path: "/api/hosts/" + deleted.id, as: admin}, nil)
	var token EnrollmentSecret
	r.must(request{method: "POST", path: "/api/enrollment-tokens", as: admin, body: `{}`}, &token)
	bearerOf := func(s string) principal {
		return principal{"Authorization": {"Bearer " + s}, wire.HeaderProtocol: {"1"}}
	}
	name, secret, _ := strings.Cut(admin["Cookie"][0], "=")
	agentSecret := strings.TrimPrefix(agent.as["Authorization"][0], "Bearer ")
	fixed := map[string]principal{
		"anonymous": nil, "malformed cookie": {"Cookie": {cookieNameInsecure + "=\"%00; x"}}, "malformed bearer": bearerOf("rma_ ,;="),
		"expired session": expired, "ended session": ended, "disabled operator": disabled,
		"secret's hash as cookie":  {"Cookie": {name + "=" + sha(secret)}},
		"cookie's secret as token": bearerOf(secret),
		"agent":                    agent.as, "revoked agent": revoked.as, "deleted agent": deleted.as,
		"enrollment token": bearerOf(token.Token), "metrics token": bearerOf("figures"),
		"two bearers":              {"Authorization": {"Bearer " + agentSecret, "Bearer " + agentSecret}, wire.HeaderProtocol: {"1"}},
		"agent's secret as cookie": {"Cookie": {name + "=" + agentSecret}},
		"another agent":            r.enroll("delta").as,
		"set-up code as bearer":    bearerOf(code), "set-up code as cookie": {"Cookie": {name + "=" + code}},
		"viewer's key": bearerOf(viewerKey), "operator's key": bearerOf(operatorKey), "expired key": bearerOf(expiredKey),
		"key that reads": bearerOf(with("key that reads")), "key of policies": bearerOf(with("key of policies")),
		"key that only orders": bearerOf(with("key that only orders")), "key of hosts and storage": bearerOf(with("key of hosts and storage")),
		"deleted key": bearerOf(deletedKey), "key as cookie": {"Cookie": {name + "=" + operatorKey}},
	}
	all := map[string]func() principal{}
	for who, p := range fixed {
		all[who] = func() principal { return p }
	}
	// Signing out is among the routes: each row gets a living session.
	for who, p := range map[string]*principal{adminName: &admin, "otto": &operator, "vera": &viewer} {
		label := map[string]string{adminName: "administrator", "otto": "operator", "vera": "viewer"}[who]
		all[label] = func() principal {
			if r.call(request{method: "GET", path: "/api/auth/me", as: *p}).status != 200 {
				*p = r.signIn(who)
			}
			return *p
		}
	}
	return all
}

// Every route for every kind of caller: admitted or refused, as its row says. The rows are the router's own.
func TestEveryRouteForEveryPrincipal(t *testing.T) {
	each(t, func(o *Options) { o.MetricsToken = "figures" }, func(t *testing.T, r *rig) {
		all := r.principals()
		if len(all) != len(grants) {
			t.Fatalf("%d principals and %d rows of grants", len(all), len(grants))
		}
		for _, row := range r.table() {
			for who, sign := range all {
				q := request{method: row.Method, path: row.somewhere(), as: sign()}
				if row.hasBody() {
					q.body = `{}`
				}
				a := r.call(q)
				refused := a.status == 401 && a.code() == "unauthorized" || a.status == 403
				if may(who, row) == refused {
					t.Errorf("%s on %s %s (%s %s): got %d %s", who, row.Method, row.Path, row.Permission, row.scope, a.status, a.code())
				}
				if a.status >= 500 {
					t.Errorf("%s on %s %s: got %d: %s", who, row.Method, row.Path, a.status, a.body)
				}
				checkHeaders(t, row.Path, a)
			}
		}
	})
}

func checkHeaders(t *testing.T, path string, a answered) {
	t.Helper()
	for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Referrer-Policy": "no-referrer",
		"Cross-Origin-Opener-Policy": "same-origin", "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'"} {
		if got := a.header.Get(name); got != want {
			t.Errorf("%s: %s is %q, want %q", path, name, got, want)
		}
	}
	if a.header.Get("X-Request-Id") == "" {
		t.Errorf("%s: no X-Request-Id", path)
	}
	if a.status >= 400 {
		if got := a.header.Get("Content-Type"); got != wire.ProblemContentType {
			t.Errorf("%s: %d with content type %q", path, a.status, got)
		}
		p := a.problem(t)
		if p.Status != a.status || p.Code == "" || p.Detail == "" || p.RequestID != a.header.Get("X-Request-Id") {
			t.Errorf("%s: not a whole problem: %s", path, a.body)
		}
	}
	if origin := a.header.Get("Access-Control-Allow-Origin"); origin != "" {
		t.Errorf("%s: open to %s", path, origin)
	}
}

func TestUndeclaredMethodsAndPaths(t *testing.T) {
	each(t, nil, func(t *testing.T, r *rig) {
		admin := r.signIn(adminName)
		for path, declared := range r.routes {
			real := strings.NewReplacer(":id", database.NewID(), ":token", hexOf(16), ":n", "0", ":snapshot", hexOf(32)).Replace(path)
			for _, m := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "FOO"} {
				// A word where another row has an id is an id to that row.
				if declared[m] != nil || r.routes[path[:strings.LastIndexByte(path, '/')+1]+":id"][m] != nil {
					continue
				}
				a := r.call(request{method: m, path: real, as: admin})
				if a.status != http.StatusMethodNotAllowed || a.header.Get("Allow") == "" {
					t.Errorf("%s %s: got %d, Allow %q; want 405", m, path, a.status, a.header.Get("Allow"))
				}
			}
		}
		for _, path := range []string{"/api", "/api/", "/api/nothing", "/api/hosts/", "/api//hosts", "/api/hosts/x/y/z", "/api/agents", "/api/agents/", "/api/./hosts",
			"/api/%68osts", "/api/hosts%2f", "/api/hosts;a=b", "/api/HOSTS", "/api/hosts/..%2f..%2fjobs", "/api/hosts%00", "/api/%2e%2e/api/hosts", "/healthz/", "/metrics/x", "/nothing", "/API/hosts", "//api/hosts"} {
			a := r.call(request{method: "GET", path: path, as: admin})
			if a.status != http.StatusNotFound || a.code() != "not_found" {
				t.Errorf("GET %s: got %d %s, want 404", path, a.status, a.code())
			}
		}
	})
}

func TestBeforeSetupOnlySetupAndHealthAnswer(t *testing.T) {
	t.Parallel()
	for _, engine := range databasetest.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, engine, func(o *Options) {
				o.Web = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("page")) })
			})
			for _, row := range r.table() {
				a := r.call(request{method: row.Method, path: row.somewhere(), body: `{}`})
				open := row.ID == "healthz" || row.ID == "readyz" || row.ID == "metrics" || row.ID == "setup"
				if closed := a.status == 503 && a.code() == "setup_required"; closed == open {
					t.Errorf("%s %s: got %d %s", row.Method, row.Path, a.status, a.code())
				}
			}
			if a := r.call(request{method: "GET", path: "/"}); string(a.body) != "page" {
				t.Errorf("the page: got %d %q", a.status, a.body)
			}
			code, _, err := r.access.SetupCode(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			body := toJSON(t, map[string]string{"code": code, "username": "ada", "password": goodSecret})
			a := r.must(request{method: "POST", path: "/api/setup", body: body}, nil)
			cookie, _, _ := strings.Cut(a.header.Get("Set-Cookie"), ";")
			var me Me
			r.must(request{method: "GET", path: "/api/auth/me", as: principal{"Cookie": {cookie}}}, &me)
			if me.Username != "ada" || me.Role != access.Administrator {
				t.Errorf("got %+v", me)
			}
			if a := r.call(request{method: "POST", path: "/api/setup", body: body}); a.status != 409 || a.code() != "setup_done" {
				t.Errorf("a second set-up: got %d %s, want 409 setup_done", a.status, a.code())
			}
		})
	}
}

func TestRequestsOfOtherSitesAreRefused(t *testing.T) {
	each(t, nil, func(t *testing.T, r *rig) {
		admin := r.signIn(adminName)
		for _, row := range r.table() {
			if row.Method == get || row.Permission == Agent || row.ID == "enroll" {
				continue
			}
			for name, h := range map[string]http.Header{
				"cross-site": {"Sec-Fetch-Site": {"cross-site"}}, "same-site": {"Sec-Fetch-Site": {"same-site"}},
				"foreign origin": {"Origin": {"https://evil.example"}}, "null origin": {"Origin": {"null"}}, "sub-domain": {"Origin": {"http://x." + strings.TrimPrefix(r.url, "http://")}},
				"a form": {"Origin": {"https://evil.example"}, "Content-Type": {"application/x-www-form-urlencoded"}}, "a form with a file": {"Origin": {"https://evil.example"}, "Content-Type": {"multipart/form-data; boundary=x"}},
				"JSON as text": {"Sec-Fetch-Site": {"cross-site"}, "Content-Type": {"text/plain"}}, "another port": {"Origin": {"http://127.0.0.1:1"}},
				"a longer name": {"Origin": {r.url + ".evil.example"}}, "a name within": {"Origin": {"http://" + strings.TrimPrefix(r.url, "http://") + "@evil.example"}},
				"own origin from another site": {"Origin": {r.url}, "Sec-Fetch-Site": {"cross-site"}},
			} {
				a := r.call(request{method: row.Method, path: row.somewhere(), as: admin, body: `{}`, header: h})
				if a.status != 403 || a.code() != "cross_site" {
					t.Errorf("%s: %s %s: got %d %s, want 403 cross_site", name, row.Method, row.Path, a.status, a.code())
				}
			}
		}
		for name, h := range map[string]http.Header{"own origin": {"Origin": {r.url}}, "same-origin": {"Sec-Fetch-Site": {"same-origin"}}, "none": nil} {
			if a := r.call(request{method: "POST", path: "/api/enrollment-tokens", as: admin, body: `{}`, header: h}); a.status != 201 {
				t.Errorf("%s: got %d %s, want 201", name, a.status, a.code())
			}
		}
	})
}

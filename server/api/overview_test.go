package api

import (
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"restic-manager/server/access"
	"restic-manager/server/fleet"
	"restic-manager/shared/wire"
)

// Every route that people read from has a strong ETag, and answers 304 to whom has it; those that wait or are streamed
// have none.
func TestEveryReadHasAnETag(t *testing.T) {
	each(t, nil, func(t *testing.T, r *rig) {
		w := newWorld(r)
		n := 0
		for _, row := range r.table() {
			if row.Method != get || !strings.HasPrefix(row.Path, "/api/") || row.Permission == Agent {
				continue
			}
			q, _ := w.person(row)
			a := w.must(q, nil)
			etag := a.header.Get("ETag")
			if slices.Contains([]string{"listChanges", "readLog", "downloadLog"}, row.ID) {
				if etag != "" {
					t.Errorf("%s: got the ETag %s, want none", row.ID, etag)
				}
				continue
			}
			n++
			if !strings.HasPrefix(etag, `"`) || len(etag) < 34 {
				t.Errorf("%s: got the ETag %q, want a strong one", row.ID, etag)
			}
			if row.ID == "getServer" { // it tells the time
				continue
			}
			for _, given := range []string{etag, "W/" + etag, `"x", ` + etag, "*"} {
				q.header = http.Header{"If-None-Match": {given}}
				b := r.call(q)
				if b.status != 304 || len(b.body) != 0 || b.header.Get("ETag") != etag || b.header.Get("Cache-Control") != "no-store" {
					t.Errorf("%s with %s: got %d, ETag %s, %d bytes", row.ID, given, b.status, b.header.Get("ETag"), len(b.body))
				}
			}
			for _, given := range []string{`"x"`, strings.Trim(etag, `"`), ""} {
				q.header = http.Header{"If-None-Match": {given}}
				if b := r.call(q); b.status != 200 || string(b.body) != string(a.body) {
					t.Errorf("%s with %q: got %d", row.ID, given, b.status)
				}
			}
		}
		if n < 15 {
			t.Errorf("%d routes, want 15 and more", n)
		}
	})
}

func TestAnETagIsOfTheBody(t *testing.T) {
	each(t, nil, func(t *testing.T, r *rig) {
		admin := r.signIn(adminName)
		for i := range 12 {
			r.enroll(fmt.Sprint("host-", i)).hello()
		}
		list := request{method: get, path: "/api/hosts", as: admin}
		first := r.must(list, nil)
		list.header = http.Header{"If-None-Match": {first.header.Get("ETag")}}
		if a := r.call(list); a.status != 304 {
			t.Fatalf("unchanged: got %d, want 304", a.status)
		}
		r.enroll("another")
		changed := r.call(list)
		if changed.status != 200 || changed.header.Get("ETag") == first.header.Get("ETag") {
			t.Errorf("changed: got %d with the ETag %s", changed.status, changed.header.Get("ETag"))
		}
		// Who may not see it learns nothing by its tag, and what is refused has none.
		list.as = nil
		if a := r.call(list); a.status != 401 || a.header.Get("ETag") != "" {
			t.Errorf("nobody: got %d with the ETag %q", a.status, a.header.Get("ETag"))
		}
		missing := request{method: get, path: "/api/hosts/" + nobody, as: admin, header: http.Header{"If-None-Match": {"*"}}}
		if a := r.call(missing); a.status != 404 || a.header.Get("ETag") != "" || len(a.body) == 0 {
			t.Errorf("what is not there: got %d with the ETag %q", a.status, a.header.Get("ETag"))
		}
		// The body as gzip has a tag of its own.
		zipped := request{method: get, path: "/api/hosts", as: admin, header: http.Header{"Accept-Encoding": {"gzip"}}}
		a := r.must(zipped, nil)
		plain := r.must(request{method: get, path: "/api/hosts", as: admin, header: http.Header{"Accept-Encoding": {"identity"}}}, nil)
		z, err := gzip.NewReader(strings.NewReader(string(a.body)))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(z)
		if err != nil || string(body) != string(plain.body) || a.header.Get("ETag") == plain.header.Get("ETag") {
			t.Errorf("gzip: got %d bytes, %v, ETag %s; plain %d bytes, ETag %s", len(body), err, a.header.Get("ETag"), len(plain.body), plain.header.Get("ETag"))
		}
		zipped.header["If-None-Match"] = []string{a.header.Get("ETag")}
		if a := r.call(zipped); a.status != 304 || a.header.Get("Content-Encoding") != "" {
			t.Errorf("gzip, unchanged: got %d, %s", a.status, a.header.Get("Content-Encoding"))
		}
	})
}

func TestAnswersToPeopleTellTheVersion(t *testing.T) {
	each(t, nil, func(t *testing.T, r *rig) {
		viewer := r.operator("vera", access.Viewer)
		for path, want := range map[string]int{"/api/hosts": 200, "/api/hosts/" + nobody: 404, "/api/operators": 403, "/api/hosts?sort=x": 422} {
			if a := r.call(request{method: get, path: path, as: viewer}); a.status != want || a.header.Get("Restic-Manager-Version") != "test" {
				t.Errorf("%s: got %d, version %q", path, a.status, a.header.Get("Restic-Manager-Version"))
			}
		}
		agent := r.enroll("alpha")
		for _, q := range []request{{method: get, path: "/api/hosts"}, {method: get, path: "/healthz"}, {method: get, path: agent.pollPath(0), as: agent.as}} {
			if a := r.call(q); a.header.Get("Restic-Manager-Version") != "" {
				t.Errorf("%s: told the version", q.path)
			}
		}
	})
}

func TestTheServerTellsAboutItself(t *testing.T) {
	each(t, func(o *Options) { o.PublicURL = "https://backup.example" }, func(t *testing.T, r *rig) {
		a := r.enroll("alpha")
		a.hello()
		if _, err := r.fleet.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.CountViolations(3)
		r.clock.turn(90 * time.Second)
		info, err := r.getServer(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		i := info.Body
		engine := "sqlite"
		if r.db.Postgres() {
			engine = "postgres"
		}
		if i.Version != "test" || i.Database.Engine != engine || i.Database.Version == "" || i.Database.SizeBytes < 4096 || i.SchemaVersion < 5 || i.PublicURL != "https://backup.example" ||
			i.Hosts != 1 || i.Jobs != 0 || i.JobsEstimated || i.Snapshots != 0 || i.InvariantViolations != 3 || i.OfflineAfterSeconds != 90 || i.OverdueAfterSeconds != 172800 ||
			!strings.HasPrefix(i.GoVersion, "go") || i.LastSweepAt == nil || i.UptimeSeconds < 90 || i.UptimeSeconds > 1000 || i.Now.Sub(i.StartedAt) < 90*time.Second {
			t.Errorf("got %+v", i)
		}
	})
}

func TestLogBytesAreEstimated(t *testing.T) {
	each(t, nil, func(t *testing.T, r *rig) {
		admin := r.signIn(adminName)
		j := r.enroll("alpha")
		j.hello()
		job := j.running(admin)
		body := records(3)
		r.must(request{method: post, path: "/api/agents/jobs/" + job.id + "/log?" + wire.LogQuery{FirstLine: 1, Lines: 3, SumBefore: sha("")}.Encode(), as: job.as, bytes: body}, nil)
		var info ServerInfo
		r.must(request{method: get, path: "/api/server", as: admin}, &info)
		if info.LogBytes != int64(len(body)) || info.Jobs != 1 {
			t.Errorf("got %d bytes of logs, %d jobs, want %d and 1", info.LogBytes, info.Jobs, len(body))
		}
	})
}

// The page that adds a machine waits until its token is used.
func TestATokenTellsWhoUsedIt(t *testing.T) {
	each(t, nil, func(t *testing.T, r *rig) {
		admin, viewer := r.signIn(adminName), r.operator("vera", access.Viewer)
		var token EnrollmentSecret
		r.must(request{method: post, path: "/api/enrollment-tokens", as: admin, body: `{"name":"web"}`}, &token)
		path := "/api/enrollment-tokens/" + token.ID
		var got fleet.EnrollmentToken
		a := r.must(request{method: get, path: path, as: admin}, &got)
		if got.ID != token.ID || got.Name != "web" || got.UsedAt != nil || got.HostID != nil || strings.Contains(string(a.body), token.Token) {
			t.Errorf("unused: got %s", a.body)
		}
		if a := r.call(request{method: get, path: path, as: viewer}); a.status != 403 {
			t.Errorf("a viewer: got %d, want 403", a.status)
		}
		r.clock.turn(10 * time.Second)
		feed, err := r.fleet.Changes(t.Context(), "", 0)
		if err != nil {
			t.Fatal(err)
		}
		var e wire.EnrollReply
		r.must(request{method: post, path: "/api/agents/enroll", body: toJSON(t, wire.EnrollRequest{Token: token.Token, AgentTokenSHA256: sha("a"), Hostname: "web", ProtocolVersion: 1})}, &e)
		page, err := r.fleet.Changes(t.Context(), feed.Next, 0)
		if err != nil || !slices.Contains(page.Topics, "enrollment-tokens") {
			t.Errorf("told of %v, %v, want enrollment-tokens", page.Topics, err)
		}
		r.must(request{method: get, path: path, as: admin}, &got)
		if got.UsedAt == nil || got.HostID == nil || *got.HostID != e.HostID {
			t.Errorf("used: got %+v, want the host %s", got, e.HostID)
		}
	})
}

// What huma makes of the query reaches the fleet as it was meant.
func TestTheQueriesOfHosts(t *testing.T) {
	each(t, nil, func(t *testing.T, r *rig) {
		admin := r.signIn(adminName)
		for i, name := range []string{"alpha", "beta", "gamma"} {
			a := r.enroll(name)
			a.hello()
			r.must(request{method: patch, path: "/api/hosts/" + a.id, as: admin, body: fmt.Sprintf(`{"labels":{"site":"s%d"}}`, i%2)}, nil)
			if i == 0 {
				a.running(admin).finish(t, 0, sha(""))
			}
		}
		for query, want := range map[string]string{
			"":                                   "alpha beta gamma",
			"order=desc":                         "gamma beta alpha",
			"sort=protection":                    "beta gamma alpha",
			"sort=protection&order=desc":         "alpha gamma beta",
			"group=site":                         "alpha gamma beta",
			"protection=protected":               "alpha",
			"protection=failing,never_backed_up": "beta gamma",
			"status=online,offline,never_seen":   "alpha beta gamma",
			"status=offline":                     "",
			"version=1":                          "alpha beta gamma",
			"version=2":                          "",
			"older_than_seconds=3600":            "beta gamma",
			"newer_than_seconds=3600":            "alpha",
			"label=site%3Ds1":                    "beta",
		} {
			var page fleet.HostPage
			r.must(request{method: get, path: "/api/hosts?" + query, as: admin}, &page)
			var names []string
			for _, h := range page.Hosts {
				names = append(names, h.Name)
			}
			if got := strings.Join(names, " "); got != want || page.Total != int64(len(names)) {
				t.Errorf("%s: got %q of %d, want %q", query, got, page.Total, want)
			}
			if !strings.Contains(query, "sort") && !strings.Contains(query, "order") {
				var o fleet.Overview
				r.must(request{method: get, path: "/api/fleet?" + query, as: admin}, &o)
				if o.Hosts.Total != page.Total || o.ServerVersion != "test" {
					t.Errorf("%s: the overview counts %d, the list %d", query, o.Hosts.Total, page.Total)
				}
			}
		}
		for _, bad := range []string{"sort=x", "order=up", "protection=x", "status=x", "older_than_seconds=-1", "group=%22", "label=%22", "status=online&status=offline", "nothing=1", "cursor=x"} {
			if a := r.call(request{method: get, path: "/api/hosts?" + bad, as: admin}); a.status != 422 && a.status != 400 {
				t.Errorf("%s: got %d, want a refusal", bad, a.status)
			}
		}
	})
}

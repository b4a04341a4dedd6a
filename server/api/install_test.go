package api

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"restic-manager/server/database/databasetest"
)

func withAgents(t *testing.T, change func(*Options)) func(*Options) {
	dir := t.TempDir()
	for name, text := range map[string]string{"restic-manager-agent-linux-amd64": "the agent", "restic-manager-agent-linux-arm64": "another", "secret.key": "not to be read"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return func(o *Options) {
		o.AgentsDir = dir
		if change != nil {
			change(o)
		}
	}
}

// installRig needs no more than one engine: nothing of this is in the database.
func installRig(t *testing.T, change func(*Options)) *rig {
	t.Helper()
	r := newRig(t, databasetest.Engines[0], withAgents(t, change))
	if err := r.access.EnsureAdmin(t.Context(), adminName, goodSecret); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestAgentIsSentWholeOrNotAtAll(t *testing.T) {
	t.Parallel()
	r := installRig(t, nil)
	a := r.must(request{method: "GET", path: "/download/agent/linux-amd64"}, nil)
	tag := `"` + sha("the agent") + `"`
	if string(a.body) != "the agent" || a.header.Get("Content-Length") != "9" || a.header.Get("ETag") != tag || a.header.Get("Content-Type") != "application/octet-stream" {
		t.Errorf("got %q with %v", a.body, a.header)
	}
	checkHeaders(t, "/download/agent/linux-amd64", a)
	for _, have := range []string{tag, "W/" + tag, `"x", ` + tag, "*"} {
		if a := r.call(request{method: "GET", path: "/download/agent/linux-amd64", header: http.Header{"If-None-Match": {have}}}); a.status != 304 || len(a.body) != 0 {
			t.Errorf("If-None-Match %s: got %d, want 304", have, a.status)
		}
	}
	if a := r.call(request{method: "GET", path: "/download/agent/linux-amd64", header: http.Header{"If-None-Match": {`"x"`}, "Range": {"bytes=0-2"}}}); a.status != 200 || string(a.body) != "the agent" {
		t.Errorf("another copy, and a range: got %d %q", a.status, a.body)
	}
}

func TestNothingButAgentsIsSent(t *testing.T) {
	t.Parallel()
	r := installRig(t, nil)
	for _, name := range []string{"linux-riscv64", "windows-amd64", "", ".", "..", "secret.key", "..%2fsecret.key", "%2e%2e%2fsecret.key", "linux-amd64%00", "linux-amd64/", "linux-amd64%2f..", "linux-*", "LINUX-AMD64", "linux-amd64.sha256", "restic-manager-agent-linux-amd64"} {
		if a := r.call(request{method: "GET", path: "/download/agent/" + name}); a.status != 404 || a.code() != "not_found" || strings.Contains(string(a.body), "linux-amd64") {
			t.Errorf("%q: got %d %s", name, a.status, a.body)
		}
	}
	for _, path := range []string{"/download", "/download/", "/download/agent", "/download/agents/linux-amd64"} {
		if a := r.call(request{method: "GET", path: path}); a.status != 404 {
			t.Errorf("%s: got %d", path, a.status)
		}
	}
}

func TestScriptIsMadeForTheAddressItIsAskedAt(t *testing.T) {
	t.Parallel()
	proxy := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	for name, c := range map[string]struct {
		change     func(*Options)
		host       string
		forwarded  string
		want       string // empty: refused
		kind, tail string
	}{
		"as asked":              {nil, "127.0.0.1:80", "", "http://127.0.0.1:80", "none", " | sh -s --"},
		"another machine":       {nil, "backup.example:8080", "", "http://backup.example:8080", "none", " | sh -s -- --insecure-http"},
		"public URL":            {func(o *Options) { o.PublicURL = "https://backup.example" }, "evil.example", "", "https://backup.example", "public", " | sh -s --"},
		"a trusted proxy's TLS": {func(o *Options) { o.TrustedProxies = proxy }, "backup.example", "https", "https://backup.example", "public", " | sh -s --"},
		"anybody's word of TLS": {nil, "localhost", "https", "http://localhost", "none", " | sh -s --"},
		"IPv6":                  {nil, "[::1]:8080", "", "http://[::1]:8080", "none", " | sh -s --"},
		"a quote":               {nil, "a'b", "", "", "", ""},
		"a command":             {nil, "$(id)", "", "", "", ""},
		"a path":                {nil, "a/b", "", "", "", ""},
		"a user":                {nil, "u@a", "", "", "", ""},
		"no port":               {nil, "a:", "", "", "", ""},
		"a wrong port":          {nil, "a:99999", "", "", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := installRig(t, c.change)
			ask := func(path string, as principal) answered {
				q := httptest.NewRequest("GET", path, nil)
				q.Host = c.host
				if c.forwarded != "" {
					q.Header.Set("X-Forwarded-Proto", c.forwarded)
				}
				w := httptest.NewRecorder()
				for k, v := range as {
					q.Header[k] = v
				}
				q.RemoteAddr = "127.0.0.1:1"
				r.ServeHTTP(w, q)
				return answered{w.Code, w.Header(), w.Body.Bytes()}
			}
			a := ask("/install.sh", nil)
			if c.want == "" {
				if a.status != 400 || strings.Contains(string(a.body), c.host) {
					t.Errorf("got %d %s, want 400", a.status, a.body)
				}
				return
			}
			if a.status != 200 || !strings.Contains(string(a.body), "\nmade_for='"+c.want+"'\n") || a.header.Get("Content-Type") != "text/x-shellscript; charset=utf-8" {
				t.Errorf("got %d %.300s, want a script for %s", a.status, a.body, c.want)
			}
			var g InstallGuide
			in := r.must(request{method: "POST", path: "/api/auth/login", header: http.Header{"X-Forwarded-Proto": {c.forwarded}},
				body: toJSON(t, map[string]string{"username": adminName, "password": goodSecret})}, nil)
			cookie, _, _ := strings.Cut(in.header.Get("Set-Cookie"), ";")
			as := principal{"Cookie": {cookie}}
			if a := ask("/api/install", as); a.status != 200 || json.Unmarshal(a.body, &g) != nil {
				t.Fatalf("got %d %s", a.status, a.body)
			}
			if g.ServerURL != c.want || g.Certificate != c.kind || !strings.HasSuffix(g.Command, c.tail) || !strings.HasSuffix(g.WgetCommand, c.tail) || len(g.Platforms) != 2 ||
				g.Platforms[0] != (AgentPlatform{"linux", "amd64", 9, sha("the agent"), c.want + "/download/agent/linux-amd64"}) {
				t.Errorf("got %+v", g)
			}
		})
	}
}

func TestServerWithoutAgentsSaysSo(t *testing.T) {
	t.Parallel()
	r := installRig(t, func(o *Options) { o.AgentsDir = filepath.Join(o.AgentsDir, "none") })
	if a := r.call(request{method: "GET", path: "/install.sh"}); a.status != 404 || !strings.Contains(a.problem(t).Detail, "--agents-dir") {
		t.Errorf("got %d %s, want 404 with what to do", a.status, a.body)
	}
	a := r.must(request{method: "GET", path: "/api/install", as: r.signIn(adminName)}, nil)
	if !strings.Contains(string(a.body), `"platforms":[]`) {
		t.Errorf("got %s, want no platforms", a.body)
	}
}

package main

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"restic-manager/shared/wire"
)

// managed is a server with an administrator and a key.
type managed struct {
	*running
	t           *testing.T
	cookie, key string
}

func newManaged(t *testing.T) *managed {
	t.Helper()
	m := &managed{running: startServer(t, t.TempDir(), nil), t: t}
	status, cookies := m.call(t, "POST", "/api/setup", "", credentials{"code": setupCode(t, m.running), "username": "ann", "password": password}, nil)
	if status != 204 || len(cookies) != 1 {
		t.Fatalf("set-up: got %d", status)
	}
	m.cookie = cookies[0].Name + "=" + cookies[0].Value
	m.key = m.makeKey(map[string]any{"name": "ci", "role": "operator"})
	return m
}

func (m *managed) makeKey(body map[string]any) string {
	m.t.Helper()
	var key struct{ Secret string }
	if status, _ := m.call(m.t, "POST", "/api/api-keys", m.cookie, body, &key); status != 201 {
		m.t.Fatalf("make a key: got %d", status)
	}
	return key.Secret
}

// do is a call of the administrator that must succeed.
func (m *managed) do(method, path string, body, into any) {
	m.t.Helper()
	if status, _ := m.call(m.t, method, path, m.cookie, body, into); status/100 != 2 {
		m.t.Fatalf("%s %s: got %d", method, path, status)
	}
}

func (m *managed) enroll(name string) (id string) {
	m.t.Helper()
	var token struct{ Token string }
	m.do("POST", "/api/enrollment-tokens", map[string]any{"name": name}, &token)
	secret := make([]byte, 32)
	rand.Read(secret)
	sum := sha256.Sum256([]byte(wire.AgentTokenPrefix + hex.EncodeToString(secret)))
	var host wire.EnrollReply
	m.do("POST", "/api/agents/enroll", wire.EnrollRequest{Token: token.Token, AgentTokenSHA256: hex.EncodeToString(sum[:]), Hostname: name, OS: "linux", Arch: "amd64", AgentVersion: "1", ProtocolVersion: 1}, &host)
	return host.HostID
}

// asCode runs apply or export against the server.
func (m *managed) asCode(env []string, args ...string) (code int, stdout, stderr string) {
	m.t.Helper()
	return command(m.t, append([]string{"RESTIC_MANAGER_API_KEY=" + m.key, "RESTIC_MANAGER_SERVER=" + m.url}, env...), "", args...)
}

func (m *managed) export() string {
	m.t.Helper()
	code, out, stderr := m.asCode(nil, "export")
	if code != 0 {
		m.t.Fatalf("export: got %d %s", code, stderr)
	}
	return out
}

func fleetIn(t *testing.T, text string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "fleet.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const wholeFleet = `version: 1
repositories:
  - name: Off site
    url: rest:https://storage.example/{host}
    append_only: true
    password: {env: OFF_SITE_PASSWORD}
    env:
      RESTIC_REST_USERNAME: {env: REST_USER}
      RESTIC_REST_PASSWORD: {env: REST_PASSWORD}
    runner: db1
    maintenance: {forget: "0 5 * * *", enabled: true}
hosts:
  - name: web1
    labels: {env: prod}
policies:
  - name: Servers
    repository: Off site
    hosts: {labels: {env: prod}, names: [db1]}
    backup: {paths: [/etc, /srv], excludes: ["*.tmp"]}
    schedule: {cron: 30 2 * * *, zone: Europe/Berlin, spread_seconds: 3600}
    keep: {daily: 7}
  - name: Machines' own
    enabled: false
    hosts: {all: true}
    backup: {paths: [/etc]}
    schedule: {cron: "@daily", zone: UTC}
`

var wholeSecrets = []string{"OFF_SITE_PASSWORD=canary-password", "REST_USER=canary-user", "REST_PASSWORD=canary-secret"}

func TestApplyMakesAServerWhatTheFileSaysAndThenHasNothingToDo(t *testing.T) {
	m := newManaged(t)
	m.enroll("web1")
	m.enroll("db1")
	file := fleetIn(t, wholeFleet)
	empty := m.export()

	code, out, stderr := m.asCode(wholeSecrets, "apply", "-f", file, "--plan")
	if code != exitPending {
		t.Fatalf("plan: got %d %s%s, want %d", code, out, stderr, exitPending)
	}
	for _, want := range []string{"+ make repository Off site\n", "    url: rest:https://storage.example/{host}\n", "    runner: db1\n", "~ change host web1\n", "    labels.env: (not set) -> prod\n",
		"+ make policy Servers\n", "    repository: Off site\n", "    hosts.names: db1\n", "    machines: 1 new (db1)\n", "before this plan changes them", "3 to make, 1 to change, 0 to remove.\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("plan: %q is missing in\n%s", want, out)
		}
	}
	if m.export() != empty {
		t.Error("a plan changed something")
	}
	code, out, stderr = m.asCode(wholeSecrets, "apply", "-f", file, "--yes")
	if code != 0 || !strings.Contains(out, "done: make policy Servers\n") || !strings.HasSuffix(out, "Applied 4 changes.\n") {
		t.Fatalf("apply: got %d %s%s", code, out, stderr)
	}
	for _, again := range []string{"--plan", "--yes", "--prune"} {
		if code, out, stderr := m.asCode(wholeSecrets, "apply", "-f", file, again); code != 0 || !strings.Contains(out, "Nothing is to do") {
			t.Errorf("again with %s: got %d %s%s", again, code, out, stderr)
		}
	}
	if log := out + stderr + m.err.String() + m.out.String() + m.export(); strings.Contains(log, "canary") {
		t.Errorf("a secret is told: %s", log)
	}
	var revealed struct{ Env map[string]string }
	var list struct{ Repositories []struct{ ID string } }
	m.do("GET", "/api/repositories", nil, &list)
	m.do("POST", "/api/repositories/"+list.Repositories[0].ID+"/reveal", map[string]any{"current_password": password}, &revealed)
	if revealed.Env["RESTIC_REST_PASSWORD"] != "canary-secret" {
		t.Errorf("the server got %v", revealed)
	}

	exported := m.export()
	if again := m.export(); again != exported {
		t.Errorf("two exports differ:\n%s\n%s", exported, again)
	}
	if code, out, stderr := m.asCode(nil, "apply", "-f", fleetIn(t, exported), "--plan", "--prune"); code != 0 {
		t.Errorf("the export of the server itself: got %d %s%s, want nothing to do", code, out, stderr)
	}
}

func TestAnExportMakesAnotherServerTheSame(t *testing.T) {
	one, other := newManaged(t), newManaged(t)
	for _, m := range []*managed{one, other} {
		m.enroll("web1")
		m.enroll("db1")
	}
	file := strings.NewReplacer("    env:\n      RESTIC_REST_USERNAME: {env: REST_USER}\n      RESTIC_REST_PASSWORD: {env: REST_PASSWORD}\n", "").Replace(wholeFleet)
	if code, _, stderr := one.asCode(wholeSecrets, "apply", "--yes", "-f", fleetIn(t, file)); code != 0 {
		t.Fatalf("apply: got %d %s", code, stderr)
	}
	path := filepath.Join(t.TempDir(), "exported.yaml")
	if code, _, stderr := one.asCode(nil, "export", "-o", path); code != 0 {
		t.Fatalf("export: got %d %s", code, stderr)
	}
	if code, out, stderr := other.asCode(nil, "apply", "--yes", "-f", path); code != 0 || !strings.Contains(out, "a new password is made") {
		t.Fatalf("apply of the export: got %d %s%s", code, out, stderr)
	}
	if got, want := other.export(), one.export(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestApplyAsksBeforeItDoes(t *testing.T) {
	m := newManaged(t)
	file := fleetIn(t, "version: 1\nrepositories:\n  - {name: A, url: /srv/a}\n")
	ask := func(terminal bool, answer string) (int, string) {
		var out, errs buffer
		c := console{out: &out, err: &errs, in: strings.NewReader(answer), env: []string{"RESTIC_MANAGER_API_KEY=" + m.key}, file: "/nonexistent", terminal: func() bool { return terminal }}
		code := execute(t.Context(), c, []string{"apply", "-f", file, "--server", m.url})
		return code, out.String() + errs.String()
	}
	before := m.export()
	for name, c := range map[string]struct {
		terminal bool
		answer   string
		want     int
		says     string
	}{
		"no terminal": {false, "y\n", exitUnasked, "give --yes"}, "no": {true, "n\n", 1, "Nothing was applied"}, "nothing": {true, "\n", 1, "Apply this change? [y/N]"},
		"the end": {true, "", 1, "Nothing was applied"}, "a slip": {true, "yx\n", 1, "Nothing was applied"},
	} {
		if code, said := ask(c.terminal, c.answer); code != c.want || !strings.Contains(said, c.says) || m.export() != before {
			t.Errorf("%s: got %d %s, want %d, %q and no change", name, code, said, c.want, c.says)
		}
	}
	if code, said := ask(true, "y\n"); code != 0 || m.export() == before {
		t.Errorf("yes: got %d %s", code, said)
	}
}

func TestApplyChangesAndRemovesWhatTheFileSays(t *testing.T) {
	m := newManaged(t)
	m.enroll("web1")
	m.enroll("db1")
	if code, _, stderr := m.asCode(wholeSecrets, "apply", "--yes", "-f", fleetIn(t, wholeFleet)); code != 0 {
		t.Fatal(stderr)
	}
	changed := strings.NewReplacer("30 2 * * *", "0 3 * * *", "[/etc, /srv]", "[/etc, /home]", "daily: 7", "daily: 3", "names: [db1]", "names: [web1]", "append_only: true", "append_only: false",
		"labels: {env: prod}\np", "labels: {env: prod, site: b}\np").Replace(wholeFleet)
	code, out, stderr := m.asCode(append(wholeSecrets, "REST_PASSWORD=canary-other"), "apply", "--plan", "-f", fleetIn(t, changed))
	if code != exitPending {
		t.Fatalf("got %d %s%s", code, out, stderr)
	}
	for _, want := range []string{"    schedule.cron: 30 2 * * * -> 0 3 * * *\n", "    backup.paths: -/srv +/home\n", "    keep.daily: 7 -> 3\n", "    hosts.names: db1 -> web1\n",
		"    append_only: yes -> (not set)\n", "(other values)", "    machines: 1 no more (db1), 1 as before\n", "retention would remove none of 0 snapshots", "0 to make, 3 to change, 0 to remove."} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
	if strings.Contains(out, "canary") {
		t.Errorf("a secret is told: %s", out)
	}
	less := "version: 1\n"
	if code, out, _ := m.asCode(nil, "apply", "--plan", "-f", fleetIn(t, less)); code != 0 || !strings.Contains(out, "Nothing is to do") {
		t.Errorf("without --prune: got %d %s", code, out)
	}
	code, out, stderr = m.asCode(nil, "apply", "--yes", "--prune", "-f", fleetIn(t, less))
	if !strings.Contains(out, "- remove policy Servers\n") || !strings.Contains(out, "- remove repository Off site\n") || !strings.Contains(out, "the server will refuse") {
		t.Errorf("with --prune: got %d %s%s", code, out, stderr)
	}
	// The hosts keep the repository that the policy gave them: the server refuses to forget it.
	if code != 1 || !strings.Contains(stderr, "Applied 2 of 3 changes. Not applied:\n  remove repository Off site\n") || !strings.Contains(stderr, `remove repository "Off site": this repository is used by`) {
		t.Errorf("what was applied and what was not: got %d %s", code, stderr)
	}
}

func TestFilesThatDoNotFitTheServerAreRefusedBeforeAnythingIsDone(t *testing.T) {
	m := newManaged(t)
	m.enroll("db1")
	before := m.export()
	policyFor := func(more string) string {
		return "version: 1\npolicies:\n  - name: P\n    backup: {paths: [/etc]}\n    schedule: {cron: '@daily', zone: UTC}\n" + more
	}
	for name, c := range map[string]struct{ text, says string }{
		"an unknown host":           {policyFor("    hosts: {names: [web9]}"), `:3: policy "P": hosts.names: there is no host "web9"`},
		"an unknown repository":     {policyFor("    hosts: {all: true}\n    repository: Nowhere"), `:3: policy "P": repository: there is no repository "Nowhere"`},
		"an unknown runner":         {"version: 1\nrepositories:\n  - {name: A, url: /a, runner: web9}", `:3: repository "A": runner: there is no host "web9"`},
		"a variable that is unset":  {"version: 1\nrepositories:\n  - name: A\n    url: /a\n    password: {env: UNSET}", `:5: the environment variable UNSET is not set; it is to give the password of repository "A"`},
		"a file that is not there":  {"version: 1\nrepositories:\n  - name: A\n    url: /a\n    env: {AWS_ACCESS_KEY_ID: {file: /nonexistent}}", `:5: open /nonexistent: no such file or directory; it is to give env.AWS_ACCESS_KEY_ID of repository "A"`},
		"a key that no backend has": {"version: 1\nrepositories:\n  - name: A\n    url: /a\n    env: {LD_PRELOAD: {env: HOME}}", `:3: repository "A": `},
		"values that nobody knows":  {"version: 1\nrepositories:\n  - {name: A, url: /a, env_keys: [AWS_ACCESS_KEY_ID]}", `:3: repository "A": env_keys names AWS_ACCESS_KEY_ID, and the server has none`},
		"what the server refuses":   {policyFor("    hosts: {all: true}\n    keep: {daily: -1}"), `:3: policy "P": `},
		"a wrong cron expression":   {strings.Replace(policyFor("    hosts: {all: true}"), "@daily", "61 * * * *", 1), `:3: policy "P": schedule.cron`},
		"a wrong url":               {"version: 1\nrepositories:\n  - {name: A, url: nowhere}\n  - {name: B, url: /b}", `:3: repository "A": repository: give an absolute path`},
		"an unknown field":          {"version: 1\nnothing: 1", ":2: nothing: there is no such field"},
	} {
		code, out, stderr := m.asCode([]string{"HOME=/root"}, "apply", "--yes", "-f", fleetIn(t, c.text))
		if code != 1 || !strings.Contains(stderr, c.says) || out != "" {
			t.Errorf("%s: got %d %s%s, want 1 and %q", name, code, out, stderr, c.says)
		}
	}
	code, out, _ := m.asCode(nil, "apply", "--plan", "-f", fleetIn(t, "version: 1\nhosts:\n  - {name: web9, labels: {a: b}}"))
	if code != 0 || !strings.Contains(out, "! host web9 is not enrolled at this server: its labels are not set\n") {
		t.Errorf("labels of a host that is not there: got %d %s", code, out)
	}
	if m.export() != before {
		t.Error("something was changed")
	}
}

// meddler is a proxy that lets somebody else be faster: between the plan and its first change.
func (m *managed) meddler(meddle func()) *httptest.Server {
	to, err := url.Parse(m.url)
	if err != nil {
		m.t.Fatal(err)
	}
	proxy, plans := httputil.NewSingleHostReverseProxy(to), 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		proxy.ServeHTTP(w, r)
		if strings.HasSuffix(r.URL.Path, "/plan") {
			if plans++; plans == 1 {
				meddle()
			}
		}
	}))
	m.t.Cleanup(s.Close)
	return s
}

func TestWhatSomebodyElseChangedMeanwhileIsNotOverwritten(t *testing.T) {
	m := newManaged(t)
	m.enroll("web1")
	text := "version: 1\nrepositories:\n  - {name: A, url: /srv/a}\npolicies:\n  - name: P\n    hosts: {all: true}\n    backup: {paths: [/etc]}\n    schedule: {cron: '@daily', zone: UTC}\n"
	if code, _, stderr := m.asCode(nil, "apply", "--yes", "-f", fleetIn(t, text)); code != 0 {
		t.Fatal(stderr)
	}
	var policies struct {
		Policies []struct {
			ID   string
			Spec json.RawMessage
		}
	}
	m.do("GET", "/api/policies", nil, &policies)
	p := policies.Policies[0]
	var repositories struct{ Repositories []struct{ ID string } }
	m.do("GET", "/api/repositories", nil, &repositories)
	// In this order: the second file says of the repository what it was, and of the policy too.
	for _, c := range []struct {
		name, text string
		meddle     func()
		says       string
	}{
		{"a policy", strings.Replace(text, "[/etc]", "[/mine]", 1), func() {
			m.do("PUT", "/api/policies/"+p.ID, map[string]any{"name": "P", "enabled": false, "version": 1, "spec": p.Spec}, nil)
		}, `change policy "P": somebody has changed this policy meanwhile`},
		{"a repository", strings.Replace(text, "/srv/a", "/srv/mine", 1), func() {
			m.do("PATCH", "/api/repositories/"+repositories.Repositories[0].ID, map[string]any{"append_only": true}, nil)
		}, `change repository "A": somebody has changed it since the plan was made`},
	} {
		s := m.meddler(c.meddle)
		code, out, stderr := m.asCode(nil, "apply", "--yes", "-f", fleetIn(t, c.text), "--server", s.URL)
		if code != 1 || !strings.Contains(stderr, c.says) {
			t.Errorf("%s: got %d %s%s, want %q", c.name, code, out, stderr, c.says)
		}
	}
	if now := m.export(); strings.Contains(now, "mine") || !strings.Contains(now, "append_only: true") || !strings.Contains(now, "enabled: false") {
		t.Errorf("got\n%s", now)
	}
}

func TestWhoMayBeSpokenTo(t *testing.T) {
	m := newManaged(t)
	file := fleetIn(t, "version: 1\n")
	viewer := m.makeKey(map[string]any{"name": "reads", "role": "viewer"})
	for name, c := range map[string]struct {
		env  []string
		args []string
		says string
	}{
		"no server":            {[]string{"RESTIC_MANAGER_SERVER="}, []string{"export"}, "which server?"},
		"no key":               {[]string{"RESTIC_MANAGER_API_KEY="}, []string{"export"}, "the API key begins with rmk_"},
		"a wrong key":          {[]string{"RESTIC_MANAGER_API_KEY=rmk_canary"}, []string{"export"}, "This API key is not known"},
		"plain HTTP elsewhere": {nil, []string{"export", "--server=http://backup.example"}, "would send the key in the clear"},
		"no server there":      {nil, []string{"export", "--server=http://127.0.0.1:1"}, "ask 127.0.0.1:1: "},
		"a page":               {nil, []string{"export", "--server=" + m.url + "/x"}, "--server: give the server's address"},
		"a wrong pin":          {nil, []string{"export", "--cert-pin=nonsense"}, "--cert-pin"},
		"a CA file of nothing": {nil, []string{"export", "--ca-file=" + file}, "holds no certificate"},
		"no file":              {nil, []string{"apply"}, "which file?"},
		"no such file":         {nil, []string{"apply", "-f", "/nonexistent"}, "/nonexistent"},
		"no key file":          {nil, []string{"export", "--api-key-file=/nonexistent"}, "--api-key-file"},
		"a key that reads":     {[]string{"RESTIC_MANAGER_API_KEY=" + viewer}, []string{"apply", "--yes", "-f", fleetIn(t, "version: 1\nrepositories: [{name: A, url: /a}]")}, "This needs the role operator"},
	} {
		code, out, stderr := m.asCode(c.env, c.args...)
		if code != 1 || !strings.Contains(stderr, c.says) || strings.Contains(out+stderr, "canary") {
			t.Errorf("%s: got %d %s%s, want 1 and %q", name, code, out, stderr, c.says)
		}
	}
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte(viewer+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := m.asCode([]string{"RESTIC_MANAGER_API_KEY="}, "export", "--api-key-file", key); code != 0 {
		t.Errorf("a key from a file: got %d %s", code, stderr)
	}
	if code, out, _ := m.asCode(nil, "apply", "--plan", "-f", "-"); code != 1 || out != "" {
		t.Errorf("an empty standard input: got %d %s", code, out)
	}
}

func TestAPinOrACAFileDecidesWhetherTheServerIsTrusted(t *testing.T) {
	m := newManaged(t)
	to, err := url.Parse(m.url)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(httputil.NewSingleHostReverseProxy(to))
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes that are to fail
	s.StartTLS()
	defer s.Close()
	sum := sha256.Sum256(s.Certificate().Raw)
	right, wrong := fmt.Sprintf("sha256:%x", sum), fmt.Sprintf("sha256:%064x", 1)
	elsewhere := httptest.NewServer(http.RedirectHandler(s.URL, http.StatusFound))
	defer elsewhere.Close()
	for name, c := range map[string]struct {
		args []string
		ok   bool
		says string
	}{
		"nothing":     {nil, false, "certificate"},
		"a right pin": {[]string{"--cert-pin", right}, true, ""},
		"one of two":  {[]string{"--cert-pin", wrong, "--cert-pin", right}, true, ""},
		"a wrong pin": {[]string{"--cert-pin", wrong}, false, "none of --cert-pin"},
	} {
		code, _, stderr := m.asCode(nil, append([]string{"export", "--server", s.URL}, c.args...)...)
		if (code == 0) != c.ok || !strings.Contains(stderr, c.says) {
			t.Errorf("%s: got %d %s", name, code, stderr)
		}
	}
	if code, _, stderr := m.asCode(nil, "export", "--server", elsewhere.URL); code != 1 || !strings.Contains(stderr, "from another place") {
		t.Errorf("a redirect: got %d %s", code, stderr)
	}
}

// TestTheSchemaOfTheFileKnowsEveryField of the document that an export has.
func TestTheSchemaOfTheFileKnowsEveryField(t *testing.T) {
	var schema struct {
		Ref  string `json:"$ref"`
		Defs map[string]struct {
			Properties map[string]any
			Additional any `json:"additionalProperties"`
		} `json:"$defs"`
		Properties map[string]any
	}
	code, out, stderr := command(t, nil, "", "apply", "--schema")
	if err := json.Unmarshal([]byte(out), &schema); err != nil || code != 0 {
		t.Fatalf("got %d %s, %v", code, stderr, err)
	}
	for _, field := range []string{"version", "repositories", "hosts", "policies"} {
		if schema.Properties[field] == nil {
			t.Errorf("no field %s", field)
		}
	}
	if d := schema.Defs["Repository"]; d.Properties["maintenance_env"] == nil || d.Additional != false {
		t.Errorf("repository: got %+v", d)
	}
}

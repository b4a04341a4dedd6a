package fleetfile

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"restic-manager/server/policy"
)

const whole = `# A comment, and anchors, are as YAML has them.
version: 1
repositories:
  - name: Off site
    url: rest:https://storage.example/{host}
    append_only: true
    password: {file: /run/secrets/off-site}
    env:
      RESTIC_REST_USERNAME: {env: REST_USER}
    maintenance_env_keys: [RESTIC_REST_PASSWORD]
    runner: maint1
    maintenance: {forget: "0 5 * * *", enabled: true}
hosts:
  - name: web1
    labels: &prod {env: prod, spare: ""}
  - name: web2
    labels: *prod
  - name: bare
policies:
  - name: Servers
    repository: Off site
    hosts:
      labels: {env: prod}
      names: [db1, DB2]
    backup:
      paths: [/etc, /srv/a b]
      excludes: ["*.tmp", "<&>: # \\ ü😀"]
    schedule: {cron: 30 2 * * *, zone: Europe/Berlin, spread_seconds: 3600}
    keep: {daily: 7}
  - name: Off
    enabled: false
    hosts: {all: true}
    backup: {paths: [/]}
    schedule: {cron: "@daily", zone: UTC}
`

func read(t *testing.T, text string) File {
	t.Helper()
	f, err := Read("f.yaml", strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestAWrittenDocumentIsReadAsWhatItWas(t *testing.T) {
	f := read(t, whole)
	p := f.Policies[0]
	if p.Repository != "Off site" || !reflect.DeepEqual(p.HostNames, []string{"db1", "DB2"}) || !p.Enabled || p.Line != 20 || f.Policies[1].Enabled {
		t.Errorf("got %+v", p)
	}
	want := policy.Spec{Hosts: policy.Selector{Labels: map[string]string{"env": "prod"}}}
	want.Backup.Paths = []string{"/etc", "/srv/a b"}
	want.Backup.Excludes = []string{"*.tmp", "<&>: # \\ ü😀"}
	want.Schedule = policy.Timing{Cron: "30 2 * * *", Zone: "Europe/Berlin", SpreadSeconds: 3600}
	want.Keep = &policy.Keep{Daily: 7}
	if !reflect.DeepEqual(p.Spec, want) {
		t.Errorf("spec: got %+v, want %+v", p.Spec, want)
	}
	r := f.Repositories[0]
	if r.Password.File != "/run/secrets/off-site" || r.Env["RESTIC_REST_USERNAME"].Env != "REST_USER" || r.Env["RESTIC_REST_USERNAME"].Line != 9 || r.Maintenance.Forget != "0 5 * * *" {
		t.Errorf("got %+v", r)
	}
	if got := f.Hosts[1].Labels; !reflect.DeepEqual(got, map[string]string{"env": "prod", "spare": ""}) {
		t.Errorf("labels by an alias: got %v", got)
	}
	var first, second bytes.Buffer
	if err := f.Write(&first, "head", ""); err != nil {
		t.Fatal(err)
	}
	if err := read(t, first.String()).Write(&second, "head", ""); err != nil {
		t.Fatal(err)
	}
	if first.String() != second.String() || !strings.HasPrefix(first.String(), "# head\n#\nversion: 1\n") {
		t.Errorf("written, read and written again: got\n%s\nthen\n%s", &first, &second)
	}
}

// TestWrongDocuments names each thing that is wrong, with its line.
func TestWrongDocuments(t *testing.T) {
	policyWith := func(lines ...string) string {
		return "version: 1\npolicies:\n  - name: A\n    hosts: {all: true}\n    backup: {paths: [/etc]}\n    schedule: {cron: '@daily', zone: UTC}\n" + strings.Join(lines, "\n")
	}
	for name, c := range map[string]struct{ text, want string }{
		"nothing":                {"", "f.yaml: is empty"},
		"no version":             {"hosts: []", "f.yaml:1: version is missing"},
		"another version":        {"version: 2", "f.yaml:1: version: this program reads version 1"},
		"no mapping":             {"- a", "f.yaml:1: the document: give fields"},
		"not YAML":               {"version: 1\n\tx: 1", "f.yaml:2: found a tab character that violates indentation"},
		"an unknown field":       {"version: 1\npolices: []", "f.yaml:2: polices: there is no such field; there are version, repositories, hosts, policies"},
		"an unknown field below": {policyWith("    keep:", "      dayly: 7"), "f.yaml:8: policies[0].keep.dayly: there is no such field; there are last, hourly, daily"},
		"a field of the API":     {policyWith("    repository_id: x"), "f.yaml:7: policies[0].repository_id: there is no such field"},
		"text for a number":      {policyWith("    time_limit_seconds: soon"), "f.yaml:7: policies[0].time_limit_seconds: give a whole number"},
		"a number for text":      {"version: 1\nhosts:\n  - name: web1\n    labels: {rack: 7}", `f.yaml:4: hosts[0].labels.rack: give text; in quotes it is: "7"`},
		"an old boolean":         {policyWith("    enabled: yes"), "f.yaml:7: policies[0].enabled: give true or false"},
		"a list for a field":     {policyWith("    keep: [7]"), "f.yaml:7: policies[0].keep: give fields"},
		"a field for a list":     {"version: 1\nhosts: {web1: {}}", "f.yaml:2: hosts: give a list"},
		"a missing field":        {"version: 1\npolicies:\n  - name: A\n    hosts: {all: true}\n    schedule: {cron: x, zone: UTC}", "f.yaml:3: policies[0].backup is missing"},
		"a field twice":          {"version: 1\nhosts: []\nhosts: []", "f.yaml:3: hosts is there twice"},
		"a label twice":          {"version: 1\nhosts:\n  - name: a\n    labels:\n      x: a\n      x: b", "f.yaml:6: hosts[0].labels.x is there twice"},
		"a label without value":  {"version: 1\nhosts:\n  - name: a\n    labels:\n      x:", "f.yaml:5: hosts[0].labels.x has no value"},
		"a policy twice":         {policyWith("  - name: a", "    hosts: {all: true}", "    backup: {paths: [/etc]}", "    schedule: {cron: '@daily', zone: UTC}"), `f.yaml:7: policy "a" is there twice, the first time in line 3`},
		"a repository twice":     {"version: 1\nrepositories:\n  - {name: A, url: /a}\n  - {name: A, url: /b}", "f.yaml:4: repository \"A\" is there twice, the first time in line 3"},
		"a host twice":           {"version: 1\nhosts:\n  - name: a\n  - name: A", `f.yaml:4: host "A" is there twice`},
		"a secret in the file":   {"version: 1\nrepositories:\n  - name: A\n    url: /a\n    password: 'hunter2'", "f.yaml:5: repositories[0].password: give fields"},
		"a secret of two places": {"version: 1\nrepositories:\n  - name: A\n    url: /a\n    password: {env: A, file: b}", "f.yaml:5: password: give either {env: NAME} or {file: PATH}"},
		"a secret of none":       {"version: 1\nrepositories:\n  - name: A\n    url: /a\n    env:\n      K: {}", "f.yaml:6: env.K: give either"},
		"keys with and without":  {"version: 1\nrepositories:\n  - name: A\n    url: /a\n    env_keys: [K]\n    env: {K: {env: K}}", "f.yaml:3: repository \"A\" has env and env_keys"},
		"two documents":          {"version: 1\n---\nversion: 1", "f.yaml:2: a second document begins here"},
		"an item that is empty":  {policyWith("  -"), "f.yaml:7: policies[1] is empty"},
		"a name of nothing":      {"version: 1\nhosts:\n  - name: ' '", "f.yaml:3: host \" \": give a name"},
	} {
		_, err := Read("f.yaml", strings.NewReader(c.text))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the secret is told: %v", name, err)
		}
	}
	many := "version: 1\nhosts:\n" + strings.Repeat("  - {nam: a}\n", 30)
	if _, err := Read("f.yaml", strings.NewReader(many)); err == nil || strings.Count(err.Error(), "\n") != maxErrors || !strings.HasSuffix(err.Error(), "and 40 more") {
		t.Errorf("many errors: got %v", err)
	}
}

// TestAnAliasThatGrowsIsRefused stands for a document that takes more memory than its text.
func TestAnAliasThatGrowsIsRefused(t *testing.T) {
	text := "version: 1\nhosts:\n  - &a {name: x}\n"
	labels := "x: &l0 [" + strings.Repeat("a,", 10) + "]\n"
	for i := range 9 {
		labels += "y" + string(rune('0'+i)) + ": &l" + string(rune('1'+i)) + " [" + strings.Repeat("*l"+string(rune('0'+i))+",", 10) + "]\n"
	}
	if _, err := Read("f.yaml", strings.NewReader(text+labels)); err == nil {
		t.Error("got nil")
	}
	if _, err := Read("f.yaml", strings.NewReader("version: 1\npolicies: &p [*p]\n")); err == nil {
		t.Error("an alias within itself: got nil")
	}
}

// TestFieldsOfLaterSpecsAreReadAsJSONHasThem: lists of structs, times, and structs within structs.
func TestFieldsOfLaterSpecsAreReadAsJSONHasThem(t *testing.T) {
	type inner struct {
		From time.Time `json:"from"`
	}
	type later struct {
		inner
		Windows []struct {
			Days []string `json:"days"`
			Part float64  `json:"part,omitempty"`
		} `json:"windows"`
		On *bool `json:"on,omitempty"`
	}
	var n yaml.Node
	if err := yaml.Unmarshal([]byte("from: 2027-01-02T03:04:05Z\nwindows: [{days: [mon], part: 0.5}, {days: [], part: 1}]\non: true\n"), &n); err != nil {
		t.Fatal(err)
	}
	c := &checker{Problems: &Problems{}}
	v, ok := c.value(n.Content[0], reflect.TypeFor[later](), "")
	var got later
	if !ok || len(c.List) > 0 || typed(v.(map[string]any), &got) != nil || got.From.Year() != 2027 || len(got.Windows) != 2 || got.Windows[0].Part != 0.5 || !*got.On {
		t.Errorf("got %+v, %v", got, c.List)
	}
	if err := yaml.Unmarshal([]byte("from: soon\nwindows: [{part: x}]\n"), &n); err != nil {
		t.Fatal(err)
	}
	c.value(n.Content[0], reflect.TypeFor[later](), "")
	if said := c.Error(); len(c.List) != 3 || !strings.Contains(said, ":1: from: ") || !strings.Contains(said, ":2: windows[0].part: give a number") || !strings.Contains(said, ":2: windows[0].days is missing") {
		t.Errorf("got %s", said)
	}
}

func TestADocumentOfNothingIsRefused(t *testing.T) {
	for _, text := range []string{"", "# nothing\n", "~", "null", "!", "--- !\n", "!x", "!!null x"} {
		if f, err := Read("f.yaml", strings.NewReader(text)); err == nil {
			t.Errorf("%q: got %+v, want an error", text, f)
		}
	}
}

// FuzzRead holds that what is read can be written, and is then read as the same.
func FuzzRead(f *testing.F) {
	f.Add(whole)
	f.Add("!")
	f.Fuzz(func(t *testing.T, text string) {
		one, err := Read("f.yaml", strings.NewReader(text))
		if err != nil {
			return
		}
		var first, second bytes.Buffer
		if err := one.Write(&first); err != nil {
			t.Fatal(err)
		}
		again, err := Read("f.yaml", bytes.NewReader(first.Bytes()))
		if err != nil {
			t.Fatalf("%v in\n%s", err, &first)
		}
		if err := again.Write(&second); err != nil || first.String() != second.String() {
			t.Fatalf("got %v and\n%s\nthen\n%s", err, &first, &second)
		}
	})
}

package e2e

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"restic-manager/shared/wire"
)

// asCode runs the program as whoever keeps a file of the fleet does: with a key in its environment, and nothing else.
func (s *server) asCode(key string, args ...string) (code int, stdout, stderr string) {
	s.t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.Command(program(s.t, "restic-manager", nil), args...)
	cmd.Env = []string{"RESTIC_MANAGER_SERVER=" + s.url, "RESTIC_MANAGER_API_KEY=" + key}
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		return e.ExitCode(), out.String(), errs.String()
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return 0, out.String(), errs.String()
}

func (s *server) scopedKey(scopes ...string) string {
	s.t.Helper()
	var key struct{ Secret string }
	s.do("POST", "/api/api-keys", map[string]any{"name": strings.Join(scopes, " "), "scopes": scopes}, &key)
	return key.Secret
}

func TestAFleetIsKeptAsAFile(t *testing.T) {
	t.Parallel()
	for _, engine := range databases {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			fleetAsAFile(t, engine)
		})
	}
}

func fleetAsAFile(t *testing.T, engine string) {
	one := newServer(t, engine)
	a := newAgent(t, one, "0.18.0")
	a.init()
	one.do("PATCH", "/api/hosts/"+a.hostID, map[string]any{"name": "web1"}, nil)
	data := filepath.Join(a.dir, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "fleet.yaml")
	write := func(keep string) {
		text := `version: 1
repositories:
  - name: Shelf
    url: ` + filepath.Join(a.dir, "shelf") + `/{host}
    maintenance: {forget: "0 5 * * *", zone: Europe/Berlin}
hosts:
  - name: web1
    labels: {env: prod}
policies:
  - name: Servers
    hosts: {labels: {env: prod}}
    backup: {paths: [` + data + `]}
    schedule: {cron: "0 0 1 1 *", zone: UTC}
    keep: {last: ` + keep + `}
  - name: To the shelf
    enabled: false
    repository: Shelf
    hosts: {names: [web1]}
    backup: {paths: [/etc]}
    schedule: {cron: "@daily", zone: UTC}
`
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("9")
	reads := one.scopedKey("fleet:read")
	key := one.scopedKey("fleet:read", "policies:write", "repositories:write", "hosts:write")
	if code, _, stderr := one.asCode(reads, "apply", "--yes", "-f", file); code != 1 || !strings.Contains(stderr, "needs the role operator") {
		t.Errorf("a key that reads: got %d %s", code, stderr)
	}
	if code, out, stderr := one.asCode(key, "apply", "-f", file); code != 3 || !strings.Contains(out, "3 to make, 1 to change") || !strings.Contains(stderr, "--yes") {
		t.Errorf("nobody to ask: got %d %s%s", code, out, stderr)
	}
	if code, out, stderr := one.asCode(key, "apply", "--yes", "-f", file); code != 0 {
		t.Fatalf("apply: got %d %s%s", code, out, stderr)
	}
	if code, out, _ := one.asCode(key, "apply", "--plan", "--prune", "-f", file); code != 0 {
		t.Errorf("again: got %d %s", code, out)
	}

	// The policy backs up twice; the plan of a smaller rule says what that would cost.
	var list struct {
		Policies []struct{ ID, Name string }
	}
	one.do("GET", "/api/policies", nil, &list)
	id := ""
	for _, p := range list.Policies {
		if p.Name == "Servers" {
			id = p.ID
		}
	}
	for range 2 {
		if err := os.WriteFile(filepath.Join(data, "file"), []byte(time.Now().String()), 0o600); err != nil {
			t.Fatal(err)
		}
		var ran struct {
			Jobs []struct {
				JobID string `json:"job_id"`
			}
		}
		one.do("POST", "/api/policies/"+id+"/run", map[string]any{}, &ran)
		if len(ran.Jobs) != 1 {
			t.Fatalf("got %+v, want one job", ran)
		}
		one.reaches(ran.Jobs[0].JobID, time.Minute, wire.StateSucceeded)
	}
	eventually(t, time.Minute, "the list of snapshots", func() error {
		if n := len(one.snapshots(a.hostID).Snapshots); n != 2 {
			return errors.New("there are not two yet")
		}
		return nil
	})
	write("1")
	code, out, stderr := one.asCode(key, "apply", "--plan", "-f", file)
	if code != 2 || !strings.Contains(out, "keep.last: 9 -> 1") || !strings.Contains(out, "retention would remove 1 of 2 snapshots, at web1") {
		t.Errorf("plan of a smaller rule: got %d %s%s", code, out, stderr)
	}
	write("9")

	// What the one server has, another becomes.
	exported := filepath.Join(t.TempDir(), "exported.yaml")
	if code, _, stderr := one.asCode(reads, "export", "-o", exported); code != 0 {
		t.Fatalf("export: got %d %s", code, stderr)
	}
	other := newServer(t, engine)
	b := enrollAgent(t, other, "")
	other.do("PATCH", "/api/hosts/"+b.hostID, map[string]any{"name": "web1"}, nil)
	all := other.scopedKey("fleet:read", "policies:write", "repositories:write", "hosts:write")
	if code, out, stderr := other.asCode(all, "apply", "--yes", "-f", exported); code != 0 {
		t.Fatalf("apply of the export: got %d %s%s", code, out, stderr)
	}
	_, got, _ := other.asCode(all, "export")
	want, err := os.ReadFile(exported)
	if err != nil || got != string(want) {
		t.Errorf("the other server's export: got\n%s\nwant\n%s %v", got, want, err)
	}
	for text, says := range map[string]string{"version: 1\npolicys: []\n": ":2: policys: there is no such field", "version: 1\nhosts:\n  - {name: a}\n  - {name: A}\n": `:4: host "A" is there twice`} {
		if err := os.WriteFile(exported, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if code, _, stderr := other.asCode(all, "apply", "--yes", "-f", exported); code != 1 || !strings.Contains(stderr, says) {
			t.Errorf("a wrong file: got %d %s, want %q", code, stderr, says)
		}
	}
}

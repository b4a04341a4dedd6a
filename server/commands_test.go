package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"restic-manager/shared/wire"
)

func TestExitCodes(t *testing.T) {
	for _, c := range []struct {
		name string
		args []string
		want int
		says string
	}{
		{"help", []string{"--help"}, 0, ""},
		{"help of a command", []string{"serve", "--help"}, 0, ""},
		{"no command", nil, 2, "--help"},
		{"unknown command", []string{"dance"}, 2, "dance"},
		{"unknown flag", []string{"serve", "--bogus"}, 2, "--bogus"},
		{"flag of a wrong kind", []string{"serve", "--offline-after=soon"}, 2, "soon"},
		{"missing argument", []string{"user", "add"}, 2, "username"},
		{"wrong role", []string{"user", "add", "ann", "--role=root"}, 2, "administrator"},
		{"wrong setting", []string{"serve", "--database=mysql://x"}, 78, "postgres://"},
		{"missing file", []string{"serve", "--config=/nonexistent.yaml"}, 78, "restic-manager: read the configuration: open /nonexistent.yaml"},
		{"no database", []string{"user", "list", "--data-dir=/nonexistent"}, 78, "migrate up"},
		{"no server", []string{"healthcheck", "--listen=127.0.0.1:1"}, 1, "does not answer"},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, _, stderr := command(t, nil, "", c.args...)
			if code != c.want || !strings.Contains(stderr, c.says) {
				t.Errorf("got %d and %q, want %d and %q", code, stderr, c.want, c.says)
			}
		})
	}
}

func TestConfigPrintShowsWhatWinsAndNoSecret(t *testing.T) {
	file := filepath.Join(t.TempDir(), "server.yaml")
	if err := os.WriteFile(file, []byte("log_keep: 30d\noffline_after: 3m\nlisten: ':1'\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := []string{"RESTIC_MANAGER_OFFLINE_AFTER=2m", "RESTIC_MANAGER_LISTEN=:2", "RESTIC_MANAGER_METRICS_TOKEN=canary-0123456789", "DATABASE_URL=postgres://u:canary@h/d"}
	code, out, stderr := command(t, env, "", "config", "print", "--config", file, "--listen", ":3")
	if code != 0 || strings.Contains(out+stderr, "canary") {
		t.Errorf("got exit code %d, %s%s", code, out, stderr)
	}
	for _, want := range []string{"listen: :3  # flag\n", "offline_after: 2m  # RESTIC_MANAGER_OFFLINE_AFTER\n", "log_keep: 30d  # file\n", "log_level: info  # default\n", "metrics_token: (hidden)  #", "database: postgres://u@h/d  # DATABASE_URL\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
}

func TestOperatorsAreManagedFromTheCommandLineBesideTheServer(t *testing.T) {
	dir := t.TempDir()
	r := startServer(t, dir, nil)
	data := "--data-dir=" + dir

	code, _, stderr := command(t, nil, "", "user", "add", "ann", data)
	if code != 1 || !strings.Contains(stderr, "--role administrator") {
		t.Errorf("a first operator who is none: got %d %q", code, stderr)
	}
	out := mustRun(t, "user", "add", "ann", "--role=administrator", data)
	made := regexp.MustCompile(`shown only now: (\S+)\n`).FindStringSubmatch(out)
	if made == nil {
		t.Fatalf("no password in %q", out)
	}
	status, cookie := r.login(t, "ann", made[1])
	if status != 204 {
		t.Fatalf("sign-in with the password that was made: got %d, want 204", status)
	}
	if status, _ := r.call(t, "POST", "/api/setup", "", credentials{"code": setupCode(t, r), "username": "eve", "password": password}, nil); status != 409 {
		t.Errorf("the printed code after that: got %d, want 409", status)
	}

	code, out, stderr = command(t, nil, password+"\n", "user", "add", "bob", "--role=viewer", "--password-file=-", data)
	if code != 0 || out != "" {
		t.Errorf("password by standard input: got %d %q %q", code, out, stderr)
	}
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("a new one for ann\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	mustRun(t, "user", "reset-password", "ANN", "--password-file="+file, data)
	if status, _ := r.login(t, "ann", "a new one for ann"); status != 204 {
		t.Errorf("sign-in with the new password: got %d, want 204", status)
	}
	eventually(t, "the old session has ended", func() bool {
		status, _ := r.call(t, "GET", "/api/auth/me", cookie, nil, nil)
		return status == 401
	})

	for _, c := range []struct{ args, says string }{
		{"user add Ann --role=viewer", "already"}, {"user add x!", "letters"}, {"user reset-password nobody", "no such operator"}, {"user add carl --password-file=/nonexistent", "/nonexistent"},
	} {
		if code, out, stderr := command(t, nil, "", append(strings.Fields(c.args), data)...); code == 0 || out != "" || !strings.Contains(stderr, c.says) {
			t.Errorf("%s: got %d %q %q, want %q", c.args, code, out, stderr, c.says)
		}
	}
	var list []struct {
		Username, Role string
		LastLoginAt    *string `json:"last_login_at"`
	}
	if err := json.Unmarshal([]byte(mustRun(t, "user", "list", "--json", data)), &list); err != nil || len(list) != 2 ||
		list[0].Username != "ann" || list[0].Role != "administrator" || list[0].LastLoginAt == nil || list[1].Username != "bob" || list[1].LastLoginAt != nil {
		t.Errorf("list: got %+v, %v", list, err)
	}
	table := mustRun(t, "user", "list", data)
	if lines := strings.Split(table, "\n"); len(lines) != 4 || !strings.HasPrefix(lines[2], "bob") || !strings.Contains(lines[2], "never") {
		t.Errorf("table: got\n%s", table)
	}
}

func TestATokenIsPrintedAloneForScripts(t *testing.T) {
	dir := t.TempDir()
	startServer(t, dir, nil)
	out := mustRun(t, "token", "create", "--name=web1", "--label", "env=prod", "--label", "site=a", "--expires=2h", "--data-dir="+dir)
	if !regexp.MustCompile(`^` + wire.EnrollmentTokenPrefix + `[A-Za-z0-9_-]{43}\n$`).MatchString(out) {
		t.Errorf("got %q, want the token alone", out)
	}
	if code, _, stderr := command(t, nil, "", "token", "create", "--expires=999d", "--data-dir="+dir); code != 1 || stderr == "" {
		t.Errorf("a token for years: got %d %q", code, stderr)
	}
}

func TestATokenNeedsTheDatabasesKey(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	data, key := "--data-dir="+dir, filepath.Join(dir, "secret.key")
	mustRun(t, "migrate", "up", data)
	if code, _, stderr := command(t, nil, "", "token", "create", data); code != 0 || !strings.Contains(stderr, "NEW ENCRYPTION KEY") {
		t.Errorf("the first one: got %d %q, want 0 and a word on the key that was made", code, stderr)
	}
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	code, out, stderr := command(t, nil, "", "token", "create", data)
	if code != 78 || out != "" || !strings.Contains(stderr, "put the copy of it there") {
		t.Errorf("without the key: got %d %q, want 78 and where the key belongs", code, stderr)
	}
	if _, err := os.Stat(key); err == nil {
		t.Error("a key that opens nothing was left behind")
	}
	if code, _, stderr := command(t, nil, "", "token", "create", data, "--key-file=/nonexistent/secret.key"); code != 78 || !strings.Contains(stderr, "--key-file") {
		t.Errorf("no folder for the key: got %d %q, want 78 and which flag names it", code, stderr)
	}
}

func TestTheSchemaIsMadeAndToldFromTheCommandLine(t *testing.T) {
	data := "--data-dir=" + filepath.Join(t.TempDir(), "new")
	if code, _, _ := command(t, nil, "", "migrate", "status", data); code != 78 {
		t.Errorf("status of nothing: got %d, want 78", code)
	}
	mustRun(t, "migrate", "up", data)
	mustRun(t, "migrate", "up", data)
	status := mustRun(t, "migrate", "status", data)
	if !strings.Contains(status, "0004_access.sql") || strings.Contains(status, "missing") {
		t.Errorf("got\n%s", status)
	}
	mustRun(t, "user", "add", "ann", "--role=administrator", data)
}

func TestMigrateUpWaitsForNoServerAndTouchesNone(t *testing.T) {
	dir := t.TempDir()
	startServer(t, dir, nil)
	if code, _, stderr := command(t, nil, "", "migrate", "up", "--data-dir="+dir); code != 78 || !strings.Contains(stderr, "another restic-manager server") {
		t.Errorf("beside a server: got %d %q", code, stderr)
	}
}

func TestHealthcheckAsksTheServerOfTheseSettings(t *testing.T) {
	r := startServer(t, t.TempDir(), nil)
	if code, out, stderr := command(t, []string{"RESTIC_MANAGER_LISTEN=" + strings.TrimPrefix(r.url, "http://")}, "", "healthcheck"); code != 0 || out != "ok\n" {
		t.Errorf("got %d %q %q", code, out, stderr)
	}
}

func TestVersionAndContractAreJSON(t *testing.T) {
	var v struct {
		Version         string
		ProtocolVersion int `json:"protocol_version"`
	}
	if err := json.Unmarshal([]byte(mustRun(t, "version", "--json")), &v); err != nil || v.Version == "" || v.ProtocolVersion != wire.ProtocolVersion {
		t.Errorf("version: got %+v, %v", v, err)
	}
	if out := mustRun(t, "version"); !strings.HasPrefix(out, "restic-manager "+v.Version+" ") {
		t.Errorf("version: got %q", out)
	}
	var contract struct {
		OpenAPI string
		Paths   map[string]any
	}
	if err := json.Unmarshal([]byte(mustRun(t, "openapi")), &contract); err != nil || !strings.HasPrefix(contract.OpenAPI, "3.1") || contract.Paths["/api/setup"] == nil {
		t.Errorf("openapi: got %s with %d paths, %v", contract.OpenAPI, len(contract.Paths), err)
	}
}

func TestLocalURL(t *testing.T) {
	for _, c := range []struct {
		listen, cert, want string
	}{
		{":8080", "", "http://localhost:8080"}, {"0.0.0.0:80", "", "http://localhost:80"}, {"[::]:443", "/c", "https://localhost:443"},
		{"192.0.2.1:8080", "", "http://192.0.2.1:8080"}, {"[::1]:8080", "", "http://[::1]:8080"},
	} {
		s := parseSettings(t, nil)
		s.TLSCert = c.cert
		if got := localURL(s, c.listen); got != c.want {
			t.Errorf("%s: got %s, want %s", c.listen, got, c.want)
		}
	}
}

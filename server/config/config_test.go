package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
)

// load parses a command line, an environment and a file as the program does.
func load(t *testing.T, args, env []string, file string) (Settings, *Loader, *kong.Context, error) {
	t.Helper()
	fallback := filepath.Join(t.TempDir(), "server.yaml")
	if file != "" {
		writeFile(t, fallback, file)
	}
	l := NewLoader(env, fallback)
	var cli struct {
		Config   string
		Settings `embed:""`
	}
	parser, err := kong.New(&cli, kong.Resolvers(l), kong.Exit(func(int) {}))
	if err != nil {
		t.Fatal(err)
	}
	ctx, err := parser.Parse(args)
	if err == nil {
		err = l.Complete(&cli.Settings)
	}
	return cli.Settings, l, ctx, err
}

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestFlagBeatsEnvironmentBeatsFileBeatsDefault(t *testing.T) {
	flag, env, file := []string{"--offline-after=1m"}, []string{"RESTIC_MANAGER_OFFLINE_AFTER=2m"}, "offline_after: 3m\n"
	for _, c := range []struct {
		name      string
		args, env []string
		file      string
		want      time.Duration
	}{
		{"flag", flag, env, file, time.Minute},
		{"environment", nil, env, file, 2 * time.Minute},
		{"file", nil, nil, file, 3 * time.Minute},
		{"default", nil, nil, "", 90 * time.Second},
		{"an empty variable is not set", nil, []string{"RESTIC_MANAGER_OFFLINE_AFTER="}, file, 3 * time.Minute},
		{"a null in the file is not set", nil, nil, "offline_after:\n", 90 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, _, _, err := load(t, c.args, c.env, c.file)
			if got := time.Duration(s.OfflineAfter); err != nil || got != c.want {
				t.Errorf("got %v, %v; want %v", got, err, c.want)
			}
		})
	}
}

func TestEverySettingIsReadFromEnvironmentAndFile(t *testing.T) {
	values := map[string]string{
		"data-dir": "/srv/x", "database": "postgres://u:p@h/d", "database-connections": "7", "key-file": "/k", "listen": ":1",
		"public-url": "https://b.example", "tls-cert": "/c", "tls-key": "/e", "insecure-http": "true", "trusted-proxies": "10.0.0.0/8,192.0.2.7/32",
		"metrics-listen": ":2", "metrics-token": "0123456789abcdef", "offline-after": "2m", "overdue-after": "36h", "poll-hold": "20s", "log-keep": "7d",
		"log-bytes-per-job": "1MiB", "log-head-bytes": "2MiB", "log-tail-bytes": "3MiB", "agents-dir": "/a", "help-url": "https://h.example", "log-level": "debug",
		"log-format": "json", "admin-user": "ann", "admin-password": "secret of ann",
	}
	var env []string
	var file strings.Builder
	for _, k := range Known() {
		v, ok := values[k.Name]
		if !ok {
			t.Fatalf("no value for %s in this test", k.Name)
		}
		env = append(env, k.Env()+"="+v)
		file.WriteString(k.Key() + ": '" + v + "'\n")
	}
	for name, from := range map[string]struct {
		env  []string
		file string
	}{"environment": {env: env}, "file": {file: file.String()}} {
		t.Run(name, func(t *testing.T) {
			s, l, _, err := load(t, nil, from.env, from.file)
			if err != nil {
				t.Fatal(err)
			}
			for _, k := range Known() {
				got, want := shown(&s, k), values[k.Name]
				switch k.Name {
				case "database":
					got, want = any(s.Database), values["database"]
				case "metrics-token":
					got = s.MetricsToken
				case "admin-password":
					got = s.AdminPassword
				}
				if fmt.Sprint(got) != want {
					t.Errorf("%s: got %v, want %s", k.Name, got, want)
				}
				if l.sources[k.Name] == "" {
					t.Errorf("%s has no source", k.Name)
				}
			}
		})
	}
}

func TestASecretComesFromAFileToo(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	writeFile(t, secret, "0123456789abcdef\n")
	url := filepath.Join(t.TempDir(), "url")
	writeFile(t, url, "postgres://u:p@h/d\n")
	for _, c := range []struct {
		name string
		env  []string
		file string
		got  func(Settings) string
		want string
	}{
		{"metrics token", []string{"RESTIC_MANAGER_METRICS_TOKEN_FILE=" + secret}, "", func(s Settings) string { return s.MetricsToken }, "0123456789abcdef"},
		{"admin password", []string{"RESTIC_MANAGER_ADMIN_USER=ann", "RESTIC_MANAGER_ADMIN_PASSWORD_FILE=" + secret}, "", func(s Settings) string { return s.AdminPassword }, "0123456789abcdef"},
		{"database", []string{"RESTIC_MANAGER_DATABASE_FILE=" + url}, "", func(s Settings) string { return s.Database }, "postgres://u:p@h/d"},
		{"DATABASE_URL", []string{"DATABASE_URL=postgres://a@b/c"}, "", func(s Settings) string { return s.Database }, "postgres://a@b/c"},
		{"DATABASE_URL_FILE", []string{"DATABASE_URL_FILE=" + url}, "", func(s Settings) string { return s.Database }, "postgres://u:p@h/d"},
		{"own name first", []string{"DATABASE_URL=postgres://a@b/c", "RESTIC_MANAGER_DATABASE=postgres://own/d"}, "", func(s Settings) string { return s.Database }, "postgres://own/d"},
		{"key in the file", nil, "metrics_token_file: " + secret + "\n", func(s Settings) string { return s.MetricsToken }, "0123456789abcdef"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, _, _, err := load(t, nil, c.env, c.file)
			if got := c.got(s); err != nil || got != c.want {
				t.Errorf("got %q, %v; want %q", got, err, c.want)
			}
		})
	}
}

func TestWrongSettingsAreRefusedAndNamed(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	writeFile(t, empty, "\n")
	for _, c := range []struct {
		name      string
		args, env []string
		file      string
		want      string
	}{
		{"unknown keys", nil, nil, "listen: :1\nlisten_on: :2\nbogus: 1\n", "unknown settings: bogus, listen_on"},
		{"file of a non-secret", nil, nil, "listen_file: /x\n", "unknown settings: listen_file"},
		{"key twice", nil, nil, "listen: :1\nlisten: :2\n", "already defined"},
		{"nested key", nil, nil, "listen:\n  on: 1\n", "plain value"},
		{"not YAML", nil, nil, "\tlisten: 1\n", "server.yaml"},
		{"missing named file", []string{"--config=/nonexistent/x.yaml"}, nil, "", "/nonexistent/x.yaml"},
		{"missing file of the environment", nil, []string{"RESTIC_MANAGER_CONFIG=/nonexistent/y.yaml"}, "", "/nonexistent/y.yaml"},
		{"wrong duration in the environment", nil, []string{"RESTIC_MANAGER_LOG_KEEP=soon"}, "", "RESTIC_MANAGER_LOG_KEEP"},
		{"wrong size in the file", nil, nil, "log_head_bytes: many\n", "not a size"},
		{"wrong level", nil, nil, "log_level: loud\n", "not one of"},
		{"secret twice", nil, []string{"RESTIC_MANAGER_METRICS_TOKEN=0123456789abcdef", "RESTIC_MANAGER_METRICS_TOKEN_FILE=/x"}, "", "both set"},
		{"secret twice in the file", nil, nil, "metrics_token: 0123456789abcdef\nmetrics_token_file: /x\n", "both set"},
		{"missing secret file", nil, []string{"RESTIC_MANAGER_METRICS_TOKEN_FILE=/nonexistent/t"}, "", "/nonexistent/t"},
		{"empty secret file", nil, []string{"RESTIC_MANAGER_METRICS_TOKEN_FILE=" + empty}, "", "is empty"},
		{"short metrics token", nil, []string{"RESTIC_MANAGER_METRICS_TOKEN=short"}, "", "16 characters"},
		{"other database", []string{"--database=mysql://x"}, nil, "", "postgres://"},
		{"half of TLS", []string{"--tls-cert=/c"}, nil, "", "belong together"},
		{"half of the administrator", nil, []string{"RESTIC_MANAGER_ADMIN_USER=ann"}, "", "belong together"},
		{"listen without port", []string{"--listen=localhost"}, nil, "", "listen"},
		{"plain public URL", []string{"--public-url=http://b.example"}, nil, "", "insecure-http"},
		{"public URL with a path", []string{"--public-url=https://b.example/backup"}, nil, "", "host name of its own"},
		{"public URL with a password", []string{"--public-url=https://u:p@b.example"}, nil, "", "public-url"},
		{"no scheme", []string{"--public-url=b.example"}, nil, "", "https://host"},
		{"proxy", nil, []string{"RESTIC_MANAGER_TRUSTED_PROXIES=10.0.0.0/99"}, "", "range of addresses"},
		{"one connection", []string{"--database-connections=1"}, nil, "", "database-connections"},
		{"logs kept for nothing", []string{"--log-keep=5m"}, nil, "", "log-keep"},
		{"log smaller than a line", []string{"--log-tail-bytes=1KiB"}, nil, "", "log-tail-bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, _, err := load(t, c.args, c.env, c.file)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
}

func TestPlainHTTPIsAllowedOnLoopbackAndByFlag(t *testing.T) {
	for _, args := range [][]string{
		{"--public-url=http://localhost:8080"}, {"--public-url=http://127.0.0.1:8080"}, {"--public-url=http://[::1]:8080"},
		{"--public-url=http://b.example", "--insecure-http"}, {"--public-url=https://b.example/"},
	} {
		s, _, _, err := load(t, args, nil, "")
		if err != nil || strings.HasSuffix(s.PublicURL, "/") {
			t.Errorf("%v: got %q, %v; want no error and no slash at the end", args, s.PublicURL, err)
		}
	}
}

func TestDataFolderFollowsSystemdAndXDG(t *testing.T) {
	s, _, _, err := load(t, nil, []string{"STATE_DIRECTORY=/var/lib/one:/var/lib/two"}, "")
	if err != nil || s.DataDir != "/var/lib/one" || s.KeyFile != "/var/lib/one/secret.key" || s.Source() != "/var/lib/one/restic-manager.db" {
		t.Errorf("got %+v, %v", s.Storage, err)
	}
	if os.Geteuid() == 0 {
		s, _, _, _ := load(t, nil, nil, "")
		if got, want := s.DataDir, "/var/lib/restic-manager"; got != want {
			t.Errorf("data folder of root: got %s, want %s", got, want)
		}
	}
}

func TestPrintHidesSecretsAndCanBeReadAgain(t *testing.T) {
	s, l, ctx, err := load(t, []string{"--listen=:9"}, []string{
		"RESTIC_MANAGER_METRICS_TOKEN=canary-token-0123456789", "RESTIC_MANAGER_ADMIN_USER=ann", "RESTIC_MANAGER_ADMIN_PASSWORD=canary-password",
		"DATABASE_URL=postgres://u:canary-db@h/d?sslpassword=canary-ssl",
	}, "log_keep: 30d\ntrusted_proxies: [10.0.0.0/8, 192.0.2.7]\n")
	if err != nil {
		t.Fatal(err)
	}
	var onLine []*kong.Flag
	for _, p := range ctx.Path {
		if p.Flag != nil && !p.Resolved {
			onLine = append(onLine, p.Flag)
		}
	}
	var out strings.Builder
	if err := l.Print(&out, &s, onLine); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), "canary") {
		t.Errorf("a secret was printed:\n%s", out.String())
	}
	for _, want := range []string{
		"listen: :9  # flag", "log_keep: 30d  # file", "metrics_token: (hidden)  # RESTIC_MANAGER_METRICS_TOKEN",
		"offline_after: 1m30s  # default", "database: postgres://u@h/d  # DATABASE_URL", "trusted_proxies: 10.0.0.0/8,192.0.2.7/32  # file",
	} {
		if !strings.Contains(out.String(), want+"\n") {
			t.Errorf("%q is missing in\n%s", want, out.String())
		}
	}
	again := strings.NewReplacer("(hidden)", "0123456789abcdef").Replace(out.String())
	if _, _, _, err := load(t, nil, nil, again); err != nil {
		t.Errorf("what was printed cannot be read: %v", err)
	}
}

func TestDocsHaveTheReferenceOfTheCode(t *testing.T) {
	path := "../../docs/configuration.md"
	doc, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(doc), Reference()) {
		t.Errorf("%s differs from the code: put the output of `restic-manager config reference` in the place of its table", path)
	}
}

func TestDurationsAndSizesKeepTheirValue(t *testing.T) {
	for in, want := range map[string]time.Duration{"90d": 90 * 24 * time.Hour, "36h": 36 * time.Hour, "1m30s": 90 * time.Second, "0s": 0, "1h": time.Hour, "500ms": 500 * time.Millisecond} {
		var d, again Duration
		if err := d.UnmarshalText([]byte(in)); err != nil || time.Duration(d) != want {
			t.Errorf("%s: got %v, %v; want %v", in, time.Duration(d), err, want)
		}
		if err := again.UnmarshalText([]byte(d.String())); err != nil || again != d {
			t.Errorf("%s is written as %s and read as %v, %v", in, d, again, err)
		}
	}
	for _, in := range []string{"", "d", "-1h", "-1d", "1.5d", "90", "99999d", "1y"} {
		var d Duration
		if err := d.UnmarshalText([]byte(in)); err == nil {
			t.Errorf("%q: got %v, want an error", in, d)
		}
	}
	for in, want := range map[string]Size{"64MiB": 64 << 20, "512 KiB": 512 << 10, "1048577": 1048577, "0": 0, "3GiB": 3 << 30, "7B": 7} {
		var s, again Size
		if err := s.UnmarshalText([]byte(in)); err != nil || s != want {
			t.Errorf("%s: got %d, %v; want %d", in, s, err, want)
		}
		if err := again.UnmarshalText([]byte(s.String())); err != nil || again != s {
			t.Errorf("%s is written as %s and read as %v, %v", in, s, again, err)
		}
	}
	for _, in := range []string{"", "MiB", "-1", "1MB", "99999999999GiB", "1.5MiB"} {
		var s Size
		if err := s.UnmarshalText([]byte(in)); err == nil {
			t.Errorf("%q: got %v, want an error", in, s)
		}
	}
}

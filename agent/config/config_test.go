package config

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"restic-manager/shared/wire"
)

const (
	hostID = "0198c0de-0000-7000-8000-000000000001"
	secret = "rma_0123456789abcdef0123456789abcdef0123456789a"
)

func enrolled() Config {
	return Config{ServerURL: "https://backup.example.com", HostID: hostID, Name: "web: 1", AgentToken: secret}
}

// write puts an agent.yaml with these lines below an enrollment.
func write(t *testing.T, lines ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "agent.yaml")
	if err := Save(path, enrolled()); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fmt.Fprintln(f, strings.Join(lines, "\n"))
	return path
}

func TestSavedEnrollmentIsLoaded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "etc", "agent.yaml")
	want := enrolled()
	want.CertPins, want.CAFile, want.InsecureHTTP = []string{"sha256:aa", "sha256:bb"}, "/etc/ca.pem", true
	if err := Save(path, want); err != nil {
		t.Fatal(err)
	}
	got, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if got.ServerURL != want.ServerURL || got.HostID != want.HostID || got.Name != want.Name || got.AgentToken != want.AgentToken || !slices.Equal(got.CertPins, want.CertPins) || got.CAFile != want.CAFile || !got.InsecureHTTP {
		t.Errorf("got %+v, want %+v", got, want)
	}
	for name, want := range map[string]fs.FileMode{path: 0o600, filepath.Dir(path): 0o700} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: got %v, %v, want %#o", name, info.Mode(), err, want)
		}
	}
	text, _ := os.ReadFile(path)
	for _, key := range []string{"repo_url:", "repo_password", "restic_path", "environment:"} {
		for line := range strings.Lines(string(text)) {
			if strings.HasPrefix(line, key) {
				t.Errorf("the file holds more than enrollment knows: %s", line)
			}
		}
	}
	if !strings.Contains(string(text), "# Add the repository") {
		t.Error("the file does not say where the repository's keys go")
	}
}

func TestOwnersKeysBelowAreTaken(t *testing.T) {
	c, err := Load(write(t, "repo_url: rest:https://store.example.com:8000/web1", "repo_password: 0123", "restic_path: /opt/restic", "environment:", "  RESTIC_REST_USERNAME: web1", "proxy: http://proxy:3128"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.Repository(context.Background())
	if err != nil || s.RepositoryURL != "rest:https://store.example.com:8000/web1" || s.Password != "0123" || s.Env["RESTIC_REST_USERNAME"] != "web1" {
		t.Errorf("repository: got %+v, %v", s, err)
	}
	if c.Location() != s.RepositoryURL || c.ResticPath != "/opt/restic" || c.Proxy != "http://proxy:3128" {
		t.Errorf("got %+v", c)
	}
	none, err := Load(write(t))
	if err != nil {
		t.Fatal(err)
	}
	if s, err := none.Repository(context.Background()); s != nil || err != nil || none.Location() != "" {
		t.Errorf("without a repository: got %+v, %v", s, err)
	}
}

func TestBadFilesAreRefusedByName(t *testing.T) {
	for line, want := range map[string]string{
		"repo_urll: x":               `unknown key "repo_urll"`,
		"host_id: " + hostID:         `the key "host_id" was given`,
		"repo_url: rest:https://s/x": "exactly one of repo_password",
		"repo_url: rclone:x,y=z:y\nrepo_password: hunter2":                         "rclone.conf",
		"repo_url: /r\nrepo_password: hunter2\nrepo_password_file: /x":             "exactly one of repo_password",
		"repo_url: /r\nrepo_password_file: here":                                   "repo_password_file: give an absolute path",
		"repo_url: /r\nrepo_password_command: 'pass \"x'":                          "repo_password_command: a quote",
		"repo_url: /r\nrepo_password: hunter2\nenvironment: {LD_PRELOAD: hunter2}": "LD_PRELOAD",
		"repo_url: /r\nrepo_password: \"hunter2\\nx\"":                             "repo_password: one line",
		"repo_password: hunter2":                                                   "repo_url: missing",
		"restic_path: restic":                                                      "restic_path: give an absolute path",
		"ca_file: ca.pem":                                                          "ca_file: give an absolute path",
		"cert_pins: [a, b, c]":                                                     "cert_pins: at most 2",
		"repo_password:":                                                           `the key "repo_password" has no value`,
		"environment: hunter2":                                                     "the value has the wrong form",
		"insecure_http: perhaps":                                                   "the value has the wrong form",
	} {
		path := write(t, line)
		_, err := Load(path)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%q: got %v, want %q and the file's name", line, err, want)
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: the error holds a secret: %v", line, err)
		}
	}
	for key, line := range map[string]string{"host_id": "host_id: x\nagent_token: " + secret, "agent_token": "host_id: " + hostID + "\nagent_token: short"} {
		path := filepath.Join(t.TempDir(), "agent.yaml")
		if err := os.WriteFile(path, []byte(line), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(path); err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("%s: got %v", key, err)
		}
	}
}

func TestFilesThatOthersCanOpenAreRefused(t *testing.T) {
	for _, mode := range []fs.FileMode{0o644, 0o640, 0o604, 0o620, 0o601, 0o666} {
		path := write(t)
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(path); err == nil || !strings.Contains(err.Error(), "chmod 600") {
			t.Errorf("%#o: got %v, want the way to mend it", mode, err)
		}
	}
	for _, mode := range []fs.FileMode{0o600, 0o400} {
		path := write(t)
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(path); err != nil {
			t.Errorf("%#o: got %v", mode, err)
		}
	}
}

func TestMissingEnrollmentIsSaid(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "agent.yaml")
	if _, err := Load(missing); !errors.Is(err, ErrNotEnrolled) || !strings.Contains(err.Error(), "enroll") {
		t.Errorf("missing: got %v", err)
	}
	if err := os.WriteFile(missing, []byte("repo_url: /r\nrepo_password: x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(missing); !errors.Is(err, ErrNotEnrolled) {
		t.Errorf("the owner's keys alone: got %v", err)
	}
	if err := CheckFree(missing); err != nil {
		t.Errorf("the owner's keys alone are no enrollment: got %v", err)
	}
}

func TestSaveKeepsTheOwnersKeys(t *testing.T) {
	path := write(t, "# our own store", "repo_url: rest:https://store.example.com/web1 # the old one", "repo_password: 'a''b: #c'", "environment:", "  RESTIC_REST_USERNAME: web1")
	if err := CheckFree(path); !errors.Is(err, ErrEnrolled) {
		t.Errorf("a live enrollment: got %v", err)
	}
	next := enrolled()
	next.HostID, next.Name, next.CertPins = "0198c0de-0000-7000-8000-000000000002", "", []string{"sha256:cc"}
	if err := Save(path, next); err != nil {
		t.Fatal(err)
	}
	c, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if c.HostID != next.HostID || c.Name != "" || c.RepoURL != "rest:https://store.example.com/web1" || c.RepoPassword != "a'b: #c" || c.Environment["RESTIC_REST_USERNAME"] != "web1" {
		t.Errorf("got %+v", c)
	}
	if text, _ := os.ReadFile(path); !strings.Contains(string(text), "# the old one") {
		t.Errorf("the owner's comment is gone:\n%s", text)
	}
}

func TestProxyStaysTheOwnersUnlessEnrollmentHasOne(t *testing.T) {
	path := write(t, "proxy: http://owner:3128")
	for _, tc := range []struct{ given, want string }{{"", "http://owner:3128"}, {"http://given:3128", "http://given:3128"}, {"", "http://given:3128"}} {
		next := enrolled()
		next.Proxy = tc.given
		if err := Save(path, next); err != nil {
			t.Fatal(err)
		}
		if c, err := Load(path); err != nil || c.Proxy != tc.want {
			t.Errorf("%q: got %+v, %v, want %q", tc.given, c, err, tc.want)
		}
	}
}

func TestSavePutsABrokenFileAside(t *testing.T) {
	path := filepath.Join(t.TempDir(), "agent.yaml")
	if err := os.WriteFile(path, []byte("repo_url: [\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := CheckFree(path); err == nil || !strings.Contains(err.Error(), "--force") {
		t.Errorf("a file that is not understood: got %v", err)
	}
	if err := Save(path, enrolled()); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); err != nil {
		t.Error(err)
	}
	if aside, err := os.ReadFile(path + ".broken"); err != nil || string(aside) != "repo_url: [\n" {
		t.Errorf("aside: got %q, %v", aside, err)
	}
}

func TestPendingEnrollmentSpeaksOfTheSameSecret(t *testing.T) {
	path := filepath.Join(t.TempDir(), "etc", "agent.yaml")
	first, err := Prepare(path, "https://a.example", "rme_one")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(first.AgentToken, wire.AgentTokenPrefix) || len(first.AgentToken) != len(wire.AgentTokenPrefix)+43 || !wire.IsSHA256(first.AgentTokenSHA256()) {
		t.Errorf("secret: got %q with %q", first.AgentToken, first.AgentTokenSHA256())
	}
	if raw, err := hex.DecodeString(first.AgentTokenSHA256()); err != nil || len(raw) != 32 {
		t.Errorf("sum: %v", err)
	}
	text, err := os.ReadFile(PendingPath(path))
	if err != nil || strings.Contains(string(text), "rme_one") || !strings.Contains(string(text), first.AgentToken) {
		t.Errorf("on disk: got %q, %v, want the new secret and not the token", text, err)
	}
	if info, _ := os.Stat(PendingPath(path)); info.Mode().Perm() != 0o600 {
		t.Errorf("mode: got %v", info.Mode())
	}
	again, err := Prepare(path, "https://a.example", "rme_one")
	if err != nil || again != first {
		t.Errorf("a retry: got %+v, %v, want the same", again, err)
	}
	if _, done := Completed(path, "https://a.example", "rme_one"); done {
		t.Error("completed before the reply")
	}
	c := Config{ServerURL: "https://a.example", HostID: hostID, AgentToken: first.AgentToken}
	if err := Save(path, c); err != nil {
		t.Fatal(err)
	}
	if got, done := Completed(path, "https://a.example", "rme_one"); !done || got.HostID != hostID {
		t.Errorf("killed before the pending file was removed: got %v, %t", got, done)
	}
	for _, other := range [][2]string{{"https://b.example", "rme_one"}, {"https://a.example", "rme_two"}} {
		if _, done := Completed(path, other[0], other[1]); done {
			t.Errorf("%v is taken for the same enrollment", other)
		}
	}
	if err := ClearPending(path); err != nil {
		t.Fatal(err)
	}
	other, err := Prepare(path, "https://a.example", "rme_one")
	if err != nil || other.AgentToken == first.AgentToken {
		t.Errorf("a new enrollment: got the old secret, %v", err)
	}
	third, err := Prepare(path, "https://a.example", "rme_two")
	if err != nil || third.AgentToken == other.AgentToken {
		t.Errorf("another token: got the same secret, %v", err)
	}
}

// TestDamagedPendingFileIsReplaced cuts and flips it at every byte: always a usable secret, never a panic.
func TestDamagedPendingFileIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "agent.yaml")
	if _, err := Prepare(path, "https://a.example", "t"); err != nil {
		t.Fatal(err)
	}
	whole, _ := os.ReadFile(PendingPath(path))
	for i := range whole {
		flipped := slices.Clone(whole)
		flipped[i] ^= 0x20
		for _, bad := range [][]byte{whole[:i], flipped} {
			if err := os.WriteFile(PendingPath(path), bad, 0o600); err != nil {
				t.Fatal(err)
			}
			p, err := Prepare(path, "https://a.example", "t")
			if err != nil || !wire.IsSHA256(p.AgentTokenSHA256()) || p.AgentToken == "" || p.ServerURL != "https://a.example" {
				t.Fatalf("byte %d: got %+v, %v", i, p, err)
			}
		}
	}
}

func TestPasswordComesFromAFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	load := func(text string, mode fs.FileMode) (string, error) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
		c, err := Load(write(t, "repo_url: /r", "repo_password_file: "+file))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(c.ProtectedFiles(), []string{file}) {
			t.Errorf("protected: got %v", c.ProtectedFiles())
		}
		s, err := c.Repository(context.Background())
		if err != nil {
			return "", err
		}
		return s.Password, nil
	}
	for text, want := range map[string]string{"hunter2": "hunter2", "hunter2\n": "hunter2", "\ufeffhunter2\r\n": "hunter2", " a b \n": "a b"} {
		if got, err := load(text, 0o640); err != nil || got != want {
			t.Errorf("%q: got %q, %v, want %q", text, got, err, want)
		}
	}
	for _, text := range []string{"", "\n", "hunter2\nhunter3\n", "hunter2\x00", strings.Repeat("x", 5000)} {
		if got, err := load(text, 0o600); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%.20q: got %q, %v", text, got, err)
		}
	}
	if _, err := load("hunter2", 0o644); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("readable by everybody: got %v", err)
	}
	c := Config{RepoURL: "/r", RepoPasswordFile: file + ".missing"}
	if _, err := c.Repository(context.Background()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: got %v", err)
	}
}

func TestPasswordComesFromACommand(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "/x")
	t.Setenv("RESTIC_MANAGER_TOKEN", "x")
	t.Setenv("OWNERS_OWN", "kept")
	for command, want := range map[string]string{
		"printf hunter2":                                      "hunter2",
		`printf '%s %s' "a b" c\ d`:                           "a b c d",
		`printf %s $HOME;id`:                                  "$HOME;id",
		`sh -c 'echo "$OWNERS_OWN"'`:                          "kept",
		`sh -c 'echo "x$NOTIFY_SOCKET$RESTIC_MANAGER_TOKEN"'`: "x",
		`sh -c 'echo words >&2; echo hunter2'`:                "hunter2",
	} {
		got, err := passwordFromCommand(context.Background(), command, time.Minute)
		if err != nil || got != want {
			t.Errorf("%s: got %q, %v, want %q", command, got, err, want)
		}
	}
	for _, command := range []string{"true", "false", "sh -c 'echo hunter2; exit 3'", "sh -c 'echo hunter2 >&2; kill -9 $$'", "/no/such/program hunter2", `printf 'hunter2\nx'`, `sh -c 'yes hunter2 | head -c 100000'`, "  ", "''"} {
		if got, err := passwordFromCommand(context.Background(), command, time.Minute); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: got %q, %v", command, got, err)
		}
	}
}

// TestPasswordCommandThatHangsIsEnded with what it started: a grandchild must not keep the pipe open.
func TestPasswordCommandThatHangsIsEnded(t *testing.T) {
	for _, command := range []string{"sleep 600", "sh -c 'sleep 600 & sleep 600'", "sh -c 'trap \"\" TERM; sleep 600'"} {
		if _, err := passwordFromCommand(context.Background(), command, 50*time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: got %v", command, err)
		}
	}
}

func TestPathsFollowTheUser(t *testing.T) {
	env := func(pairs ...string) func(string) string {
		return func(key string) string {
			for i := 0; i < len(pairs); i += 2 {
				if pairs[i] == key {
					return pairs[i+1]
				}
			}
			return ""
		}
	}
	no, yes := func(string) bool { return false }, func(string) bool { return true }
	for name, tc := range map[string]struct {
		config, state string
		uid           int
		env           func(string) string
		exists        func(string) bool
		want          Paths
	}{
		"root": {env: env("HOME", "/root"), exists: yes,
			want: Paths{"/etc/restic-manager/agent.yaml", "/etc/restic-manager/guard.yaml", "/var/lib/restic-manager-agent", "/var/cache/restic-manager-agent", "/run/restic-manager-agent"}},
		"root under systemd": {env: env("STATE_DIRECTORY", "/s:/t", "CACHE_DIRECTORY", "/c", "RUNTIME_DIRECTORY", "/r"), exists: yes,
			want: Paths{"/etc/restic-manager/agent.yaml", "/etc/restic-manager/guard.yaml", "/s", "/c", "/r"}},
		"user": {uid: 1000, env: env("HOME", "/home/u", "XDG_RUNTIME_DIR", "/run/user/1000"), exists: no,
			want: Paths{"/home/u/.config/restic-manager/agent.yaml", "/home/u/.config/restic-manager/guard.yaml", "/home/u/.local/state/restic-manager-agent", "/home/u/.cache/restic-manager-agent", "/run/user/1000/restic-manager-agent"}},
		"user of a guarded machine": {uid: 1000, env: env("HOME", "/home/u", "XDG_CONFIG_HOME", "/x/c", "XDG_STATE_HOME", "relative", "XDG_CACHE_HOME", "/x/k"), exists: yes,
			want: Paths{"/x/c/restic-manager/agent.yaml", "/etc/restic-manager/guard.yaml", "/home/u/.local/state/restic-manager-agent", "/x/k/restic-manager-agent", "/home/u/.local/state/restic-manager-agent/run"}},
		"command line": {config: "/t/a.yaml", state: "/t/s", env: env("STATE_DIRECTORY", "/s"), exists: yes,
			want: Paths{"/t/a.yaml", "/t/guard.yaml", "/t/s", "/var/cache/restic-manager-agent", "/run/restic-manager-agent"}},
	} {
		if got, err := locate(tc.config, tc.state, tc.uid, tc.env, tc.exists); err != nil || got != tc.want {
			t.Errorf("%s: got %+v, %v, want %+v", name, got, err, tc.want)
		}
	}
	p := Paths{"/e/agent.yaml", "/e/guard.yaml", "/s", "/c", "/r"}
	for _, want := range []string{"/e/agent.yaml", "/e/guard.yaml", "/s", "/c", "/r", PendingPath("/e/agent.yaml"), "/e/agent.yaml.broken"} {
		if !slices.Contains(p.Protected(), want) {
			t.Errorf("Protected lacks %s", want)
		}
	}
	folder := filepath.Join(t.TempDir(), "a*[b]")
	half := filepath.Join(folder, ".agent.yaml.123")
	if err := errors.Join(os.Mkdir(folder, 0o700), os.WriteFile(half, []byte("agent_token: secret\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if left := (Paths{Config: filepath.Join(folder, "agent.yaml")}).Protected(); !slices.Contains(left, half) {
		t.Errorf("what a killed write left behind is not protected: %v", left)
	}
	if slices.Contains(p.Protected(), "/e") {
		t.Error("a folder that is not the agent's alone is protected whole")
	}
	p.Config = "/etc/restic-manager/agent.yaml"
	if !slices.Contains(p.Protected(), "/etc/restic-manager") {
		t.Error("the agent's own folder is not protected")
	}
}

// FuzzAgentYAML: whatever the file says, nothing panics, and what was saved is loaded again.
func FuzzAgentYAML(f *testing.F) {
	f.Add("repo_url: /r\nrepo_password: x\n", "name")
	f.Add("environment: {A: b}\n", "'\"\n: #")
	f.Add("server_url: *x\n", "\x00\xff")
	f.Fuzz(func(t *testing.T, owners, name string) {
		path := filepath.Join(t.TempDir(), "agent.yaml")
		if err := os.WriteFile(path, []byte(owners), 0o600); err != nil {
			t.Fatal(err)
		}
		before, err := read(path)
		c := enrolled()
		c.Name = strings.ToValidUTF8(name, "")
		if err := Save(path, c); err != nil {
			t.Fatal(err)
		}
		after, rerr := read(path)
		if rerr != nil {
			t.Fatalf("%q, %q: saved and not readable: %v", owners, name, rerr)
		}
		if after.AgentToken != secret || after.HostID != hostID || after.Name != c.Name {
			t.Errorf("%q, %q: got %+v", owners, name, after)
		}
		if err == nil && (before.RepoURL != after.RepoURL || before.RepoPassword != after.RepoPassword || len(before.Environment) != len(after.Environment)) {
			t.Errorf("%q: the owner's keys changed: %+v, %+v", owners, before, after)
		}
	})
}

func FuzzSplitWords(f *testing.F) {
	f.Add(`a 'b c' "d \" e" f\ g`)
	f.Add("\xd5\xcb")
	f.Fuzz(func(t *testing.T, s string) {
		words, err := splitWords(s)
		if err == nil && (len(words) == 0 || words[0] == "") {
			t.Errorf("%q: got %q", s, words)
		}
		quoted := "'" + strings.ReplaceAll(strings.ReplaceAll(s, "\x00", ""), "'", `'\''`) + "'"
		if words, err := splitWords("x " + quoted); err != nil || len(words) != 2 || words[1] != string([]rune(strings.ReplaceAll(s, "\x00", ""))) {
			t.Errorf("%q quoted: got %q, %v", s, words, err)
		}
	})
}

// TestDamagedAgentYAMLIsNeverHalfBelieved cuts and flips it at every byte: it is refused, or says what it
// said, but for the one value that the damage is in.
func TestDamagedAgentYAMLIsNeverHalfBelieved(t *testing.T) {
	path := write(t, "repo_url: /srv/backup", "repo_password: hunter2")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range whole {
		flipped := slices.Clone(whole)
		flipped[i] ^= 0x20
		for _, bad := range [][]byte{whole[:i], flipped} {
			if err := os.WriteFile(path, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			c, err := Load(path)
			if err != nil {
				if strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), secret) {
					t.Errorf("byte %d: the error holds a secret: %v", i, err)
				}
				continue
			}
			changed := 0
			for got, want := range map[string]string{c.ServerURL: "https://backup.example.com", c.HostID: hostID, c.AgentToken: secret} {
				if got != want {
					changed++
				}
			}
			if changed > 1 || !strings.HasPrefix(c.AgentToken, wire.AgentTokenPrefix) || !wire.IsUUID(c.HostID) {
				t.Errorf("byte %d: got %+v", i, c)
			}
		}
	}
}

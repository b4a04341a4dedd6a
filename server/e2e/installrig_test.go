package e2e

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io/fs"
	"maps"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// machine is a scratch root with programs of its own: what is not in its path is not installed there. Every program
// that is started by name is written down with its arguments.
type machine struct {
	t            testing.TB
	root, path   string
	calls, spied string // what was run, and what the standing-in agent was told
	nobody       bool   // run as a user without rights, in place of root
}

// kit is which shell and which programs a machine has.
type kit struct {
	name    string
	busybox bool
	fetch   string // curl or wget
}

var (
	dash   = kit{"dash and curl", false, "curl"}
	gnu    = kit{"dash and wget", false, "wget"}
	alpine = kit{"busybox and its wget", true, "wget"}
)

// A shell of busybox has its own programs before those of the path: what stands in for one of them counts only for the
// others.

// tools are all that the script may need; a machine with a package manager more has that too.
var tools = []string{"cat", "chmod", "cp", "cut", "grep", "head", "id", "ls", "mkdir", "mktemp", "mv", "readlink", "rm", "rmdir", "sha256sum", "sleep", "touch", "tr", "uname"}

// newMachine has programs of the kit, and others that only write down that they were run: name and what they print.
func newMachine(t testing.TB, k kit, fakes map[string]string) *machine {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil { // for those who are not root
		t.Fatal(err)
	}
	m := &machine{t: t, root: filepath.Join(dir, "root"), path: filepath.Join(dir, "bin"), calls: filepath.Join(dir, "calls"), spied: filepath.Join(dir, "spied")}
	for _, d := range []string{"usr/bin", "etc", "var/lib", "srv/backup", "tmp"} {
		if err := os.MkdirAll(filepath.Join(m.root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	text := map[string]string{}
	for _, name := range append(slices.Clone(tools), k.fetch, "sh") {
		program := ""
		switch {
		case k.busybox && name == "sh":
			program = "/bin/busybox ash"
		case k.busybox:
			program = "/bin/busybox " + name
		case name == "sh":
			program = found(t, "dash")
		default:
			program = found(t, name)
		}
		text[name] = "exec " + program + ` "$@"`
	}
	for name, prints := range fakes {
		text[name] = prints
	}
	// Written by another process: a file that this one has open for writing could be busy when it is to be run.
	var b strings.Builder
	fmt.Fprintf(&b, "set -e\nmkdir -p %s\n: >%[2]s\nchmod 666 %[2]s\n", m.path, m.calls) // those who are not root write it too
	for name, does := range text {
		fmt.Fprintf(&b, "cat >%[1]s/%[2]s <<'END'\n#!/bin/sh\nprintf '%%s\\n' \"%[2]s $*\" >>%[3]s\n%[4]s\nEND\nchmod 755 %[1]s/%[2]s\n", m.path, name, m.calls, does)
	}
	setup := exec.Command("/bin/sh")
	setup.Stdin = strings.NewReader(b.String())
	if out, err := setup.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return m
}

func found(t testing.TB, name string) string {
	t.Helper()
	for _, d := range []string{"/usr/bin", "/bin", "/usr/sbin"} {
		if p := filepath.Join(d, name); exec.Command("test", "-x", p).Run() == nil {
			return p
		}
	}
	t.Fatalf("%s is not there: run make test", name)
	return ""
}

// systemd is what a machine that it runs on has.
var systemd = map[string]string{"systemctl": "exit 0"}

func (m *machine) withSystemd() *machine { m.mkdir("run/systemd/system"); return m }

func (m *machine) mkdir(dir string) {
	m.t.Helper()
	if err := os.MkdirAll(filepath.Join(m.root, dir), 0o755); err != nil {
		m.t.Fatal(err)
	}
}

// result is how a command line ended.
type result struct {
	code int
	out  string // both streams
}

// sh has the machine's shell read a line, as a person pastes it.
func (m *machine) sh(line string, env ...string) result {
	m.t.Helper()
	return m.run(nil, env, "-c", line)
}

// script has the shell read a script from its standard input, as behind a pipe.
func (m *machine) script(text []byte, args ...string) result {
	m.t.Helper()
	return m.run(text, nil, append([]string{"-s", "--"}, args...)...)
}

func (m *machine) run(stdin []byte, env []string, args ...string) result {
	m.t.Helper()
	// As root and without a root of its own, the script would install on the machine that the tests run on.
	if !m.nobody && !slices.ContainsFunc(args, func(a string) bool { return strings.Contains(a, "--root") }) {
		m.t.Fatalf("no --root in %q", args)
	}
	cmd := exec.Command(filepath.Join(m.path, "sh"), args...)
	if m.nobody {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	cmd.Dir = filepath.Join(m.root, "tmp")
	cmd.Env = append([]string{"PATH=" + m.path, "HOME=/nowhere", "TMPDIR=" + filepath.Join(m.root, "tmp"), "SPIED=" + m.spied}, env...)
	if stdin != nil {
		cmd.Stdin = bytes.NewReader(stdin)
	}
	out, _ := cmd.CombinedOutput()
	return result{cmd.ProcessState.ExitCode(), string(out)}
}

func (m *machine) want(r result, code int, words ...string) {
	m.t.Helper()
	if r.code != code {
		m.t.Errorf("exit code: got %d, want %d\n%s", r.code, code, r.out)
	}
	for _, w := range words {
		if !strings.Contains(r.out, w) {
			m.t.Errorf("the words lack %q:\n%s", w, r.out)
		}
	}
}

// ran is what was run by name, with its arguments.
func (m *machine) ran() string { b, _ := os.ReadFile(m.calls); return string(b) }

func (m *machine) forget() { _ = os.Truncate(m.calls, 0) }

// order wants these runs in this order.
func (m *machine) order(calls ...string) {
	m.t.Helper()
	rest := m.ran()
	for _, c := range calls {
		_, after, ok := strings.Cut(rest, c+"\n")
		if !ok {
			m.t.Errorf("%q was not run, or not in this order, in\n%s", c, m.ran())
			return
		}
		rest = after
	}
}

func (m *machine) file(name string) string {
	b, err := os.ReadFile(filepath.Join(m.root, name))
	if err != nil {
		return ""
	}
	return string(b)
}

// tree is every path below the root, with its mode and what is in it.
func (m *machine) tree() map[string]string {
	m.t.Helper()
	tree := map[string]string{}
	err := filepath.WalkDir(m.root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		said := info.Mode().String()
		if info.Mode().IsRegular() {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			sum := sha256.Sum256(b)
			said += " " + hex.EncodeToString(sum[:])
		}
		tree[strings.TrimPrefix(path, m.root)] = said
		return nil
	})
	if err != nil {
		m.t.Fatal(err)
	}
	return tree
}

// same wants the tree as it was.
func (m *machine) same(what string, before map[string]string) {
	m.t.Helper()
	if after := m.tree(); !maps.Equal(before, after) {
		for path, said := range after {
			if before[path] != said {
				m.t.Errorf("%s: %s is new or other: %s", what, path, said)
			}
		}
		for path := range before {
			if after[path] == "" {
				m.t.Errorf("%s: %s is gone", what, path)
			}
		}
	}
}

// agentsDir is a folder with this build's agent for this platform, as a server hands it out.
func agentsDir(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.Command("cp", tool(t, "RESTIC_MANAGER_TEST_BIN", "restic-manager-agent"), filepath.Join(dir, "restic-manager-agent-linux-amd64")).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v: %s", err, out)
	}
	return dir
}

// standIn is an agent that writes down what it is told, and enrolls by writing agent.yaml.
const standIn = `#!/bin/sh
# %s
case $1 in
version) echo 1 ;;
enroll)
	printf '%%s\n' "token $RESTIC_MANAGER_TOKEN" >>"$SPIED"
	for a in "$@"; do
		printf '<%%s>\n' "$a" >>"$SPIED"
		case $a in --config=*) config=${a#*=} ;; esac
	done
	mkdir -p "${config%%/*}"
	printf 'host_id: 1\nserver_url: x\n' >"$config"
	echo "this machine is enrolled"
	;;
esac
`

// standIns is a folder of agents that stand in, one for each platform.
func standIns(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	for _, platform := range []string{"linux-amd64", "linux-arm64", "linux-armv7"} {
		if err := os.WriteFile(filepath.Join(dir, "restic-manager-agent-"+platform), fmt.Appendf(nil, standIn, platform), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func (s *server) token(name string) string {
	s.t.Helper()
	var token struct {
		Token string `json:"token"`
	}
	s.do("POST", "/api/enrollment-tokens", map[string]any{"name": name}, &token)
	return token.Token
}

// guide is what the server says of how machines are added.
type guide struct {
	Certificate string `json:"certificate"`
	CertPin     string `json:"cert_pin"`
	Command     string `json:"command"`
	WgetCommand string `json:"wget_command"`
}

func (s *server) guide() guide {
	s.t.Helper()
	var g guide
	s.do("GET", "/api/install", nil, &g)
	return g
}

func (s *server) script() []byte {
	s.t.Helper()
	var b []byte
	s.do("GET", "/install.sh", nil, &b)
	return b
}

// newTLSServer serves HTTPS with a certificate that it made for itself, in the file that is returned.
func newTLSServer(t testing.TB, env ...string) (s *server, certFile string) {
	t.Helper()
	dir := t.TempDir()
	certFile = filepath.Join(dir, "tls.crt")
	selfSigned(t, dir)
	s = &server{t: t, dir: filepath.Join(dir, "data"), logFile: filepath.Join(dir, "log"), listen: freeAddress(t),
		env: append(env, "RESTIC_MANAGER_TLS_CERT="+certFile, "RESTIC_MANAGER_TLS_KEY="+filepath.Join(dir, "tls.key")),
		// What machines make of the certificate is for the script to show.
		http: &http.Client{Timeout: 90 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}}
	s.url = "https://" + s.listen
	s.start()
	t.Cleanup(func() {
		s.http.CloseIdleConnections()
		s.kill()
		if t.Failed() {
			t.Logf("words of the server:\n%s", tail(s.words(), 60))
		}
	})
	s.signIn()
	return s, certFile
}

// selfSigned makes tls.crt and tls.key, for this machine itself.
func selfSigned(t testing.TB, dir string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	made := x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "private"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, &made, &made, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"tls.crt": {Type: "CERTIFICATE", Bytes: der}, "tls.key": {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

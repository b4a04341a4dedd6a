package e2e

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"restic-manager/server/e2e/scripted/script"
	"restic-manager/shared/wire"
)

// TestOneCommandAddsAMachine pastes the command that the server tells, on machines of three kinds, over HTTP and over
// HTTPS with a certificate that the server made for itself; then the installed agent runs, the same command without a
// token upgrades it, and --uninstall leaves the backups alone.
func TestOneCommandAddsAMachine(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		kit
		tls bool
	}{{dash, false}, {gnu, false}, {alpine, false}, {dash, true}, {gnu, true}} {
		t.Run(fmt.Sprintf("%s, TLS %v", c.name, c.tls), func(t *testing.T) {
			t.Parallel()
			dir := agentsDir(t)
			var s *server
			if c.tls {
				s, _ = newTLSServer(t, "RESTIC_MANAGER_AGENTS_DIR="+dir)
			} else {
				s = newServer(t, "sqlite", "RESTIC_MANAGER_AGENTS_DIR="+dir)
			}
			m := newMachine(t, c.kit, systemd).withSystemd()
			before := m.tree()
			g := s.guide()
			command := g.Command
			if c.fetch == "wget" {
				command = g.WgetCommand
			}
			if want := map[bool]string{true: "private", false: "none"}[c.tls]; g.Certificate != want || strings.Contains(command, "--cert-pin") != c.tls {
				t.Errorf("got a certificate that is %s, and %s; want %s", g.Certificate, command, want)
			}
			secret := s.token("web1")
			r := m.sh(command + " --token " + secret + " --allow maintenance --allow-paths /etc,/home --root " + m.root)
			m.want(r, 0, "web1 is enrolled with "+s.url, "The agent runs, and starts at boot.", "Next: name this machine's repository")
			m.order("systemctl daemon-reload", "systemctl enable restic-manager-agent", "systemctl restart restic-manager-agent")
			unit, _ := os.ReadFile("../../packaging/restic-manager-agent.service")
			if got := m.file("etc/systemd/system/restic-manager-agent.service"); got != string(unit) {
				t.Errorf("the unit is not that of packaging:\n%s", got)
			}
			m.hides(secret)
			if strings.Contains(r.out, secret) {
				t.Errorf("the token is said: %s", r.out)
			}
			config := m.file("etc/restic-manager/agent.yaml")
			if strings.Contains(config, "cert_pins") != c.tls || !strings.Contains(m.file("etc/restic-manager/guard.yaml"), "/home") {
				t.Errorf("agent.yaml and guard.yaml are not as asked:\n%s\n%s", config, m.file("etc/restic-manager/guard.yaml"))
			}
			if mode := m.tree()["/etc/restic-manager/agent.yaml"]; !strings.HasPrefix(mode, "-rw------- ") {
				t.Errorf("agent.yaml is open to others: %s", mode)
			}
			a := m.agent(s)
			a.start()

			// An upgrade: other bytes, no token, the same identity.
			appendTo(t, filepath.Join(dir, "restic-manager-agent-linux-amd64"), "newer")
			m.forget()
			m.want(m.sh(command+" --root "+m.root), 0, "This machine is enrolled already", "The agent runs")
			m.order("systemctl restart restic-manager-agent")
			if !strings.HasSuffix(m.file("usr/bin/restic-manager-agent"), "newer") || m.file("etc/restic-manager/agent.yaml") != config {
				t.Error("the agent was not upgraded, or the identity touched")
			}
			// Once more there is nothing new, and nothing to restart.
			m.forget()
			m.want(m.sh(command+" --root "+m.root), 0, "is there already")
			m.order("systemctl start restic-manager-agent")

			m.own("srv/backup/config", "a repository")
			m.forget()
			m.want(m.sh(command+" --uninstall --root "+m.root), 0, "The agent is removed", "Left: the repository")
			m.order("systemctl disable --now restic-manager-agent", "systemctl daemon-reload")
			select {
			case <-a.done:
			default:
				t.Error("the agent that was started by hand still runs")
			}
			after := m.tree()
			if after["/srv/backup/config"] == "" {
				t.Error("the backups are gone")
			}
			for path := range after {
				if dir := path == "/etc/systemd" || path == "/etc/systemd/system" || path == "/var/cache"; before[path] == "" && path != "/srv/backup/config" && !dir {
					t.Errorf("%s is left", path)
				}
			}
		})
	}
}

func appendTo(t testing.TB, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

// own writes a file of the machine's owner.
func (m *machine) own(name, text string) {
	m.t.Helper()
	m.mkdir(filepath.Dir(name))
	if err := os.WriteFile(filepath.Join(m.root, name), []byte(text), 0o600); err != nil {
		m.t.Fatal(err)
	}
}

// agent is the one that the script installed there.
func (m *machine) agent(s *server) *installed {
	m.t.Helper()
	a := &installed{agent: &agent{t: m.t, server: s, dir: m.root, data: filepath.Join(m.root, "var/lib/restic-manager-agent"),
		config: filepath.Join(m.root, "etc/restic-manager/agent.yaml"), password: "correct horse battery"}}
	a.env = []string{"STATE_DIRECTORY=" + a.data, "CACHE_DIRECTORY=" + filepath.Join(m.root, "var/cache/restic-manager-agent"), "RUNTIME_DIRECTORY=" + filepath.Join(m.root, "run/restic-manager-agent")}
	for line := range strings.Lines(a.read()) {
		if v, ok := strings.CutPrefix(line, "host_id:"); ok {
			a.hostID = strings.Trim(strings.TrimSpace(v), `"`)
		}
	}
	return a
}

// installed is an agent that runs from where the script put it.
type installed struct{ *agent }

func (a *installed) start() {
	a.t.Helper()
	a.process = startProcess(a.t, filepath.Join(a.t.TempDir(), "agent.log"), a.env, filepath.Join(a.dir, "usr/bin/restic-manager-agent"), "run", "--config", a.config)
	a.cleanUp()
	a.online()
}

// TestUninstallEndsResticWithinItsRights: it gets the signal at which it takes its lock out of the repository, and
// what was restored stays.
func TestUninstallEndsResticWithinItsRights(t *testing.T) {
	t.Parallel()
	s := newServer(t, "sqlite", "RESTIC_MANAGER_AGENTS_DIR="+agentsDir(t))
	m := newMachine(t, dash, systemd).withSystemd()
	m.want(m.sh(s.guide().Command+" --root "+m.root+" --token "+s.token("web1")), 0)
	a := &scripted{agent: m.agent(s).agent}
	a.bin, a.ledger, a.repository = t.TempDir(), filepath.Join(t.TempDir(), "ledger"), filepath.Join(m.root, "srv/backup")
	a.placeRestic()
	a.script(nil)
	a.own("restic_path: "+filepath.Join(a.bin, "restic"), "repo_url: "+a.repository, "repo_password: "+a.password)
	(&installed{a.agent}).start()
	a.init()
	a.script(map[string]script.Act{"backup": {Hang: true}})
	s.reaches(s.order(a.hostID, wire.KindBackup, &wire.BackupSpec{Paths: []string{"/etc"}}).ID, time.Minute, wire.StateRunning)
	eventually(t, 30*time.Second, "restic hangs", func() error {
		if len(a.children()) < 2 {
			return fmt.Errorf("%d processes", len(a.children()))
		}
		return nil
	})
	m.own("var/lib/restic-manager-agent/restore/etc/hosts", "restored")
	m.own("etc/restic-manager/server.yaml", "# the server's own")
	r := m.script(s.script(), "--uninstall", "--root", m.root)
	m.want(r, 0, "Left: restored files in "+m.root+"/var/lib/restic-manager-agent/restore", "Left: "+m.root+"/etc/restic-manager")
	if pids := a.children(); len(pids) != 0 {
		t.Errorf("processes %v are left", pids)
	}
	if m.file("var/lib/restic-manager-agent/restore/etc/hosts") == "" || m.file("etc/restic-manager/server.yaml") == "" {
		t.Error("what is not the agent's was removed")
	}
	if left := slices.Sorted(maps.Keys(m.tree())); slices.ContainsFunc(left, func(p string) bool {
		return strings.Contains(p, "agent.yaml") || strings.Contains(p, "/jobs") || strings.HasSuffix(p, "restic-manager-agent.service")
	}) {
		t.Errorf("got left: %v", left)
	}
}

// onMachines runs a test on a machine of each shell, against a server with agents that stand in.
func onMachines(t *testing.T, fakes map[string]string, test func(t *testing.T, s *server, m *machine)) {
	t.Parallel()
	s := newServer(t, "sqlite", "RESTIC_MANAGER_AGENTS_DIR="+standIns(t))
	all := map[string]string{}
	maps.Copy(all, systemd)
	maps.Copy(all, fakes)
	for _, k := range []kit{dash, alpine} {
		t.Run(k.name, func(t *testing.T) {
			test(t, s, newMachine(t, k, all).withSystemd())
		})
	}
}

const anyToken = "rme_0123456789abcdef"

func TestWrongSumIsRefusedAndNothingChanged(t *testing.T) {
	onMachines(t, nil, func(t *testing.T, s *server, m *machine) {
		made := s.script()
		bad := bytes.Replace(made, []byte("linux-amd64) echo "), []byte("linux-amd64) echo 0"), 1)
		fresh := m.tree()
		m.want(m.script(bad, "--root", m.root, "--token", anyToken), 1, "is not what this script was made for", "nothing was changed")
		m.same("on a fresh machine", fresh)
		m.want(m.script(made, "--root", m.root, "--token", anyToken), 0)
		there := m.tree()
		m.forget()
		m.want(m.script(bad, "--root", m.root), 1, "nothing was changed")
		m.same("on an enrolled machine", there)
		m.want(m.script(made, "--root", m.root, "--server", "http://127.0.0.1:1"), 0) // nothing to fetch
		if err := os.Remove(filepath.Join(m.root, "usr/bin/restic-manager-agent")); err != nil {
			t.Fatal(err)
		}
		gone := m.tree()
		m.want(m.script(made, "--root", m.root, "--server", "http://127.0.0.1:1"), 1, "could not be fetched", "nothing was changed")
		m.same("without a server", gone)
	})
}

// TestTruncatedScriptDoesNothing cuts it at every line, and in its last line at every byte.
func TestTruncatedScriptDoesNothing(t *testing.T) {
	onMachines(t, nil, func(t *testing.T, s *server, m *machine) {
		made := s.script()
		var cuts []int
		for i := range made[:len(made)-1] {
			if made[i] == '\n' || i > len(made)-40 || i%97 == 0 {
				cuts = append(cuts, i)
			}
		}
		// Each third of them, another third each time, and all of the last ones: a shell is begun for each.
		some, last := rand.IntN(3), len(cuts)-40
		before := m.tree()
		m.nobody = true // cut within the last line, a call without its arguments would know of no --root
		for i, cut := range cuts {
			if i < last && i%3 != some {
				continue
			}
			if cut == len(made)-1 {
				continue // whole but for the newline
			}
			// All that the script says by itself begins so, or names the agent. The shell may name the end of the text.
			r := m.script(made[:cut], "--root", m.root, "--token", anyToken)
			if strings.Contains(r.out, "install.sh: ") || strings.Contains(r.out, "agent ") {
				t.Fatalf("cut at %d of %d: it said %s", cut, len(made), r.out)
			}
			if ran := strings.ReplaceAll(m.ran(), "sh -s -- --root "+m.root+" --token "+anyToken+"\n", ""); ran != "" {
				t.Fatalf("cut at %d of %d: it ran %s", cut, len(made), ran)
			}
		}
		m.same("cut", before)
		m.nobody = false
		m.want(m.script(made[:len(made)-1], "--root", m.root, "--token", anyToken), 0)
	})
}

func TestDryRunChangesNothing(t *testing.T) {
	onMachines(t, map[string]string{"apt-get": "exit 0"}, func(t *testing.T, s *server, m *machine) {
		before := m.tree()
		made := s.script()
		m.want(m.script(made, "--root", m.root, "--token", anyToken, "--dry-run", "--install-restic"), 0, "would fetch "+s.url+"/download/agent/linux-amd64",
			"would write "+m.root+"/etc/systemd/system", "would run: apt-get install -y restic", "would enroll with", "would run: systemctl restart", "Nothing was changed.")
		m.same("installing", before)
		m.want(m.script(made, "--root", m.root, "--token", anyToken), 0)
		before = m.tree()
		m.forget()
		m.want(m.script(made, "--root", m.root, "--dry-run", "--uninstall"), 0, "would run: systemctl disable --now", "would run: rm -rf "+m.root+"/etc/restic-manager/agent.yaml")
		m.same("removing", before)
		for _, name := range []string{"systemctl", "apt-get", "curl", "wget"} {
			if strings.Contains(m.ran(), name+" ") {
				t.Errorf("%s was run:\n%s", name, m.ran())
			}
		}
	})
}

func TestResticComesFromTheDistribution(t *testing.T) {
	t.Parallel()
	s := newServer(t, "sqlite", "RESTIC_MANAGER_AGENTS_DIR="+standIns(t))
	made := s.script()
	for manager, call := range map[string]string{"apt-get": "apt-get install -y restic", "dnf": "dnf install -y restic", "apk": "apk add --no-cache restic",
		"pacman": "pacman -S --noconfirm --needed restic", "zypper": "zypper --non-interactive install restic"} {
		t.Run(manager, func(t *testing.T) {
			m := newMachine(t, dash, map[string]string{manager: "exit 0"})
			m.want(m.script(made, "--root", m.root, "--token", anyToken), 0, "restic is not here", "Next: "+call)
			if strings.Contains(m.ran(), call) {
				t.Error("it was installed without being asked for")
			}
			m.want(m.script(made, "--root", m.root, "--install-restic"), 0, "Installing restic: "+call)
			m.order(call)
			failing := newMachine(t, dash, map[string]string{manager: "exit 1"})
			failing.want(failing.script(made, "--root", failing.root, "--token", anyToken, "--install-restic"), 1, "restic was not installed", "is enrolled")
			there := newMachine(t, dash, map[string]string{manager: "exit 0", "restic": "exit 0"})
			there.want(there.script(made, "--root", there.root, "--token", anyToken, "--install-restic"), 0)
			if strings.Contains(there.ran(), call) {
				t.Error("it was installed though it is there")
			}
		})
	}
}

func TestAgentIsThatOfTheMachine(t *testing.T) {
	t.Parallel()
	s := newServer(t, "sqlite", "RESTIC_MANAGER_AGENTS_DIR="+standIns(t))
	made := s.script()
	for machine, platform := range map[string]string{"x86_64": "linux-amd64", "aarch64": "linux-arm64", "armv7l": "linux-armv7", "armv8l": "linux-armv7", "riscv64": "", "armv6l": "", "$(id)": ""} {
		t.Run(platform+strings.Trim(machine, "$()"), func(t *testing.T) {
			m := newMachine(t, dash, map[string]string{"uname": "case $1 in -m) echo '" + machine + "' ;; *) echo Linux ;; esac"})
			before := m.tree()
			r := m.script(made, "--root", m.root, "--token", anyToken)
			if platform == "" {
				m.want(r, 1, "no agent for this machine ("+machine+"); it has: linux-amd64 linux-arm64 linux-armv7")
				m.same("refused", before)
				return
			}
			m.want(r, 0)
			if got := m.file("usr/bin/restic-manager-agent"); !strings.Contains(got, "# "+platform+"\n") {
				t.Errorf("got the agent %.40q, want %s", got, platform)
			}
		})
	}
	m := newMachine(t, dash, map[string]string{"uname": "echo Darwin"})
	m.want(m.script(made, "--root", m.root, "--token", anyToken), 1, "there are agents for Linux only")
}

// TestServiceIsThatOfTheMachine: OpenRC gets its script, and where neither is, the way to start it is told.
func TestServiceIsThatOfTheMachine(t *testing.T) {
	t.Parallel()
	s := newServer(t, "sqlite", "RESTIC_MANAGER_AGENTS_DIR="+standIns(t))
	made := s.script()
	m := newMachine(t, alpine, map[string]string{"rc-service": "exit 0", "rc-update": "exit 0"})
	m.mkdir("etc/init.d")
	m.want(m.script(made, "--root", m.root, "--token", anyToken), 0, "The agent runs, and starts at boot.")
	m.order("rc-update add restic-manager-agent default", "rc-service restic-manager-agent restart")
	rc, _ := os.ReadFile("../../packaging/restic-manager-agent.openrc")
	if got := m.file("etc/init.d/restic-manager-agent"); got != string(rc) || !strings.HasPrefix(m.tree()["/etc/init.d/restic-manager-agent"], "-rwxr-xr-x ") {
		t.Errorf("the service is not that of packaging: %s\n%s", m.tree()["/etc/init.d/restic-manager-agent"], got)
	}
	m.want(m.script(made, "--root", m.root, "--uninstall"), 0)
	m.order("rc-service --ifstarted restic-manager-agent stop", "rc-update del restic-manager-agent default")
	if m.file("etc/init.d/restic-manager-agent") != "" {
		t.Error("the service is left")
	}
	m = newMachine(t, dash, systemd) // there, and not running
	m.want(m.script(made, "--root", m.root, "--token", anyToken), 0, "Neither systemd nor OpenRC runs here", m.root+"/usr/bin/restic-manager-agent run")
	if strings.Contains(m.ran(), "systemctl") {
		t.Error("systemctl was run where systemd does not")
	}
	m = newMachine(t, dash, map[string]string{"systemctl": `case $1 in restart) exit 1 ;; esac`}).withSystemd()
	m.want(m.script(made, "--root", m.root, "--token", anyToken), 1, "did not start", "journalctl")
}

// TestValuesOfAPersonStayValues: whatever they hold, they reach the agent as they are, and no shell reads them.
func TestValuesOfAPersonStayValues(t *testing.T) {
	onMachines(t, nil, func(t *testing.T, s *server, m *machine) {
		made := s.script()
		for _, v := range []string{"$(touch pwned)", "`touch pwned`", "'; touch pwned; '", "\"; touch pwned; \"", "a b  c", "-x", "--force", "*", "\\", "a\nb", "%s", "$HOME", "&& touch pwned", "ä"} {
			_ = os.Remove(m.spied)
			m.want(m.script(made, "--root", m.root, "--token", anyToken, "--name", v, "--allow-paths="+v, "--allow-paths", "/"+v, "--force"), 0)
			got, _ := os.ReadFile(m.spied)
			want := fmt.Sprintf("token %s\n<enroll>\n<--server=%s>\n<--config=%s/etc/restic-manager/agent.yaml>\n<--name=%s>\n<--allow-paths=%s>\n<--allow-paths=/%s>\n<--force>\n", anyToken, s.url, m.root, v, v, v)
			if string(got) != want {
				t.Errorf("%q: got\n%swant\n%s", v, got, want)
			}
			before := m.tree()
			for _, option := range []string{"--token", "--server", "--token-file", "--root", "--" + v} {
				if r := m.script(made, "--root", m.root, "--token", anyToken, option, v); r.code == 0 && option != "--token" {
					t.Errorf("%s %q: got exit code 0: %s", option, v, r.out)
				}
			}
			m.same("refused", before)
		}
		if m.file("tmp/pwned") != "" || m.tree()["/tmp/pwned"] != "" {
			t.Error("a value was run")
		}
	})
}

// hides wants a token in the arguments of no program but the shell that the person gave it to.
func (m *machine) hides(token string) {
	m.t.Helper()
	for line := range strings.Lines(m.ran()) {
		if strings.Contains(line, token) && !strings.HasPrefix(line, "sh ") {
			m.t.Errorf("the token is in the arguments of %s", line)
		}
	}
}

func TestTokenComesByArgumentFileOrEnvironment(t *testing.T) {
	onMachines(t, nil, func(t *testing.T, s *server, m *machine) {
		made := s.script()
		m.want(m.script(made, "--root", m.root), 1, "no enrollment token", "--token")
		for _, bad := range []string{"xyz", "rme_a b", "rme_\"", "rma_123"} {
			m.want(m.script(made, "--root", m.root, "--token", bad), 1, "this is no enrollment token")
		}
		m.own("tmp/token", anyToken+"\n")
		m.own("tmp/script", string(made))
		for _, how := range []struct{ args, env string }{{"--token " + anyToken, ""}, {"--token-file " + m.root + "/tmp/token", ""}, {"", "RESTIC_MANAGER_TOKEN=" + anyToken}} {
			_ = os.Remove(m.spied)
			m.forget()
			m.want(m.sh("sh "+m.root+"/tmp/script --force --root "+m.root+" "+how.args, how.env), 0)
			got, _ := os.ReadFile(m.spied)
			if !strings.HasPrefix(string(got), "token "+anyToken+"\n") || strings.Contains(strings.TrimPrefix(string(got), "token "+anyToken), anyToken) {
				t.Errorf("%v: the agent was told %s", how, got)
			}
			m.hides(anyToken)
		}
	})
}

func TestNotRootIsToldTheNextStep(t *testing.T) {
	onMachines(t, nil, func(t *testing.T, s *server, m *machine) {
		m.nobody = true
		before := m.tree()
		m.want(m.script(s.script(), "--token", anyToken), 1, "must run as root", "sudo sh")
		m.want(m.script(s.script(), "--uninstall"), 1, "must run as root")
		m.want(m.script(s.script(), "--token", anyToken, "--dry-run"), 0, "would enroll")
		m.same("not root", before)
	})
}

// TestPinnedCertificateIsHeldTo: a command that was copied before the certificate changed reaches nobody, and a pin of
// another certificate keeps the token from the server.
func TestPinnedCertificateIsHeldTo(t *testing.T) {
	t.Parallel()
	s, certFile := newTLSServer(t, "RESTIC_MANAGER_AGENTS_DIR="+agentsDir(t))
	old := s.guide()
	made := s.script()
	secret := s.token("web1")

	m := newMachine(t, dash, systemd).withSystemd()
	m.want(m.script(made, "--root", m.root, "--token", secret, "--cert-pin", "sha256:"+strings.Repeat("00", 32)), 78, "neither enrolled nor started")
	if m.file("etc/restic-manager/agent.yaml") != "" {
		t.Error("it is enrolled with a server that it was told not to trust")
	}
	// By the certificates that it is signed with: no pin is kept.
	m.want(m.script(made, "--root", m.root, "--token", secret, "--ca", certFile), 0)
	if y := m.file("etc/restic-manager/agent.yaml"); !strings.Contains(y, "ca_file") || strings.Contains(y, "cert_pins") {
		t.Errorf("got %s, want the certificates and no pin", y)
	}

	selfSigned(t, filepath.Dir(certFile))
	if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	s.http.CloseIdleConnections()
	var now guide
	eventually(t, 10*time.Second, "the certificate is the new one", func() error {
		s.http.CloseIdleConnections()
		if now = s.guide(); now.CertPin == old.CertPin {
			return fmt.Errorf("still %s", now.CertPin)
		}
		return nil
	})
	for _, k := range []kit{dash, gnu} {
		m := newMachine(t, k, systemd).withSystemd()
		before := m.tree()
		command, next := old.Command, now.Command
		if k.fetch == "wget" {
			command, next = old.WgetCommand, now.WgetCommand
		}
		m.sh(command + " --root " + m.root + " --token " + secret)
		m.same(k.name+": the old command", before)
		m.want(m.script(made, "--root", m.root, "--token", secret), 1, "could not be fetched")
		m.same(k.name+": the old script", before)
		m.want(m.sh(next+" --root "+m.root+" --token "+s.token("again")), 0)
	}
}

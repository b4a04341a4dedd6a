package main

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// given is a path that make test names.
func given(t testing.TB, variable, below string) string {
	t.Helper()
	dir := os.Getenv(variable)
	if dir == "" {
		t.Fatalf("%s is not set: run make test", variable)
	}
	p := filepath.Join(dir, below)
	if _, err := os.Stat(p); err != nil {
		t.Fatalf("%v: run make test", err)
	}
	return p
}

const older, newer = "1.2.3", "1.2.4"

// pair are the packages of both programs in two versions, of which the newer one's server.yaml says more.
var pair = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "packages")
	if err != nil {
		return "", err
	}
	scratch = dir
	bin := os.Getenv("RESTIC_MANAGER_TEST_BIN")
	tree, agent := filepath.Join(dir, "tree"), "restic-manager-agent-linux-"+runtime.GOARCH
	script := fmt.Sprintf(`mkdir -p %[1]s programs/agents; cp -r ../../packaging ../../docs ../../README.md %[1]s
		sed -i 's/^  compression: gzip/  compression: none/; s/^  group:/  compression: gzip:1\n  group:/' %[1]s/packaging/packages/*.yaml # it is quicker
		ln %[2]s/restic-manager programs/restic-manager-linux-%[3]s || cp %[2]s/restic-manager programs/restic-manager-linux-%[3]s
		ln %[2]s/agents/%[4]s programs/agents/ || cp %[2]s/agents/%[4]s programs/agents/`, tree, bin, runtime.GOARCH, agent)
	script = strings.ReplaceAll(script, "programs/", dir+"/programs/")
	if out, err := exec.Command("sh", "-ec", script).CombinedOutput(); err != nil {
		return dir, fmt.Errorf("%w: %s", err, out)
	}
	wd, err := os.Getwd()
	if err != nil {
		return dir, err
	}
	defer os.Chdir(wd)
	if err := os.Chdir(tree); err != nil {
		return dir, err
	}
	o := options{programs: dir + "/programs", out: dir, version: older, at: time.Unix(1_700_000_000, 0), arches: []string{runtime.GOARCH}}
	if err := o.makeAll(); err != nil {
		return dir, err
	}
	f, err := os.OpenFile("packaging/packages/server.yaml", os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return dir, err
	}
	if _, err := f.WriteString("# what the newer one says\n"); err != nil {
		return dir, err
	}
	f.Close()
	o.version = newer
	return dir, o.makeAll()
})

// scratch is the folder of the pair, once it is made.
var scratch string

func TestMain(m *testing.M) {
	code := m.Run()
	if scratch != "" {
		os.RemoveAll(scratch)
	}
	os.Exit(code)
}

func packages(t testing.TB, version, format string) []string {
	t.Helper()
	given(t, "RESTIC_MANAGER_TEST_BIN", "restic-manager")
	dir, err := pair()
	if err != nil {
		t.Fatal(err)
	}
	found := glob(t, filepath.Join(dir, "*"+version+"*."+format))
	if len(found) != 2 {
		t.Fatalf("got the packages %q, want two", found)
	}
	return found
}

const (
	serverUnit = "restic-manager.service"
	agentUnit  = "restic-manager-agent.service"
	wants      = "etc/systemd/system/multi-user.target.wants/"
	// What must outlive everything: repositories, wherever a person put them, and restored files.
	inServer, inAgent, inSrv = "var/lib/restic-manager/repository", "var/lib/restic-manager-agent/repository", "srv/backup"
	restored                 = "var/lib/restic-manager-agent/restore/01/etc/hosts"
	running                  = "var/lib/restic-manager-agent/jobs/01"
)

var (
	serverState = []string{"var/lib/restic-manager/restic-manager.db", "var/lib/restic-manager/secret.key"}
	agentState  = []string{"etc/restic-manager/agent.yaml", "etc/restic-manager/guard.yaml", running, "var/cache/restic-manager-agent/CACHEDIR.TAG"}
)

// live uses the installed programs as they are meant to be used, and leaves behind what people and programs leave.
func (r *root) live() {
	r.t.Helper()
	uid, _ := r.ids("restic-manager")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	r.must(err)
	address := listener.Addr().String()
	listener.Close()
	var words, said bytes.Buffer
	server := r.command(uid, "restic-manager", "serve")
	server.Env = append(server.Env, "RESTIC_MANAGER_LISTEN="+address, "STATE_DIRECTORY=/var/lib/restic-manager",
		"RESTIC_MANAGER_ADMIN_USER=operator", "RESTIC_MANAGER_ADMIN_PASSWORD=a password for tests only")
	server.Stdout, server.Stderr = &words, &words
	r.must(server.Start())
	ended := make(chan error, 1)
	go func() { ended <- server.Wait() }()
	ctx, cancel := context.WithTimeout(r.t.Context(), 2*time.Minute)
	defer cancel()
	for ready := false; !ready; {
		select {
		case err := <-ended:
			r.t.Fatalf("the server, as its user, ended: %v\n%s", err, words.String())
		case <-ctx.Done():
			server.Process.Kill()
			r.t.Fatalf("the server is not ready\n%s", words.String())
		case <-time.After(50 * time.Millisecond):
		}
		if a, err := http.Get("http://" + address + "/readyz"); err == nil {
			a.Body.Close()
			ready = a.StatusCode == http.StatusOK
		}
	}
	token := strings.TrimSpace(lastLine(r.run("restic-manager", "token", "create")))
	r.run("restic-manager-agent", "enroll", "--server", "http://"+address, "--token", token)
	agent := r.command(0, "restic-manager-agent", "run")
	agent.Stdout, agent.Stderr = &said, &said
	r.must(agent.Start())
	for r.command(0, "restic-manager-agent", "status").Run() != nil {
		select {
		case <-ctx.Done():
			agent.Process.Kill()
			r.t.Fatalf("the agent is not online\n%s", said.String())
		case <-time.After(100 * time.Millisecond):
		}
	}
	r.must(agent.Process.Signal(syscall.SIGTERM))
	r.must(agent.Wait())
	r.must(server.Process.Signal(syscall.SIGTERM))
	if err := <-ended; err != nil {
		r.t.Fatalf("the server ended with %v\n%s", err, words.String())
	}
	r.write("etc/restic-manager/guard.yaml", "allow: [backup]\n", 0o644)
	r.write(running+"/job.json", "{}", 0o600)
	r.write("var/cache/restic-manager-agent/CACHEDIR.TAG", "", 0o600)
	r.write("etc/restic-manager/.agent.yaml.123", "", 0o600) // what a killed write leaves
	r.write(restored, "127.0.0.1 localhost\n", 0o600)
	restic := given(r.t, "RESTIC_MANAGER_TEST_TOOLS", "restic-0.18.0/restic")
	for _, repository := range []string{inServer, inAgent, inSrv} {
		r.restic(restic, repository, "init")
	}
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return lines[len(lines)-1]
}

func (r *root) restic(program, repository string, args ...string) {
	r.t.Helper()
	cmd := exec.Command(program, append([]string{"--no-cache", "--repo", r.path(repository)}, args...)...)
	cmd.Env = []string{"RESTIC_PASSWORD=secret", "HOME=" + r.dir}
	if out, err := cmd.CombinedOutput(); err != nil {
		r.t.Fatalf("restic %q: %v\n%s", args, err, out)
	}
}

// keepsPeoplesData asks restic whether the repositories are whole.
func (r *root) keepsPeoplesData() {
	r.t.Helper()
	for _, repository := range []string{inServer, inAgent, inSrv} {
		r.restic(given(r.t, "RESTIC_MANAGER_TEST_TOOLS", "restic-0.18.0/restic"), repository, "check")
	}
	r.has(restored)
}

// installed compares what both packages put there.
func (r *root) installed() {
	r.t.Helper()
	for _, f := range []struct {
		name  string
		mode  fs.FileMode
		owner string
	}{
		{"usr/bin/restic-manager", 0o755, "root"},
		{"usr/bin/restic-manager-agent", 0o755, "root"},
		{"usr/lib/restic-manager/agents/restic-manager-agent-linux-" + runtime.GOARCH, 0o755, "root"},
		{"usr/lib/systemd/system/" + serverUnit, 0o644, "root"},
		{"usr/lib/systemd/system/" + serverUnit + ".d/package.conf", 0o644, "root"},
		{"usr/lib/systemd/system/" + agentUnit, 0o644, "root"},
		{"usr/lib/systemd/system/" + agentUnit + ".d/package.conf", 0o644, "root"},
		{"etc/restic-manager", 0o755, "root"},
		{"etc/restic-manager/server.yaml", 0o644, "root"},
		{"etc/restic-manager/server.env", 0o600, "root"},
		{"var/lib/restic-manager", 0o700, "restic-manager"},
		{"var/lib/restic-manager-agent", 0o700, "root"},
		{"var/cache/restic-manager-agent", 0o700, "root"},
	} {
		r.sees(f.name, f.mode, f.owner)
	}
	if uid, _ := r.ids("restic-manager"); uid == 0 || uid >= 1000 {
		r.t.Errorf("got user number %d, want one of the system's", uid)
	}
	if shadow := text(r.t, r.path("etc/shadow")); !strings.Contains(shadow, "\nrestic-manager:!") {
		r.t.Errorf("somebody may sign in as restic-manager:\n%s", shadow)
	}
}

func (r *root) called(want ...string) {
	r.t.Helper()
	if got := r.calls(); !slices.Equal(slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))) {
		r.t.Errorf("got systemctl %q, want %q", got, want)
	}
}

// supervise makes it seem, until somebody sleeps, as if a supervisor ran.
func (r *root) supervise() {
	r.t.Helper()
	r.mkdir("proc/4711", 0o755)
	r.must(os.Symlink("/usr/bin/restic-manager-agent", r.path("proc/4711/exe")))
	r.must(os.Remove(r.path("usr/bin/sleep")))
	r.write("usr/bin/sleep", "#!/bin/sh\nls /"+running+" /usr/bin/restic-manager-agent >>/run/slept\nrm -r /proc/4711\n", 0o755)
}

// waited is whether a removal asked the supervisor to end its restic, and waited for it before it removed anything.
func (r *root) waited() {
	r.t.Helper()
	if slept := text(r.t, r.path("run/slept")); strings.Count(slept, "cancel\n") != 1 || !strings.Contains(slept, "/usr/bin/restic-manager-agent\n") {
		r.t.Errorf("while it waited for the supervisor there was:\n%s", slept)
	}
}

const ownSetting = "\noverdue_after: 24h # ours\n"

func (r *root) edit() {
	r.t.Helper()
	r.write("etc/restic-manager/server.yaml", text(r.t, r.path("etc/restic-manager/server.yaml"))+ownSetting, 0o644)
}

func (r *root) keepsSetting(name string) {
	r.t.Helper()
	if got := text(r.t, r.path(name)); !strings.Contains(got, ownSetting) || strings.Contains(got, "newer one") {
		r.t.Errorf("%s: the owner's change is lost:\n%s", name, got)
	}
}

func TestDebianPackages(t *testing.T) {
	r := newRoot(t)
	// An agent that a script brought here made the folder for itself alone.
	r.mkdir("etc/restic-manager", 0o700)

	r.dpkg(append([]string{"--install"}, packages(t, older, "deb")...)...)
	r.installed()
	r.called("preset "+serverUnit, "preset "+agentUnit, "start "+serverUnit) // the agent is not enrolled
	r.has(wants+serverUnit, wants+agentUnit)
	r.write("usr/bin/kill", "#!/bin/sh\n", 0o755) // is no part of this small Debian, and the units name it
	if said := r.outside("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", "--root="+r.dir, serverUnit, agentUnit); said != "" {
		t.Errorf("systemd says of the units: %s", said)
	}
	if said := r.outside("systemd-analyze", "security", "--no-pager", "--offline=true", "--root="+r.dir, serverUnit); !strings.Contains(said, "static non-root user") {
		t.Errorf("the server does not run as the user that the package made:\n%s", said)
	}

	r.live()
	r.edit()
	before := map[string]string{}
	for _, name := range slices.Concat(serverState, agentState[:2]) {
		before[name] = text(t, r.path(name))
	}
	r.dpkg(append([]string{"--install"}, packages(t, newer, "deb")...)...)
	r.installed()
	r.called("restart "+serverUnit, "restart "+agentUnit) // and no stop, which would end what serves until then
	r.keepsSetting("etc/restic-manager/server.yaml")
	for name, want := range before {
		if text(t, r.path(name)) != want {
			t.Errorf("the upgrade changed %s", name)
		}
	}
	r.lacks(running + "/cancel")

	// What the owner switched off stays off.
	r.must(os.Remove(r.path(wants + agentUnit)))
	r.run("systemctl", "stop", agentUnit)
	r.calls()
	r.dpkg(append([]string{"--install"}, packages(t, newer, "deb")...)...)
	r.lacks(wants + agentUnit)
	r.called("restart " + serverUnit)
	r.run("systemctl", "enable", agentUnit)
	r.calls()

	r.supervise()
	r.dpkg("--remove", "restic-manager", "restic-manager-agent")
	r.waited()
	r.called("stop "+serverUnit, "stop "+agentUnit)
	r.lacks("usr/bin/restic-manager", "usr/bin/restic-manager-agent", "usr/lib/systemd/system/"+serverUnit, "usr/lib/restic-manager")
	r.has(slices.Concat(serverState, agentState)...)
	r.has("etc/restic-manager/server.env", running+"/cancel") // restic ends, as after a cancel
	r.keepsSetting("etc/restic-manager/server.yaml")

	r.dpkg(append([]string{"--install"}, packages(t, newer, "deb")...)...)
	r.installed()
	r.called("restart "+serverUnit, "restart "+agentUnit) // which starts what is stopped; it is enrolled by now
	r.keepsSetting("etc/restic-manager/server.yaml")

	said := r.dpkg("--purge", "restic-manager", "restic-manager-agent")
	r.lacks(slices.Concat(serverState, agentState)...)
	r.lacks("etc/restic-manager", "var/cache/restic-manager-agent", wants+serverUnit, wants+agentUnit)
	r.keepsPeoplesData()
	if !strings.Contains(said, "left: /var/lib/restic-manager-agent,") || !strings.Contains(said, "left: /var/lib/restic-manager,") {
		t.Errorf("it does not say what it left:\n%s", said)
	}
	r.ids("restic-manager") // stays, as its number could come to own what it left elsewhere
	if left := r.run("find", "/etc/systemd/system", "/var/lib/systemd", "-name", "restic-manager*"); left != "" {
		t.Errorf("left by purge:\n%s", left)
	}
	for _, folder := range []string{inServer, inAgent} {
		if got := inFolder(t, r.path(filepath.Dir(folder))); slices.ContainsFunc(got, func(n string) bool { return n != "repository" && n != "restore" }) {
			t.Errorf("%s: got %q after the purge", filepath.Dir(folder), got)
		}
	}
}

func inFolder(t testing.TB, dir string) (all []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

// TestPurgeLeavesNothingBehind where nobody kept data of their own.
func TestPurgeLeavesNothingBehind(t *testing.T) {
	r := newRoot(t)
	r.dpkg(append([]string{"--install"}, packages(t, newer, "deb")...)...)
	if said := r.dpkg("--purge", "restic-manager", "restic-manager-agent"); strings.Contains(said, "left:") {
		t.Errorf("it says that something is left:\n%s", said)
	}
	r.lacks("etc/restic-manager", "var/lib/restic-manager", "var/lib/restic-manager-agent", "var/cache/restic-manager-agent",
		"usr/lib/restic-manager", "usr/share/doc/restic-manager", "usr/share/doc/restic-manager-agent")
}

func TestRPMPackages(t *testing.T) {
	r := newRoot(t)
	// Their names for what they need are Fedora's, which this root does not know.
	install := []string{"--nodeps", "--upgrade"}
	r.rpm("--initdb")
	r.rpm(append(slices.Clone(install), packages(t, older, "rpm")...)...)
	r.installed()
	r.called("preset "+serverUnit, "preset "+agentUnit) // the distribution's rules decide

	r.live()
	r.edit()
	r.rpm(append(slices.Clone(install), packages(t, newer, "rpm")...)...)
	r.installed()
	r.called("try-restart "+serverUnit, "try-restart "+agentUnit)
	r.keepsSetting("etc/restic-manager/server.yaml")
	r.has("etc/restic-manager/server.yaml.rpmnew")
	r.lacks(running + "/cancel")

	r.supervise()
	r.rpm("--erase", "--nodeps", "restic-manager", "restic-manager-agent")
	r.waited()
	r.called("disable "+serverUnit, "disable "+agentUnit)
	r.lacks("usr/bin/restic-manager", "usr/bin/restic-manager-agent", "usr/lib/restic-manager", "usr/share/doc/restic-manager", "usr/share/doc/restic-manager-agent")
	r.has(slices.Concat(serverState, agentState)...)
	r.has(running + "/cancel")
	r.keepsSetting("etc/restic-manager/server.yaml.rpmsave")
	r.keepsPeoplesData()
}

func TestScriptsAreSoundShell(t *testing.T) {
	for _, script := range glob(t, "../../packaging/packages/deb/*", "../../packaging/packages/rpm/*") {
		if out, err := exec.Command("shellcheck", "--shell=sh", script).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", script, err, out)
		}
	}
}

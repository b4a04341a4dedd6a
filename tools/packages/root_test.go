package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// root is a small Debian of its own, made of this machine's packages: dpkg and rpm run the maintainer scripts in it by
// chroot, with Debian's own helpers. Only systemctl is a script that writes down what it was told and remembers which
// units run.
type root struct {
	t   testing.TB
	dir string
}

// systemctl knows as much as the scripts and Debian's helpers ask. A preset enables, as Debian's do.
const systemctl = `#!/bin/sh
unit= verb=
for word in "$@"; do
	case $word in
	-*) ;;
	*) if [ -z "$verb" ]; then verb=$word; else unit=$word; fi ;;
	esac
done
echo "$verb $unit" | sed 's/ $//' >>/run/calls
wanted=/etc/systemd/system/multi-user.target.wants
case $verb in
is-enabled) if [ -L "$wanted/$unit" ]; then echo enabled; else echo disabled; false; fi ;;
enable | preset) mkdir -p "$wanted" && ln -sf "/usr/lib/systemd/system/$unit" "$wanted/$unit" ;;
disable) rm -f "$wanted/$unit" ;;
is-active) [ -e "/run/active-$unit" ] ;;
start | restart) : >"/run/active-$unit" ;;
stop) rm -f "/run/active-$unit" ;;
esac
`

func newRoot(t testing.TB) *root {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("the maintainer scripts run in a chroot, which takes root: run make test as root")
	}
	r := &root{t: t, dir: filepath.Join(t.TempDir(), "root")}
	r.mkdir("", 0o755)
	merged := []string{} // bin, lib…, which are links into usr
	for _, link := range []string{"bin", "sbin", "lib", "lib32", "lib64", "libx32"} {
		if to, err := os.Readlink("/" + link); err == nil {
			merged = append(merged, link)
			r.must(os.Symlink(to, r.path(link)))
		}
	}
	packages := closure(t)
	var files bytes.Buffer
	for line := range strings.Lines(output(t, "dpkg-query", append([]string{"-L"}, packages...)...)) {
		name := strings.TrimSuffix(strings.TrimPrefix(line, "/"), "\n")
		if first, _, _ := strings.Cut(name, "/"); slices.Contains(merged, first) {
			name = "usr/" + name
		}
		if _, err := os.Lstat("/" + name); err == nil && name != "" && name != "." && !strings.HasPrefix(name, "usr/share/doc") &&
			!strings.HasPrefix(name, "usr/share/man") && !strings.HasPrefix(name, "usr/share/locale") && !strings.HasPrefix(name, "dev/") {
			fmt.Fprintln(&files, name)
		}
	}
	copying := exec.Command("sh", "-ec", `tar -C / --no-recursion -cf - -T - | tar -C "$1" -xpf -`, "sh", r.dir)
	copying.Stdin = &files
	if out, err := copying.CombinedOutput(); err != nil {
		t.Fatalf("copy the packages of this machine: %v\n%s", err, out)
	}
	for _, dir := range []string{"dev", "run/systemd/system", "tmp", "var/lib/dpkg/info", "var/lib/dpkg/updates", "var/lib/rpm", "srv", "etc/systemd/system"} {
		r.mkdir(dir, 0o755)
	}
	for name, minor := range map[string]int{"null": 3, "urandom": 9} {
		r.must(syscall.Mknod(r.path("dev/"+name), syscall.S_IFCHR|0o666, 1<<8|minor))
		r.must(os.Chmod(r.path("dev/"+name), 0o666))
	}
	r.write("var/lib/dpkg/status", output(t, "dpkg-query", append([]string{"-s"}, packages...)...), 0o644)
	for _, list := range packages {
		for _, info := range glob(t, "/var/lib/dpkg/info/"+list+".list", "/var/lib/dpkg/info/"+list+":*.list") {
			r.write(strings.TrimPrefix(info, "/"), text(t, info), 0o644)
		}
	}
	r.write("etc/passwd", text(t, "/usr/share/base-passwd/passwd.master"), 0o644)
	r.write("etc/group", text(t, "/usr/share/base-passwd/group.master"), 0o644)
	r.run("pwconv")
	r.run("grpconv")
	r.run("ldconfig")
	r.must(os.Remove(r.path("usr/bin/systemctl")), fs.ErrNotExist)
	r.write("usr/bin/systemctl", systemctl, 0o755)
	return r
}

// closure is what Debian calls essential, passwd, and what they depend on.
func closure(t testing.TB) []string {
	depends, essential := map[string][]string{}, []string{"passwd"}
	provides := map[string]string{}
	for line := range strings.Lines(output(t, "dpkg-query", "-W", "-f", "${Package}\t${Essential}\t${Provides}\t${Pre-Depends}, ${Depends}\n")) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		for dep := range strings.FieldsFuncSeq(f[3], func(c rune) bool { return c == ',' || c == '|' }) {
			if name, _, _ := strings.Cut(strings.TrimSpace(dep), " "); name != "" {
				name, _, _ = strings.Cut(name, ":")
				depends[f[0]] = append(depends[f[0]], name)
			}
		}
		for p := range strings.SplitSeq(f[2], ",") {
			if name, _, _ := strings.Cut(strings.TrimSpace(p), " "); name != "" {
				provides[name] = f[0]
			}
		}
		if f[1] == "yes" {
			essential = append(essential, f[0])
		}
		if depends[f[0]] == nil {
			depends[f[0]] = []string{}
		}
	}
	var all []string
	for open := essential; len(open) > 0; open = open[1:] {
		name := open[0]
		if depends[name] == nil {
			name = provides[name]
		}
		// debconf, an alternative of some, would bring all of perl.
		if depends[name] != nil && name != "debconf" && !slices.Contains(all, name) {
			all = append(all, name)
			open = append(open, depends[name]...)
		}
	}
	return all
}

func output(t testing.TB, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return string(out)
}

func glob(t testing.TB, patterns ...string) (all []string) {
	t.Helper()
	for _, p := range patterns {
		found, err := filepath.Glob(p)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, found...)
	}
	return all
}

func text(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func (r *root) path(name string) string { return filepath.Join(r.dir, name) }

func (r *root) must(err error, but ...error) {
	r.t.Helper()
	if err != nil && !slices.ContainsFunc(but, func(b error) bool {
		return strings.Contains(err.Error(), b.Error()) || os.IsNotExist(err) && b == fs.ErrNotExist
	}) {
		r.t.Fatal(err)
	}
}

func (r *root) mkdir(name string, mode fs.FileMode) {
	r.t.Helper()
	r.must(os.MkdirAll(r.path(name), mode))
}

func (r *root) write(name, text string, mode fs.FileMode) {
	r.t.Helper()
	r.mkdir(filepath.Dir(name), 0o755)
	r.must(os.WriteFile(r.path(name), []byte(text), mode))
}

// command is a program of the root, to be run in it, by that user (0: root).
func (r *root) command(uid uint32, name string, args ...string) *exec.Cmd {
	cmd := exec.Command("/usr/bin/env", append([]string{name}, args...)...)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: r.dir, Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "HOME=/"}
	return cmd
}

// run runs it as root and gives what it said.
func (r *root) run(name string, args ...string) string {
	r.t.Helper()
	out, err := r.command(0, name, args...).CombinedOutput()
	if err != nil {
		r.t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// outside runs a program of this machine, as dpkg --root, and gives what it said.
func (r *root) outside(name string, args ...string) string {
	r.t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive", "HOME=" + r.dir}
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// dpkg is dpkg on the root. A changed configuration file is dealt with as by one who presses enter at its question.
func (r *root) dpkg(args ...string) string {
	r.t.Helper()
	return r.outside("dpkg", append([]string{"--root=" + r.dir, "--force-confdef"}, args...)...)
}

func (r *root) rpm(args ...string) string {
	r.t.Helper()
	return r.outside("rpm", append([]string{"--root=" + r.dir, "--dbpath=/var/lib/rpm"}, args...)...)
}

// calls gives what systemctl was told to do to units since it was called last, without the questions.
func (r *root) calls() (all []string) {
	r.t.Helper()
	b, err := os.ReadFile(r.path("run/calls"))
	r.must(err, fs.ErrNotExist)
	r.must(os.Remove(r.path("run/calls")), fs.ErrNotExist)
	for line := range strings.Lines(string(b)) {
		if line = strings.TrimSpace(line); !strings.HasPrefix(line, "is-") && line != "daemon-reload" {
			all = append(all, line)
		}
	}
	return all
}

// sees compares mode and owner of a file or folder.
func (r *root) sees(name string, mode fs.FileMode, owner string) {
	r.t.Helper()
	info, err := os.Lstat(r.path(name))
	if err != nil {
		r.t.Error(err)
		return
	}
	s := info.Sys().(*syscall.Stat_t)
	if uid, gid := r.ids(owner); info.Mode().Perm() != mode || s.Uid != uid || s.Gid != gid {
		r.t.Errorf("%s: got %o of %d:%d, want %o of %s (%d:%d)", name, info.Mode().Perm(), s.Uid, s.Gid, mode, owner, uid, gid)
	}
}

func (r *root) ids(user string) (uid, gid uint32) {
	r.t.Helper()
	for line := range strings.Lines(text(r.t, r.path("etc/passwd"))) {
		if f := strings.Split(line, ":"); f[0] == user {
			if _, err := fmt.Sscan(f[2]+" "+f[3], &uid, &gid); err != nil {
				r.t.Fatal(err)
			}
			return uid, gid
		}
	}
	r.t.Fatalf("there is no user %s", user)
	return 0, 0
}

func (r *root) exists(name string) bool {
	_, err := os.Lstat(r.path(name))
	return err == nil
}

// has and lacks tell which of the names should be otherwise.
func (r *root) has(names ...string) {
	r.t.Helper()
	for _, n := range names {
		if !r.exists(n) {
			r.t.Errorf("%s is gone", n)
		}
	}
}

func (r *root) lacks(names ...string) {
	r.t.Helper()
	for _, n := range names {
		if r.exists(n) {
			r.t.Errorf("%s is there", n)
		}
	}
}

package hook

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"restic-manager/shared/wire"
)

// folder is a folder of hooks with one sound hook in it.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(dir, "hooks.d")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	script(t, filepath.Join(dir, "dump"), 0o755)
	return dir
}

func script(t *testing.T, path string, mode fs.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func refused(t *testing.T, dir, name string, uid int, want string) {
	t.Helper()
	if path, err := Path(dir, name, uid); err == nil || path != "" && !strings.HasSuffix(path, name) || !strings.Contains(err.Error(), want) {
		t.Errorf("%q in %s: got %q %v, want it refused with %q", name, dir, path, err, want)
	}
}

func TestASoundHookIsFound(t *testing.T) {
	dir := folder(t)
	if got, err := Path(dir, "dump", os.Geteuid()); err != nil || got != filepath.Join(dir, "dump") {
		t.Errorf("got %q %v", got, err)
	}
	for _, mode := range []fs.FileMode{0o500, 0o700, 0o755, 0o711} {
		script(t, filepath.Join(dir, "other"), mode)
		if _, err := Path(dir, "other", os.Geteuid()); err != nil {
			t.Errorf("mode %#o: got %v", mode, err)
		}
		os.Remove(filepath.Join(dir, "other"))
	}
}

func TestANameIsNeverAPath(t *testing.T) {
	dir := folder(t)
	script(t, filepath.Join(filepath.Dir(dir), "outside"), 0o755)
	for _, name := range []string{"", ".", "..", "../outside", "/bin/sh", "sub/dump", "./dump", "dump/", ".hidden", "-dump", "dump x", "du\x00mp", "dump\n"} {
		refused(t, dir, name, os.Geteuid(), "is not the name of a hook")
	}
	refused(t, dir, "nothing", os.Geteuid(), "no such file")
	refused(t, "hooks.d", "dump", os.Geteuid(), "not an absolute")
	refused(t, dir+"/../hooks.d", "dump", os.Geteuid(), "not an absolute, clean path")
}

func TestWhatOthersMayChangeIsNotRun(t *testing.T) {
	dir := folder(t)
	uid := os.Geteuid()
	for _, mode := range []fs.FileMode{0o775, 0o757, 0o777, 0o720} {
		script(t, filepath.Join(dir, "open"), mode)
		refused(t, dir, "open", uid, "chmod go-w")
	}
	script(t, filepath.Join(dir, "text"), 0o644)
	refused(t, dir, "text", uid, "not executable")
	for _, p := range []string{dir, filepath.Dir(dir)} {
		for _, mode := range []fs.FileMode{0o775, 0o777} {
			if err := os.Chmod(p, mode); err != nil {
				t.Fatal(err)
			}
			refused(t, dir, "dump", uid, "chmod go-w "+p)
		}
		if err := os.Chmod(p, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// Sticky: fine above, not for the folder itself, in which others could make new files.
	if err := os.Chmod(dir, 0o777|fs.ModeSticky); err != nil {
		t.Fatal(err)
	}
	refused(t, dir, "dump", uid, "chmod go-w "+dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(dir), 0o777|fs.ModeSticky); err != nil {
		t.Fatal(err)
	}
	if _, err := Path(dir, "dump", uid); err != nil {
		t.Errorf("below a sticky folder: got %v", err)
	}
}

func TestTheOwnerIsRootOrTheAgent(t *testing.T) {
	dir := folder(t)
	info, err := os.Lstat(filepath.Join(dir, "dump"))
	if err != nil {
		t.Fatal(err)
	}
	info.Sys().(*syscall.Stat_t).Uid = 12345
	for uid, ok := range map[int]bool{0: false, 1000: false, 12345: true} {
		if err := ours("/x", info, uid); (err == nil) != ok {
			t.Errorf("a file of 12345, an agent of %d: got %v", uid, err)
		}
	}
	if os.Geteuid() != 0 {
		return // only root can give files away
	}
	if err := os.Chown(filepath.Join(dir, "dump"), 12345, 0); err != nil {
		t.Fatal(err)
	}
	refused(t, dir, "dump", 0, "belongs to user 12345")
	if _, err := Path(dir, "dump", 12345); err != nil {
		t.Errorf("the agent's own: got %v", err)
	}
	if err := os.Chown(dir, 54321, 0); err != nil {
		t.Fatal(err)
	}
	refused(t, dir, "dump", 12345, "belongs to user 54321")
}

func TestLinksAndOtherThingsAreNotRun(t *testing.T) {
	dir := folder(t)
	above := filepath.Dir(dir)
	for name, to := range map[string]string{"shell": "/bin/sh", "same": "dump", "nowhere": "/nowhere"} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		refused(t, dir, name, os.Geteuid(), "is a link")
	}
	if err := os.Symlink(dir, filepath.Join(above, "linked")); err != nil {
		t.Fatal(err)
	}
	refused(t, filepath.Join(above, "linked"), "dump", os.Geteuid(), "a link is not taken")
	if err := os.Symlink(above, filepath.Join(above, "up")); err != nil {
		t.Fatal(err)
	}
	refused(t, filepath.Join(above, "up", "hooks.d"), "dump", os.Geteuid(), "a link is not taken")
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	refused(t, dir, "sub", os.Geteuid(), "not a regular file")
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o755); err != nil {
		t.Fatal(err)
	}
	refused(t, dir, "pipe", os.Geteuid(), "not a regular file")
}

func TestTheEnvironmentIsFixed(t *testing.T) {
	t.Setenv("RESTIC_PASSWORD", "secret")
	t.Setenv("LD_PRELOAD", "/tmp/x.so")
	told := Told{JobID: "j", PolicyID: "p", Kind: wire.KindBackup, Stage: Before, Result: wire.StateFailed}
	want := []string{"PATH=" + searchPath, "HOME=" + home(), "LANG=C.UTF-8", "RESTIC_MANAGER_JOB=j", "RESTIC_MANAGER_POLICY=p", "RESTIC_MANAGER_KIND=backup", "RESTIC_MANAGER_STAGE=before"}
	if got := told.Environment(); !slices.Equal(got, want) {
		t.Errorf("before: got %q, want %q", got, want)
	}
	told.Stage = After
	want[6] = "RESTIC_MANAGER_STAGE=after"
	if got := told.Environment(); !slices.Equal(got, append(want, "RESTIC_MANAGER_RESULT=failed")) {
		t.Errorf("after: got %q", got)
	}
}

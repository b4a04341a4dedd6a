package restic

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"restic-manager/shared/wire"
)

// restic is told which rclone to run, and rclone which configuration to read; where one is missing, that is said.
func TestARepositoryBehindRclone(t *testing.T) {
	dir := t.TempDir()
	config, bin := filepath.Join(dir, "rclone.conf"), filepath.Join(dir, "bin")
	start := Invocation{Path: "/usr/bin/restic", Args: []string{"cat", "config"}, Env: []string{"HOME=/x"}, Password: "x"}
	fails := func(want string) {
		t.Helper()
		_, err := start.withRclone(config, []string{filepath.Join(dir, "empty"), bin})
		if e, ok := err.(*Error); !ok || e.Code != wire.CodeRcloneMissing || !strings.Contains(e.Message, want) {
			t.Errorf("got %v, want %s with %q", err, wire.CodeRcloneMissing, want)
		}
	}
	fails("not installed")
	if err := os.Mkdir(bin, 0o700); err != nil {
		t.Fatal(err)
	}
	write := func(path string, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(path, nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(bin, "rclone"), 0o600)
	fails("not installed")
	if err := os.Chmod(filepath.Join(bin, "rclone"), 0o700); err != nil {
		t.Fatal(err)
	}
	fails("no configuration")
	write(config, 0o600)
	i, err := start.withRclone(config, []string{filepath.Join(dir, "empty"), bin})
	if err != nil {
		t.Fatal(err)
	}
	cmd, release, err := i.Cmd()
	if err != nil {
		t.Fatal(err)
	}
	release()
	if got, want := cmd.Args, []string{"/usr/bin/restic", "--option=rclone.program=" + bin + "/rclone", "cat", "config"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if !slices.Contains(cmd.Env, "RCLONE_CONFIG="+config) || len(start.Env) != 1 {
		t.Errorf("got the environment %q, want the owner's configuration in it", cmd.Env)
	}
	a := Access{Binary: Binary{Path: "/usr/bin/restic"}, Host: Host{StateDir: dir, CacheDir: dir, TempDir: dir}, Repository: Repository{URL: "rclone:x:y", Password: "x"}}
	if _, err := a.begin(); err == nil || !strings.Contains(err.Error(), "rclone") {
		t.Errorf("without a configuration: got %v, want that it is missing", err)
	}
}

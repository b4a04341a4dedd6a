//go:build failpoint

package failpoint

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

func arm(t *testing.T, name, action string) string {
	t.Helper()
	dir := t.TempDir()
	t.Setenv(Variable, dir)
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(action), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestHitObeysAFileOnceAfterThoseItLetsPass(t *testing.T) {
	path := arm(t, "here", "error 2")
	for i := range 5 {
		err := Hit("here")
		if want := i == 2; errors.Is(err, ErrInjected) != want {
			t.Errorf("hit %d: got %v, want an error: %t", i+1, err, want)
		}
		if err := Hit("elsewhere"); err != nil {
			t.Errorf("a place that is not armed: got %v", err)
		}
	}
	if _, err := os.Stat(path + ".hit"); err != nil {
		t.Error(err)
	}
	path = arm(t, "here", "error 1")
	if err := Hit("here"); err != nil {
		t.Errorf("the first hit of a place that is armed again: got %v, want it to pass", err)
	}
	if err := Hit("here"); !errors.Is(err, ErrInjected) {
		t.Errorf("the second hit: got %v, want an error", err)
	}
}

func TestEnvironmentHandsTheFolderOn(t *testing.T) {
	dir := filepath.Dir(arm(t, "here", "kill"))
	if got := Environment(); len(got) != 1 || got[0] != Variable+"="+dir {
		t.Errorf("got %v, want %s=%s", got, Variable, dir)
	}
	t.Setenv(Variable, "")
	if got := Environment(); len(got) != 0 {
		t.Errorf("without a folder: got %v, want nothing", got)
	}
}

func TestHitKills(t *testing.T) {
	if os.Getenv("VICTIM") != "" {
		_ = Hit("deadly")
		os.Exit(0)
	}
	arm(t, "deadly", "kill")
	cmd := exec.Command(os.Args[0], "-test.run=^TestHitKills$")
	cmd.Env = append(os.Environ(), "VICTIM=1")
	_ = cmd.Run()
	if s, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || s.Signal() != syscall.SIGKILL {
		t.Errorf("got %v, want killed", cmd.ProcessState)
	}
}

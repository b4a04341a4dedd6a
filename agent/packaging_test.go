package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"restic-manager/agent/config"
)

// units are the unit files, what they run, and the most exposure that systemd-analyze may find (0 to 10).
var units = map[string]struct {
	program  string
	exposure float64
}{
	"restic-manager.service":       {"/usr/bin/restic-manager", 2.5},
	"restic-manager-agent.service": {"/usr/bin/restic-manager-agent", 4.0}, // it reads and restores everything
}

func analyze(t *testing.T, args ...string) (string, error) {
	t.Helper()
	path, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Fatal("systemd-analyze is not there: run make test, or apt-get install systemd")
	}
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), "SYSTEMD_PAGER=", "LC_ALL=C", "SYSTEMD_COLORS=0", "SYSTEMD_LOG_LEVEL=info")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// unitFile is a copy whose program is there: systemd-analyze verify looks for it.
func unitFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "packaging", name))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	program := filepath.Join(dir, "program")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(text), "ExecStart="+units[name].program+" ", "ExecStart="+program+" ", 1)
	if changed == string(text) {
		t.Fatalf("%s does not run %s", name, units[name].program)
	}
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(changed), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestUnitsAreUnderstoodBySystemd(t *testing.T) {
	for name := range units {
		out, err := analyze(t, "verify", "--man=no", "--recursive-errors=no", unitFile(t, name))
		// Warnings, as of a key it does not know, leave the exit code at 0.
		for line := range strings.Lines(out) {
			if strings.Contains(line, name) {
				err = fmt.Errorf("it says something")
			}
		}
		if err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

var overall = regexp.MustCompile(`Overall exposure level for \S+: ([0-9.]+)`)

func TestUnitsAreHardened(t *testing.T) {
	for name, u := range units {
		out, err := analyze(t, "security", "--no-pager", "--offline=true", "--threshold="+strconv.Itoa(int(u.exposure*10)), unitFile(t, name))
		m := overall.FindStringSubmatch(out)
		if m == nil {
			t.Fatalf("%s: no figure, %v\n%s", name, err, out)
		}
		if exposure, _ := strconv.ParseFloat(m[1], 64); exposure > u.exposure || err != nil {
			t.Errorf("%s: exposure %s, want at most %.1f (%v)", name, m[1], u.exposure, err)
		}
	}
}

// setting is the values of a key in a unit, in their order.
func setting(t *testing.T, unit, key string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "packaging", unit))
	if err != nil {
		t.Fatal(err)
	}
	var values []string
	for line := range strings.Lines(string(text)) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), key+"="); ok {
			values = append(values, v)
		}
	}
	return values
}

// TestUnitAndProgramAgree compares the agent's unit with what the program relies on.
func TestUnitAndProgramAgree(t *testing.T) {
	const unit = "restic-manager-agent.service"
	for key, want := range map[string]string{
		"Type":                     "notify",
		"KillMode":                 "process",                                                      // supervisors outlive the agent
		"RestartPreventExitStatus": fmt.Sprintf("%d %d %d", exitProtocol, exitRefused, exitConfig), // a person has to act
		"RuntimeDirectoryPreserve": "yes",                                                          // restic's password file outlives it too
		"ExecReload":               "/bin/kill -HUP $MAINPID",
		"OOMPolicy":                "continue",
		"UMask":                    "0077",
		"ExecStart":                "/usr/bin/restic-manager-agent run",
	} {
		if got := setting(t, unit, key); !slices.Equal(got, []string{want}) {
			t.Errorf("%s: got %q, want %q", key, got, want)
		}
	}
	for _, hides := range []string{"ProtectHome", "PrivateTmp", "ProtectProc", "ProtectKernelModules", "PrivateDevices", "InaccessiblePaths", "RestrictSUIDSGID", "DynamicUser", "PrivateUsers"} {
		if got := setting(t, unit, hides); len(got) != 0 {
			t.Errorf("%s=%s hides data from backups or keeps restores from being whole", hides, got)
		}
	}
	for unit, least := range map[string]map[string]int{unit: {"TimeoutStopSec": 120, "WatchdogSec": 30}, "restic-manager.service": {"TimeoutStopSec": 15, "WatchdogSec": 30}} {
		for key, seconds := range least {
			if got := setting(t, unit, key); len(got) != 1 {
				t.Errorf("%s: %s: got %q", unit, key, got)
			} else if n, err := strconv.Atoi(got[0]); err != nil || n < seconds {
				t.Errorf("%s: %s: got %s, want at least %d", unit, key, got[0], seconds)
			}
		}
	}
	// The folders that systemd makes are those that the program would take by itself, so that status finds
	// what run writes.
	for _, key := range []string{"STATE_DIRECTORY", "CACHE_DIRECTORY", "RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR"} {
		t.Setenv(key, "")
	}
	paths, err := config.Locate("", "")
	if err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		for key, want := range map[string]string{"StateDirectory": paths.State, "CacheDirectory": paths.Cache, "RuntimeDirectory": paths.Runtime} {
			if got := setting(t, unit, key); len(got) != 1 || got[0] != filepath.Base(want) {
				t.Errorf("%s: got %q, want %s", key, got, filepath.Base(want))
			}
		}
	}
}

// TestWatchdogOutlastsTheSignsOfLife: the runner gives one every 10 s at least.
func TestWatchdogOutlastsTheSignsOfLife(t *testing.T) {
	seconds, err := strconv.Atoi(setting(t, "restic-manager-agent.service", "WatchdogSec")[0])
	if err != nil {
		t.Fatal(err)
	}
	n := &notifier{every: time.Duration(seconds) * time.Second / 2}
	if beat := 10 * time.Second; n.every/2+beat >= time.Duration(seconds)*time.Second {
		t.Errorf("a sign of life may be %s apart, and systemd waits %d s", n.every/2+beat, seconds)
	}
}

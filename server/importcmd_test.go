package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestWhatImportPrintsIsWhatApplyTakes, and what it could not take over is told beside it.
func TestWhatImportPrintsIsWhatApplyTakes(t *testing.T) {
	m := newManaged(t)
	m.enroll("web1")
	file := filepath.Join(t.TempDir(), "profiles.yaml")
	text := "home:\n  repository: /srv/backup\n  backup:\n    source: /home\n    schedule: '*-*-* 2:30'\n    run-before: echo\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, stderr := command(t, nil, "", "import", "resticprofile", file, "--zone=Europe/Berlin", "--host=web1")
	if code != 0 || !strings.Contains(stderr, "Repositories: 1. Policies: 1.\nNot taken over:\n  home.backup.run-before: ") {
		t.Fatalf("got %d %s%s", code, out, stderr)
	}
	code, out, stderr = m.asCode([]string{"HOME_PASSWORD=secret"}, "apply", "--yes", "-f", fleetIn(t, out))
	if code != 0 || !strings.Contains(out, "machines: 1 new (web1)") {
		t.Errorf("apply: got %d %s%s", code, out, stderr)
	}
	if now := m.export(); !strings.Contains(now, "cron: 30 2 * * *") || !strings.Contains(now, "zone: Europe/Berlin") || !strings.Contains(now, "- web1") {
		t.Errorf("got\n%s", now)
	}
	for _, c := range []struct{ args, says string }{
		{"import backrest " + file, "cannot be read"}, {"import resticprofile /nonexistent", "/nonexistent"}, {"import resticprofile " + file + " --zone=Nowhere", "not a time zone"}, {"import resticprofile -", "cannot be read"},
	} {
		if code, out, stderr := command(t, nil, "", strings.Fields(c.args)...); code != 1 || out != "" || !strings.Contains(stderr, c.says) {
			t.Errorf("%s: got %d %s%s, want 1 and %q", c.args, code, out, stderr, c.says)
		}
	}
}

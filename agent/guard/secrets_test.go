package guard

import (
	"os"
	"strings"
	"testing"

	"restic-manager/shared/wire"
)

// TestSecretsAreKeptOnlyWhereTheFileSaysSo: not without the file, not by a broken one, and no longer once it says no.
func TestSecretsAreKeptOnlyWhereTheFileSaysSo(t *testing.T) {
	h := newHost(t)
	if Open(h.options).KeepsSecrets() {
		t.Error("without a file secrets are kept")
	}
	g := h.guard("version: 1\nschedule: {keep_secrets: true}\n")
	if r := g.Report(); !g.KeepsSecrets() || !strings.Contains(r.Summary, "password on disk") {
		t.Errorf("got %v and summary %q, want secrets kept and said", g.KeepsSecrets(), r.Summary)
	}
	for name, yaml := range map[string]string{"no": "version: 1\nschedule: {keep_secrets: false}\n", "nothing": "version: 1\n", "broken": "version: 1\nschedule: {keep_secrets: true}\nx: 1\n"} {
		h.write(yaml)
		g.Reload()
		if r := g.Report(); g.KeepsSecrets() || strings.Contains(r.Summary, "password") {
			t.Errorf("%s: got secrets kept, summary %q", name, r.Summary)
		}
		h.write("version: 1\nschedule: {keep_secrets: true}\n")
		g.Reload()
	}
	if err := os.Remove(h.options.Path); err != nil {
		t.Fatal(err)
	}
	if g.KeepsSecrets() {
		t.Error("after the file is gone secrets are kept")
	}
}

// TestKeptSecretsAreInNoBackup: the state folder, where they lie, is denied by name and left out of what is above it.
func TestKeptSecretsAreInNoBackup(t *testing.T) {
	h := newHost(t)
	g := h.guard("version: 1\nschedule: {keep_secrets: true}\n")
	secrets := h.path("state/schedule-secrets.json")
	refused(t, g, backupOf(secrets), facts(), wire.CodeGuard, "backup.deny")
	if _, in := insideAny(secrets, g.Denied()); !in {
		t.Errorf("got denied %v, want %s in one of them", g.Denied(), secrets)
	}
}

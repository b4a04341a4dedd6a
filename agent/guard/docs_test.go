package guard

import (
	"os"
	"strings"
	"testing"

	"restic-manager/shared/wire"
)

// TestExampleOfTheDocsIsAGuardThatSaysAllThereIs: the first example of docs/guard.md is taken, and names every key.
func TestExampleOfTheDocsIsAGuardThatSaysAllThereIs(t *testing.T) {
	doc, err := os.ReadFile("../../docs/guard.md")
	if err != nil {
		t.Fatal(err)
	}
	_, example, ok := strings.Cut(string(doc), "```yaml\n")
	if !ok {
		t.Fatal("docs/guard.md has no example")
	}
	example, _, _ = strings.Cut(example, "```")
	p, err := parse([]byte(example), Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []wire.Kind{wire.KindBackup, wire.KindRestore, wire.KindForget, wire.KindPrune, wire.KindUnlock} {
		if !p.kinds[k] {
			t.Errorf("%s is not allowed by the example", k)
		}
	}
	for _, key := range []string{"version", "kinds", "backup", "allow", "deny", "follow_symlinked_roots", "repositories", "schemes",
		"hosts", "path_prefix", "restore", "mode", "root", "maintenance", "forget", "prune", "keys", "unlock", "limits", "max_runtime", "upload_kib", "download_kib", "nice", "io_class",
		"schedule", "keep_secrets", "rclone", "remotes", "hooks", "dir"} {
		if !strings.Contains(example, key+":") {
			t.Errorf("the example lacks %s", key)
		}
	}
}

package fleet

import (
	"os"
	"strings"
	"testing"
)

// migrationUpdates are the statements of step 5 that fill its columns.
func migrationUpdates(t *testing.T, postgres bool) (updates []string) {
	t.Helper()
	engine := "sqlite"
	if postgres {
		engine = "postgres"
	}
	raw, err := os.ReadFile("../../migrations/" + engine + "/0005_protection.sql")
	if err != nil {
		t.Fatal(err)
	}
	for statement := range strings.SplitSeq(string(raw), ";") {
		if statement = strings.TrimSpace(statement); strings.HasPrefix(statement, "UPDATE hosts") {
			updates = append(updates, statement)
		}
	}
	if len(updates) != 3 {
		t.Fatalf("got %d statements, want 3", len(updates))
	}
	return updates
}

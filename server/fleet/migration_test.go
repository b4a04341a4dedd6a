package fleet

import (
	"os"
	"strings"
	"testing"
)

// migrationUpdates are the statements of a step that fill its columns; there are want.
func migrationUpdates(t *testing.T, postgres bool, step string, want int) (updates []string) {
	t.Helper()
	engine := "sqlite"
	if postgres {
		engine = "postgres"
	}
	raw, err := os.ReadFile("../../migrations/" + engine + "/" + step + ".sql")
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for line := range strings.Lines(string(raw)) {
		if !strings.HasPrefix(line, "--") { // a comment may hold what ends a statement
			text.WriteString(line)
		}
	}
	for statement := range strings.SplitSeq(text.String(), ";") {
		if statement = strings.TrimSpace(statement); strings.HasPrefix(statement, "UPDATE hosts") {
			updates = append(updates, statement)
		}
	}
	if len(updates) != want {
		t.Fatalf("got %d statements, want %d", len(updates), want)
	}
	return updates
}

package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// requirements are those whose tests docs/security.md names.
var requirements = []string{"S-1", "S-2", "S-3", "S-4", "S-5", "S-6", "S-7", "S-8", "S-9", "S-10", "S-12", "S-13", "S-14", "S-15", "S-16", "S-17", "S-18", "S-19",
	"S-23", "S-24", "S-25", "S-27", "S-28", "S-29"}

// The table of docs/security.md names no test that is not there, and leaves no requirement out.
func TestEveryRequirementNamesTestsThatAreThere(t *testing.T) {
	text, err := os.ReadFile("../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]string{}
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | ")
		if id := strings.TrimSpace(cells[0]); regexp.MustCompile(`^S-[0-9]+$`).MatchString(id) {
			if len(cells) != 4 || rows[id] != "" {
				t.Fatalf("the row of %s has %d cells, or is there twice", id, len(cells))
			}
			rows[id] = cells[3]
		}
	}
	name := regexp.MustCompile("`((?:Test|Fuzz)[A-Za-z0-9]+)`")
	sources := map[string]string{}
	for _, id := range requirements {
		n := 0
		for part := range strings.SplitSeq(rows[id], ";") {
			room, names, _ := strings.Cut(strings.TrimSpace(part), ": ")
			for _, m := range name.FindAllStringSubmatch(names, -1) {
				n++
				if !strings.Contains(testsIn(t, room, sources), "\nfunc "+m[1]+"(") {
					t.Errorf("%s names %s in %s: it is not there", id, m[1], room)
				}
			}
		}
		if n == 0 {
			t.Errorf("%s names no test", id)
		}
		delete(rows, id)
	}
	for id := range rows {
		t.Errorf("%s has a row and is not in the list here", id)
	}
}

// testsIn is the text of a room's tests.
func testsIn(t *testing.T, room string, sources map[string]string) string {
	t.Helper()
	if s, ok := sources[room]; ok {
		return s
	}
	files, err := filepath.Glob(filepath.Join("..", room, "*_test.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s has no tests: %v", room, err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		sources[room] += string(b)
	}
	return sources[room]
}

package config

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestDocsHaveEveryKeyOfAgentYAML(t *testing.T) {
	const path = "../../docs/configuration.md"
	doc, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, part, ok := strings.Cut(string(doc), "\n# The agent\n")
	if !ok {
		t.Fatalf("%s has no part %q", path, "# The agent")
	}
	_, part, _ = strings.Cut(part, "## agent.yaml\n")
	part, _, _ = strings.Cut(part, "\n## ")
	var got, want []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\|").FindAllStringSubmatch(part, -1) {
		got = append(got, row[1])
	}
	for _, f := range reflect.VisibleFields(reflect.TypeFor[Config]()) {
		key, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		want = append(want, key)
	}
	if !slices.Equal(got, want) {
		t.Errorf("the table of agent.yaml in %s:\ngot  %q\nwant %q", path, got, want)
	}
}

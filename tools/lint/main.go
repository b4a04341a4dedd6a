// Command lint checks the container files without a container engine: the Dockerfiles with BuildKit's own parser
// and linter, the compose file with the loader that docker compose is made of, for every profile.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

func main() {
	bad := 0
	for _, f := range []string{"packaging/server.Dockerfile", "packaging/agent.Dockerfile"} {
		bad += dockerfile(f)
	}
	for _, profiles := range [][]string{nil, {"postgres"}, {"proxy"}, {"agent"}, {"postgres", "proxy", "agent"}} {
		bad += compose(profiles)
	}
	if bad > 0 {
		os.Exit(1)
	}
	fmt.Println("container files: sound")
}

func dockerfile(name string) (bad int) {
	complain := func(format string, args ...any) {
		bad++
		fmt.Fprintf(os.Stderr, name+": "+format+"\n", args...)
	}
	raw, err := os.ReadFile(name)
	if err != nil {
		complain("%v", err)
		return bad
	}
	ast, err := parser.Parse(bytes.NewReader(raw))
	if err != nil {
		complain("%v", err)
		return bad
	}
	l := linter.New(&linter.Config{Warn: func(rule, description, url, message string, at []parser.Range) {
		complain("%s: %s %v", rule, message, at)
	}})
	stages, _, err := instructions.Parse(ast.AST, l)
	if err != nil {
		complain("%v", err)
		return bad
	}
	// Every file that COPY takes from the tree is there, and the images have the tree's versions of Go and Node.
	for _, stage := range stages {
		for image, want := range map[string]string{"golang": `^go ([0-9]+\.[0-9]+)`, "node": `"node": ">=([0-9]+)`} {
			if rest, ok := strings.CutPrefix(stage.BaseName, image+":"); ok {
				if version, err := asked(want); err != nil || rest != version && !strings.HasPrefix(rest, version+"-") {
					complain("FROM %s: the tree wants %s (%v)", stage.BaseName, version, err)
				}
			}
		}
		for _, c := range stage.Commands {
			if cp, ok := c.(*instructions.CopyCommand); ok && cp.From == "" {
				for _, p := range cp.SourcePaths {
					if _, err := os.Stat(p); err != nil {
						complain("COPY: %v", err)
					}
				}
			}
		}
	}
	return bad
}

// asked is the version that go.work or frontend/package.json names.
func asked(pattern string) (string, error) {
	for _, file := range []string{"go.work", "frontend/package.json"} {
		text, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		if m := regexp.MustCompile("(?m)" + pattern).FindSubmatch(text); m != nil {
			return string(m[1]), nil
		}
	}
	return "", errors.New("no version is named")
}

func compose(profiles []string) int {
	o, err := cli.NewProjectOptions([]string{"docker-compose.yml"}, cli.WithProfiles(profiles), cli.WithOsEnv)
	if err == nil {
		_, err = o.LoadProject(context.Background())
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "docker-compose.yml with profiles %v: %v\n", profiles, err)
		return 1
	}
	return 0
}

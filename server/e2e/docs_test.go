package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"mvdan.cc/sh/v3/syntax"
)

// TestCommandsOfTheDocsAreTaken: each command of ours that a page shows, in a block or within a sentence, names a command and options
// that the program has.
func TestCommandsOfTheDocsAreTaken(t *testing.T) {
	t.Parallel()
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	pages = append(pages, "../../README.md", "../../packaging/proxies/README.md")
	found := map[string]int{}
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, args := range commandsOf(t, page, string(text)) {
			found[args[0]]++
			for i, a := range args {
				if path.IsAbs(a) {
					args[i] = os.Args[0] // files that must be there
				}
			}
			// With --help a program reads its arguments, complains of those that it does not know, and does nothing.
			out, err := exec.Command(program(t, args[0], nil), append(args[1:], "--help")...).CombinedOutput()
			if err != nil || !bytes.Contains(out, []byte("Usage: "+args[0])) {
				t.Errorf("%s: %s: %v: %s", filepath.Base(page), strings.Join(args, " "), err, out)
			}
		}
	}
	if found["restic-manager"] < 30 || found["restic-manager-agent"] < 12 {
		t.Errorf("found %v commands: the pages are not read as they should be", found)
	}
}

var (
	shellBlock = regexp.MustCompile("(?ms)^```(?:sh|bash|)\n(.*?)^```$")
	codeSpan   = regexp.MustCompile("`(restic-manager(?:-agent)? [^`]+)`")
	promptSign = regexp.MustCompile(`(?m)^[$#] `)
)

// commandsOf are the calls of our programs in a page. Of a block that is no shell, such as a configuration, there are none.
func commandsOf(t *testing.T, page, text string) (all [][]string) {
	t.Helper()
	for _, block := range shellBlock.FindAllStringSubmatch(text, -1) {
		all = append(all, callsOf(promptSign.ReplaceAllString(block[1], ""))...)
	}
	for _, span := range codeSpan.FindAllStringSubmatch(shellBlock.ReplaceAllString(text, ""), -1) {
		calls := callsOf(strings.ReplaceAll(span[1], "\n", " "))
		if len(calls) == 0 {
			t.Errorf("%s: %q is no command", page, span[1])
		}
		all = append(all, calls...)
	}
	return all
}

// callsOf reads line by line, for a block may show what a command printed.
func callsOf(text string) (all [][]string) {
	text = strings.ReplaceAll(text, "\\\n", " ")
	for line := range strings.Lines(text) {
		file, err := syntax.NewParser().Parse(strings.NewReader(line), "")
		if err != nil {
			continue
		}
		syntax.Walk(file, func(n syntax.Node) bool {
			call, ok := n.(*syntax.CallExpr)
			if !ok {
				return true
			}
			words := make([]string, len(call.Args))
			for i, w := range call.Args {
				words[i] = unquoted(w)
			}
			at := slices.IndexFunc(words, func(w string) bool {
				return path.Base(w) == "restic-manager" || path.Base(w) == "restic-manager-agent"
			})
			if at == 0 || at > 0 && slices.Contains([]string{"sudo", "env", "setpriv", "runuser"}, words[0]) {
				words[at] = path.Base(words[at])
				all = append(all, words[at:])
			}
			return true
		})
	}
	return all
}

// unquoted is a word without its quotes; what the shell would put in is an x.
func unquoted(w *syntax.Word) string {
	var b strings.Builder
	var add func(parts []syntax.WordPart)
	add = func(parts []syntax.WordPart) {
		for _, p := range parts {
			switch p := p.(type) {
			case *syntax.Lit:
				b.WriteString(p.Value)
			case *syntax.SglQuoted:
				b.WriteString(p.Value)
			case *syntax.DblQuoted:
				add(p.Parts)
			default:
				b.WriteString("x")
			}
		}
	}
	add(w.Parts)
	return b.String()
}

package pattern

import (
	"math/rand/v2"
	"path"
	"strings"
	"testing"
)

func TestPatternsAreComparedPartByPart(t *testing.T) {
	for _, c := range []struct {
		pattern, path string
		want          bool
	}{
		{"*.tmp", "/home/a/x.tmp", true},
		{"*.tmp", "/home/a.tmp/x", true}, // what lies below goes too
		{"*.tmp", "/home/a/x.tmp2", false},
		{"cache", "/home/a/cache", true},
		{"cache", "/home/a/Cache", false}, // case counts
		{"cache", "/home/a/mycache", false},
		{"cache/", "/home/a/cache", true}, // also a file of that name
		{"a/cache", "/home/a/cache/x", true},
		{"a/cache", "/home/a/b/cache", false},
		{"/home/a", "/home/a/x", true},
		{"/home/a", "/home/ab", false},
		{"/a", "/home/a", false}, // rooted
		{"/home/*/cache", "/home/a/cache", true},
		{"/home/*/cache", "/home/a/b/cache", false}, // * stops at a slash
		{"/home/**/cache", "/home/a/b/cache", true},
		{"/home/**/cache", "/home/cache", true}, // ** may be nothing
		{"**/cache", "/cache", true},
		{"/home/**", "/home", true},
		{"/home/a**b", "/home/a/b", false}, // only a whole part is **
		{"a/**/b/**/c", "/x/a/b/c", true},
		{"a/**/b/**/c", "/x/a/1/2/b/3/c/d", true},
		{"a/**/b/**/c", "/x/a/1/c", false},
		{"a/**/b/**", "/a/x/b/c", true},
		{"/a/**/b/**", "/a/x/b", false}, // the second could take nothing, but then the first may not take x
		{"/a/**/b/**", "/a/x/b/c", true},
		{"/**/a/**/b", "/x/a/b", false},
		{"/**/a/**/b", "/x/a/b/c", true},
		{"[ab].txt", "/x/b.txt", true},
		{"[^ab].txt", "/x/b.txt", false},
		{"?", "/x/é", true}, // a character, not a byte
		{`\*`, "/x/*", true},
		{`\*`, "/x/y", false},
		{"/", "/x", false},
		{".", "/x", false},
		{"./a//b/../c", "/x/a/c", true},
		{"**", "/x", true},
		{"/**", "/x", true},
	} {
		l, err := ParseList([]string{c.pattern})
		if err != nil {
			t.Errorf("%s: %v", c.pattern, err)
			continue
		}
		if got, _ := l.Excludes(Parts(c.path), false, nil); got != c.want {
			t.Errorf("%s takes out %s: got %v, want %v", c.pattern, c.path, got, c.want)
		}
	}
}

// TestWhatIsKnownOfTheFolderSparesOnlyWork: walking down, the short comparison says what the whole one does.
func TestWhatIsKnownOfTheFolderSparesOnlyWork(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	word := func(of ...string) string { return of[r.IntN(len(of))] }
	for range 20_000 {
		var text, name []string
		for range 1 + r.IntN(5) {
			text = append(text, word("a", "b", "*", "**", "?"))
		}
		for range 1 + r.IntN(6) {
			name = append(name, word("a", "b", "c"))
		}
		p, err := Parse(word("", "/") + strings.Join(text, "/"))
		if err != nil {
			t.Fatal(err)
		}
		for n := 1; n <= len(name); n++ {
			got, want := p.matchesItself(name[:n]), p.matches(name[:n])
			if got != want {
				t.Fatalf("%v of %v: got %v, want %v", text, name[:n], got, want)
			}
			if want {
				break
			}
		}
	}
}

func TestTheLastPatternThatMatchesDecides(t *testing.T) {
	l, err := ParseList([]string{"*.log", "!keep.log", "/old/**"})
	if err != nil {
		t.Fatal(err)
	}
	for p, want := range map[string]bool{"/a/x.log": true, "/a/keep.log": false, "/old/keep.log": true, "/a/y": false} {
		if got, _ := l.Excludes(Parts(p), true, nil); got != want {
			t.Errorf("%s: got %v, want %v", p, got, want)
		}
	}
	if _, got := l.Excludes(Parts("/old/keep.log"), true, nil); len(got) != 3 {
		t.Errorf("the patterns that match: got %v, want all three", got)
	}
}

func TestWhatIsNoPatternIsRefused(t *testing.T) {
	for _, p := range []string{"", "!", "[", "a/[b", `a\`} {
		if _, err := Parse(p); err == nil {
			t.Errorf("%q: got no error", p)
		}
	}
}

func TestALiteralMatchesItsPathAlone(t *testing.T) {
	names := []string{"a", "a*", "a?b", "[ab]", `a\b`, "!x", "#x", "a b", "end ", "end\u00a0", "$HOME", "**", "é"}
	for _, name := range names {
		text, ok := Literal("/x/" + name)
		if !ok {
			t.Errorf("%q: got no pattern", name)
			continue
		}
		l, err := ParseList([]string{text})
		if err != nil {
			t.Errorf("%q: %v", name, err)
			continue
		}
		for _, other := range append(names, "ab", "axb", "b") {
			if got, _ := l.Excludes(Parts(path.Join("/x", other)), false, nil); got != (other == name) {
				t.Errorf("%q as %q takes out %q: got %v, want %v", name, text, other, got, other == name)
			}
		}
	}
	if text, ok := Literal("/x/a\nb"); ok {
		t.Errorf("a line break: got %q, want none", text)
	}
}

// Package pattern says which paths the exclude patterns of a backup take out, as restic does it. It is pure: no path is
// looked at on a disk. Source: restic doc, "Excluding files".
package pattern

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
)

// anyFolders stands for any number of folders, none included.
const anyFolders = "**"

// Pattern is one exclude pattern. It is compared part by part, where a part is what stands between two slashes, and takes
// out what it matches with all that lies below.
type Pattern struct {
	parts []part
	// rooted: it begins with a slash and is compared from the root on; others fit anywhere in a path.
	rooted bool
	// again: it began with an exclamation mark and includes again what patterns before it took out.
	again bool
	// folders is how many of the parts are anyFolders.
	folders int
}

type part struct {
	text    string
	literal bool // no character of it is special
}

// Parse reads a pattern. A slash at its end, doubled ones, and . and .. are resolved, as in a path.
func Parse(text string) (Pattern, error) {
	rest, again := strings.CutPrefix(text, "!")
	if rest == "" {
		return Pattern{}, errors.New("a pattern is empty")
	}
	p := Pattern{again: again, rooted: strings.HasPrefix(rest, "/")}
	for _, s := range Parts(path.Clean(rest)) {
		if _, err := path.Match(s, s); err != nil {
			return Pattern{}, fmt.Errorf("%.80q is not a pattern: %w", text, err)
		}
		if s == anyFolders {
			p.folders++
		}
		p.parts = append(p.parts, part{s, !strings.ContainsAny(s, `*?[\`)})
	}
	return p, nil
}

// Parts are what stands between the slashes of a clean path; none for the root.
func Parts(clean string) []string {
	clean = strings.TrimPrefix(clean, "/")
	if clean == "" {
		return nil
	}
	return strings.Split(clean, "/")
}

// matches reports whether the pattern matches the path with these parts, or a folder above it.
func (p Pattern) matches(parts []string) bool {
	// restic counts the root as a part, of the path and of a rooted pattern.
	room := len(parts) + 1 - len(p.parts)
	if p.rooted {
		room--
		return len(p.parts) > 0 && fits(p.parts, parts, room, false)
	}
	return len(p.parts) > 0 && slices.ContainsFunc(offsets(parts), func(tail []string) bool { return fits(p.parts, tail, room, false) })
}

// matchesItself reports whether the pattern matches the path itself. It is asked where no folder above is matched, and is
// then the same as matches, but for a pattern with more than one anyFolders.
func (p Pattern) matchesItself(parts []string) bool {
	switch {
	case len(p.parts) == 0:
		return false // the root, which is never taken out by itself
	case p.folders > 1:
		return p.matches(parts)
	case p.folders == 0 && (len(p.parts) > len(parts) || p.rooted && len(p.parts) < len(parts)):
		return false
	case p.folders == 0:
		return fits(p.parts, parts[len(parts)-len(p.parts):], 0, true)
	case p.rooted:
		return fits(p.parts, parts, len(parts), true)
	}
	return slices.ContainsFunc(offsets(parts), func(tail []string) bool { return fits(p.parts, tail, len(parts), true) })
}

// offsets are the path, and what is left of it from each part on.
func offsets(parts []string) [][]string {
	all := make([][]string, len(parts))
	for i := range parts {
		all[i] = parts[i:]
	}
	return all
}

// fits compares all of a pattern with the beginning of a path, or with all of it. room is by how many parts the whole path
// is longer than the whole pattern, where each anyFolders that has not been met counts as one part: restic lets none take
// more than that leaves, so that of two the first takes less than it could where the second takes nothing.
func fits(pattern []part, parts []string, room int, all bool) bool {
	for i, p := range pattern {
		if p.text == anyFolders {
			for taken := 0; taken <= room+1 && i+taken <= len(parts); taken++ {
				if fits(pattern[i+1:], parts[i+taken:], room+1-taken, all) {
					return true
				}
			}
			return false
		}
		if i >= len(parts) || !p.matches(parts[i]) {
			return false
		}
	}
	return !all || len(pattern) == len(parts)
}

func (p part) matches(name string) bool {
	if p.literal {
		return p.text == name
	}
	ok, err := path.Match(p.text, name)
	return ok && err == nil
}

// List is the patterns of one backup, in their order.
type List struct {
	patterns []Pattern
	again    bool
}

// ParseList reads patterns. The error is of the first that is none.
func ParseList(texts []string) (List, error) {
	l := List{patterns: make([]Pattern, len(texts))}
	for i, text := range texts {
		p, err := Parse(text)
		if err != nil {
			return List{}, err
		}
		l.patterns[i], l.again = p, l.again || p.again
	}
	return l, nil
}

// Excludes appends to matched the places of the patterns that match the path with these parts, or a folder above it, and
// reports whether it is taken out: the last of them decides. With includedAbove the folder that the path lies in is known
// not to be taken out, which spares most of the comparing.
func (l List) Excludes(parts []string, includedAbove bool, matched []int) (out bool, _ []int) {
	itself := includedAbove && !l.again
	for i, p := range l.patterns {
		if itself && !p.matchesItself(parts) || !itself && !p.matches(parts) {
			continue
		}
		matched = append(matched, i)
		out = !p.again
	}
	return out, matched
}

// Matches reports whether one of the patterns, by its place, matches the path with these parts, or a folder above it.
func (l List) Matches(place int, parts []string) bool { return l.patterns[place].matches(parts) }

// Literal is the pattern that matches a clean absolute path and what lies below it, and nothing else. ok is false for a
// path that no line of an exclude file can name.
func Literal(clean string) (text string, ok bool) {
	if strings.ContainsAny(clean, "\x00\n\r") || slices.Contains(Parts(clean), "") {
		return "", false
	}
	var b strings.Builder
	for _, c := range []byte(clean) {
		if strings.IndexByte(`*?[\`, c) >= 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(c)
	}
	text = b.String()
	// Blanks at the end of a line are lost.
	if kept := strings.TrimRight(text, " \t\v\f\u0085\u00a0"); kept != text {
		last := []rune(text[len(kept):])
		text = text[:len(text)-len(string(last[len(last)-1]))] + "[" + string(last[len(last)-1]) + "]"
	}
	return text, true
}

package restic

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxMessage bounds the text of a job's error, in bytes.
const maxMessage = 1000

// ansi is an escape sequence for a terminal; restic up to 0.18 clears the line before it speaks of signals.
var ansi = regexp.MustCompile("\x1b\\[[0-9;?]*[ -/]*[@-~]")

// clean makes one printable line of valid UTF-8 of at most limit bytes: escape sequences and control
// characters go, line breaks become blanks, and a cut is marked.
func clean(s string, limit int) string {
	if len(s) > 4*limit {
		s = s[:4*limit]
	}
	s = ansi.ReplaceAllString(strings.ToValidUTF8(s, "\uFFFD"), "")
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\r' || r == '\t':
			return ' '
		case unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r):
			return -1
		}
		return r
	}, s)
	return cut(strings.TrimSpace(s), limit)
}

// cut shortens s to limit bytes at the start of a character, and marks it.
func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	end := max(limit-len("…"), 0)
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "…"
}

// printable keeps a path as it is but for what no consumer can hold: NUL and bytes that are not UTF-8, each
// of which becomes U+FFFD as in restic's own JSON. It is cut to limit bytes.
func printable(s string, limit int) string {
	if len(s) > limit {
		s = s[:min(len(s), limit+utf8.UTFMax)]
	}
	if !utf8.ValidString(s) {
		s = string([]rune(s))
	}
	return cut(strings.ReplaceAll(s, "\x00", "\uFFFD"), limit)
}

package fleet

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// cleanLine makes one line of text from outside fit for every column and every screen: valid UTF-8, no
// control or direction-changing characters (each becomes U+FFFD), at most limit bytes. It is idempotent.
// PostgreSQL refuses NUL in text; a terminal or a page obeys the others.
func cleanLine(s string, limit int) string { return clean(s, limit, isHidden) }

// cleanText is cleanLine for text that may have lines: \n and \t stay.
func cleanText(s string, limit int) string {
	return clean(s, limit, func(r rune) bool { return r != '\n' && r != '\t' && isHidden(r) })
}

func clean(s string, limit int, bad func(rune) bool) string {
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, string(utf8.RuneError))
	}
	if strings.ContainsFunc(s, bad) {
		s = strings.Map(func(r rune) rune {
			if bad(r) {
				return utf8.RuneError
			}
			return r
		}, s)
	}
	if len(s) > limit {
		for limit > 0 && !utf8.RuneStart(s[limit]) {
			limit--
		}
		s = s[:limit]
	}
	return s
}

// isHidden tells characters that act instead of being seen: controls (C0, DEL, C1), direction marks,
// line and paragraph separators, zero-width ones. Source: Unicode Standard Annex 9, section 2.
func isHidden(r rune) bool {
	switch {
	case r == 0x061C, 0x200B <= r && r <= 0x200F, 0x2028 <= r && r <= 0x202E, 0x2060 <= r && r <= 0x2069, r == 0xFEFF:
		return true
	}
	return unicode.IsControl(r)
}

// visible shows bytes as text that cannot act: what isHidden tells and what is not UTF-8 is written out.
func visible(b []byte) string {
	if plain(b) {
		return string(b)
	}
	var out strings.Builder
	for len(b) > 0 {
		r, size := utf8.DecodeRune(b)
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&out, `\x%02x`, b[0])
		case r == 0x1B:
			out.WriteRune('␛')
		case r == '\t':
			out.WriteString(`\t`)
		case r == '\r':
			out.WriteString(`\r`)
		case r == '\n':
			out.WriteString(`\n`)
		case r < 0x20 || r == 0x7F:
			fmt.Fprintf(&out, `\x%02x`, r)
		case isHidden(r):
			fmt.Fprintf(&out, `\u%04x`, r)
		default:
			out.Write(b[:size])
		}
		b = b[size:]
	}
	return out.String()
}

// plain reports whether all bytes are printable ASCII: nearly every line is.
func plain(b []byte) bool {
	for _, c := range b {
		if c < 0x20 || c >= 0x7F {
			return false
		}
	}
	return true
}

// saneTime is a time from outside in UTC and whole microseconds, moved into the years 1 to 9999: JSON and
// SQLite know no others.
func saneTime(t time.Time) time.Time {
	t = t.UTC().Truncate(time.Microsecond)
	switch {
	case t.Year() < 1:
		return time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)
	case t.Year() > 9999:
		return time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
	}
	return t
}

package api

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"restic-manager/server/fault"
	"restic-manager/shared/wire"
)

// maxDepth bounds the nesting of operators' bodies.
const maxDepth = 32

// checkJSON wants one JSON value that has one meaning: valid UTF-8, nothing after it, no key twice in an
// object (in any case: Go's decoder would take either), no lone surrogates, no NUL and no other control
// characters. Below the top level's args and spec, control characters other than NUL may be: a path may
// hold a newline. Nothing of the value is in the error.
func checkJSON(body []byte) error {
	if len(bytes.TrimSpace(body)) == 0 {
		return malformed("The body is empty: send a JSON object.")
	}
	if !utf8.Valid(body) {
		return malformed("The body is not valid UTF-8.")
	}
	if !json.Valid(body) {
		return malformed("The body is not one JSON value.")
	}
	w := walker{b: body}
	return w.value(0, false)
}

func malformed(words string) error {
	return fault.New(fault.Malformed, wire.ProblemInvalid, "%s", words)
}

// walker goes through bytes that are known to be one valid JSON value.
type walker struct {
	b []byte
	i int
}

func (w *walker) space() {
	for w.i < len(w.b) && (w.b[w.i] == ' ' || w.b[w.i] == '\t' || w.b[w.i] == '\n' || w.b[w.i] == '\r') {
		w.i++
	}
}

func (w *walker) value(depth int, free bool) error {
	if depth > maxDepth {
		return malformed("The body is nested too deeply.")
	}
	w.space()
	switch w.b[w.i] {
	case '{':
		return w.object(depth, free)
	case '[':
		return w.array(depth, free)
	case '"':
		_, err := w.text(free)
		return err
	}
	for w.i < len(w.b) && !strings.ContainsRune(",]} \t\r\n", rune(w.b[w.i])) {
		w.i++
	}
	return nil
}

func (w *walker) object(depth int, free bool) error {
	seen := map[string]bool{}
	for w.i++; ; w.i++ { // past the brace or the comma
		if w.space(); w.b[w.i] == '}' {
			w.i++
			return nil
		}
		key, err := w.text(false)
		if err != nil {
			return err
		}
		folded := strings.ToLower(key)
		if seen[folded] {
			return malformed("The body holds a key twice: " + strconv.Quote(cut(key, 40)) + ". Send it once.")
		}
		seen[folded] = true
		w.space()
		w.i++ // past the colon
		if err := w.value(depth+1, free || depth == 0 && (key == "args" || key == "spec")); err != nil {
			return err
		}
		if w.space(); w.b[w.i] == '}' {
			w.i++
			return nil
		}
	}
}

func (w *walker) array(depth int, free bool) error {
	for w.i++; ; w.i++ {
		if w.space(); w.b[w.i] == ']' {
			w.i++
			return nil
		}
		if err := w.value(depth+1, free); err != nil {
			return err
		}
		if w.space(); w.b[w.i] == ']' {
			w.i++
			return nil
		}
	}
}

// text reads a string and gives its value.
func (w *walker) text(free bool) (string, error) {
	start := w.i
	for w.i++; w.b[w.i] != '"'; w.i++ {
		if w.b[w.i] == '\\' {
			w.i++
		}
	}
	w.i++
	raw := w.b[start:w.i]
	if loneSurrogate(raw) {
		return "", fault.Invalidf("A text in the body holds half a character (a lone surrogate).")
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return "", malformed("The body is not one JSON value.")
	}
	if strings.ContainsRune(s, 0) || !free && strings.ContainsFunc(s, unicode.IsControl) {
		return "", fault.Invalidf("A text in the body holds a control character. Leave it out.")
	}
	return s, nil
}

// loneSurrogate reports whether an escape in the quoted string is half of a pair.
func loneSurrogate(raw []byte) bool {
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' {
			continue
		}
		if i++; raw[i] != 'u' {
			continue
		}
		switch r := hex4(raw[i+1:]); {
		case 0xDC00 <= r && r < 0xE000:
			return true
		case 0xD800 <= r && r < 0xDC00:
			rest := raw[i+5:]
			if len(rest) < 6 || rest[0] != '\\' || rest[1] != 'u' {
				return true
			}
			if low := hex4(rest[2:]); low < 0xDC00 || low >= 0xE000 {
				return true
			}
			i += 10
		default:
			i += 4
		}
	}
	return false
}

func hex4(b []byte) rune {
	n, err := strconv.ParseUint(string(b[:4]), 16, 32)
	if err != nil {
		return 0 // the JSON is valid: it cannot be
	}
	return rune(n)
}

// checkText refuses what no parameter may hold: control characters and what is not UTF-8.
func checkText(name, s string) error {
	if !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) {
		return fault.Invalidf("%s: leave out control characters, and send UTF-8.", name)
	}
	return nil
}

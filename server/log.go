package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"regexp"
	"strings"
	"unicode"
)

// newLogger writes lines without secrets. format is text, json, or auto: text on a terminal, else JSON.
func newLogger(w io.Writer, level, format string) *slog.Logger {
	var least slog.Level
	if err := least.UnmarshalText([]byte(level)); err != nil {
		least = slog.LevelInfo // the settings were checked
	}
	o := &slog.HandlerOptions{Level: least, ReplaceAttr: hideNamed}
	w = redactingWriter{w}
	if format == "text" || format == "auto" && terminal(w.(redactingWriter).to) {
		return slog.New(slog.NewTextHandler(w, o))
	}
	return slog.New(slog.NewJSONHandler(w, o))
}

func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

const hidden = "[hidden]"

// secretName matches names of attributes whose values are secret whatever they look like.
var secretName = regexp.MustCompile(`(?i)(password|passwd|passphrase|secret|authorization|cookie|credential|private_?key|api_?key|(^|_)token|(^|_)bearer)$`)

func hideNamed(_ []string, a slog.Attr) slog.Attr {
	if secretName.MatchString(a.Key) && a.Value.Kind() != slog.KindGroup {
		a.Value = slog.StringValue(hidden)
	}
	return a
}

// value is what follows a name that tells a secret: one word, or two where the first is a name itself, as after an
// empty value.
const value = `(?:\[hidden\]|[^\s"'&,;\\}\]]*[=:]["'\\]*\s+["'\\]*[^\s"'&,;\\}\]]+|[^\s"'&,;\\}\]]+)`

// shapes are secrets that are known by their form, wherever they stand in a line. The first group stays.
var shapes = []*regexp.Regexp{
	regexp.MustCompile(`(-----BEGIN [A-Z ]*PRIVATE KEY-----)[^-]*(?:-----END [A-Z ]*PRIVATE KEY-----)?`),
	regexp.MustCompile(`(://)[^\s/?#"'<>]*@`),                                  // user and password of a URL
	regexp.MustCompile(`(://[^\s/:@"'<>]*:)[^\s"'<>@]*@`),                      // a password with a slash in it
	regexp.MustCompile(`(?i)\b(bearer |basic |digest )[A-Za-z0-9._~+/=-]{6,}`), // Authorization
	regexp.MustCompile(`\b(rm[a-z]_)[A-Za-z0-9_-]{8,}`),                        // ours
	regexp.MustCompile(`\b(AKIA|ASIA|gh[pousr]_|github_pat_|glpat-|xox[abeprs]-|sk_live_|SG\.|ya29\.)[A-Za-z0-9._-]{8,}`),
	regexp.MustCompile(`\b(eyJ)[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*`), // JSON Web Tokens
	regexp.MustCompile(`(?i)\b((?:X-Amz-Signature|X-Amz-Credential|X-Amz-Security-Token|sig|signature|access_token|code)=)[^\s&"'\\]{6,}`),
	regexp.MustCompile(`(?i)((?:password|passwd|passphrase|pass|secret|secret_access_key|account_?key|application_?key|private_?key|api_?key|authorization|cookie|restic_manager)["'\\]*\s*[=:]\s*["'\\]*)` + value),
	// token:<id> is a noun with its id, in the audit trail's way of writing.
	regexp.MustCompile(`(?i)(token["'\\]*\s*(?:=\s*["'\\]*|:\s*["'\\]+|:\s+))` + value),
	regexp.MustCompile(`(?i)(--(?:password|pass|token|secret)[a-z-]* )[^\s"'\\]+`),
}

// redact hides what looks like a secret. A word too many hidden is cheaper than a secret shown.
func redact(s string) string {
	for _, shape := range shapes {
		s = shape.ReplaceAllString(s, "${1}"+hidden)
	}
	return s
}

// redactingWriter takes one whole line at a time, as slog's handlers write them.
type redactingWriter struct{ to io.Writer }

func (w redactingWriter) Write(line []byte) (int, error) {
	if _, err := io.WriteString(w.to, escape(redact(string(line)))); err != nil {
		return 0, err
	}
	return len(line), nil
}

// escape writes out what could steer a terminal or turn text around: slog's JSON handler lets the C1 control
// characters and the marks of writing direction through.
func escape(line string) string {
	if strings.IndexFunc(line, steers) < 0 {
		return line
	}
	var b strings.Builder
	for _, r := range line {
		if steers(r) {
			fmt.Fprintf(&b, `\u%04x`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

func steers(r rune) bool {
	return r != '\n' && unicode.IsControl(r) || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r == 0x200e || r == 0x200f || r == 0x061c
}

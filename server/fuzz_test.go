package main

import (
	"bytes"
	"log/slog"
	"regexp"
	"strings"
	"testing"
)

var plainSecret = regexp.MustCompile(`^[A-Za-z0-9_]{8,40}$`)

// beginning is a word that another secret would follow: what comes next is hidden in its place.
var beginning = regexp.MustCompile(`(?i)(bearer|basic|digest|pass|secret|token|key|cookie|authorization|manager|code|sig)`)

// FuzzRedact: a secret in one of the known shapes is never in the line, whatever stands around it.
func FuzzRedact(f *testing.F) {
	for i := range secretShapes {
		f.Add("before ", i, " after", "s3cr3tvalue0123")
	}
	f.Add("://", 0, "@", "aaaaaaaa_b")
	f.Add("line ", 15, "\n\x1b[0m", "0123456789abcdef")
	f.Fuzz(func(t *testing.T, before string, shape int, after, secret string) {
		if !plainSecret.MatchString(secret) || beginning.MatchString(before) || strings.Contains(before, secret) || strings.Contains(after, secret) {
			return
		}
		form := secretShapes[int(uint(shape)%uint(len(secretShapes)))]
		line := before + " " + strings.Replace(form, "canary", secret, 1) + " " + after
		if !strings.Contains(form, "canary") {
			return
		}
		var b bytes.Buffer
		newLogger(&b, "debug", "json").Info(line, slog.String("value", line))
		if strings.Contains(b.String(), secret) {
			t.Errorf("%q in %q shows in %s", secret, line, b.String())
		}
		if strings.ContainsFunc(strings.TrimSuffix(b.String(), "\n"), func(r rune) bool { return steers(r) || r == '\n' }) {
			t.Errorf("%q: the line can steer a terminal: %q", line, b.String())
		}
	})
}

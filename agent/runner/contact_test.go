package runner

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"restic-manager/agent/client"
	"restic-manager/shared/wire"
)

// TestAFailureIsSaidOnceWhenItBeginsAndOnceWhenItEnds: an agent that is too old asks again for months.
func TestAFailureIsSaidOnceWhenItBeginsAndOnceWhenItEnds(t *testing.T) {
	var words bytes.Buffer
	now := time.Unix(1_800_000_000, 0)
	c := newContact(slog.New(slog.NewTextHandler(&words, nil)), func() time.Time { return now })
	said := func(what string, want ...string) {
		t.Helper()
		lines := strings.Split(strings.TrimSuffix(words.String(), "\n"), "\n")
		if words.Len() == 0 {
			lines = nil
		}
		words.Reset()
		if len(lines) != len(want) {
			t.Fatalf("%s: got %d lines %q, want %d", what, len(lines), lines, len(want))
		}
		for i := range want {
			if !strings.Contains(lines[i], want[i]) {
				t.Errorf("%s: got %q, want a word of %q", what, lines[i], want[i])
			}
		}
	}
	repeat := func(err error) {
		for range 100 {
			c.failed(err)
			now = now.Add(time.Minute)
		}
	}
	tooOld := &client.Error{Err: &wire.Problem{Status: 426, Code: wire.ProblemProtocolTooOld, MinProtocolVersion: 9, HelpURL: "https://help.example"}}
	c.ok()
	said("online from the start")
	repeat(tooOld)
	said("too old", "https://help.example")
	repeat(errors.New("connection refused"))
	said("away as well", "does not answer")
	c.ok()
	c.ok()
	said("back", "answers again")
	repeat(tooOld)
	said("too old again", "9 or newer")
}

package runner

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"restic-manager/agent/planner"
	"restic-manager/shared/wire"
)

// TestStatusIsKeptOnAFullDisk: its age tells that the agent lives, also where no new file can be written.
func TestStatusIsKeptOnAFullDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "status.json")
	var words strings.Builder
	w := newStatusWriter(path, slog.New(slog.NewTextHandler(&words, nil)), nil)
	w.write(Status{State: ContactUnreachable, Message: strings.Repeat("long ", 100)})
	for _, want := range []Status{{State: ContactOnline}, {State: ContactUnreachable, Message: "longer than the one before"}} {
		// What is written there meets a full disk.
		if err := os.Symlink("/dev/full", path+".new"); err != nil {
			t.Fatal(err)
		}
		w.write(want)
		got, err := ReadStatus(path)
		if err != nil || got.State != want.State || got.Message != want.Message {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
		if _, err := os.Lstat(path + ".new"); err == nil {
			t.Error("half a file was left, and takes room")
		}
	}
	if words.Len() > 0 {
		t.Errorf("got the words %q, want none: nothing was lost", words.String())
	}
}

// TestStatusShowsWhatRunsByItself: each policy with its next due time, the last outcome, and what is in its way; and where
// the password is.
func TestStatusShowsWhatRunsByItself(t *testing.T) {
	now := time.Date(2026, 11, 24, 1, 2, 3, 0, time.Local)
	s := Status{UpdatedAt: now, Password: PasswordMemory, Policies: []PolicyStatus{
		{Name: "nightly", NextDueAt: now.Add(time.Hour), Last: &planner.Last{At: now.Add(-time.Hour), Outcome: wire.OutcomeRun}},
		{Name: "odd", Open: 2, Problem: "the guard said no"},
	}}
	text := s.Text(now)
	for _, want := range []string{"nightly: next 2026-11-24 02:02:03, last 2026-11-24 00:02:03 run", "odd: no next run, 2 due times open; the guard said no", "in memory"} {
		if !strings.Contains(text, want) {
			t.Errorf("got %s\nwant %q in it", text, want)
		}
	}
	for _, where := range []string{PasswordHere, PasswordMemory, PasswordDisk, PasswordNot} {
		if passwordText[where] == "" {
			t.Errorf("nothing is said of a password %s", where)
		}
	}
}

// TestStatusShowsThatPollsAreShort: who wonders why this machine asks so often finds it.
func TestStatusShowsThatPollsAreShort(t *testing.T) {
	now := time.Date(2026, 11, 24, 1, 2, 3, 0, time.Local)
	s := Status{UpdatedAt: now, Hold: &Hold{Seconds: 7, FoundBy: FoundByDoctor, FoundAt: now}}
	if text, want := s.Text(now), "held for 7 s at most: something on the way cuts longer ones (found by doctor, 2026-11-24 01:02:03)"; !strings.Contains(text, want) {
		t.Errorf("got %s\nwant %q in it", text, want)
	}
}

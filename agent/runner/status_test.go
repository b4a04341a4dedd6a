package runner

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
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

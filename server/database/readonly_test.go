package database

import (
	"os"
	"path/filepath"
	"testing"
)

// TestAnSQLiteFileOpenedForReadingIsNotWritten: neither while somebody works on it nor after, and none is made.
func TestAnSQLiteFileOpenedForReadingIsNotWritten(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "x.db")
	if d, err := Open(t.Context(), Options{URL: file, ReadOnly: true}); err == nil {
		d.Close()
		t.Error("a file that is not there: got no error")
	}
	working, err := Open(t.Context(), Options{URL: file})
	if err != nil {
		t.Fatal(err)
	}
	if err := working.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	look := func(when string) {
		t.Helper()
		before, _ := os.ReadDir(dir)
		d, err := Open(t.Context(), Options{URL: file, ReadOnly: true})
		if err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		defer d.Close()
		there, err := d.HasSchema(t.Context())
		if err != nil || !there {
			t.Errorf("%s: the schema: got %v, %v, want it seen", when, there, err)
		}
		if err := d.Write(t.Context(), func(tx *Tx) error {
			return tx.Exec("INSERT INTO server_state (key, value) VALUES ('x', 'x')").Error
		}); err == nil {
			t.Errorf("%s: it was written", when)
		}
		if after, _ := os.ReadDir(dir); len(after) != len(before) {
			t.Errorf("%s: got the files %v, want %v", when, after, before)
		}
	}
	look("beside one who works on it")
	if err := working.Close(); err != nil {
		t.Fatal(err)
	}
	look("alone")
}

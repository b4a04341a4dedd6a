package spool

import (
	"testing"
	"time"
)

// TestCloneIsAnotherDisk: what is written later to one is not on the other, links stay links, and each forgets by
// itself what it did not make durable.
func TestCloneIsAnotherDisk(t *testing.T) {
	now := func() time.Time { return time.Unix(0, 0) }
	m := NewMemory(now)
	write := func(d *Memory, path, text string) {
		t.Helper()
		f, err := d.Append(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	read := func(d *Memory, path string) string {
		t.Helper()
		f, err := d.Open(path)
		if err != nil {
			return err.Error()
		}
		b := make([]byte, 100)
		n, _ := f.ReadAt(b, 0)
		return string(b[:n])
	}
	write(m, "/a", "one ")
	f, err := m.Edit("/a")
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := m.Link("/a", "/b"); err != nil {
		t.Fatal(err)
	}
	if err := m.SyncDir("/"); err != nil {
		t.Fatal(err)
	}
	write(m, "/b", "two ")
	write(m, "/c", "never durable")

	c := m.Clone()
	write(m, "/a", "of the first")
	write(c, "/a", "of the clone")
	if got, want := read(c, "/b"), "one two of the clone"; got != want {
		t.Errorf("the clone's other name reads %q, want %q", got, want)
	}
	if got, want := read(m, "/b"), "one two of the first"; got != want {
		t.Errorf("the first reads %q, want %q", got, want)
	}
	c.Crash(nil)
	if got, want := read(c, "/a"), "one "; got != want {
		t.Errorf("after its crash the clone reads %q, want %q", got, want)
	}
	if _, err := c.Stat("/c"); err == nil {
		t.Error("after its crash the clone has a file whose name was never durable")
	}
	if got, want := read(m, "/c"), "never durable"; got != want {
		t.Errorf("the first reads %q after the clone's crash, want %q", got, want)
	}
}

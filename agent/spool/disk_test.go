package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"
)

// TestMemoryDoesWhatTheRealDiskDoes runs random operations on both.
func TestMemoryDoesWhatTheRealDiskDoes(t *testing.T) {
	for seed := range uint64(30) {
		random := rand.New(rand.NewPCG(seed, 9))
		m := NewMemory(time.Now)
		must(t, m.Mkdir("/d"))
		real := t.TempDir()
		names := []string{"a", "b", "sub", "sub/a", "sub/b", "none/a"}
		name := func() string { return names[random.IntN(len(names))] }
		for i := range 400 {
			op, x, y, n := random.IntN(11), name(), name(), random.Int64N(5000)
			got := operate(m, "/d", op, x, y, n)
			want := operate(OS{}, real, op, x, y, n)
			if got != want {
				t.Fatalf("seed %d, step %d: operation %d %s %s %d: got %s, want %s", seed, i, op, x, y, n, got, want)
			}
		}
	}
}

// operate does one operation and tells its outcome.
func operate(d Disk, root string, op int, x, y string, n int64) string {
	a, b := filepath.Join(root, x), filepath.Join(root, y)
	write := func(f File, err error) string {
		if err != nil {
			return kindOf(err)
		}
		defer f.Close()
		_, e1 := f.Write([]byte(fmt.Sprint("w", n)))
		_, e2 := f.WriteAt([]byte("@"), n)
		if op == 8 { // appending files refuse WriteAt
			e2 = nil
		}
		size, e3 := f.Size()
		return fmt.Sprint(kindOf(errors.Join(e1, e2, e3)), size)
	}
	switch op {
	case 0:
		return kindOf(d.Mkdir(a))
	case 1:
		return write(d.Create(a))
	case 2:
		return write(d.Edit(a))
	case 3:
		return fmt.Sprint(d.Rename(a, b) == nil) // which error, depends on the kernel's order of looking
	case 4:
		return kindOf(d.Link(a, b))
	case 5:
		return kindOf(d.Remove(a))
	case 6:
		names, err := d.List(a)
		return fmt.Sprint(names, kindOf(err))
	case 7:
		i, err := d.Stat(a)
		if i.IsDir {
			i.Size = 0
		}
		return fmt.Sprint(i.Size, i.IsDir, kindOf(err))
	case 8:
		f, err := d.Append(a)
		if err != nil {
			return kindOf(err)
		}
		defer f.Close()
		_, err = f.Write([]byte("appended"))
		size, _ := f.Size()
		return fmt.Sprint(size, kindOf(err))
	case 9:
		f, err := d.Edit(a)
		if err != nil {
			return kindOf(err)
		}
		defer f.Close()
		e1, e2 := f.Truncate(n), f.Allocate(n/2+1)
		size, _ := f.Size()
		return fmt.Sprint(size, kindOf(errors.Join(e1, e2)))
	}
	return kindOf(d.SyncDir(root))
}

func kindOf(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, fs.ErrNotExist):
		return "not exist"
	case errors.Is(err, fs.ErrExist):
		return "exist"
	}
	return "error"
}

func TestLockIsSeenAndExclusiveOnBothDisks(t *testing.T) {
	m := NewMemory(time.Now)
	for _, c := range []struct {
		name string
		d    Disk
		path string
	}{{"memory", m, "/lock"}, {"os", OS{}, filepath.Join(t.TempDir(), "lock")}} {
		t.Run(c.name, func(t *testing.T) {
			if held, err := c.d.Locked(c.path); held || err != nil {
				t.Errorf("before: got %v %v, want free", held, err)
			}
			l, err := c.d.Lock(c.path)
			must(t, err)
			if _, err := c.d.Lock(c.path); !errors.Is(err, ErrLocked) {
				t.Errorf("second lock: got %v, want ErrLocked", err)
			}
			if held, err := c.d.Locked(c.path); !held || err != nil {
				t.Errorf("held: got %v %v, want true", held, err)
			}
			must(t, l.Close())
			if held, err := c.d.Locked(c.path); held || err != nil {
				t.Errorf("after: got %v %v, want free", held, err)
			}
		})
	}
}

func TestCrashForgetsWhatWasNotFsynced(t *testing.T) {
	m := NewMemory(time.Now)
	put := func(path, text string, sync bool) {
		t.Helper()
		f, err := m.Create(path)
		must(t, err)
		_, err = f.Write([]byte(text))
		must(t, err)
		if sync {
			must(t, f.Sync())
		}
	}
	put("/name-not-synced", "x", true)
	m.Crash(nil)
	if _, err := m.Stat("/name-not-synced"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("name without fsync of the folder: got %v, want it gone", err)
	}
	put("/data-not-synced", "x", false)
	put("/both", "kept", true)
	must(t, m.SyncDir("/"))
	must(t, m.Rename("/both", "/renamed"))
	open, err := m.Edit("/renamed")
	must(t, err)
	_, err = open.WriteAt([]byte("lost"), 0)
	must(t, err)
	m.Crash(nil)
	if got := read(t, m, "/data-not-synced"); len(got) != 0 {
		t.Errorf("bytes without fsync: got %q, want none", got)
	}
	if got := read(t, m, "/both"); string(got) != "kept" {
		t.Errorf("rename without fsync: got %q under the old name, want kept", got)
	}
	if _, err := open.Write([]byte("x")); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("file open at the crash: got %v, want it closed", err)
	}
}

package runner

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"restic-manager/agent/spool"
	"restic-manager/shared/wire"
)

// fullDisk is the real disk, until it is full for the agent. The supervisor's is its own matter.
type fullDisk struct {
	spool.OS

	mu   sync.Mutex // guards the fields below
	full bool
	// broken: what was set aside is of no use either, as with a quota that counts otherwise.
	broken bool
	denied int
}

func (d *fullDisk) set(full, broken bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.full, d.broken = full, broken
}

// deny reports whether a write of new space fails; inside: it is within what the file has.
func (d *fullDisk) deny(op, path string, inside bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.full || inside && !d.broken || filepath.Base(path) == "status.json" {
		return nil
	}
	d.denied++
	return &fs.PathError{Op: op, Path: path, Err: syscall.ENOSPC}
}

func (d *fullDisk) refused() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.denied
}

func (d *fullDisk) Mkdir(path string) error {
	if _, err := d.OS.Stat(path); err == nil {
		return d.OS.Mkdir(path) // that it is there is found first
	}
	if err := d.deny("mkdir", path, false); err != nil {
		return err
	}
	return d.OS.Mkdir(path)
}

func (d *fullDisk) wrap(path string, f spool.File, err error) (spool.File, error) {
	if err != nil {
		return nil, err
	}
	return &fullFile{File: f, disk: d, path: path}, nil
}

func (d *fullDisk) Create(path string) (spool.File, error) {
	f, err := d.OS.Create(path)
	return d.wrap(path, f, err)
}

func (d *fullDisk) Edit(path string) (spool.File, error) {
	f, err := d.OS.Edit(path)
	return d.wrap(path, f, err)
}

func (d *fullDisk) Append(path string) (spool.File, error) {
	f, err := d.OS.Append(path)
	return d.wrap(path, f, err)
}

func (d *fullDisk) FreeBytes(path string) (int64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.full {
		return 0, nil
	}
	return d.OS.FreeBytes(path)
}

type fullFile struct {
	spool.File
	disk *fullDisk
	path string
}

func (f *fullFile) Write(b []byte) (int, error) {
	if err := f.disk.deny("write", f.path, false); err != nil {
		return 0, err
	}
	return f.File.Write(b)
}

func (f *fullFile) WriteAt(b []byte, at int64) (int, error) {
	size, err := f.Size()
	if err == nil {
		err = f.disk.deny("write", f.path, at+int64(len(b)) <= size)
	}
	if err != nil {
		return 0, err
	}
	return f.File.WriteAt(b, at)
}

func (f *fullFile) Allocate(size int64) error {
	if err := f.disk.deny("allocate", f.path, false); err != nil {
		return err
	}
	return f.File.Allocate(size)
}

// TestDiskFullFromEachMomentOn fills the disk when a call arrives, for good: what did not start is refused
// with no_space, what did runs once, and every result arrives.
func TestDiskFullFromEachMomentOn(t *testing.T) {
	for _, c := range []struct {
		call  string
		state wire.State
		code  string
		runs  int
	}{
		{"hello", wire.StateRejected, wire.CodeNoSpace, 0},
		{"accept", wire.StateRejected, wire.CodeNoSpace, 0},
		{"start", wire.StateSucceeded, "", 1},
		{"log", wire.StateSucceeded, "", 1},
		{"token", wire.StateSucceeded, "", 1},
		{"finish", wire.StateSucceeded, "", 1},
		{"commit", wire.StateSucceeded, "", 1},
	} {
		for _, broken := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, nothing set aside %v", c.call, broken), func(t *testing.T) {
				s, m := start(t)
				disk := &fullDisk{}
				m.config.Disk = disk
				if c.call == "commit" {
					m.timing.Ride = time.Nanosecond
				}
				m.write("restic/lines", "700")
				j := m.backup()
				s.set(func() {
					s.fault = func(name string, n int) fault {
						if name != c.call || n > 1 {
							return fault{}
						}
						return fault{do: func() { disk.set(true, broken) }}
					}
				})
				m.boot()
				m.settled(j)
				m.wants(j, c.state, c.code, c.runs)
				m.wantsWholeLog(j)
				if disk.refused() == 0 && c.call != "commit" {
					t.Error("the disk refused nothing: it was full too late")
				}
				if c.code != "" && !strings.Contains(j.result.Error.Message, "free some space") {
					t.Errorf("got %q, want it to say what to do", j.result.Error.Message)
				}
			})
		}
	}
}

// TestAgentStartsOnAFullDisk takes up a running job where nothing can be written but what was set aside.
func TestAgentStartsOnAFullDisk(t *testing.T) {
	s, m := start(t)
	disk := &fullDisk{}
	m.config.Disk = disk
	m.write("restic/wait", "")
	j := m.backup()
	m.boot()
	m.waitFor("restic to run", func() bool { return m.lines("restic/ran") == 1 && s.is(func() bool { return j.lines > 0 }) })
	m.kill()
	disk.set(true, false)
	m.boot()
	m.waitFor("the resume", func() bool { return s.count("resume") > 0 })
	m.write("restic/go", "")
	m.settled(j)
	m.wants(j, wire.StateSucceeded, "", 1)
	m.wantsWholeLog(j)
}

// TestNewLeaseThatCannotBeWrittenIsNotUsed: until there is room the old one stands, and nothing is said
// about the job with another.
func TestNewLeaseThatCannotBeWrittenIsNotUsed(t *testing.T) {
	s, m := start(t)
	disk := &fullDisk{}
	m.config.Disk = disk
	var later atomic.Int64
	m.config.Now = func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
	m.write("restic/wait", "")
	j := m.backup()
	m.boot()
	m.waitFor("restic to run", func() bool { return m.lines("restic/ran") == 1 && s.is(func() bool { return j.lines > 0 }) })
	lease := j.lease
	m.kill()
	// Full from before the job is taken up, but not for the number of this start.
	m.config.Disk = &onlyJobs{fullDisk: disk}
	disk.set(true, true)
	m.boot()
	m.waitFor("the lease to be refused", func() bool { return disk.refused() > 0 })
	n := s.count("next-command")
	m.waitFor("polls after that", func() bool { return s.count("next-command") > n+3 })
	s.mu.Lock()
	if q := s.polls[len(s.polls)-1]; len(q.Jobs) != 1 || q.Jobs[0].Lease != lease {
		t.Errorf("got jobs %+v in the poll, want the one with the lease that is on disk", q.Jobs)
	}
	s.mu.Unlock()
	if n := s.count("resume"); n != 0 {
		t.Errorf("got %d resumes with a lease that is not on disk", n)
	}
	m.write("restic/go", "")
	m.waitFor("restic to end", func() bool { return !m.supervised() })
	disk.set(false, false)
	later.Store(int64(2 * saveRetry))
	m.settled(j)
	m.wants(j, wire.StateSucceeded, "", 1)
	m.wantsWholeLog(j)
	if j.lease == lease {
		t.Error("the lease was not rotated")
	}
}

// onlyJobs is a disk that is full for the jobs' folders alone.
type onlyJobs struct{ *fullDisk }

func (d *onlyJobs) Create(path string) (spool.File, error) {
	if strings.Contains(path, "/jobs/") {
		return d.fullDisk.Create(path)
	}
	return d.OS.Create(path)
}

func (d *onlyJobs) Edit(path string) (spool.File, error) {
	if strings.Contains(path, "/jobs/") {
		return d.fullDisk.Edit(path)
	}
	return d.OS.Edit(path)
}

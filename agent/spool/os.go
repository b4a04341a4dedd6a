package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"restic-manager/shared/failpoint"
)

// OS is the real file system. Locks are open file description locks (fcntl(2), F_OFD_SETLK): a child that
// inherits the file has the lock too, and anybody can ask for it without taking it.
type OS struct{}

// writing is the place before everything that takes space.
const writing = "agent.write"

// Mkdir makes a folder of mode 0700.
func (OS) Mkdir(path string) error {
	if err := failpoint.Hit(writing); err != nil {
		return err
	}
	return os.Mkdir(path, 0o700)
}

// Open opens for reading.
func (OS) Open(path string) (File, error) { return open(path, os.O_RDONLY) }

// Create makes or empties a file of mode 0600.
func (OS) Create(path string) (File, error) {
	if err := failpoint.Hit(writing); err != nil {
		return nil, err
	}
	return open(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
}

// Edit opens an existing file for reading and writing.
func (OS) Edit(path string) (File, error) { return open(path, os.O_RDWR) }

// Append opens for appending.
func (OS) Append(path string) (File, error) {
	return open(path, os.O_RDWR|os.O_CREATE|os.O_APPEND)
}

func open(path string, flags int) (File, error) {
	// Links are not followed: nobody but this agent's user puts names here.
	f, err := os.OpenFile(path, flags|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

// Rename replaces what is at to.
func (OS) Rename(from, to string) error { return os.Rename(from, to) }

// Link makes a hard link.
func (OS) Link(from, to string) error { return os.Link(from, to) }

// Remove removes a file or an empty folder.
func (OS) Remove(path string) error { return os.Remove(path) }

// List names a folder's entries, sorted.
func (OS) List(path string) ([]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	slices.Sort(names)
	return names, err
}

// Stat does not follow links.
func (OS) Stat(path string) (Info, error) {
	i, err := os.Lstat(path)
	if err != nil {
		return Info{}, err
	}
	return Info{Size: i.Size(), IsDir: i.IsDir(), ModTime: i.ModTime()}, nil
}

// SyncDir fsyncs a folder.
func (OS) SyncDir(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	// Some network file systems cannot fsync a folder; then there is nothing to wait for.
	if err := f.Sync(); err != nil && !errors.Is(err, unix.EINVAL) {
		return err
	}
	return nil
}

// Lock takes the lock of a file.
func (OS) Lock(path string) (Lock, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	l := unix.Flock_t{Type: unix.F_WRLCK}
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &l); err != nil {
		f.Close()
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
			return nil, fmt.Errorf("%s: %w", path, ErrLocked)
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return osLock{f}, nil
}

// Locked asks the kernel who has the lock.
func (OS) Locked(path string) (bool, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	l := unix.Flock_t{Type: unix.F_WRLCK}
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &l); err != nil {
		return false, fmt.Errorf("ask for the lock %s: %w", path, err)
	}
	return l.Type != unix.F_UNLCK, nil
}

// FreeBytes is what statfs(2) says is there for this user.
func (OS) FreeBytes(path string) (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(path, &s); err != nil {
		return 0, fmt.Errorf("statfs %s: %w", path, err)
	}
	return int64(s.Bavail) * int64(s.Bsize), nil // Bsize is 32 bits wide on 32-bit machines
}

type osFile struct{ *os.File }

func (f osFile) Size() (int64, error) {
	i, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return i.Size(), nil
}

func (f osFile) Write(b []byte) (int, error) {
	if err := failpoint.Hit(writing); err != nil {
		return 0, err
	}
	return f.File.Write(b)
}

func (f osFile) WriteAt(b []byte, at int64) (int, error) {
	if err := failpoint.Hit(writing); err != nil {
		return 0, err
	}
	return f.File.WriteAt(b, at)
}

func (f osFile) Allocate(size int64) error {
	if err := failpoint.Hit(writing); err != nil {
		return err
	}
	err := unix.Fallocate(int(f.Fd()), 0, 0, size)
	if !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.ENOSYS) {
		return err
	}
	zeros := make([]byte, 32<<10)
	for at := int64(0); at < size; at += int64(len(zeros)) {
		if _, err := f.WriteAt(zeros[:min(int64(len(zeros)), size-at)], at); err != nil {
			return err
		}
	}
	return nil
}

type osLock struct{ f *os.File }

func (l osLock) File() *os.File { return l.f }
func (l osLock) Close() error   { return l.f.Close() }

package spool

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
)

// Disk is the file system as far as the spool needs it: OS is the real one, Memory one for tests that
// forgets what was not fsynced. Paths are absolute. Errors satisfy errors.Is with fs.ErrNotExist,
// fs.ErrExist and the errno (syscall.ENOSPC).
type Disk interface {
	// Mkdir makes one folder of mode 0700; fs.ErrExist when the name is taken.
	Mkdir(path string) error
	// Open opens for reading.
	Open(path string) (File, error)
	// Create opens for reading and writing, mode 0600; it makes the file or empties it.
	Create(path string) (File, error)
	// Edit opens an existing file for reading and writing, as it is.
	Edit(path string) (File, error)
	// Append opens for reading and appending; it makes the file, mode 0600, where there is none.
	Append(path string) (File, error)
	// Rename replaces what is at the new path.
	Rename(from, to string) error
	// Link gives the file a second name; fs.ErrExist when it is taken.
	Link(from, to string) error
	// Remove removes a file or an empty folder.
	Remove(path string) error
	// List names what is in a folder, sorted.
	List(path string) ([]string, error)
	// Stat describes a path.
	Stat(path string) (Info, error)
	// SyncDir makes the names in a folder durable.
	SyncDir(path string) error
	// Lock takes the lock of a file, making the file where there is none; ErrLocked when another has it.
	Lock(path string) (Lock, error)
	// Locked reports whether anybody has the lock of a file, without taking it; a missing file is free.
	Locked(path string) (bool, error)
	// FreeBytes is how much this process may still write below a path.
	FreeBytes(path string) (int64, error)
}

// File is an open file.
type File interface {
	io.Reader
	io.Writer
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Sync makes the file's bytes durable, not its name.
	Sync() error
	// Truncate cuts or extends the file.
	Truncate(size int64) error
	// Size is the file's length in bytes.
	Size() (int64, error)
	// Allocate sets space aside so that writes below size do not meet a full disk; the file gets that
	// size.
	Allocate(size int64) error
}

// Lock is a lock that the kernel releases when the last process that has its file open is gone.
type Lock interface {
	// File is what a child inherits to hold the lock too; nil on Memory.
	File() *os.File
	// Close gives up this process's share; the lock is free once no child has it either.
	Close() error
}

// Info describes a path.
type Info struct {
	Size    int64
	IsDir   bool
	ModTime time.Time
}

// ErrLocked says that another process has the lock.
var ErrLocked = errors.New("another process has the lock")

func exists(d Disk, path string) (bool, error) {
	_, err := d.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// mkdir makes a folder where there is none, and makes it durable: also one that is there, for a process that was
// killed may have made it a moment ago. parent must exist.
func mkdir(d Disk, path, parent string) error {
	if err := d.Mkdir(path); err != nil {
		if !errors.Is(err, fs.ErrExist) {
			return err
		}
		if _, err := d.List(path); err != nil { // follows links, unlike Stat
			return fmt.Errorf("%s is not a folder of this user; move it away: %w", path, err)
		}
		if err := d.SyncDir(parent); err != nil && !errors.Is(err, fs.ErrPermission) {
			return err // whoever may not even read the parent made nothing in it
		}
		return nil
	}
	return d.SyncDir(parent)
}

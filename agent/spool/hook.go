package spool

import (
	"errors"
	"fmt"
	"strconv"
)

// hookPrefix begins the markers of hooks: the stage and the place in its list follow.
const hookPrefix = "hook-"

func (f *Folder) hookPath(stage string, n int) string {
	return f.path(hookPrefix + stage + "-" + strconv.Itoa(n))
}

// BeginHook leaves the marker of the n-th hook of a stage, durably; first is false when it was there: the hook was
// begun before, and is not begun again. With an error it may or may not be there: do not begin it. Only who has the run
// lock, or led the job to its end, may do so.
func (f *Folder) BeginHook(stage string, n int) (first bool, err error) {
	path := f.hookPath(stage, n)
	if there, err := exists(f.disk, path); err != nil || there {
		return false, err
	}
	file, err := f.disk.Append(path)
	if err != nil {
		return false, fmt.Errorf("begin a hook of job %s: %w", f.id, err)
	}
	if err := errors.Join(file.Sync(), file.Close(), f.disk.SyncDir(f.dir)); err != nil {
		return false, fmt.Errorf("begin a hook of job %s: %w", f.id, err)
	}
	return true, nil
}

// HookBegun reports whether the n-th hook of a stage was begun.
func (f *Folder) HookBegun(stage string, n int) (bool, error) {
	return exists(f.disk, f.hookPath(stage, n))
}

package spool

import (
	"errors"
	"fmt"
	"io/fs"

	"restic-manager/shared/wire"
)

// ProgressWriter keeps progress.json. It is written in place and not fsynced: nobody needs it after a
// crash, and it needs no new space on a full disk.
type ProgressWriter struct {
	folder *Folder
	file   File
}

// OpenProgress makes progress.json when the first progress is written.
func (f *Folder) OpenProgress() *ProgressWriter { return &ProgressWriter{folder: f} }

// Write replaces the progress.
func (w *ProgressWriter) Write(p wire.Progress) error {
	body, err := marshal(p)
	if err != nil {
		return fmt.Errorf("write the progress of job %s: %w", w.folder.id, err)
	}
	if w.file == nil {
		if w.file, err = w.folder.disk.Create(w.folder.path(progressFile)); err != nil {
			w.file = nil
			return fmt.Errorf("write the progress of job %s: %w", w.folder.id, err)
		}
	}
	b := seal(body)
	if _, err := w.file.WriteAt(b, 0); err != nil {
		return fmt.Errorf("write the progress of job %s: %w", w.folder.id, err)
	}
	if size, err := w.file.Size(); err == nil && size > int64(len(b)) {
		err = w.file.Truncate(int64(len(b)))
		if err != nil {
			return fmt.Errorf("write the progress of job %s: %w", w.folder.id, err)
		}
	}
	return nil
}

// Close closes the file.
func (w *ProgressWriter) Close() error {
	if w.file == nil {
		return nil
	}
	return w.file.Close()
}

// Progress reads the supervisor's latest; ok is false when there is none, or it is just being written: ask
// again later.
func (f *Folder) Progress() (p wire.Progress, ok bool, err error) {
	err = readJSON(f.disk, f.path(progressFile), &p)
	if _, torn := errors.AsType[*DamagedError](err); torn || errors.Is(err, fs.ErrNotExist) {
		return wire.Progress{}, false, nil
	}
	if err != nil {
		return wire.Progress{}, false, fmt.Errorf("read the progress of job %s: %w", f.id, err)
	}
	return p, true, nil
}

package spool

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"restic-manager/shared/wire"
)

// PutAside moves a folder out of the way, for people to look at, and enters its id in the ledger: it is
// never run again. Its finish.json, if it has a sound one, is kept as Settle does. The reason is kept beside
// it. A folder in which a supervisor or restic lives is not
// moved: ErrLocked.
func (s *Store) PutAside(id, reason string) error {
	f := s.Folder(id)
	if alive, err := f.RunAlive(); err != nil {
		return fmt.Errorf("put job %s aside: %w", id, err)
	} else if alive {
		return fmt.Errorf("put job %s aside: %w", id, ErrLocked)
	}
	if wire.IsUUID(id) {
		if err := f.enterLedger("aside"); err != nil {
			return fmt.Errorf("put job %s aside: %w", id, err)
		}
		if _, err := f.Finish(); err == nil {
			if err := s.keepFinish(id); err != nil {
				return fmt.Errorf("put job %s aside: %w", id, err)
			}
		}
	}
	// A second folder of that id is kept beside the first.
	to := s.path(asideDir, id)
	for n := 2; ; n++ {
		there, err := exists(s.disk, to)
		if err != nil {
			return fmt.Errorf("put job %s aside: %w", id, err)
		}
		if !there {
			break
		}
		to = s.path(asideDir, id+"."+strconv.Itoa(n))
	}
	if err := s.disk.Rename(f.dir, to); err != nil {
		return fmt.Errorf("put job %s aside: %w", id, err)
	}
	if err := errors.Join(s.disk.SyncDir(s.path(asideDir)), s.disk.SyncDir(s.path(jobsDir))); err != nil {
		return fmt.Errorf("put job %s aside: %w", id, err)
	}
	s.note(to, reason)
	return nil
}

// note leaves a word for people; a full disk is no reason to fail.
func (s *Store) note(folder, reason string) {
	f, err := s.disk.Create(filepath.Join(folder, "why-aside.txt"))
	if err != nil {
		return
	}
	defer f.Close()
	f.Write([]byte(s.now().UTC().Format(time.RFC3339) + " " + reason + "\n"))
}

// Aside are the names of the folders put aside, with the time of each.
func (s *Store) Aside() (map[string]time.Time, error) {
	names, err := s.disk.List(s.path(asideDir))
	if err != nil {
		return nil, fmt.Errorf("list the folders put aside: %w", err)
	}
	out := make(map[string]time.Time, len(names))
	for _, name := range names {
		info, err := s.disk.Stat(s.path(asideDir, name))
		if err != nil {
			return nil, fmt.Errorf("look at the folder put aside %s: %w", name, err)
		}
		out[name] = info.ModTime
	}
	return out, nil
}

// RemoveAside deletes a folder that was put aside. Its id stays in the ledger.
func (s *Store) RemoveAside(name string) error {
	if name == "" || name != filepath.Base(name) || name == ".." || name == "." {
		return fmt.Errorf("%q is not the name of a folder put aside", name)
	}
	return s.removeTree(s.path(asideDir, name))
}

// ExpireAside deletes folders that were put aside longer than keep ago, and then the oldest until all that
// are left take at most limit bytes. It returns the names of what it deleted, also with an error.
func (s *Store) ExpireAside(keep time.Duration, limit int64) (deleted []string, err error) {
	aside, err := s.Aside()
	if err != nil {
		return nil, err
	}
	names := slices.SortedFunc(maps.Keys(aside), func(a, b string) int {
		return cmp.Or(aside[b].Compare(aside[a]), cmp.Compare(b, a)) // the newest first
	})
	total := int64(0)
	for _, name := range names {
		size, e := s.treeSize(s.path(asideDir, name))
		if e != nil {
			err = errors.Join(err, fmt.Errorf("measure the folder put aside %s: %w", name, e))
			continue
		}
		if total += size; total <= limit && s.now().Sub(aside[name]) < keep {
			continue
		}
		if e := s.RemoveAside(name); e != nil {
			err = errors.Join(err, fmt.Errorf("delete the folder put aside %s: %w", name, e))
			continue
		}
		deleted = append(deleted, name)
	}
	return deleted, err
}

// treeSize is how many bytes the files below a path have.
func (s *Store) treeSize(path string) (int64, error) {
	info, err := s.disk.Stat(path)
	if err != nil || !info.IsDir {
		return info.Size, err
	}
	names, err := s.disk.List(path)
	if err != nil {
		return 0, err
	}
	total := int64(0)
	for _, name := range names {
		size, err := s.treeSize(filepath.Join(path, name))
		if err != nil {
			return 0, err
		}
		total += size
	}
	return total, nil
}

package runner

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"restic-manager/shared/wire"
)

// target is the folder a restore writes into: new, directly below the guard's restore root.
func (j *job) target(s *wire.RestoreSpec) (string, error) {
	root := j.c.Guard.RestoreRoot()
	if root == "" {
		return "", errors.New("restores are not allowed here; set restore.mode: staging and restore.root in guard.yaml")
	}
	name := s.Target
	if name == "" {
		name = j.id
	}
	target := filepath.Join(root, name)
	if filepath.Dir(target) != filepath.Clean(root) {
		return "", fmt.Errorf("%.100q is not the name of a folder below %s", name, root)
	}
	_, err := os.Lstat(target)
	switch {
	case err == nil:
		return "", fmt.Errorf("%s exists; restores go into a new folder: give another target", target)
	case !errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("the folder to restore into cannot be looked at: %w", err)
	}
	return target, safeFolder(root, os.Geteuid(), true)
}

// makeTarget makes the folder, 0700, in a root that nobody else can change. What exists is never written
// into.
func makeTarget(target string) error {
	parent, name := filepath.Split(target)
	parent = filepath.Clean(parent)
	if err := makeRoot(parent); err != nil {
		return err
	}
	if err := safeFolder(parent, os.Geteuid(), false); err != nil {
		return err
	}
	root, err := os.OpenRoot(parent)
	if err != nil {
		return fmt.Errorf("open the restore root: %w", err)
	}
	defer root.Close()
	err = root.Mkdir(name, 0o700)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s exists; restores go into a new folder: give another target", target)
	}
	if err != nil {
		return fmt.Errorf("make the folder to restore into: %w", err)
	}
	return nil
}

// makeRoot makes the restore root where it is missing, one folder only.
func makeRoot(root string) error {
	err := os.Mkdir(root, 0o700)
	if err == nil || errors.Is(err, fs.ErrExist) {
		return nil
	}
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the folder above the restore root %s is missing; make it", root)
	}
	return fmt.Errorf("make the restore root: %w", err)
}

// safeFolder wants a path of real folders that only root and the agent's user can change: else somebody
// could put a link in its place, and a restore as root would write behind it. A folder of the sticky kind,
// as /tmp, is fine above: its entries belong to their owners. mayMiss allows the last folder to be missing.
func safeFolder(path string, uid int, mayMiss bool) error {
	for p := path; ; p = filepath.Dir(p) {
		info, err := os.Lstat(p)
		if errors.Is(err, fs.ErrNotExist) && mayMiss && p == path {
			continue
		}
		if err != nil {
			return fmt.Errorf("the restore root cannot be used: %w", err)
		}
		if !info.IsDir() {
			return fmt.Errorf("the restore root cannot be used: %s is not a folder (a link is not taken)", p)
		}
		owner := uint32(0)
		if stat, ok := info.Sys().(*syscall.Stat_t); ok {
			owner = stat.Uid
		}
		if owner != 0 && int(owner) != uid {
			return fmt.Errorf("the restore root cannot be used: %s belongs to user %d; it must belong to root or to the user of the agent", p, owner)
		}
		open := info.Mode().Perm()&0o022 != 0
		if sticky := info.Mode()&os.ModeSticky != 0; open && (!sticky || p == path) {
			return fmt.Errorf("the restore root cannot be used: others can change %s (mode %#o); take their right to write away: chmod go-w %s", p, info.Mode().Perm(), p)
		}
		if p == filepath.Dir(p) {
			return nil
		}
	}
}

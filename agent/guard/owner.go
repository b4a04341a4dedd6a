package guard

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"restic-manager/agent/hostfile"
)

// checkOwners refuses a file that somebody other than the host's owner may change: by its owner, its mode,
// or by the folder that it, or the file that it is a link to, lies in.
func checkOwners(o Options, f hostfile.File) error {
	if err := checkOwner("guard.yaml", o.Path, f.Mode, f.UID, o.UID); err != nil {
		return err
	}
	folders := []string{filepath.Dir(o.Path)}
	if real, err := filepath.EvalSymlinks(o.Path); err != nil {
		return fmt.Errorf("guard.yaml: %w", err)
	} else if folder := filepath.Dir(real); !slices.Contains(folders, folder) {
		folders = append(folders, folder)
	}
	for _, folder := range folders {
		info, err := os.Stat(folder)
		if err != nil {
			return fmt.Errorf("the folder of guard.yaml: %w", err)
		}
		if err := checkOwner("the folder of guard.yaml", folder, info.Mode(), hostfile.Owner(info), o.UID); err != nil {
			return err
		}
	}
	return nil
}

func checkOwner(what, path string, mode fs.FileMode, owner, uid int) error {
	if owner != 0 && owner != uid {
		return fmt.Errorf("%s belongs to user %d; it must belong to root: chown root %s", what, owner, path)
	}
	if mode.Perm()&0o022 != 0 {
		return fmt.Errorf("%s can be changed by its group or by everybody (mode %#o): chmod go-w %s", what, mode.Perm(), path)
	}
	return nil
}

// stamp changes when the file, or who may change it, does.
type stamp struct {
	file, folder, target state
}

type state struct {
	there         bool
	device, inode uint64
	size          int64
	modified      syscall.Timespec
	changed       syscall.Timespec
}

func stampOf(path string) stamp {
	s := stamp{file: stateOf(path, os.Lstat), target: stateOf(path, os.Stat)}
	s.folder = stateOf(filepath.Dir(path), os.Stat)
	return s
}

func stateOf(path string, stat func(string) (fs.FileInfo, error)) state {
	info, err := stat(path)
	if err != nil {
		return state{}
	}
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return state{there: true}
	}
	return state{there: true, device: uint64(s.Dev), inode: s.Ino, size: s.Size, modified: s.Mtim, changed: s.Ctim}
}

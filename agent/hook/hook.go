// Package hook knows the scripts that a host's owner keeps for the server to name: which file a name means, whether
// it may be run, and what it is told. Whether the server may name it at all is the guard's to say.
package hook

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"restic-manager/shared/wire"
)

// Stage is when a hook runs.
type Stage string

// The stages.
const (
	Before Stage = "before" // restic
	After  Stage = "after"  // restic, however it ended
	Stdin  Stage = "stdin"  // beside restic, which backs up what it writes
)

// Path is the file of a hook in the folder of hooks, or why it is not run: it must be a regular file that only root
// and uid, the agent's user, can change, and so must be all folders on the way to it.
func Path(dir, name string, uid int) (string, error) {
	if err := wire.CheckHookName(name); err != nil {
		return "", err
	}
	if err := CheckDir(dir, uid); err != nil {
		return "", err
	}
	path := filepath.Join(dir, name)
	info, err := os.Lstat(path)
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, reason(err))
	}
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		return "", fmt.Errorf("%s is a link, which is not taken; put the script itself there", path)
	case !info.Mode().IsRegular():
		return "", fmt.Errorf("%s is not a regular file", path)
	case info.Mode().Perm()&0o111 == 0:
		return "", fmt.Errorf("%s is not executable: chmod u+x %s", path, path)
	}
	return path, ours(path, info, uid)
}

// CheckDir wants a folder of hooks that nobody but root and uid can change or replace. A folder of the sticky kind, as
// /tmp, is fine above it: its entries belong to their owners.
func CheckDir(dir string, uid int) error {
	if !filepath.IsAbs(dir) || filepath.Clean(dir) != dir {
		return fmt.Errorf("the folder of hooks %.200q is not an absolute, clean path", dir)
	}
	for p := dir; ; p = filepath.Dir(p) {
		info, err := os.Lstat(p)
		if err != nil {
			return fmt.Errorf("the folder of hooks: %s: %w", p, reason(err))
		}
		if !info.IsDir() {
			return fmt.Errorf("the folder of hooks: %s is not a folder (a link is not taken)", p)
		}
		if sticky := info.Mode()&fs.ModeSticky != 0; !sticky || p == dir {
			if err := ours(p, info, uid); err != nil {
				return err
			}
		}
		if p == filepath.Dir(p) {
			return nil
		}
	}
}

// ours refuses what somebody else can change.
func ours(path string, info fs.FileInfo, uid int) error {
	owner := -1
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		owner = int(s.Uid)
	}
	if owner != 0 && owner != uid {
		return fmt.Errorf("%s belongs to user %d; it must belong to root: chown root %s", path, owner, path)
	}
	if info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("%s can be changed by its group or by everybody (mode %#o): chmod go-w %s", path, info.Mode().Perm(), path)
	}
	return nil
}

// reason drops the path from an error of the file system: the message has it already.
func reason(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}

// searchPath is a hook's PATH, a constant as restic's is.
const searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Told is what a hook is told.
type Told struct {
	JobID    string
	PolicyID string // empty: the job is of no policy
	Kind     wire.Kind
	Stage    Stage
	// Result is the state that the job would end in, for After alone.
	Result wire.State
}

// Environment is all that a hook gets: constants and words of this program. Nothing of the server's text is in it,
// nor of the agent's own environment, nor any secret.
func (t Told) Environment() []string {
	env := []string{"PATH=" + searchPath, "HOME=" + home(), "LANG=C.UTF-8", "RESTIC_MANAGER_JOB=" + t.JobID,
		"RESTIC_MANAGER_POLICY=" + t.PolicyID, "RESTIC_MANAGER_KIND=" + string(t.Kind), "RESTIC_MANAGER_STAGE=" + string(t.Stage)}
	if t.Stage == After {
		env = append(env, "RESTIC_MANAGER_RESULT="+string(t.Result))
	}
	return env
}

// home is the folder of the user that hooks run as: programs look there for their passwords, as ~/.pgpass.
func home() string {
	u, err := user.LookupId(strconv.Itoa(os.Geteuid()))
	if err != nil || !filepath.IsAbs(u.HomeDir) {
		return "/"
	}
	return u.HomeDir
}

package restic

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"

	"restic-manager/shared/wire"
)

// Prepare writes the invocation's files into its folder (mode 0600) and looks whether the sources exist.
// Missing ones are recorded, and become issues of the outcome: restic up to 0.18 says so in text alone and
// exits with 0. When none exists the error is *Error with wire.CodeSourceMissing.
func (i *Invocation) Prepare() error {
	for _, f := range i.Files {
		if filepath.Base(f.Name) != f.Name {
			return fmt.Errorf("prepare restic: %q is not a file's name", f.Name)
		}
		if err := os.WriteFile(filepath.Join(i.Dir, f.Name), f.Content, 0o600); err != nil {
			if errors.Is(err, syscall.ENOSPC) {
				return coded(wire.CodeNoSpace, "the agent's state folder is full: %v; make room there", err)
			}
			return fmt.Errorf("prepare restic: %w", err)
		}
	}
	i.Missing = nil
	for _, p := range i.Sources {
		// Anything but "not there" is for restic to meet and to report.
		if _, err := os.Lstat(p); errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
			i.Missing = append(i.Missing, p)
		}
	}
	if n := len(i.Sources); n > 0 && len(i.Missing) == n {
		return coded(wire.CodeSourceMissing, "none of the paths to back up exists (%s); correct the paths, or mount what holds them",
			clean(i.Missing[0], 300)+more(n))
	}
	return nil
}

func more(n int) string {
	if n == 1 {
		return ""
	}
	return fmt.Sprintf(" and %d more", n-1)
}

// Cmd makes the process: stdin /dev/null, folder /, a process group of its own, the password readable at
// file descriptor 3 and one to be added at 4 (ExtraFiles; append further files behind them). The caller sets Stdout and Stderr,
// and calls release after Start, whether it failed or not: it closes this side's ends.
func (i Invocation) Cmd() (cmd *exec.Cmd, release func(), err error) {
	if i.Kind == wire.KindEstimate { // it opens no repository
		return i.command(), func() {}, nil
	}
	passwords := []string{i.Password}
	if i.NewPassword != "" {
		passwords = append(passwords, i.NewPassword)
	}
	var pipes []*os.File
	release = func() {
		for _, r := range pipes {
			r.Close()
		}
	}
	for _, p := range passwords {
		r, err := passwordPipe(p)
		if err != nil {
			release()
			return nil, nil, err
		}
		pipes = append(pipes, r)
	}
	cmd = i.command()
	cmd.ExtraFiles = pipes
	return cmd, release, nil
}

func (i Invocation) command() *exec.Cmd {
	cmd := exec.Command(i.Path, slices.Concat(i.Options, i.Args)...)
	cmd.Dir = "/"
	cmd.Env = i.Env
	cmd.Stdin = nil // the null device
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

// passwordPipe is the read end of a pipe that holds the password.
func passwordPipe(password string) (*os.File, error) {
	if err := wire.CheckRepositoryPassword(password); err != nil {
		return nil, &Error{Code: wire.CodeNoRepository, Message: err.Error()}
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("pipe for the password: %w", err)
	}
	_, err = w.WriteString(password)
	if err := errors.Join(err, w.Close()); err != nil {
		r.Close()
		return nil, fmt.Errorf("pipe for the password: %w", err)
	}
	return r, nil
}

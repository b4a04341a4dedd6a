package restic

import "os/exec"

// Prepare writes the invocation's files into its folder (mode 0600) and looks whether the sources exist.
// Missing ones are recorded, and become issues of the outcome: restic up to 0.18 says so in text alone and
// exits with 0. When none exists the error is *Error with wire.CodeSourceMissing.
func (i *Invocation) Prepare() error { panic("soon") }

// Cmd makes the process: stdin /dev/null, folder /, a process group of its own, the password readable at
// file descriptor 3 (ExtraFiles[0]; append further files behind it). The caller sets Stdout and Stderr,
// and calls release after Start, whether it failed or not: it closes this side's ends.
func (i Invocation) Cmd() (cmd *exec.Cmd, release func(), err error) { panic("soon") }

// Package coredump keeps a program's memory, and the secrets in it, out of files and from other users' eyes.
package coredump

import (
	"os"
	"syscall"
)

// Forbid lets the kernel write no core of this process, nor of those it starts, and nobody but root look into its
// memory and environment. The limit is inherited, the rest is this process's alone: a program that it starts can
// be looked at by its own user as usual.
func Forbid() error {
	// A kernel that hands cores to a program does so whatever the limit is; it gives none of a process that is not
	// dumpable. Source: core(5), PR_SET_DUMPABLE in prctl(2).
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_SET_DUMPABLE, 0, 0); errno != 0 {
		return os.NewSyscallError("prctl", errno)
	}
	return os.NewSyscallError("setrlimit", syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}))
}

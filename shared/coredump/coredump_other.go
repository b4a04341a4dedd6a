//go:build !linux

package coredump

import (
	"os"
	"syscall"
)

// Forbid lets the kernel write no core of this process, nor of those it starts.
func Forbid() error {
	return os.NewSyscallError("setrlimit", syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}))
}

// Package restic finds the restic program, builds its command lines and reads its output. It is the only
// place that knows restic's flags, messages and exit codes, which differ from version to version.
//
// A job runs in three steps: Build makes an Invocation of a typed spec, without touching the disk;
// Prepare writes the files it names and looks whether its sources exist; whoever runs it feeds every
// line of both pipes to a Parser, whose Outcome is the job's result. Short questions (CatConfig,
// ListSnapshots, ListLocks, Unlock) are asked directly, by the methods of Access.
package restic

import (
	"errors"
	"fmt"

	"restic-manager/shared/wire"
)

// Error is a failure with one of wire's job error codes; its message says what to do.
type Error struct {
	Code    string
	Message string
}

// Error is the message with its code.
func (e *Error) Error() string { return e.Message + " (" + e.Code + ")" }

// JobError is the error as it travels in a result.
func (e *Error) JobError() *wire.JobError {
	return &wire.JobError{Code: e.Code, Message: e.Message}
}

// AsJobError is err as it travels in a result: an *Error keeps its code, anything else is
// wire.CodeRestic. It is nil for nil.
func AsJobError(err error) *wire.JobError {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.JobError()
	}
	return &wire.JobError{Code: wire.CodeRestic, Message: clean(err.Error(), maxMessage)}
}

func coded(code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Host is what this machine gives to every run of restic. All folders are absolute paths and exist.
type Host struct {
	// Hostname is the --host of backups; it stays the same so that restic finds the parent snapshot.
	Hostname string
	// StateDir is restic's HOME.
	StateDir string
	// CacheDir is restic's cache, owned by the agent; from 0.19 on an unusable one is fatal.
	CacheDir string
	// TempDir takes restic's pack files while they are made.
	TempDir string
	// RcloneConfig is the rclone.conf of the host's owner; used for rclone: locations alone.
	RcloneConfig string
}

// Repository is where a repository is and what opens it. Env has keys of wire.RepositoryEnvKeys only.
type Repository struct {
	URL      string
	Password string
	Env      map[string]string
}

// Access is all that every command line needs besides its order.
type Access struct {
	Binary     Binary
	Host       Host
	Repository Repository
}

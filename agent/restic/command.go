package restic

import (
	"time"

	"restic-manager/shared/wire"
)

// Order is one job's order as restic gets it.
type Order struct {
	Spec wire.Spec
	// JobDir is the job's folder, absolute: the files that a command line names are written there.
	JobDir string
	// RestoreTarget is the absolute folder a restore writes into; empty for every other kind.
	RestoreTarget string
	// TimeLimit of the run; 0: none.
	TimeLimit time.Duration
}

// File is a file that a command line names, as Prepare writes it into the job's folder.
type File struct {
	Name    string `json:"name"`
	Content []byte `json:"content"`
}

// Invocation is one run of restic, complete. It travels as JSON from the agent to the supervisor through a
// pipe and never touches the disk: it holds the repository's secrets.
type Invocation struct {
	Kind    wire.Kind `json:"kind"`
	Version Version   `json:"version"`
	Path    string    `json:"path"`
	Args    []string  `json:"args"` // without the program's name
	Env     []string  `json:"env"`
	// Password reaches restic by a pipe, as RESTIC_PASSWORD_FILE=/dev/fd/3.
	Password string `json:"password"`
	// Dir is where Prepare writes Files.
	Dir       string        `json:"dir,omitempty"`
	Files     []File        `json:"files,omitempty"`
	TimeLimit time.Duration `json:"time_limit"` // 0: none
	// Sources are the paths a backup reads; Missing are those of them that Prepare did not find.
	Sources []string `json:"sources,omitempty"`
	Missing []string `json:"missing,omitempty"`
	// RestoredTo is the folder a restore writes into.
	RestoredTo string `json:"restored_to,omitempty"`
	// DryRun says that nothing is changed: no snapshot of the summary exists.
	DryRun bool `json:"dry_run,omitempty"`
}

// Build makes the command line of an order. It touches no disk and validates the spec and the repository
// again; its errors are *Error with wire.CodeInvalidSpec, wire.CodeNoRepository or wire.CodeUnknownKind.
// Everything before "--" is a constant or --known=value; paths and patterns travel in files.
func Build(a Access, o Order) (Invocation, error) {
	panic("soon")
}

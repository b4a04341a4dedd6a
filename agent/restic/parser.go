package restic

import (
	"syscall"

	"restic-manager/shared/wire"
)

// Class says what a line is.
type Class int

// The classes of lines.
const (
	// ClassLog is a line for the log: everything that is not a status line.
	ClassLog Class = iota
	// ClassProgress is a status line that changed Progress.
	ClassProgress
	// ClassIgnored is a status line that says nothing: neither progress nor log.
	ClassIgnored
)

// Parser reads restic's output line by line and holds a bounded amount of it, whatever it is fed. It is
// not safe for concurrent use: feed both pipes under one lock.
type Parser struct{}

// NewParser reads the output of one run.
func NewParser(i Invocation) *Parser { panic("soon") }

// Feed takes the next line of a pipe (wire.StreamOut or wire.StreamErr), without its newline. It keeps no
// reference to it.
func (p *Parser) Feed(s wire.Stream, line []byte, truncated bool) Class { panic("soon") }

// Progress is what the last status line said; ok is false before the first. PercentDone never falls. Seq
// is the number of status lines so far.
func (p *Parser) Progress() (progress wire.Progress, ok bool) { panic("soon") }

// Ending is how a run ended: what the kernel said, and the runner's own record of its signals.
type Ending struct {
	// ExitCode is restic's; -1 when Signal ended it.
	ExitCode int
	// Signal is what ended restic; 0 when it exited.
	Signal syscall.Signal
	// Canceled says that a cancel made the runner send a signal; TimeLimit, that the time limit did.
	Canceled  bool
	TimeLimit bool
	// Killed says that restic did not end within the grace and was sent SIGKILL.
	Killed bool
}

// Outcome is a job's result.
type Outcome struct {
	State         wire.State
	Error         *wire.JobError // nil on success
	Summary       *wire.Summary  // nil where restic gave none
	Issues        []wire.Issue
	IssuesDropped int64
}

// Outcome tells the result once both pipes were read to their end and restic is gone. Success with issues
// and every failure's code come from the exit code where the version has one, else from restic's words;
// canceled and time_limit only from the runner's own record.
func (p *Parser) Outcome(e Ending) Outcome { panic("soon") }

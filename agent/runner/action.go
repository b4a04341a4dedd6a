package runner

import (
	"time"

	"restic-manager/shared/wire"
)

// Action is one thing to do for a job, in the order Step gave them. Those that say so report an event.
type Action interface{ action() }

// Create makes the folder: job.json durable, space for the result set aside. SaveFailed when it cannot.
type Create struct{ Durable Durable }

// Save makes the durable part durable. SaveFailed when it cannot, unless Optional: then the next Save
// has it.
type Save struct {
	Durable  Durable
	Optional bool
}

// CheckGuard asks the host owner's guard about the offer; reports Guarded.
type CheckGuard struct{}

// Accept asks the server until a final answer; reports Accepted.
type Accept struct {
	Lease    string
	Delivery int
}

// CheckMachine is the preflight: guard, restic, space, clock, the repository's id; reports Preflighted.
type CheckMachine struct{}

// Start asks the server until a final answer; reports StartAnswered.
type Start struct {
	Nonce        string
	RepositoryID string
}

// Launch starts the supervisor; reports LaunchDone.
type Launch struct{ Nonce string }

// Abandon links the claim of the nonce as abandoned; reports AbandonDone.
type Abandon struct{ Nonce string }

// Resume asks the server until a final answer; reports Resumed.
type Resume struct{ Old, New string }

// Adopt tells the server of a job that the agent began by itself, until a final answer; reports Adopted.
type Adopt struct {
	Nonce        string
	RepositoryID string
}

// GiveUp says that a job the agent began by itself is gone and nothing of it ran: its due time is open again.
// Refused: this host does not let it run, so that it is not tried again at once.
type GiveUp struct {
	Why     string
	Refused bool
}

// EndGroup ends what is left of restic's process group: SIGINT, the grace, SIGKILL; reports GroupEnded.
type EndGroup struct{}

// Unlock removes the lock a killed restic left, where guard and clock allow it; reports Unlocked.
type Unlock struct{}

// WriteCancel writes the cancel file, durable. CancelFailed when it cannot.
type WriteCancel struct{}

// Ship sends the log from the server's cursor on, with the job's lease. Final: the file grows no more;
// LogSettled when the server has it all. Reports NotStarted, LeaseLost, LogStopped.
type Ship struct{ Final bool }

// StopShipping ends the shipper.
type StopShipping struct{}

// List begins a listing; reports Listed within 2 s, and ListingSettled later unless it rides.
type List struct{}

// FollowListing makes the listing beside the log; reports ListingSettled.
type FollowListing struct{}

// Source is what a result is made of.
type Source string

// Sources.
const (
	FromResult       Source = "result"       // result.json
	FromRefusal      Source = "refusal"      // rejected, with Error
	FromInterruption Source = "interruption" // failed, with Error
	FromLedger       Source = "ledger"       // the kept finish.json, else failed, with Error
)

// MakeFinish makes the bytes of finish.json and writes them; where the disk refuses, they stay in
// memory. InMemory: there is no folder.
type MakeFinish struct {
	From     Source
	Error    *wire.JobError
	InMemory bool
}

// Finish sends the bytes until a final answer; reports Finished.
type Finish struct{}

// Remove deletes the folder. KeepFinish keeps finish.json beside the ledger. Rest is how long the lane
// asks for nothing.
type Remove struct {
	KeepFinish bool
	Rest       time.Duration
}

// PutAside moves the folder out of the way, with its finish.json kept beside the ledger, and says why.
type PutAside struct{ Why string }

// Warn is a line in the agent's own log.
type Warn struct{ Text string }

func (Create) action()        {}
func (Save) action()          {}
func (CheckGuard) action()    {}
func (Accept) action()        {}
func (CheckMachine) action()  {}
func (Start) action()         {}
func (Launch) action()        {}
func (Abandon) action()       {}
func (Resume) action()        {}
func (Adopt) action()         {}
func (GiveUp) action()        {}
func (EndGroup) action()      {}
func (Unlock) action()        {}
func (WriteCancel) action()   {}
func (Ship) action()          {}
func (StopShipping) action()  {}
func (List) action()          {}
func (FollowListing) action() {}
func (MakeFinish) action()    {}
func (Finish) action()        {}
func (Remove) action()        {}
func (PutAside) action()      {}
func (Warn) action()          {}

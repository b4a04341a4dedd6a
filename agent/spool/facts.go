package spool

import "restic-manager/shared/wire"

// Facts are all that a job's folder says at one moment.
type Facts struct {
	ID  string
	Job Job
	// Claim is the claim of the job's present nonce; nil when there is none.
	Claim *Claim
	// Ran says that a supervisor has, or may have, claimed the job under any nonce: restic may have run.
	Ran bool
	// SupervisorAlive says that a supervisor has its lock.
	SupervisorAlive bool
	// RunAlive says that the supervisor or restic or what restic started lives. False means both are
	// gone. RunAlive without SupervisorAlive is an orphaned restic.
	RunAlive bool
	// Group is restic's process group; nil when restic did not get so far, or the record is damaged.
	Group *Group
	// Result is what restic did; nil while it runs, or when it was interrupted.
	Result *Result
	// Finish are the bytes of the finish request; nil when they are not made yet.
	Finish []byte
	// Canceled says that the cancel file is there.
	Canceled bool
	// PutAside names files that were found damaged and put aside by this look.
	PutAside []string
}

// MayStart reports whether nothing in the folder speaks against running the job under its present nonce;
// the ledger has its own word (Store.Known, Folder.InLedger).
func (f Facts) MayStart() bool {
	early := f.Job.Phase == wire.PhaseOffered || f.Job.Phase == wire.PhaseAccepted || f.Job.Phase == wire.PhaseStarting
	return early && !f.Ran && !f.RunAlive && f.Claim == nil && f.Group == nil && f.Result == nil && f.Finish == nil
}

// Damaged is a folder whose job.json cannot be read. Such a job is never run.
type Damaged struct {
	// ID is the folder's name; not always a job id.
	ID string
	// Reason says what is wrong with it.
	Reason string
	// Alive says that a supervisor or restic still works in it: it is left where it is.
	Alive bool
}

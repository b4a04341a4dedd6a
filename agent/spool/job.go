package spool

import (
	"slices"
	"time"

	"restic-manager/shared/wire"
)

// Job is job.json: all that must survive of a job but its outcome. It holds no secret.
type Job struct {
	// Offer is the offer as it came; what the accept's answer says of kind, spec, repository and time
	// limit replaces its own.
	Offer wire.Offer `json:"offer"`
	// Phase is how far the agent got. Claim, result and finish say more where they exist.
	Phase wire.Phase `json:"phase"`
	// Lease is the one in use; messages carry it.
	Lease string `json:"lease"`
	// Leases are all it ever had, oldest first, Lease included.
	Leases []string `json:"leases"`
	// Nonce is the latest start nonce; empty before phase starting.
	Nonce string `json:"nonce,omitempty"`
	// RepositoryID is restic's id of the repository, as preflight learnt it; may be empty.
	RepositoryID string `json:"repository_id,omitempty"`
	// OfferedAt is when the folder was made, StartedAt when the server said yes to the start; both by
	// this host's clock, the latter zero before.
	OfferedAt time.Time `json:"offered_at"`
	StartedAt time.Time `json:"started_at,omitzero"`
	// Dropped says why the server no longer waits for this job here; empty: it does.
	Dropped string `json:"dropped,omitempty"`
	// Listed says that the listing after the job is settled, or that none is wanted.
	Listed bool `json:"listed,omitempty"`
	// Local is the due time that the agent began the job for by itself; nil for a job of the server's.
	Local *Local `json:"local,omitempty"`
}

// Local marks a scheduled job that the agent began because the server was away.
type Local struct {
	PolicyID      string    `json:"policy_id"`
	PolicyVersion int64     `json:"policy_version"`
	DueAt         time.Time `json:"due_at"`
	// Adopted says that the server has the job by now: before that nothing of it is said to the server.
	Adopted bool `json:"adopted,omitempty"`
}

// ID is the job's id.
func (j Job) ID() string { return j.Offer.JobID }

// AddLease returns the job with a lease entered among all it ever had.
func (j Job) AddLease(lease string) Job {
	if !slices.Contains(j.Leases, lease) {
		j.Leases = append(slices.Clone(j.Leases), lease)
	}
	return j
}

// valid refuses what a job.json with a good sum still must not say.
func (j Job) valid(id string) bool {
	switch j.Phase {
	case wire.PhaseOffered, wire.PhaseAccepted:
	case wire.PhaseStarting, wire.PhaseRunning, wire.PhaseEnded, wire.PhaseFinished:
	default:
		return false
	}
	return j.Offer.JobID == id && wire.IsUUID(id) && wire.IsRandomHex(j.Lease) && (j.Nonce == "" || wire.IsRandomHex(j.Nonce))
}

// ClaimKind tells who linked a claim.
type ClaimKind string

// Kinds of claims.
const (
	// ClaimSupervisor: a supervisor may run the job; its restic may have run.
	ClaimSupervisor ClaimKind = "supervisor"
	// ClaimAbandoned: the agent took the claim after a crash; nothing runs under this nonce.
	ClaimAbandoned ClaimKind = "abandoned"
)

// Claim is claim-<nonce>: the one right to run a job under a nonce.
type Claim struct {
	Kind ClaimKind `json:"kind"`
	// Nonce is the start nonce it is for.
	Nonce string `json:"nonce"`
	// PID, StartTicks (field 22 of /proc/PID/stat) and MachineBoot (/proc/sys/kernel/random/boot_id)
	// identify the process; for people, locks decide.
	PID         int       `json:"pid"`
	StartTicks  uint64    `json:"start_ticks,omitempty"`
	MachineBoot string    `json:"machine_boot,omitempty"`
	At          time.Time `json:"at"`
	// Damaged says that the file is there but cannot be read: somebody may have run.
	Damaged bool `json:"-"`
}

// Group is group.json: restic's process group, recorded by the child before it becomes restic.
type Group struct {
	// PGID is the process group and the pid of its leader, which is restic.
	PGID int `json:"pgid"`
	// StartTicks is field 22 of the leader's /proc/PID/stat.
	StartTicks uint64 `json:"start_ticks"`
	// MachineBoot is the kernel's boot id: after a restart of the machine the numbers mean nothing.
	MachineBoot string `json:"machine_boot"`
}

// Result is result.json: what the supervisor saw of restic's end. Finish is ready to be sent but for the
// listing.
type Result struct {
	Nonce  string             `json:"nonce"`
	Finish wire.FinishRequest `json:"finish"`
	// ShortSnapshotID is all that restic 0.14 says of the new snapshot's id: 8 digits, of which the listing
	// makes the whole one. Empty where the summary has it, or there is no snapshot.
	ShortSnapshotID string `json:"short_snapshot_id,omitempty"`
	// LogDropped is how many lines did not get into the log (size limit, full disk).
	LogDropped int64 `json:"log_dropped,omitempty"`
	// Killed says that restic had to be ended by SIGKILL.
	Killed bool `json:"killed,omitempty"`
	// Unlocked says that a plain unlock was run after that and succeeded.
	Unlocked bool `json:"unlocked,omitempty"`
}

// Boot names one process of the agent.
type Boot struct {
	// ID is 128 random bits in hex.
	ID string
	// Number is the last one + 1, or the seconds of the clock if that is more.
	Number int64
}

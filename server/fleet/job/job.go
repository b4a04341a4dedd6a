// Package job holds the rules of a job as pure functions: no database, no clock, no goroutine. The stores,
// the real one and the one in memory, lock a job, apply, and write what came out, in one transaction.
package job

import (
	"time"

	"restic-manager/shared/wire"
)

// Job is all that the rules need to know of a job. Zero times mean "not". It is comparable: a job that
// equals the one before needs no writing.
type Job struct {
	ID     string
	HostID string
	Number int64 // the order in the queue
	Kind   wire.Kind
	State  wire.State

	QueuedAt     time.Time
	ExpiresAt    time.Time
	WaitingSince time.Time // first found ready to run but for shared holds of others

	Delivery       int // counts returns to the queue, from 1
	Lease          string
	HeardAt        time.Time // the last message that named the lease
	LeaseExpiresAt time.Time
	AcceptedAt     time.Time
	StartNonce     string
	StartedAt      time.Time
	EndedAt        time.Time

	// Target is the repository it is about in place of the host's own; zero: the host's own.
	Target Target

	RepositoryName string // as accepted
	RepositoryID   string // empty: not known
	HoldKey        string // what is held: the repository's id, or HostKey while that is unknown
	Holding        bool
	HoldReleasedAt time.Time // released because of silence

	CancelRequestedAt time.Time
	DisconnectedSince time.Time
	StalledSince      time.Time
	Unnamed           Unnamed

	ErrorCode    string
	ErrorMessage string
	FinishSHA256 string
	LateReport   bool

	ProgressLease string
	ProgressSeq   int64
}

// Unnamed counts the polls of the host's newest process that did not name a disconnected job.
type Unnamed struct {
	Boot  string
	Seq   int64
	Polls int64
}

// UnnamedPolls is how many such polls mean that the job's folder is lost.
const UnnamedPolls = 3

// EndedFor is how long an ended job still answers resume.
const EndedFor = wire.LostAfter

// HostKey is held in place of a repository whose id is not known yet: the host alone is held.
func HostKey(hostID string) string { return "host:" + hostID }

// HoldKey is what a job of the host holds, given the repository's id or "".
func HoldKey(hostID, repositoryID string) string {
	if repositoryID == "" {
		return HostKey(hostID)
	}
	return repositoryID
}

// Target is a repository by its setting, for one host where the setting's address names the host. It is comparable.
type Target struct {
	SettingID    string
	HostID       string // empty: the setting stands for one repository
	RepositoryID string // restic's own; empty: not known
}

// Uses tells which repository the job uses and holds, given what is known of the host's own: its name, and restic's id,
// empty where that is not known.
func (j Job) Uses(own Tie) (name, id string) {
	if j.Target.SettingID != "" {
		return wire.RepositoryTarget, j.Target.RepositoryID
	}
	return own.Name(), own.ID
}

// Key is what the job holds, given what is known of the host's own repository.
func (j Job) Key(own Tie) string {
	_, id := j.Uses(own)
	return HoldKey(j.HostID, id)
}

// New is a job as it enters the queue. The kind must be known.
func New(id, hostID string, kind wire.Kind, ttl time.Duration, now time.Time) Job {
	return Job{
		ID: id, HostID: hostID, Kind: kind, State: wire.StateQueued, Delivery: 1,
		QueuedAt: now, ExpiresAt: now.Add(ttl),
	}
}

// Hold is what the kind needs of its repository.
func (j Job) Hold() wire.Hold { return j.info().Hold }

// Lane is the lane the kind occupies.
func (j Job) Lane() wire.Lane { return j.info().Lane }

func (j Job) info() wire.KindInfo {
	i, _ := j.Kind.Info()
	return i
}

// Active reports whether the job occupies its lane.
func (j Job) Active() bool { return j.State == wire.StateAccepted || j.State == wire.StateRunning }

// Canceling reports whether the agent is to be told to cancel.
func (j Job) Canceling() bool {
	return j.State == wire.StateRunning && !j.CancelRequestedAt.IsZero()
}

// Excludes reports whether two holds on one repository cannot be in force together.
func Excludes(a, b wire.Hold) bool {
	return a != wire.HoldNone && b != wire.HoldNone && (a == wire.HoldExclusive || b == wire.HoldExclusive)
}

package job

import "restic-manager/shared/wire"

// Event is what can happen to a job.
type Event interface{ event() }

// The calls of agents. LaneBusy, Held and Alarm are facts that the store has read under its locks.
type (
	// Accept takes a queued job.
	Accept struct {
		Lease          string
		Delivery       int
		RepositoryName string
		RepositoryID   string // empty: not known yet
		LaneBusy       bool   // another job of the host occupies the lane
		Held           bool   // a hold of another job excludes this one's
		Alarm          bool   // two processes have the host's identity
	}
	// Start is asked before restic runs; RepositoryID may be news.
	Start struct {
		Lease        string
		Nonce        string
		RepositoryID string // empty: not known
		Held         bool   // a hold of another job on RepositoryID excludes this one's
	}
	// Adopt tells of a scheduled job that the agent began by itself while the server was away. It takes no offer and
	// needs no start: restic runs.
	Adopt struct {
		Lease          string
		Nonce          string
		RepositoryName string
		RepositoryID   string // empty: not known
		LaneBusy       bool   // another job of the host occupies the lane
		Held           bool   // a hold of another job excludes this one's: it runs without
	}
	// Resume rotates the lease.
	Resume struct{ Old, New string }
	// Heard is any message that names the job with its lease.
	Heard struct{ Lease string }
	// Progress is news of a running job; the latest of a lease wins.
	Progress struct {
		Lease          string
		Seq            int64
		StalledSeconds float64
	}
	// Finish reports the result; SHA256 is over the request's bytes.
	Finish struct {
		Lease  string
		SHA256 string
		State  wire.State
		Error  wire.JobError // zero: none
	}
	// UnnamedPoll is a poll of the newest process, outside an amnesty, that does not name the job.
	UnnamedPoll struct {
		Boot string
		Seq  int64
	}
)

// Coalesce ends a queued job of a policy because another one of it, which has begun, stands for it.
type Coalesce struct{ Into string }

// The decisions of people.
type (
	// Cancel ends a job that has not started, and asks the agent to end one that has.
	Cancel struct{}
	// Revoke ends whatever the revoked host had.
	Revoke struct{}
)

// The decisions of the sweeper, never within an amnesty; Due tells which is due.
type (
	// Expire ends a job that nobody fetched in time.
	Expire struct{}
	// LeaseRanOut queues a job again that never started, and marks a running one as disconnected.
	LeaseRanOut struct{}
	// ReleaseHold frees the repository of a job that has been silent for wire.HoldAfterSilence.
	ReleaseHold struct{}
	// Lose ends a job that has been silent for wire.LostAfter.
	Lose struct{}
)

// Waiting notes that only shared holds of others keep an exclusive job from being offered.
type Waiting struct{}

func (Accept) event()      {}
func (Start) event()       {}
func (Adopt) event()       {}
func (Coalesce) event()    {}
func (Resume) event()      {}
func (Heard) event()       {}
func (Progress) event()    {}
func (Finish) event()      {}
func (UnnamedPoll) event() {}
func (Cancel) event()      {}
func (Revoke) event()      {}
func (Expire) event()      {}
func (LeaseRanOut) event() {}
func (ReleaseHold) event() {}
func (Lose) event()        {}
func (Waiting) event()     {}

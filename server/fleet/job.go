package fleet

import (
	"encoding/json"
	"time"

	"restic-manager/server/fleet/job"
	"restic-manager/shared/wire"
)

// Job is one job as people see it. Times are the server's, but for those of the agent, which are corrected
// by its clock's skew.
type Job struct {
	ID         string             `json:"id"`
	HostID     string             `json:"host_id"`
	HostName   string             `json:"host_name"`
	Kind       wire.Kind          `json:"kind"`
	State      wire.State         `json:"state"`
	Spec       json.RawMessage    `json:"spec"`
	Repository wire.RepositoryRef `json:"repository"`
	RetryOf    *string            `json:"retry_of,omitempty"`
	CreatedBy  string             `json:"created_by"`
	Policy     *JobPolicy         `json:"policy,omitempty" doc:"The policy it is of"`
	DueAt      *time.Time         `json:"due_at,omitempty" doc:"The due time of its policy that it stands for"`
	Target     *JobTarget         `json:"target,omitempty" doc:"The repository it is about in place of the host's own"`

	Error         *wire.JobError `json:"error,omitempty"`
	ExitCode      *int           `json:"exit_code,omitempty"`
	Progress      *wire.Progress `json:"progress,omitempty"`
	ProgressAt    *time.Time     `json:"progress_at,omitempty"`
	Summary       *wire.Summary  `json:"summary,omitempty"`
	Estimate      *wire.Estimate `json:"estimate,omitempty" doc:"What a backup would hold; of one job of the kind estimate only"`
	Issues        []wire.Issue   `json:"issues,omitempty"` // JobByID only
	IssuesDropped int64          `json:"issues_dropped,omitempty"`

	QueuedAt         time.Time  `json:"queued_at"`
	ExpiresAt        time.Time  `json:"expires_at"`
	AcceptedAt       *time.Time `json:"accepted_at,omitempty"`
	StartedAt        *time.Time `json:"started_at,omitempty"`
	EndedAt          *time.Time `json:"ended_at,omitempty"`
	AgentStartedAt   *time.Time `json:"agent_started_at,omitempty"`
	AgentEndedAt     *time.Time `json:"agent_ended_at,omitempty"`
	ElapsedSeconds   *float64   `json:"elapsed_seconds,omitempty"`
	TimeLimitSeconds int64      `json:"time_limit_seconds"`

	CancelRequestedAt *time.Time `json:"cancel_requested_at,omitempty"`
	DisconnectedSince *time.Time `json:"disconnected_since,omitempty"`
	StalledSince      *time.Time `json:"stalled_since,omitempty"`
	HoldReleasedAt    *time.Time `json:"hold_released_at,omitempty"`

	LogLines    *int64   `json:"log_lines,omitempty"` // as finish said
	LogReceived int64    `json:"log_received"`        // the server's next_line - 1
	LogComplete bool     `json:"log_complete"`
	LogProblem  string   `json:"log_problem,omitempty"`
	Waiting     *Waiting `json:"waiting,omitempty" doc:"Why a queued job does not run yet; of one job only"`

	LateReport bool `json:"late_report"` // a result other than the one shown came after the end
}

// JobPolicy names the policy of a job; the name is empty when the policy is gone.
type JobPolicy struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// NewJob asks for one job.
type NewJob struct {
	HostID         string
	Kind           wire.Kind
	Spec           wire.Spec     // nil: the kind's empty spec
	TimeLimit      time.Duration // 0: the kind's
	TTL            time.Duration // how long it may wait in the queue; 0: wire.QueueTTL
	IdempotencyKey string        // empty: none; else kept 24 h per actor
	// PolicyID is the policy it is of; empty: it was asked for by hand. One queued job of a policy, host and kind stands
	// for all that are asked for meanwhile, whatever they ask.
	PolicyID string
	// ID and DueAt are those of a policy's due time (wire.TickJobID); empty and zero for others.
	ID    string
	DueAt time.Time
	// Target is the repository it is about in place of the host's own, for maintenance; nil: the host's own.
	Target *Target
}

// JobTarget is the repository that a job is about, by the setting that people know it by.
type JobTarget struct {
	SettingID string `json:"setting_id"`
	Name      string `json:"name" doc:"Empty: it is forgotten"`
	HostID    string `json:"host_id,omitempty" doc:"Whose it is, where each host has one of its own"`
}

// Target is a repository by its setting, for one host where the setting's address names the host.
type Target = job.Target

// JobFilter narrows Jobs; zero fields do not.
type JobFilter struct {
	HostID string
	Kind   wire.Kind
	States []wire.State
	Before *time.Time // queued before
	After  *time.Time // queued at or after
	Label  string     // of the host: key, or key=value
	Search string     // part of the host's name or hostname, in any case
	Policy string     // the policy's id
	// Repository is a setting's id: jobs that are about it, and those of hosts that used it where it is one for all.
	Repository string
	known      []string // restic's ids of what is there, read by Jobs
}

// SweepReport counts what one sweep changed.
type SweepReport struct {
	Amnesty      bool `json:"amnesty"` // the sweeper or the database was away: nothing was judged
	Offline      int  `json:"offline"`
	Expired      int  `json:"expired"`
	Requeued     int  `json:"requeued"`
	Disconnected int  `json:"disconnected"`
	HoldsFreed   int  `json:"holds_freed"`
	Lost         int  `json:"lost"`
}

// Violation is one broken invariant.
type Violation struct {
	Rule   string `json:"rule"`   // J1, J2, J3, L1 …
	Detail string `json:"detail"` // which rows, and how
}

// JobCount is how many jobs of a kind are in a state.
type JobCount struct {
	Kind  wire.Kind
	State wire.State
	Count int64
}

// Bucket counts the observations of at most UpTo.
type Bucket struct {
	UpTo  time.Duration
	Count uint64 // cumulative
}

// Stats are the fleet's figures. Those under "this replica" begin at its start.
type Stats struct {
	HostsByStatus   map[string]int64
	CloneAlarms     int64
	OpenJobs        []JobCount // queued, accepted, running
	QueueDepth      int64
	OldestQueuedAge time.Duration // 0 when nothing is queued

	// This replica.
	LongPolls       int64
	EndedJobs       []JobCount // counters
	Dispatch        []Bucket   // from queued to offered
	DispatchCount   uint64
	DispatchSeconds float64 // sum
	OfflineSweeps   uint64  // hosts this replica's sweeper found gone
	Requeues        uint64
}

package wire

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"time"
)

// FeatureSchedule in HelloRequest.Features says that the agent keeps the schedules of its policies itself. For a host
// without it the server queues its scheduled jobs.
const FeatureSchedule = "schedule"

// FeatureInitIfMissing in HelloRequest.Features says that the agent knows InitSpec.IfMissing.
const FeatureInitIfMissing = "init_if_missing"

// FeatureTarget in HelloRequest.Features says that the agent knows RepositoryTarget. One that does not would take the
// order for one about its own repository: it gets none.
const FeatureTarget = "target"

// FeatureWindows in HelloRequest.Features says that the agent keeps the windows and conditions of its policies. A policy
// that has some does not run at a host that keeps the schedule without it.
const FeatureWindows = "windows"

// FeatureLimits in HelloRequest.Features says that the agent knows BackupSpec's DownloadLimitKiB, CPUNice and IOClass.
// Another one refuses a spec that holds them.
const FeatureLimits = "limits"

// Window is when a run may begin, by the wall's clock in the policy's zone: from From up to and without To, of the next
// day where To is not later; see the module schedule.
type Window struct {
	Days      []string `json:"days,omitempty" maxItems:"7" enum:"mon,tue,wed,thu,fri,sat,sun" doc:"On which it opens; none: every day"`
	From      string   `json:"from" maxLength:"5" doc:"As in 22:00"`
	To        string   `json:"to" maxLength:"5" doc:"Not later than from: of the next day; 24:00 is midnight"`
	StopAtEnd bool     `json:"stop_at_end,omitempty" doc:"A run that still goes when it closes is stopped"`
}

// Schedule is what a host is to do by itself: the policies that apply to it, each with its due times. It rides on
// Configure and is kept on the agent's disk, but for Secrets: they are kept in memory alone, unless the host's guard
// allows the disk.
type Schedule struct {
	// Version counts up with each change of any of it.
	Version  int64             `json:"version"`
	Policies []ScheduledPolicy `json:"policies"`
	// Repository names the repository that all of them use: RepositoryLocal, or RepositoryServer with Secrets.
	Repository string   `json:"repository"`
	Secrets    *Secrets `json:"secrets,omitempty"`
}

// ScheduledPolicy is one policy as a host carries it out.
type ScheduledPolicy struct {
	ID      string          `json:"id"`
	Name    string          `json:"name"`
	Version int64           `json:"version"`
	Kind    Kind            `json:"kind"`
	Spec    json.RawMessage `json:"spec"`
	// Cron and Zone give the due times. Each is moved by a part of the spread, the one of SpreadKey; see the module
	// schedule.
	Cron          string `json:"cron"`
	Zone          string `json:"zone"`
	SpreadSeconds int64  `json:"spread_seconds,omitempty"`
	// LateSeconds is how long after its due time a run may still begin; 0: until the next one is due.
	LateSeconds int64 `json:"late_seconds,omitempty"`
	// NoCatchUp: what was due while the machine was off is missed. Else the last of it is run once.
	NoCatchUp        bool  `json:"no_catch_up,omitempty"`
	TimeLimitSeconds int64 `json:"time_limit_seconds"`
	// Windows are when a run may begin; none: always. SkipOnBattery and SkipOnMetered: not while the host is so. They
	// are for agents with FeatureWindows.
	Windows       []Window `json:"windows,omitempty"`
	SkipOnBattery bool     `json:"skip_on_battery,omitempty"`
	SkipOnMetered bool     `json:"skip_on_metered,omitempty"`
	// AccountedUntil: due times up to it have their outcome at the server.
	AccountedUntil time.Time `json:"accounted_until"`
}

// Outcome is what became of a due time; each has exactly one.
type Outcome string

// Outcomes.
const (
	OutcomeRun       Outcome = "run"       // a job of its own, the one of TickJobID
	OutcomeCoalesced Outcome = "coalesced" // another job of the policy, not begun yet, stands for it
	OutcomeMissed    Outcome = "missed"    // nothing ran: the machine or its agent was off, or nobody could open the repository
	OutcomeSkipped   Outcome = "skipped"   // nothing ran by the policy's own rules: too late, outside its windows, on battery, metered
)

// Tick is one due time of a policy at this host. Outcome empty asks the server to have it run: it queues the job, or
// finds the one that stands for it. Missed and skipped ones say Why, for people.
type Tick struct {
	PolicyID string    `json:"policy_id"`
	DueAt    time.Time `json:"due_at"`
	Outcome  Outcome   `json:"outcome,omitempty"`
	Why      string    `json:"why,omitempty"`
}

// MaxTicks bounds the due times of one request.
const MaxTicks = 500

// MaxWhy bounds Tick.Why, in bytes.
const MaxWhy = 300

// TicksRequest accounts for due times, in their order for each policy.
type TicksRequest struct {
	Ticks []Tick `json:"ticks"`
}

// TicksReply answers each tick in its place. What was accounted for before keeps its outcome.
type TicksReply struct {
	Ticks []TickAnswer `json:"ticks"`
}

// TickAnswer is what became of one tick. Unassigned: the policy does not apply to the host any more, nothing was kept.
// Later: nothing was kept either, for its windows are closed; the due time stays open.
type TickAnswer struct {
	Outcome    Outcome `json:"outcome,omitempty"`
	JobID      string  `json:"job_id,omitempty"`
	Unassigned bool    `json:"unassigned,omitempty"`
	Later      bool    `json:"later,omitempty"`
}

// AdoptRequest reports a scheduled job that the agent began by itself because the server was away. The lease is in
// HeaderLease, the job's id is TickJobID's.
type AdoptRequest struct {
	PolicyID      string          `json:"policy_id"`
	PolicyVersion int64           `json:"policy_version"`
	DueAt         time.Time       `json:"due_at"`
	Kind          Kind            `json:"kind"`
	Spec          json.RawMessage `json:"spec"`
	StartNonce    string          `json:"start_nonce"`
	// Repository is the name it used; RepositoryID restic's own, where it was learnt.
	Repository       string    `json:"repository"`
	RepositoryID     string    `json:"repository_id,omitempty"`
	TimeLimitSeconds int64     `json:"time_limit_seconds"`
	StartedAt        time.Time `json:"started_at"`
}

// TickJobID is the id of the job that a policy's due time makes at a host: the same wherever the job is begun. It has
// the form and the order of a UUIDv7 (RFC 9562, section 5.7) of the due time; its random bits are taken from SHA-256.
// due counts in whole seconds.
func TickJobID(policyID, hostID string, due time.Time) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "tick\n%s\n%s\n%d", policyID, hostID, due.Unix()))
	id := sum[:16]
	var at [8]byte
	binary.BigEndian.PutUint64(at[:], uint64(due.Unix()*1000)<<16)
	copy(id[:6], at[:6])
	id[6] = id[6]&0x0f | 0x70
	id[8] = id[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
}

// SpreadKey is what decides how far the due times of a policy are moved at a host.
func SpreadKey(policyID, hostID string) string { return policyID + " " + hostID }

// Package policy is what is to be backed up, when and at which hosts: policies with their versions, the hosts that each
// applies to, and what became of every due time. It stands on fleet, which knows jobs and nothing of policies.
package policy

import (
	"log/slog"
	"sync"
	"time"

	"restic-manager/server/database"
	"restic-manager/server/fault"
	"restic-manager/server/fleet"
	"restic-manager/shared/wire"
)

// Policy is one policy as people see it.
type Policy struct {
	ID           string     `json:"id"`
	Name         string     `json:"name"`
	Enabled      bool       `json:"enabled"`
	Version      int64      `json:"version" doc:"Counts up with each change of name, enabled or spec"`
	Spec         Spec       `json:"spec"`
	CreatedAt    time.Time  `json:"created_at"`
	UpdatedAt    time.Time  `json:"updated_at"`
	HostCount    int64      `json:"host_count" doc:"Hosts that it applies to, those with a problem included"`
	ProblemCount int64      `json:"problem_count" doc:"Of these, hosts at which it does not run, because of a problem"`
	Repository   string     `json:"repository_name,omitempty"`
	NextDueAt    *time.Time `json:"next_due_at,omitempty"`
	Last         Last       `json:"last"`
}

// Last counts what became of a policy in the last 24 hours: its due times by their outcome, and its jobs by how they
// ended.
type Last struct {
	Run       int64 `json:"run"`
	Coalesced int64 `json:"coalesced"`
	Missed    int64 `json:"missed"`
	Skipped   int64 `json:"skipped"`
	Succeeded int64 `json:"succeeded"`
	Issues    int64 `json:"issues" doc:"Succeeded with issues"`
	Failed    int64 `json:"failed" doc:"Lost, rejected and expired ones too"`
	Open      int64 `json:"open" doc:"Queued or under way"`
}

// Version is a policy as it was from one change to the next.
type Version struct {
	Version int64     `json:"version"`
	At      time.Time `json:"at"`
	By      string    `json:"by"`
	Name    string    `json:"name"`
	Enabled bool      `json:"enabled"`
	Spec    Spec      `json:"spec"`
	Changes []Change  `json:"changes" doc:"What differs from the version before"`
}

// Change is one field that differs. The texts are for people; empty: it is not set.
type Change struct {
	Field  string `json:"field" doc:"As in the spec, as in backup.paths"`
	Before string `json:"before"`
	After  string `json:"after"`
}

// HostRef names a host.
type HostRef struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// AssignedHost is a host that a policy applies to.
type AssignedHost struct {
	ID        string     `json:"id"`
	Name      string     `json:"name"`
	Why       string     `json:"why" doc:"What of the policy names the host, as in: label env=prod"`
	Problem   string     `json:"problem" doc:"Why it does not run there; empty: it does"`
	NextDueAt *time.Time `json:"next_due_at,omitempty"`
	LastTick  *Tick      `json:"last_tick,omitempty"`
}

// HostPolicies are the policies that apply to a host, and how far its agent knows of them.
type HostPolicies struct {
	Policies        []HostPolicy `json:"policies"`
	ScheduleVersion int64        `json:"schedule_version" doc:"Counts up with each change of what the host is to do"`
	ScheduleKnown   int64        `json:"schedule_known" doc:"The version that its agent has"`
	KeepsSchedule   bool         `json:"keeps_schedule" doc:"The agent keeps the schedule itself, also while the server is away"`
}

// HostPolicy is one policy that applies to a host.
type HostPolicy struct {
	Policy         PolicyRef  `json:"policy"`
	Why            string     `json:"why"`
	Problem        string     `json:"problem"`
	NextDueAt      *time.Time `json:"next_due_at,omitempty"`
	AccountedUntil time.Time  `json:"accounted_until" doc:"Due times up to it have their outcome"`
	LastTick       *Tick      `json:"last_tick,omitempty"`
}

// PolicyRef names a policy.
type PolicyRef struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Version int64  `json:"version"`
	Enabled bool   `json:"enabled"`
}

// Tick is one due time and what became of it.
type Tick struct {
	PolicyID   string       `json:"policy_id"`
	PolicyName string       `json:"policy_name" doc:"Empty when the policy is gone"`
	HostID     string       `json:"host_id"`
	HostName   string       `json:"host_name"`
	DueAt      time.Time    `json:"due_at"`
	Outcome    wire.Outcome `json:"outcome" enum:"run,coalesced,missed,skipped" doc:"run: a job of its own; coalesced: a job that had not begun stands for it; missed: nothing ran; skipped: nothing ran, by the policy's own rules"`
	JobID      *string      `json:"job_id,omitempty"`
	Why        string       `json:"why,omitempty"`
	RecordedAt time.Time    `json:"recorded_at"`
}

// Assign gives hosts the repository of a setting, and says what is wrong at those that cannot use it.
type Assign func(tx *database.Tx, settingID string, hostIDs []string) (problems map[string]*fault.Error, err error)

// Options make a Store.
type Options struct {
	DB    *database.DB
	Fleet *fleet.Store
	// Assign gives a host the repository that its policy names. nil: policies that name one have a problem at hosts
	// that do not use it already.
	Assign Assign
	// Outlook tells of a plan what retention would remove. nil: the plan says nothing of it.
	Outlook Outlook
	Log     *slog.Logger // nil discards
}

// Store is the policies in the database. It is safe for concurrent use.
type Store struct {
	db      *database.DB
	fleet   *fleet.Store
	assign  Assign
	outlook Outlook
	log     *slog.Logger

	mu        sync.Mutex // guards timelines
	timelines map[string]timeline
}

// Open makes the fleet tell of what concerns policies; nothing is started.
func Open(o Options) *Store {
	s := &Store{db: o.DB, fleet: o.Fleet, assign: o.Assign, outlook: o.Outlook, log: o.Log, timelines: map[string]timeline{}}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.fleet.Use(fleet.Hooks{HostChanged: s.hostChanged, Schedule: s.schedule, Adopted: s.adopted, Stops: s.stops})
	return s
}

package wire

import (
	"encoding/json"
	"time"
)

// State is a job's state. The words are the product's; see docs/architecture.md for the arrows.
type State string

// The states. The last eight are terminal.
const (
	StateQueued              State = "queued"
	StateAccepted            State = "accepted"
	StateRunning             State = "running"
	StateSucceeded           State = "succeeded"
	StateSucceededWithIssues State = "succeeded_with_issues" // exit 3: a snapshot exists, some paths were unreadable
	StateFailed              State = "failed"
	StateCanceled            State = "canceled"
	StateLost                State = "lost"
	StateRejected            State = "rejected" // refused before the start by the host's guard or preflight
	StateExpired             State = "expired"  // nobody fetched it in time
)

// States in the order of a job's life.
var States = []State{StateQueued, StateAccepted, StateRunning, StateSucceeded, StateSucceededWithIssues,
	StateFailed, StateCanceled, StateLost, StateRejected, StateExpired}

// Terminal reports whether the state never changes again.
func (s State) Terminal() bool {
	return s != StateQueued && s != StateAccepted && s != StateRunning
}

// Success reports whether the job did what it was asked, with or without issues.
func (s State) Success() bool { return s == StateSucceeded || s == StateSucceededWithIssues }

// JobError says why a job did not succeed. Code is stable; Message says what happened and what to do.
type JobError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// Codes of JobError. Rejected jobs carry the first group, failed ones the second, lost ones the third.
const (
	CodeGuard         = "guard"            // the host's guard refused; the message names the rule
	CodeGuardBroken   = "guard_broken"     // guard.yaml is broken: everything is refused
	CodeInvalidSpec   = "invalid_spec"     // the agent's own check refused the spec
	CodeUnknownKind   = "unknown_kind"     //
	CodeResticMissing = "restic_missing"   // no restic on the machine
	CodeResticTooOld  = "restic_too_old"   // older than 0.14.0
	CodeClockSkew     = "clock_skew"       // the clock is off by more than MaxSkew
	CodePreflight     = "preflight_failed" //
	CodeNoRepository  = "no_repository"    // neither agent.yaml nor the server names one
	CodeRestoreTarget = "restore_target"   // the folder to restore into exists or cannot be made

	// CodeWrongRepository: canceled, because the repository at the address is another one than the job is about.
	CodeWrongRepository = "wrong_repository"

	CodeInterrupted           = "interrupted" // the machine or restic went away in the middle
	CodeTimeLimit             = "time_limit"
	CodeWrongPassword         = "wrong_password"
	CodeRepositoryMissing     = "repository_missing"
	CodeRepositoryLocked      = "repository_locked"
	CodeRepositoryUnreachable = "repository_unreachable"
	CodeRepositoryDamaged     = "repository_damaged"
	CodeRepositoryExists      = "repository_exists" // init found one there already
	CodeRcloneMissing         = "rclone_missing"    // no rclone, or no configuration for it
	CodeKeyRemains            = "key_remains"       // a removed password opens another key
	CodePermissionDenied      = "permission_denied"
	CodeSourceMissing         = "source_missing" // none of the paths to back up, or to restore, exists
	CodeNoSpace               = "no_space"       // before the start: rejected; later: failed
	CodeUsage                 = "usage"          // restic refused its command line
	CodeHookFailed            = "hook_failed"    // a script of the host before the backup, or the one that writes it, failed
	CodeCrashed               = "crashed"        // restic died of a signal that was not ours, or panicked
	CodeRestic                = "restic_failed"  // any other failure; the log has restic's words

	CodeSilent      = "silent"       // lost: no word of the host for 7 days
	CodeHostRevoked = "host_revoked" // lost: the host was revoked
	CodeCanceled    = "canceled"
	CodeExpired     = "expired"
)

// AcceptRequest takes an offered job. The lease is the agent's own: 128 random bits in hex.
type AcceptRequest struct {
	Lease    string `json:"lease"`
	Delivery int    `json:"delivery"`
}

// AcceptReply is all that the run needs. The same lease gets the same answer while the job is accepted
// or running. Secrets are never written to the agent's disk.
type AcceptReply struct {
	Kind             Kind            `json:"kind"`
	Spec             json.RawMessage `json:"spec"`
	Repository       RepositoryRef   `json:"repository"`
	Secrets          *Secrets        `json:"secrets,omitempty"`
	TimeLimitSeconds int64           `json:"time_limit_seconds"`
}

// Secrets of a repository that the server holds. Env has keys of RepositoryEnvKeys only.
type Secrets struct {
	RepositoryURL string            `json:"repository_url"`
	Password      string            `json:"password"`
	Env           map[string]string `json:"env,omitempty"`
	// SecondPassword comes with KindRotateKey alone; see RotateKeySpec.
	SecondPassword string `json:"second_password,omitempty"`
}

// StartRequest is asked after the nonce is on disk and before anything runs.
type StartRequest struct {
	StartNonce   string `json:"start_nonce"`
	RepositoryID string `json:"repository_id,omitempty"`
}

// ResumeRequest rotates the lease of a job at each start of an agent.
type ResumeRequest struct {
	OldLease string `json:"old_lease"`
	NewLease string `json:"new_lease"`
}

// ResumeReply says where the server stands, all that the run needs included.
type ResumeReply struct {
	State            State           `json:"state"`
	NextLine         int64           `json:"next_line"`
	LogComplete      bool            `json:"log_complete"`
	Cancel           bool            `json:"cancel"`
	Kind             Kind            `json:"kind"`
	Spec             json.RawMessage `json:"spec"`
	Repository       RepositoryRef   `json:"repository"`
	Secrets          *Secrets        `json:"secrets,omitempty"`
	TimeLimitSeconds int64           `json:"time_limit_seconds"`
}

// Progress is the latest of a running job; the latest (lease, seq) wins. The last one is always sent.
type Progress struct {
	Seq            int64    `json:"seq"`
	ElapsedSeconds float64  `json:"elapsed_seconds"`
	PercentDone    float64  `json:"percent_done"` // 0..1, never falling
	TotalFiles     int64    `json:"total_files"`
	FilesDone      int64    `json:"files_done"`
	TotalBytes     int64    `json:"total_bytes"`
	BytesDone      int64    `json:"bytes_done"`
	ErrorCount     int64    `json:"error_count"`
	CurrentFiles   []string `json:"current_files"`
	// StalledSeconds is how long there has been neither output nor CPU nor I/O; 0 while there is.
	StalledSeconds float64 `json:"stalled_seconds,omitempty"`
}

// ProgressReply may carry a cancel, as every answer about a job may.
type ProgressReply struct {
	Cancel bool `json:"cancel"`
}

// Issue is one path that restic could not read.
type Issue struct {
	Path    string `json:"path"`
	Message string `json:"message"`
}

// MaxIssues bounds the issues of a result; IssuesDropped counts the rest.
const MaxIssues = 1000

// Summary is what restic's summary says, typed; fields that do not apply are zero. SnapshotID is 64 hex,
// or empty where no snapshot was made.
type Summary struct {
	SnapshotID          string  `json:"snapshot_id,omitempty"`
	DryRun              bool    `json:"dry_run,omitempty"`
	FilesNew            int64   `json:"files_new,omitempty"`
	FilesChanged        int64   `json:"files_changed,omitempty"`
	FilesUnmodified     int64   `json:"files_unmodified,omitempty"`
	DirsNew             int64   `json:"dirs_new,omitempty"`
	DirsChanged         int64   `json:"dirs_changed,omitempty"`
	DirsUnmodified      int64   `json:"dirs_unmodified,omitempty"`
	DataBlobs           int64   `json:"data_blobs,omitempty"`
	TreeBlobs           int64   `json:"tree_blobs,omitempty"`
	DataAdded           int64   `json:"data_added,omitempty"`        // bytes, uncompressed
	DataAddedPacked     int64   `json:"data_added_packed,omitempty"` // bytes stored; restic 0.17 and newer
	TotalFilesProcessed int64   `json:"total_files_processed,omitempty"`
	TotalBytesProcessed int64   `json:"total_bytes_processed,omitempty"`
	ResticSeconds       float64 `json:"restic_seconds,omitempty"` // restic's own duration, 0 where it is nonsense

	FilesRestored int64 `json:"files_restored,omitempty"`
	FilesSkipped  int64 `json:"files_skipped,omitempty"`
	BytesRestored int64 `json:"bytes_restored,omitempty"`
	BytesSkipped  int64 `json:"bytes_skipped,omitempty"`
	// RestoredTo is the folder a restore wrote into.
	RestoredTo string `json:"restored_to,omitempty"`

	RepositoryID     string `json:"repository_id,omitempty"` // init
	SnapshotsRemoved int64  `json:"snapshots_removed,omitempty"`
	LocksRemoved     int64  `json:"locks_removed,omitempty"`
	CheckErrors      int64  `json:"check_errors,omitempty"`
	StoredBytes      int64  `json:"stored_bytes,omitempty"` // what a prune left in the storage, as restic rounds it; 0: it did not say

	Hooks []HookRun `json:"hooks,omitempty"`
}

// HookRun is one hook that a job began.
type HookRun struct {
	Name           string  `json:"name"`
	Stage          string  `json:"stage" enum:"before,after,stdin"`
	ElapsedSeconds float64 `json:"elapsed_seconds"`
	// Bytes are what a stdin hook has written.
	Bytes int64 `json:"bytes,omitempty"`
	// Failure says how it failed; empty: it did not.
	Failure string `json:"failure,omitempty"`
}

// FinishRequest is the result of a job. Its bytes are made once, kept in finish.json and resent as they
// are: the same bytes are the same result.
type FinishRequest struct {
	State          State     `json:"state"` // terminal; an accepted job may be rejected only
	ExitCode       *int      `json:"exit_code,omitempty"`
	SignalSent     bool      `json:"signal_sent,omitempty"`
	Error          *JobError `json:"error,omitempty"`
	Summary        *Summary  `json:"summary,omitempty"`
	Estimate       *Estimate `json:"estimate,omitempty"` // of KindEstimate alone
	Issues         []Issue   `json:"issues,omitempty"`
	IssuesDropped  int64     `json:"issues_dropped,omitempty"`
	StartedAt      time.Time `json:"started_at,omitzero"`
	EndedAt        time.Time `json:"ended_at,omitzero"`
	ElapsedSeconds float64   `json:"elapsed_seconds"` // monotonic
	LogLines       int64     `json:"log_lines"`
	LogSHA256      string    `json:"log_sha256"`
	Listing        *Listing  `json:"listing,omitempty"`
}

// FinishReply answers finish. Late: the job had ended otherwise; the result is kept as a late report.
// ListingRefused: the listing that rode on it was not taken, as when another one was committed since its token was
// drawn; the agent lists anew with a new token. The result stands all the same.
type FinishReply struct {
	Late           bool `json:"late"`
	ListingRefused bool `json:"listing_refused,omitempty"`
}

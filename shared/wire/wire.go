// Package wire is what agent and server say to each other, and nothing else: the messages, their
// limits, and the checks that both sides run. docs/protocol.md is the same page in prose; where the
// two differ, one of them is wrong.
//
// # Calls
//
//	POST /api/agents/enroll                      EnrollRequest  -> EnrollReply
//	POST /api/agents/hello                       HelloRequest   -> HelloReply
//	GET  /api/agents/next-command?PollQuery      -              -> PollReply
//	GET  /api/agents/hold?HoldQuery              -              -> HoldReply
//	POST /api/agents/jobs/{id}/accept            AcceptRequest  -> AcceptReply
//	POST /api/agents/jobs/{id}/start             StartRequest   -> Empty
//	POST /api/agents/jobs/{id}/adopt             AdoptRequest   -> Empty
//	POST /api/agents/jobs/{id}/resume            ResumeRequest  -> ResumeReply
//	POST /api/agents/jobs/{id}/log?LogQuery      NDJSON records -> LogReply
//	POST /api/agents/jobs/{id}/progress          Progress       -> ProgressReply
//	POST /api/agents/jobs/{id}/finish            FinishRequest  -> FinishReply
//	POST /api/agents/ticks                       TicksRequest   -> TicksReply
//	POST /api/agents/listings                    ListingRequest -> ListingReply
//	PUT  /api/agents/listings/{token}/parts/{n}  NDJSON of Snapshot -> Empty
//	POST /api/agents/listings/{token}/commit     CommitRequest  -> Empty
//
// # Order and delivery
//
// Every call is idempotent: a retry, a proxy or a crash may repeat any request at any time, a minute
// late too. Every request but enroll carries the bearer and HeaderProtocol; a request about a job
// carries the job's lease in HeaderLease. JSON both ways but for the log and listing parts, which are
// one JSON value per line. Bodies may be compressed (zstd, gzip); MaxBody holds after inflation.
// Unknown fields are ignored in both directions. Errors are Problem.
package wire

import "time"

// Headers of the protocol.
const (
	// HeaderProtocol carries ProtocolVersion on every request of an agent.
	HeaderProtocol = "Restic-Manager-Protocol"
	// HeaderLease carries the lease on every request about a job.
	HeaderLease = "Restic-Manager-Lease"
)

// Limits that hold on both sides.
const (
	// MaxBody bounds one request's body after inflation, in bytes.
	MaxBody = 1 << 20
	// MaxRecord bounds one log record as written, in bytes, its newline included. Longer lines are
	// cut with a marker.
	MaxRecord = 64 << 10
	// MaxBatchBytes and MaxBatchLines say when the agent sends a log batch without waiting longer.
	MaxBatchBytes = 64 << 10
	MaxBatchLines = 500
	// MaxSkew is how far a host's clock may be off before unlock, forget and prune are refused:
	// restic calls a lock stale by the local clock.
	MaxSkew = 5 * time.Minute
)

// Timers of the protocol; the server may override some of them in Settings.
const (
	LeaseDuration    = 90 * time.Second
	OfflineAfter     = 90 * time.Second
	SweepInterval    = 15 * time.Second
	Amnesty          = 180 * time.Second
	StallAfter       = 30 * time.Minute
	QueueTTL         = 24 * time.Hour
	HoldAfterSilence = 60 * time.Minute
	LostAfter        = 7 * 24 * time.Hour
	CancelGrace      = 90 * time.Second
	ListingLimit     = 60 * time.Second
	PreflightLimit   = 60 * time.Second
)

// Empty is the answer of calls that answer nothing.
type Empty struct{}

// Settings are the server's wishes, told at enroll and hello; zero values mean the agent's defaults.
type Settings struct {
	// LogBytesPerJob is how many log bytes the agent keeps per job before it counts and drops.
	LogBytesPerJob int64 `json:"log_bytes_per_job,omitempty"`
	// MaxRecordBytes is where one record is cut; at most MaxRecord unless both sides raise it.
	MaxRecordBytes int `json:"max_record_bytes,omitempty"`
}

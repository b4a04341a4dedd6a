package wire

import (
	"encoding/json"
	"time"
)

// Snapshot is one snapshot of a repository, as restic lists it.
type Snapshot struct {
	ID             string    `json:"id"` // 64 hex
	Time           time.Time `json:"time"`
	Parent         string    `json:"parent,omitempty"`
	Tree           string    `json:"tree"`
	Paths          []string  `json:"paths"`
	Hostname       string    `json:"hostname"`
	Username       string    `json:"username,omitempty"`
	Excludes       []string  `json:"excludes,omitempty"`
	Tags           []string  `json:"tags,omitempty"`
	Original       string    `json:"original,omitempty"`
	ProgramVersion string    `json:"program_version,omitempty"`
	// Summary is restic's own, on snapshots written by 0.17 or newer; nil on others.
	Summary *SnapshotSummary `json:"summary,omitempty"`
}

// SnapshotSummary is the part of restic's embedded summary that is kept.
type SnapshotSummary struct {
	BackupStart         time.Time `json:"backup_start,omitzero"`
	BackupEnd           time.Time `json:"backup_end,omitzero"`
	FilesNew            int64     `json:"files_new"`
	FilesChanged        int64     `json:"files_changed"`
	FilesUnmodified     int64     `json:"files_unmodified"`
	DataAdded           int64     `json:"data_added"`
	DataAddedPacked     int64     `json:"data_added_packed"`
	TotalFilesProcessed int64     `json:"total_files_processed"`
	TotalBytesProcessed int64     `json:"total_bytes_processed"`
}

// ListingRequest draws a token before restic snapshots runs: the token's order decides which list is
// the newest.
type ListingRequest struct {
	JobID string `json:"job_id"`
}

// ListingReply holds the token; parts are at most MaxPartBytes after inflation.
type ListingReply struct {
	Token        string `json:"token"`
	MaxPartBytes int    `json:"max_part_bytes"`
}

// CommitRequest ends a listing. Parts are numbered from 0 and sent in their order. SHA256 is over the
// parts' bytes, uncompressed, in their order: one Snapshot per line, newlines included.
type CommitRequest struct {
	Parts        int    `json:"parts"`
	Count        int    `json:"count"`
	SHA256       string `json:"sha256"`
	RepositoryID string `json:"repository_id"`
	// Error says why there is no list; the other fields are then ignored. The server drops the token and
	// shows the words beside the host; the list it had stays.
	Error string `json:"error,omitempty"`
}

// Listing rides on a finish when it is there in time and fits; it is a commit with its one part inside.
type Listing struct {
	Token        string            `json:"token"`
	RepositoryID string            `json:"repository_id"`
	Snapshots    []json.RawMessage `json:"snapshots"`
}

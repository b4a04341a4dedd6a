package restic

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"syscall"

	"restic-manager/shared/wire"
)

// The messages of restic's JSON that say something to the agent, in the fields of every version. Source:
// restic doc, "Scripting".

// status is backup's and restore's; the fields of the one are absent in the other.
type status struct {
	Action         *string  `json:"action"` // 0.14: not a status but the end of the scan
	SecondsElapsed float64  `json:"seconds_elapsed"`
	PercentDone    float64  `json:"percent_done"`
	TotalFiles     count    `json:"total_files"`
	FilesDone      count    `json:"files_done"`
	FilesRestored  count    `json:"files_restored"`
	FilesSkipped   count    `json:"files_skipped"`
	TotalBytes     count    `json:"total_bytes"`
	BytesDone      count    `json:"bytes_done"`
	BytesRestored  count    `json:"bytes_restored"`
	BytesSkipped   count    `json:"bytes_skipped"`
	ErrorCount     count    `json:"error_count"`
	CurrentFiles   []string `json:"current_files"`
}

type backupSummary struct {
	FilesNew            count   `json:"files_new"`
	FilesChanged        count   `json:"files_changed"`
	FilesUnmodified     count   `json:"files_unmodified"`
	DirsNew             count   `json:"dirs_new"`
	DirsChanged         count   `json:"dirs_changed"`
	DirsUnmodified      count   `json:"dirs_unmodified"`
	DataBlobs           count   `json:"data_blobs"`
	TreeBlobs           count   `json:"tree_blobs"`
	DataAdded           count   `json:"data_added"`
	DataAddedPacked     count   `json:"data_added_packed"`
	TotalFilesProcessed count   `json:"total_files_processed"`
	TotalBytesProcessed count   `json:"total_bytes_processed"`
	TotalDuration       float64 `json:"total_duration"`
	SnapshotID          string  `json:"snapshot_id"`
	DryRun              bool    `json:"dry_run"`
}

type restoreSummary struct {
	TotalFiles    count `json:"total_files"`
	FilesRestored count `json:"files_restored"`
	FilesSkipped  count `json:"files_skipped"`
	TotalBytes    count `json:"total_bytes"`
	BytesRestored count `json:"bytes_restored"`
	BytesSkipped  count `json:"bytes_skipped"`
}

type checkSummary struct {
	NumErrors count `json:"num_errors"`
}

type initialized struct {
	ID string `json:"id"`
}

// errorMessage is a line of stderr: of backup and restore with an item, of check with a message alone.
type errorMessage struct {
	Error   json.RawMessage `json:"error"`
	During  string          `json:"during"`
	Item    string          `json:"item"`
	Message string          `json:"message"`
}

type exitError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

// count is a number of restic's that fits the wire: never negative, never over 2^63-1.
type count int64

// UnmarshalJSON clamps instead of failing: a nonsensical figure must not cost the summary.
func (c *count) UnmarshalJSON(b []byte) error {
	var n json.Number
	if err := json.Unmarshal(b, &n); err != nil {
		return err
	}
	if i, err := n.Int64(); err == nil {
		*c = count(max(i, 0))
		return nil
	}
	f, err := n.Float64()
	switch {
	case f != f || f <= 0:
		*c = 0
	case err != nil || f >= math.MaxInt64:
		*c = math.MaxInt64
	default:
		*c = count(f)
	}
	return nil
}

// text says what an error object says: {"message":…} from 0.17.1 on, before it Go's own fields, or nothing.
func (e errorMessage) text() string {
	if e.Message != "" {
		return e.Message
	}
	var nested struct {
		Message string          `json:"message"`
		Op      string          `json:"Op"`
		Err     json.RawMessage `json:"Err"`
	}
	if json.Unmarshal(e.Error, &nested) != nil {
		return unreadable
	}
	if nested.Message != "" {
		return nested.Message
	}
	if nested.Op == "" {
		return unreadable
	}
	var errno uint16
	if json.Unmarshal(nested.Err, &errno) != nil || errno == 0 {
		return nested.Op + " failed"
	}
	return fmt.Sprintf("%s failed: %s (errno %d)", nested.Op, syscall.Errno(errno), errno)
}

// unreadable stands for an error that restic does not explain.
const unreadable = "unreadable; this version of restic does not say why"

func (s backupSummary) wire() wire.Summary {
	return wire.Summary{
		DryRun:   s.DryRun,
		FilesNew: int64(s.FilesNew), FilesChanged: int64(s.FilesChanged), FilesUnmodified: int64(s.FilesUnmodified),
		DirsNew: int64(s.DirsNew), DirsChanged: int64(s.DirsChanged), DirsUnmodified: int64(s.DirsUnmodified),
		DataBlobs: int64(s.DataBlobs), TreeBlobs: int64(s.TreeBlobs),
		DataAdded: int64(s.DataAdded), DataAddedPacked: int64(s.DataAddedPacked),
		TotalFilesProcessed: int64(s.TotalFilesProcessed), TotalBytesProcessed: int64(s.TotalBytesProcessed),
		// 0.18 with a skipped snapshot says -9223372036.85.
		ResticSeconds: seconds(s.TotalDuration),
	}
}

func (s restoreSummary) wire() wire.Summary {
	return wire.Summary{
		TotalFilesProcessed: int64(s.TotalFiles), TotalBytesProcessed: int64(s.TotalBytes),
		FilesRestored: int64(s.FilesRestored), FilesSkipped: int64(s.FilesSkipped),
		BytesRestored: int64(s.BytesRestored), BytesSkipped: int64(s.BytesSkipped),
	}
}

// seconds is 0 for what cannot be a duration.
func seconds(s float64) float64 {
	if s != s || s < 0 || s > 1e9 {
		return 0
	}
	return s
}

// messageType is the kind of a line of JSON, empty for anything else. restic writes it as the first field.
func messageType(line []byte) string {
	rest, ok := bytes.CutPrefix(line, []byte(`{"message_type":"`))
	if !ok {
		return ""
	}
	name, _, ok := bytes.Cut(rest[:min(len(rest), 40)], []byte{'"'})
	if !ok {
		return ""
	}
	return string(name)
}

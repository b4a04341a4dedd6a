package job

import (
	"encoding/hex"
	"fmt"
	"hash"

	"restic-manager/server/fault"
	"restic-manager/shared/wire"
)

// Log is the cursor of one job's log: the only one there is.
type Log struct {
	NextLine int64 // from 1
	// Complete: every line that the result told of is in, and the sums agree. Problem says why the log is settled
	// all the same; empty: it is not.
	Complete bool
	Problem  string
}

// Admit decides about a batch, for a lease that MayAppend lets in. stores is false when there is nothing to
// store: lines that are there, or none. Errors are log_gap, log_full and log_conflict. sum is that of all bytes
// before NextLine and is only read.
func (l Log) Admit(q wire.LogQuery, sum func() (hash.Hash, error)) (stores bool, err error) {
	switch {
	case q.FirstLine > l.NextLine:
		e := fault.New(fault.Conflict, wire.ProblemLogGap, "lines before %d are missing: go on with line %d", q.FirstLine, l.NextLine)
		e.NextLine = l.NextLine
		return false, e
	case q.Lines == 0 || q.FirstLine < l.NextLine:
		return false, nil
	case l.Complete || l.Problem != "":
		return false, fault.New(fault.Conflict, wire.ProblemLogFull, "the log of this job is settled; keep the rest on the host")
	}
	before, err := sum()
	if err != nil {
		return false, err
	}
	if hex.EncodeToString(before.Sum(nil)) != q.SumBefore {
		return false, fault.New(fault.Conflict, wire.ProblemLogConflict,
			"the server holds other lines before line %d of this job; its log is not continued", q.FirstLine)
	}
	return true, nil
}

// Settle compares the log with the lines and the sum that the host's result told of; nothing changes while lines
// are missing.
func (l Log) Settle(lines int64, sha256 string, sum func() (hash.Hash, error)) (Log, error) {
	got := l.NextLine - 1
	if l.Complete || l.Problem != "" || got < lines {
		return l, nil
	}
	all, err := sum()
	if err != nil {
		return l, err
	}
	switch {
	case got > lines:
		l.Problem = fmt.Sprintf("the host said that it wrote %d lines, and sent %d", lines, got)
	case hex.EncodeToString(all.Sum(nil)) != sha256:
		l.Problem = "the sum of the lines differs from what the host said"
	default:
		l.Complete = true
	}
	return l, nil
}

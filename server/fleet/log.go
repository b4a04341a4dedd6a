package fleet

import (
	"bytes"
	"crypto/sha256"
	"encoding"
	"fmt"
	"hash"

	"restic-manager/server/database"
	"restic-manager/server/fault"
	"restic-manager/shared/wire"
)

// logRow is the cursor of one job's log, and what is kept of it.
type logRow struct {
	JobID       string
	NextLine    int64
	ByteCount   int64
	SumState    []byte
	HeadBytes   int64
	TailFrom    int64 // first line of the tail's oldest chunk; 0: all is head
	TailBytes   int64
	DroppedFrom int64 // 0: nothing
	DroppedTo   int64
	LooseFrom   int64
	Tidy        bool
	Complete    bool
	Problem     string
}

const logColumns = `job_id, next_line, byte_count, sum_state, head_bytes, tail_from, tail_bytes,
	dropped_from, dropped_to, loose_from, tidy, complete, problem`

// checkRecords counts lines and looks at their sizes; what is in them is read when somebody asks.
func checkRecords(plain []byte, lines int64, limit int) error {
	if int64(bytes.Count(plain, []byte("\n"))) != lines || len(plain) > 0 && plain[len(plain)-1] != '\n' {
		return fault.New(fault.Invalid, "invalid", "the body does not hold the %d whole lines that the request names", lines)
	}
	for rest := plain; len(rest) > 0; {
		n := bytes.IndexByte(rest, '\n') + 1
		if n > limit {
			return fault.New(fault.TooLarge, wire.ProblemTooLarge, "a record is longer than %d bytes; cut it and mark the cut", limit)
		}
		rest = rest[n:]
	}
	return nil
}

// lockLog locks the job's log row, and makes it when it is absent.
func (s *Store) lockLog(tx *database.Tx, jobID string) (logRow, error) {
	for range 2 {
		var rows []logRow
		if err := tx.Raw("SELECT "+logColumns+" FROM logs WHERE job_id = ?"+forUpdate(tx), jobID).Scan(&rows).Error; err != nil {
			return logRow{}, fmt.Errorf("lock the log of job %s: %w", jobID, err)
		}
		if len(rows) == 1 {
			return rows[0], nil
		}
		var known []string
		if err := tx.Raw("SELECT id FROM jobs WHERE id = ?", jobID).Scan(&known).Error; err != nil {
			return logRow{}, fmt.Errorf("look for job %s: %w", jobID, err)
		}
		if len(known) == 0 {
			return logRow{}, errLeaseLost
		}
		err := tx.Exec(`INSERT INTO logs (job_id, created_at, updated_at, sum_state) VALUES (?, ?, ?, ?) ON CONFLICT (job_id) DO NOTHING`,
			jobID, tx.Now, tx.Now, sumState(sha256.New())).Error
		if err != nil {
			return logRow{}, fmt.Errorf("make the log of job %s: %w", jobID, err)
		}
	}
	return logRow{}, fmt.Errorf("the log of job %s vanished", jobID)
}

// keepEnds counts the new chunk to the head while that has room, then to the tail, and drops the tail's
// oldest chunks when it grows too long: whole chunks, and the range that is gone is told.
func (s *Store) keepEnds(tx *database.Tx, row *logRow, first, size int64) error {
	if row.TailFrom == 0 && row.HeadBytes+size <= s.settings.LogHeadBytes {
		row.HeadBytes += size
		return nil
	}
	if row.TailFrom == 0 {
		row.TailFrom = first
	}
	row.TailBytes += size
	for row.TailBytes > s.settings.LogTailBytes && row.TailFrom < first {
		var oldest []struct{ FirstLine, LineCount, PlainBytes int64 }
		err := tx.Raw(`SELECT first_line, line_count, plain_bytes FROM log_chunks WHERE job_id = ? AND first_line >= ? ORDER BY first_line LIMIT 1`,
			row.JobID, row.TailFrom).Scan(&oldest).Error
		if err != nil {
			return fmt.Errorf("find the oldest lines of job %s: %w", row.JobID, err)
		}
		if len(oldest) == 0 || oldest[0].FirstLine >= first {
			return nil
		}
		o := oldest[0]
		if err := tx.Exec("DELETE FROM log_chunks WHERE job_id = ? AND first_line = ?", row.JobID, o.FirstLine).Error; err != nil {
			return fmt.Errorf("drop lines of job %s: %w", row.JobID, err)
		}
		if row.DroppedFrom == 0 {
			row.DroppedFrom = o.FirstLine
		}
		row.DroppedTo = o.FirstLine + o.LineCount - 1
		row.TailFrom = o.FirstLine + o.LineCount
		row.TailBytes -= o.PlainBytes
	}
	return nil
}

// logCursor locks the job's log and tells where it stands: after it no append with an older lease gets in.
func (s *Store) logCursor(tx *database.Tx, jobID string) (next int64, complete bool, err error) {
	row, err := s.lockLog(tx, jobID)
	return row.NextLine, row.Complete, err
}

// settleLog compares the log with what finish said of it, once every line is in.
func (s *Store) settleLog(tx *database.Tx, jobID string) error {
	row, err := s.lockLog(tx, jobID)
	if err != nil {
		return err
	}
	j, ok, err := readJob(tx, jobID, ruleColumns+", jobs.log_lines, jobs.log_sha256", "")
	if err != nil || !ok {
		return err
	}
	return settle(tx, &row, j.LogLines, j.LogSHA256)
}

// settle decides on a locked log: complete when all the lines that the host's result told of are in and the sums
// agree. lines is nil before the result.
func settle(tx *database.Tx, row *logRow, lines *int64, sha string) error {
	if lines == nil {
		return nil
	}
	was := row.rules()
	now, err := was.Settle(*lines, sha, row.sum)
	if err != nil || now == was {
		return err
	}
	row.Complete, row.Problem = now.Complete, now.Problem
	err = tx.Exec("UPDATE logs SET complete = ?, problem = ?, updated_at = ? WHERE job_id = ?", row.Complete, row.Problem, tx.Now, row.JobID).Error
	if err != nil {
		return fmt.Errorf("settle the log of job %s: %w", row.JobID, err)
	}
	tx.Notify(database.TopicLog(row.JobID), database.TopicJob(row.JobID))
	return nil
}

// sumState is a running SHA-256 as bytes; the standard library can go on from them.
func sumState(h hash.Hash) []byte {
	b, err := h.(encoding.BinaryMarshaler).MarshalBinary()
	if err != nil {
		panic("SHA-256 does not tell its state: " + err.Error())
	}
	return b
}

func restoreSum(state []byte) (hash.Hash, error) {
	h := sha256.New()
	if err := h.(encoding.BinaryUnmarshaler).UnmarshalBinary(state); err != nil {
		return nil, fmt.Errorf("read the running sum of a log: %w", err)
	}
	return h, nil
}

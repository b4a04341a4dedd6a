package fleet

import (
	"bytes"
	"context"
	"fmt"

	"github.com/klauspost/compress/zstd"

	"restic-manager/server/database"
	"restic-manager/shared/wire"
)

// logPortion is how many jobs one transaction of a periodic duty takes.
const logPortion = 50

// ExpireLogs removes the logs of jobs that ended longer ago than they are kept, and tells how many. It works
// in portions, so that nobody waits long for a lock; what another replica has in hand is left to it.
func (s *Store) ExpireLogs(ctx context.Context) (int64, error) {
	total := int64(0)
	for {
		var jobs []string
		err := s.db.Write(ctx, func(tx *database.Tx) error {
			jobs = nil
			lock := ""
			if tx.Postgres() {
				lock = " FOR NO KEY UPDATE OF logs SKIP LOCKED" // before the chunks, as whoever writes a log does
			}
			err := tx.Raw(`SELECT logs.job_id FROM logs JOIN jobs ON jobs.id = logs.job_id
				WHERE logs.expired_at IS NULL AND logs.created_at < ? AND jobs.ended_at < ? LIMIT ?`+lock,
				tx.Now.Add(-s.settings.LogKeep), tx.Now.Add(-s.settings.LogKeep), logPortion).Scan(&jobs).Error
			if err != nil || len(jobs) == 0 {
				return err
			}
			if err := tx.Exec("DELETE FROM log_chunks WHERE job_id IN ?", jobs).Error; err != nil {
				return err
			}
			return tx.Exec("UPDATE logs SET expired_at = ?, tidy = ? WHERE job_id IN ?", tx.Now, true, jobs).Error
		})
		if err != nil {
			return total, fmt.Errorf("expire logs: %w", err)
		}
		total += int64(len(jobs))
		if len(jobs) < logPortion {
			return total, nil
		}
	}
}

// SettleLogs gives up on logs whose missing lines will not come any more: their jobs ended longer ago than an
// agent resumes them.
func (s *Store) SettleLogs(ctx context.Context) (settled int64, err error) {
	err = s.db.Write(ctx, func(tx *database.Tx) error {
		done := tx.Exec(`UPDATE logs SET problem = ? WHERE NOT complete AND problem = '' AND job_id IN
			(SELECT id FROM jobs WHERE ended_at < ?)`,
			"the host did not send the rest in time", tx.Now.Add(-wire.LostAfter))
		settled = done.RowsAffected
		return done.Error
	})
	if err != nil {
		return 0, fmt.Errorf("settle logs: %w", err)
	}
	return settled, nil
}

// LogCompaction tells what CompactLogs did.
type LogCompaction struct{ Jobs, ChunksBefore, ChunksAfter int64 }

// CompactLogs rewrites the many small chunks of settled logs, as a slow job sends them, into few large ones.
// The records' bytes stay as they are.
func (s *Store) CompactLogs(ctx context.Context) (LogCompaction, error) {
	var did LogCompaction
	var jobs []string
	err := s.db.Read(ctx).Raw("SELECT job_id FROM logs WHERE NOT tidy AND (complete OR problem <> '') LIMIT ?", logPortion).Scan(&jobs).Error
	if err != nil {
		return did, fmt.Errorf("find logs to compact: %w", err)
	}
	for _, id := range jobs {
		if err := s.compactLog(ctx, id, &did); err != nil {
			return did, fmt.Errorf("compact the log of job %s: %w", id, err)
		}
		did.Jobs++
	}
	return did, nil
}

// compactLog goes through one log, a bounded stretch per transaction.
func (s *Store) compactLog(ctx context.Context, jobID string, did *LogCompaction) error {
	for from := int64(1); ; {
		next := int64(0)
		err := s.db.Write(ctx, func(tx *database.Tx) error {
			next = 0
			if _, err := s.lockLog(tx, jobID); err != nil {
				return err
			}
			var small []chunk
			err := tx.Raw(`SELECT first_line, line_count, plain_bytes, encoding, body FROM log_chunks
				WHERE job_id = ? AND first_line >= ? ORDER BY first_line LIMIT 500`, jobID, from).Scan(&small).Error
			if err != nil || len(small) == 0 {
				return err
			}
			groups := group(small)
			if len(small) == 500 && len(groups) > 1 {
				groups = groups[:len(groups)-1] // the last one may go on beyond this stretch
			}
			for _, g := range groups {
				did.ChunksBefore += int64(len(g))
				did.ChunksAfter++
				if err := merge(tx, jobID, g); err != nil {
					return err
				}
				last := g[len(g)-1]
				next = last.FirstLine + last.LineCount
			}
			return nil
		})
		if err != nil {
			return err
		}
		if next == 0 {
			break
		}
		from = next
	}
	return s.db.Write(ctx, func(tx *database.Tx) error {
		return tx.Exec("UPDATE logs SET tidy = ? WHERE job_id = ?", true, jobID).Error
	})
}

// group puts neighbours together that make one chunk of an agent's own size at most.
func group(chunks []chunk) (groups [][]chunk) {
	lines, size := int64(0), int64(0)
	for i, c := range chunks {
		gap := i > 0 && chunks[i-1].FirstLine+chunks[i-1].LineCount != c.FirstLine
		if i == 0 || gap || lines+c.LineCount > wire.MaxBatchLines || size+c.PlainBytes > wire.MaxBody {
			groups, lines, size = append(groups, nil), 0, 0
		}
		g := &groups[len(groups)-1]
		*g = append(*g, c)
		lines, size = lines+c.LineCount, size+c.PlainBytes
	}
	return groups
}

var deflater, _ = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))

func merge(tx *database.Tx, jobID string, g []chunk) error {
	if len(g) == 1 {
		return nil
	}
	var plain bytes.Buffer
	lines := int64(0)
	for _, c := range g {
		b, err := c.records()
		if err != nil {
			return err
		}
		plain.Write(b)
		lines += c.LineCount
	}
	last := g[len(g)-1].FirstLine
	if err := tx.Exec("DELETE FROM log_chunks WHERE job_id = ? AND first_line BETWEEN ? AND ?", jobID, g[0].FirstLine, last).Error; err != nil {
		return err
	}
	return tx.Exec(`INSERT INTO log_chunks (job_id, first_line, line_count, plain_bytes, encoding, body) VALUES (?, ?, ?, ?, 'zstd', ?)`,
		jobID, g[0].FirstLine, lines, plain.Len(), deflater.EncodeAll(plain.Bytes(), nil)).Error
}

// deleteLogsOf removes a host's logs in portions, before the host's row takes its jobs with it.
func (s *Store) deleteLogsOf(ctx context.Context, hostID string) error {
	for {
		removed := int64(0)
		err := s.db.Write(ctx, func(tx *database.Tx) error {
			done := tx.Exec(`DELETE FROM logs WHERE job_id IN (SELECT logs.job_id FROM logs JOIN jobs ON jobs.id = logs.job_id
				WHERE jobs.host_id = ? LIMIT ?)`, hostID, logPortion)
			removed = done.RowsAffected
			return done.Error
		})
		if err != nil {
			return fmt.Errorf("delete the logs of host %s: %w", hostID, err)
		}
		if removed < logPortion {
			return nil
		}
	}
}

package fleet

import (
	"fmt"

	"restic-manager/server/database"
)

// among is a condition on an id, with its argument. On PostgreSQL it is one text however many there are: a
// statement is planned once.
func among(tx *database.Tx, ids []string) (condition string, argument any) {
	if tx.Postgres() {
		return "= ANY (?::uuid[])", textArray(ids)
	}
	return "IN ?", ids
}

// storeFresh writes what was admitted: the chunks and the cursors.
func (s *Store) storeFresh(tx *database.Tx, fresh []*appending, logs map[string]*logRow, jobs map[string]*appendJob) error {
	if len(fresh) == 0 {
		return nil
	}
	for _, a := range fresh {
		if err := s.keepEnds(tx, logs[a.jobID], a.q.FirstLine, int64(len(a.body.Plain))); err != nil {
			return err
		}
	}
	write := writeChunksSQLite
	if tx.Postgres() {
		write = writeChunksPostgres
	}
	if err := write(tx, fresh, logs); err != nil {
		return fmt.Errorf("store log lines of jobs %v: %w", jobsOf(fresh), err)
	}
	for _, a := range fresh {
		tx.Notify(database.TopicLog(a.jobID))
		if err := settle(tx, logs[a.jobID], jobs[a.jobID].LogLines, jobs[a.jobID].LogSHA256); err != nil {
			return err
		}
	}
	return nil
}

func writeChunksPostgres(tx *database.Tx, fresh []*appending, logs map[string]*logRow) error {
	n := len(fresh)
	var (
		encodings          = make(textArray, n)
		bodies, sums       = make(array[[]byte], n), make(array[[]byte], n)
		first, count, size = make(array[int64], n), make(array[int64], n), make(array[int64], n)
		next, bytes, head  = make(array[int64], n), make(array[int64], n), make(array[int64], n)
		from, tail         = make(array[int64], n), make(array[int64], n)
		gone, goneTo       = make(array[int64], n), make(array[int64], n)
		tidy               = make(array[bool], n)
	)
	for i, a := range fresh {
		row := logs[a.jobID]
		first[i], count[i], size[i], encodings[i], bodies[i] = a.q.FirstLine, a.q.Lines, int64(len(a.body.Plain)), a.body.Encoding, a.body.Raw
		next[i], bytes[i], sums[i], head[i], from[i], tail[i] = row.NextLine, row.ByteCount, row.SumState, row.HeadBytes, row.TailFrom, row.TailBytes
		gone[i], goneTo[i], tidy[i] = row.DroppedFrom, row.DroppedTo, row.Tidy
	}
	return tx.Exec(`WITH v AS (SELECT * FROM unnest(?::uuid[], ?::bigint[], ?::bigint[], ?::bigint[], ?::text[], ?::bytea[],
				?::bigint[], ?::bigint[], ?::bytea[], ?::bigint[], ?::bigint[], ?::bigint[], ?::bigint[], ?::bigint[], ?::boolean[])
			AS v (job_id, first_line, line_count, plain_bytes, encoding, body,
				next_line, byte_count, sum_state, head_bytes, tail_from, tail_bytes, dropped_from, dropped_to, tidy)),
		moved AS (UPDATE logs SET updated_at = ?, next_line = v.next_line, byte_count = v.byte_count, sum_state = v.sum_state,
			head_bytes = v.head_bytes, tail_from = v.tail_from, tail_bytes = v.tail_bytes,
			dropped_from = v.dropped_from, dropped_to = v.dropped_to, tidy = v.tidy FROM v WHERE logs.job_id = v.job_id)
		INSERT INTO log_chunks (job_id, first_line, line_count, plain_bytes, encoding, body)
			SELECT job_id, first_line, line_count, plain_bytes, encoding, body FROM v`,
		textArray(jobsOf(fresh)), first, count, size, encodings, bodies, next, bytes, sums, head, from, tail, gone, goneTo, tidy, tx.Now).Error
}

func writeChunksSQLite(tx *database.Tx, fresh []*appending, logs map[string]*logRow) error {
	for _, a := range fresh {
		err := tx.Exec(`INSERT INTO log_chunks (job_id, first_line, line_count, plain_bytes, encoding, body) VALUES (?, ?, ?, ?, ?, ?)`,
			a.jobID, a.q.FirstLine, a.q.Lines, len(a.body.Plain), a.body.Encoding, a.body.Raw).Error
		if err != nil {
			return err
		}
		row := logs[a.jobID]
		err = tx.Exec(`UPDATE logs SET updated_at = ?, next_line = ?, byte_count = ?, sum_state = ?, head_bytes = ?, tail_from = ?, tail_bytes = ?,
			dropped_from = ?, dropped_to = ?, tidy = ? WHERE job_id = ?`,
			tx.Now, row.NextLine, row.ByteCount, row.SumState, row.HeadBytes, row.TailFrom, row.TailBytes,
			row.DroppedFrom, row.DroppedTo, row.Tidy, row.JobID).Error
		if err != nil {
			return err
		}
	}
	return nil
}

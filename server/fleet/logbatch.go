package fleet

import (
	"context"
	"fmt"
	"hash"
	"runtime/debug"
	"time"

	"restic-manager/server/database"
	"restic-manager/server/fault"
	"restic-manager/server/fleet/job"
	"restic-manager/shared/failpoint"
	"restic-manager/shared/wire"
)

// appendJob is what an append needs to know of a job. It is small: reading a whole row costs as much as the
// rest of the transaction.
type appendJob struct {
	ID                string
	HostID            string
	State             wire.State
	Lease             string
	CancelRequestedAt *time.Time
	LogLines          *int64
	LogSHA256         string `gorm:"column:log_sha256"`
	Clock             *time.Time
}

const appendJobColumns = "id, host_id, state, lease, cancel_requested_at, log_lines, log_sha256"

// storeTogether is one transaction. What the rules refuse is the batch's own error; an error given back means
// that nothing of any was stored. A panic is such an error: the goroutine is not a request's, which would catch it.
func (s *Store) storeTogether(batches []*appending, waits func()) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("storing log lines panicked: %v\n%s", v, debug.Stack())
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), appendTimeout)
	defer cancel()
	stored := false
	err = s.db.WriteUntimed(ctx, func(tx *database.Tx) error {
		logs, err := s.lockLogs(tx, batches)
		if err != nil {
			return err
		}
		jobs, err := readAppendJobs(tx, batches)
		if err != nil {
			return err
		}
		var fresh []*appending
		for _, a := range batches {
			stores := false
			if stores, a.err = s.admitBatch(a, logs[a.jobID], jobs[a.jobID]); stores {
				fresh = append(fresh, a)
			}
		}
		if err := s.storeFresh(tx, fresh, logs, jobs); err != nil {
			return err
		}
		if tx.Postgres() { // SQLite has one transaction at a time: the next could only wait for this one
			waits()
		}
		if stored = len(fresh) > 0; !stored {
			return nil
		}
		return failpoint.Hit("server.log.uncommitted")
	})
	if err != nil || !stored {
		return err
	}
	return failpoint.Hit("server.log.committed")
}

func jobsOf(batches []*appending) []string {
	ids := make([]string, len(batches))
	for i, a := range batches {
		ids[i] = a.jobID
	}
	return ids
}

// lockLogs locks the logs of the batches' jobs in the order of their ids, and makes those that are absent. A job
// that does not exist has none, and another host's gets none by being named.
func (s *Store) lockLogs(tx *database.Tx, batches []*appending) (map[string]*logRow, error) {
	ids := jobsOf(batches)
	var rows []logRow
	which, argument := among(tx, ids)
	err := tx.Raw("SELECT "+logColumns+" FROM logs WHERE job_id "+which+" ORDER BY job_id"+forUpdate(tx), argument).Scan(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("lock the logs of jobs %v: %w", ids, err)
	}
	found := map[string]*logRow{}
	for i := range rows {
		found[rows[i].JobID] = &rows[i]
	}
	for _, a := range batches {
		if found[a.jobID] != nil {
			continue
		}
		if own, err := isOf(tx, a.jobID, a.hostID); err != nil {
			return nil, err
		} else if !own {
			continue
		}
		if err := readClock(tx); err != nil {
			return nil, err
		}
		row, err := s.lockLog(tx, a.jobID)
		if fault.Is(err, errLeaseLost.Code) {
			continue
		}
		if err != nil {
			return nil, err
		}
		found[a.jobID] = &row
	}
	return found, nil
}

// isOf reports whether the job is the host's.
func isOf(tx *database.Tx, jobID, hostID string) (bool, error) {
	var found []string
	if err := tx.Raw("SELECT id FROM jobs WHERE id = ? AND host_id = ?", jobID, hostID).Scan(&found).Error; err != nil {
		return false, fmt.Errorf("look for job %s: %w", jobID, err)
	}
	return len(found) == 1, nil
}

func readClock(tx *database.Tx) error {
	var read struct{ Clock *time.Time }
	if err := tx.Raw("SELECT " + tx.ClockColumn() + " AS clock").Scan(&read).Error; err != nil {
		return fmt.Errorf("read the database's clock: %w", err)
	}
	tx.SetNow(read.Clock)
	return nil
}

// readAppendJobs reads the jobs once their logs are locked, so that no lease that has been replaced gets
// through, and the clock with them. It locks nothing.
func readAppendJobs(tx *database.Tx, batches []*appending) (map[string]*appendJob, error) {
	ids := jobsOf(batches)
	var rows []appendJob
	which, argument := among(tx, ids)
	err := tx.Raw("SELECT "+appendJobColumns+", "+tx.ClockColumn()+" AS clock FROM jobs WHERE id "+which, argument).Scan(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("read the jobs %v: %w", ids, err)
	}
	found := map[string]*appendJob{}
	for i := range rows {
		found[rows[i].ID] = &rows[i]
		tx.SetNow(rows[i].Clock)
	}
	return found, nil
}

// admitBatch decides about one batch and fills its reply; stores is false when there is nothing to store.
func (s *Store) admitBatch(a *appending, row *logRow, j *appendJob) (stores bool, err error) {
	a.reply = wire.LogReply{}
	if row == nil || j == nil || j.HostID != a.hostID {
		return false, errLeaseLost
	}
	if err := job.MayAppend(job.Job{State: j.State, Lease: j.Lease}, a.lease); err != nil {
		return false, err
	}
	s.pulse.renewAt(a.jobID, a.lease, s.db.Clock())
	a.reply = wire.LogReply{NextLine: row.NextLine, Cancel: j.CancelRequestedAt != nil && j.State == wire.StateRunning}
	stores, err = row.rules().Admit(a.q, row.sum)
	if !stores || err != nil {
		return false, err
	}
	return true, row.take(a)
}

// rules is what the rules know of a log.
func (row *logRow) rules() job.Log {
	return job.Log{NextLine: row.NextLine, Complete: row.Complete, Problem: row.Problem}
}

// sum is that of all bytes so far.
func (row *logRow) sum() (hash.Hash, error) { return restoreSum(row.SumState) }

// take moves the cursor over a batch.
func (row *logRow) take(a *appending) error {
	sum, err := row.sum()
	if err != nil {
		return err
	}
	sum.Write(a.body.Plain)
	row.SumState = sumState(sum)
	row.NextLine += a.q.Lines
	row.ByteCount += int64(len(a.body.Plain))
	if a.q.Lines < wire.MaxBatchLines/2 && len(a.body.Plain) < wire.MaxBatchBytes/2 {
		row.Tidy = false
	}
	a.reply.NextLine = row.NextLine
	return nil
}

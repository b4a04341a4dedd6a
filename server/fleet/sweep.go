package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"gorm.io/gorm"

	"restic-manager/server/database"
	"restic-manager/server/fleet/job"
	"restic-manager/shared/failpoint"
	"restic-manager/shared/wire"
)

// sweepBatch bounds the jobs judged in one transaction.
const sweepBatch = 100

var errSweptTooLong = errors.New("the sweep was interrupted for too long; the next one begins with an amnesty")

// Sweep judges silence: hosts that go offline, leases that ran out, jobs that nobody fetched, holds and jobs
// of the silent. It is the only one that does, on any number of replicas each thing happens once. It judges
// by what is in the database only, after a Flush of this replica. When the sweeper or the database was away,
// nothing is judged for 180 s. Call it every 15 s.
func (s *Store) Sweep(ctx context.Context) (SweepReport, error) {
	var report SweepReport
	if err := s.Flush(ctx); err != nil {
		return report, err
	}
	begun, amnesty, err := s.beginSweep(ctx)
	if report.Amnesty = amnesty; err != nil || amnesty {
		return report, err
	}
	if report.Offline, err = s.sweepHosts(ctx, begun); err != nil {
		return report, err
	}
	s.figures.offline(report.Offline)
	for after := int64(0); ; {
		n, last, err := s.sweepJobs(ctx, begun, after, &report)
		if err != nil {
			return report, err
		}
		if after = last; n < sweepBatch {
			break
		}
	}
	return report, s.forgetKeys(ctx)
}

// beginSweep writes the sweeper's own sign of life, and opens an amnesty when the last one is old.
func (s *Store) beginSweep(ctx context.Context) (begun time.Time, amnesty bool, err error) {
	err = s.db.Write(ctx, func(tx *database.Tx) error {
		if err := tx.Exec("INSERT INTO server_state (key, value) VALUES ('sweep', '{}') ON CONFLICT (key) DO NOTHING").Error; err != nil {
			return err
		}
		state, err := readSweep(tx.DB, forUpdate(tx))
		if err != nil {
			return err
		}
		state, amnesty = state.Begin(tx.Now)
		begun = tx.Now
		raw, err := json.Marshal(state)
		if err != nil {
			return err
		}
		return tx.Exec("UPDATE server_state SET value = ? WHERE key = 'sweep'", string(raw)).Error
	})
	if err != nil {
		return begun, false, fmt.Errorf("begin to sweep: %w", err)
	}
	return begun, amnesty, nil
}

func readSweep(db *gorm.DB, suffix string) (job.Vigil, error) {
	var values []string
	if err := db.Raw("SELECT value FROM server_state WHERE key = 'sweep'" + suffix).Scan(&values).Error; err != nil {
		return job.Vigil{}, err
	}
	var state job.Vigil
	if len(values) == 0 {
		return state, nil
	}
	err := json.Unmarshal([]byte(values[0]), &state)
	return state, err
}

// inAmnesty reports whether silence proves nothing now: an amnesty is open, or is due with the next sweep.
func inAmnesty(db *gorm.DB, now time.Time) (bool, error) {
	state, err := readSweep(db, "")
	if err != nil {
		return false, fmt.Errorf("read the sweeper's state: %w", err)
	}
	return state.Forgives(now), nil
}

// sweepHosts writes offline: nobody else does.
func (s *Store) sweepHosts(ctx context.Context, begun time.Time) (int, error) {
	var gone []string
	err := s.db.Write(ctx, func(tx *database.Tx) error {
		if tx.Now.Sub(begun) > job.SweepAway {
			return errSweptTooLong
		}
		gone = nil
		var ids []string
		limit := tx.Now.Add(-s.settings.OfflineAfter)
		if err := tx.Raw("SELECT id FROM hosts WHERE status = 'online' AND last_seen_at <= ? ORDER BY id"+skipLocked(tx), limit).Scan(&ids).Error; err != nil {
			return err
		}
		for _, id := range ids {
			done := tx.Exec("UPDATE hosts SET status = 'offline' WHERE id = ? AND status = 'online' AND last_seen_at <= ?", id, limit)
			if done.Error != nil {
				return done.Error
			}
			if done.RowsAffected == 1 {
				gone = append(gone, id)
				tx.Notify(database.TopicHosts, database.TopicHost(id))
			}
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("sweep the hosts: %w", err)
	}
	return len(gone), nil
}

// skipLocked leaves rows alone that another replica's sweep, or a message, has in hand: the next sweep looks
// at them again.
func skipLocked(tx *database.Tx) string {
	if tx.Postgres() {
		return " FOR NO KEY UPDATE SKIP LOCKED"
	}
	return ""
}

// dueJobs are those on which job.Due may have a decision. The first condition is that of the index of open
// jobs.
const dueJobs = ` FROM jobs WHERE (state IN ('queued', 'accepted', 'running') OR holding) AND (
	state = 'queued' AND expires_at <= @now
	OR state = 'accepted' AND lease_expires_at <= @now
	OR state = 'running' AND lease_expires_at <= @now AND (disconnected_since IS NULL OR holding AND heard_at <= @hold OR heard_at <= @lost)
	OR ended_at IS NOT NULL AND holding AND heard_at <= @hold)
	AND number > @after ORDER BY number LIMIT @limit`

// sweepJobs judges the next jobs after a number. Rows are locked in the order of their numbers; who else
// locks several does it for one host.
func (s *Store) sweepJobs(ctx context.Context, begun time.Time, after int64, report *SweepReport) (n int, last int64, err error) {
	var counted SweepReport
	var ended []job.Job
	err = s.db.Write(ctx, func(tx *database.Tx) error {
		if tx.Now.Sub(begun) > job.SweepAway {
			return errSweptTooLong
		}
		counted, ended, n, last = SweepReport{}, nil, 0, after
		due := map[string]any{
			"now": tx.Now, "hold": tx.Now.Add(-wire.HoldAfterSilence), "lost": tx.Now.Add(-wire.LostAfter),
			"after": after, "limit": sweepBatch,
		}
		var found []struct {
			Number     int64
			ID, HostID string
		}
		if err := tx.Raw("SELECT number, id, host_id"+dueJobs, due).Scan(&found).Error; err != nil || len(found) == 0 {
			return err
		}
		var ids, hosts []string
		for _, f := range found {
			ids, hosts, last = append(ids, f.ID), append(hosts, f.HostID), f.Number
		}
		n = len(found)
		rows, err := lockForEnds(tx, ids, hosts)
		if err != nil {
			return err
		}
		for _, row := range rows {
			j, err := s.judge(tx, row, &counted)
			if err != nil {
				return err
			}
			if err := failpoint.Hit("server.sweep.half"); err != nil {
				return err
			}
			if j.State.Terminal() && !row.State.Terminal() {
				ended = append(ended, j)
			}
		}
		return nil
	})
	if err != nil {
		return 0, 0, fmt.Errorf("sweep the jobs: %w", err)
	}
	report.add(counted)
	s.figures.requeued(counted.Requeued)
	s.figures.ended(ended...)
	return n, last, nil
}

// lockForEnds locks those of the jobs that can be judged now. The end of a backup is noted on its host, whose row is locked before the
// job's; what another transaction has in hand is left to the next sweep. A job that this sweep cannot judge it does not lock either, or
// another replica's at the same moment could not.
func lockForEnds(tx *database.Tx, ids, hosts []string) (rows []jobRow, err error) {
	var locked []string
	if err := tx.Raw("SELECT id FROM hosts WHERE id IN ? ORDER BY id"+skipLocked(tx), hosts).Scan(&locked).Error; err != nil {
		return nil, fmt.Errorf("lock the hosts of what is due: %w", err)
	}
	err = tx.Raw("SELECT "+ruleColumns+" FROM jobs WHERE id IN ? AND (kind <> ? OR host_id IN ?) ORDER BY number"+skipLocked(tx), ids, wire.KindBackup, locked).Scan(&rows).Error
	return rows, err
}

// judge applies every decision that is due on a locked job.
func (s *Store) judge(tx *database.Tx, row jobRow, report *SweepReport) (job.Job, error) {
	j := row.rules()
	for e := job.Due(j, tx.Now); e != nil; e = job.Due(j, tx.Now) {
		c, err := s.applyTo(tx, j, e)
		if err != nil {
			return j, err
		}
		if c.refused != nil || c.job == j {
			return j, fmt.Errorf("job %s: %T was due and changed nothing: %w", j.ID, e, c.refused)
		}
		report.count(e, c.fx)
		j = c.job
	}
	return j, nil
}

func (r *SweepReport) count(e job.Event, fx job.Effects) {
	switch e.(type) {
	case job.Expire:
		r.Expired++
	case job.LeaseRanOut:
		if fx.Requeued {
			r.Requeued++
		} else {
			r.Disconnected++
		}
	case job.ReleaseHold:
		r.HoldsFreed++
	case job.Lose:
		r.Lost++
	}
}

func (r *SweepReport) add(o SweepReport) {
	r.Offline += o.Offline
	r.Expired += o.Expired
	r.Requeued += o.Requeued
	r.Disconnected += o.Disconnected
	r.HoldsFreed += o.HoldsFreed
	r.Lost += o.Lost
}

// forgetKeys drops the idempotency keys that are over.
func (s *Store) forgetKeys(ctx context.Context) error {
	err := s.db.Write(ctx, func(tx *database.Tx) error {
		return tx.Exec("DELETE FROM idempotency_keys WHERE created_at <= ?", tx.Now.Add(-job.KeyKept)).Error
	})
	if err != nil {
		return fmt.Errorf("forget old idempotency keys: %w", err)
	}
	return nil
}

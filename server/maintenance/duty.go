package maintenance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"restic-manager/schedule"
	"restic-manager/server/database"
	"restic-manager/server/fault"
	"restic-manager/shared/wire"
)

// Duty does what is due. Any number of replicas may do it at once.
func (s *Store) Duty(ctx context.Context) error {
	// One that fails must not keep the others from being done.
	return errors.Join(s.noteEnds(ctx), s.settleAll(ctx), s.timeAll(ctx), s.runAll(ctx))
}

// work is one of the kinds of maintenance, and where its times are.
type work struct {
	kind   wire.Kind
	column string
	cron   func(p plan) string
	next   func(t target) *time.Time
}

var works = []work{
	{wire.KindForget, "next_forget_at", func(p plan) string { return p.Forget }, func(t target) *time.Time { return t.NextForgetAt }},
	{wire.KindPrune, "next_prune_at", func(p plan) string { return p.Prune }, func(t target) *time.Time { return t.NextPruneAt }},
	{wire.KindCheck, "next_check_at", func(p plan) string { return p.Check }, func(t target) *time.Time { return t.NextCheckAt }},
}

// wanted reports whether the setting asks for the work.
func (w work) wanted(p plan) bool { return p.Enabled && w.cron(p) != "" }

// nextOf is when the work is due next by the setting; nil: never.
func (w work) nextOf(p plan, now time.Time) (*time.Time, error) {
	if !w.wanted(p) {
		return nil, nil
	}
	s, err := schedule.Parse(w.cron(p), p.Zone)
	if err != nil {
		return nil, err
	}
	next, ok := s.Next(now)
	if !ok {
		return nil, nil
	}
	return &next, nil
}

// timeAll brings the times of all repositories to what their settings say now. What is due stays due.
func (s *Store) timeAll(ctx context.Context) error {
	now, err := s.db.Now(ctx)
	if err != nil {
		return err
	}
	var rows []target
	err = s.db.Read(ctx).Raw(`SELECT DISTINCT m.setting_id, s.name, s.maintenance, m.next_forget_at, m.next_prune_at, m.next_check_at
		FROM repository_maintenance m JOIN repository_settings s ON s.id = m.setting_id`).Scan(&rows).Error
	if err != nil {
		return fmt.Errorf("read when maintenance is due: %w", err)
	}
	type change struct {
		work    work
		setting string
	}
	changes := map[string]change{}
	next := map[string]*time.Time{}
	for _, r := range rows {
		p, err := readPlan(r.Maintenance)
		if err != nil {
			return err
		}
		for _, w := range works {
			key := r.SettingID + " " + w.column
			if _, known := next[key]; !known {
				if next[key], err = w.nextOf(p, now); err != nil {
					s.log.Warn("a schedule of maintenance cannot be read", "repository", r.Name, "kind", w.kind, "error", err)
				}
			}
			if was := w.next(r); !sameTime(was, next[key]) && (was == nil || next[key] == nil || was.After(now)) {
				changes[key] = change{w, r.SettingID}
			}
		}
	}
	if len(changes) == 0 {
		return nil
	}
	err = s.db.Write(ctx, func(tx *database.Tx) error {
		for key, c := range changes {
			where, args := " WHERE setting_id = ?", []any{next[key], c.setting}
			if next[key] != nil {
				where, args = where+" AND ("+c.work.column+" IS NULL OR "+c.work.column+" > ?)", append(args, now)
			}
			if err := tx.Exec("UPDATE repository_maintenance SET "+c.work.column+" = ?"+where, args...).Error; err != nil {
				return err
			}
		}
		tx.Notify(database.TopicRepositories)
		return nil
	})
	if err != nil {
		return fmt.Errorf("set when maintenance is due: %w", err)
	}
	return nil
}

func sameTime(a, b *time.Time) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Equal(*b)
}

// atOnce bounds how many repositories one round looks after.
const atOnce = 1000

// runAll does what is due.
func (s *Store) runAll(ctx context.Context) error {
	now, err := s.db.Now(ctx)
	if err != nil {
		return err
	}
	var due []string
	err = s.db.Read(ctx).Raw(`SELECT repository_id FROM repository_maintenance
		WHERE next_forget_at <= @now OR next_prune_at <= @now OR next_check_at <= @now ORDER BY repository_id LIMIT @limit`,
		map[string]any{"now": now, "limit": atOnce}).Scan(&due).Error
	if err != nil {
		return fmt.Errorf("look which maintenance is due: %w", err)
	}
	var failed error
	for _, id := range due {
		err := s.db.Write(ctx, func(tx *database.Tx) error { return s.run(tx, id) })
		if err != nil && ctx.Err() != nil {
			return err
		}
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("maintain repository %s: %w", id, err))
		}
	}
	return failed
}

// run does what of one repository is still due once its row is locked.
func (s *Store) run(tx *database.Tx, repositoryID string) error {
	t, ok, err := lockTarget(tx, repositoryID, true)
	if err != nil || !ok {
		return err
	}
	p, err := readPlan(t.Maintenance)
	if err != nil {
		return err
	}
	for _, w := range works {
		if at := w.next(t); at == nil || at.After(tx.Now) || !w.wanted(p) {
			continue
		}
		if w.kind == wire.KindForget {
			fresh, err := s.fresh(tx, t)
			if err != nil {
				return err
			}
			if !fresh {
				continue // it stays due until the list is there
			}
		}
		next, err := w.nextOf(p, tx.Now)
		if err != nil {
			s.log.Warn("a schedule of maintenance cannot be read", "repository", t.Name, "kind", w.kind, "error", err)
		}
		if err := tx.Exec("UPDATE repository_maintenance SET "+w.column+" = ? WHERE repository_id = ?", next, repositoryID).Error; err != nil {
			return fmt.Errorf("set when repository %s is due next: %w", repositoryID, err)
		}
		if err := s.do(tx, t, p, w.kind); err != nil {
			return err
		}
		if t, _, err = lockTarget(tx, repositoryID, false); err != nil { // forget may have frozen it
			return err
		}
	}
	return nil
}

// do does one kind by itself, with nobody there to be told what is in its way.
func (s *Store) do(tx *database.Tx, t target, p plan, kind wire.Kind) error {
	var err error
	if kind == wire.KindForget {
		_, err = s.forget(tx, database.System, t, false)
	} else {
		_, err = s.orderWork(tx, database.System, t, p, kind)
	}
	if f := fault.As(err); f != nil {
		s.log.Warn("maintenance is due and cannot be ordered", "repository", t.Name, "kind", kind, "why", f.Message)
		return nil
	}
	return err
}

// listAge is how old the list may be that retention goes by: what was removed by others since then must not count as there.
const listAge = time.Hour

// fresh reports whether the list is new enough, and asks for one when it is not. Where nobody can be asked, the list that
// is there is gone by: what is to go cannot be ordered either, and forget says why.
func (s *Store) fresh(tx *database.Tx, t target) (bool, error) {
	if t.Frozen != "" || t.RefreshedAt != nil && t.RefreshedAt.After(tx.Now.Add(-listAge)) {
		return true, nil
	}
	why, err := s.list(tx, t)
	if why == "" {
		return false, err
	}
	return true, nil
}

// orderWork orders a prune, or the check of the next part.
func (s *Store) orderWork(tx *database.Tx, actor database.Actor, t target, p plan, kind wire.Kind) (jobID string, err error) {
	busy, err := underWay(tx, t, kind, time.Time{})
	if err != nil {
		return "", err
	}
	if busy {
		return "", fault.New(fault.Conflict, "maintenance_open", "a %s of this repository has not ended", kind)
	}
	if kind == wire.KindPrune {
		// What an attacker has had forgotten can be got back until its data is gone.
		if t.Frozen != "" {
			return "", errFrozen(t.Frozen)
		}
		return s.order(tx, actor, t, &wire.PruneSpec{MaxUnusedPercent: p.MaxUnusedPercent})
	}
	part := t.CheckPart%p.CheckParts + 1
	if jobID, err = s.order(tx, actor, t, &wire.CheckSpec{ReadDataSubset: fmt.Sprintf("%d/%d", part, p.CheckParts)}); err != nil {
		return "", err
	}
	if err := tx.Exec("UPDATE repository_maintenance SET check_part = ? WHERE repository_id = ?", part, t.RepositoryID).Error; err != nil {
		return "", fmt.Errorf("note the check of repository %s: %w", t.RepositoryID, err)
	}
	return jobID, nil
}

// settleAll ends the removals whose jobs have ended.
func (s *Store) settleAll(ctx context.Context) error {
	var ids []string
	err := s.db.Read(ctx).Raw(`SELECT r.id FROM removals r LEFT JOIN jobs j ON j.id = r.job_id
		WHERE r.state = 'ordered' AND (j.id IS NULL OR j.ended_at IS NOT NULL) ORDER BY r.id LIMIT ?`, atOnce).Scan(&ids).Error
	if err != nil {
		return fmt.Errorf("look for removals whose jobs have ended: %w", err)
	}
	var failed error
	for _, id := range ids {
		if err := s.db.Write(ctx, func(tx *database.Tx) error { return s.settle(tx, id) }); err != nil {
			failed = errors.Join(failed, fmt.Errorf("settle removal %s: %w", id, err))
		}
	}
	return failed
}

// overlap is how far back ends are looked for again: commits come out of order.
const overlap = 10 * time.Minute

// noteEnds notes prunes and checks that have ended well.
func (s *Store) noteEnds(ctx context.Context) error {
	now, err := s.db.Now(ctx)
	if err != nil {
		return err
	}
	s.mu.Lock()
	since := s.looked
	s.mu.Unlock()
	if since.IsZero() {
		since = now.Add(-oldestJob)
	}
	var jobs []endedJob
	err = s.db.Read(ctx).Raw(`SELECT id, kind, spec, summary, target, started_at, ended_at FROM jobs
		WHERE kind IN ('prune', 'check') AND id >= ? AND ended_at > ? AND target <> '' AND target_setting IS NOT NULL
			AND state IN ('succeeded', 'succeeded_with_issues') ORDER BY id`, database.FirstIDAt(now.Add(-2*oldestJob)), since.Add(-overlap)).Scan(&jobs).Error
	if err != nil {
		return fmt.Errorf("look which maintenance has ended: %w", err)
	}
	if len(jobs) > 0 {
		err = s.db.Write(ctx, func(tx *database.Tx) error {
			for _, j := range jobs {
				if err := j.note(tx); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("note which maintenance has ended: %w", err)
		}
	}
	s.mu.Lock()
	s.looked = now
	s.mu.Unlock()
	return nil
}

type endedJob struct {
	ID, Kind, Spec, Target string
	Summary                *string
	StartedAt, EndedAt     *time.Time
}

// stored is what the prune left in the storage; nil: it did not say.
func (j endedJob) stored() *int64 {
	var s wire.Summary
	if j.Summary == nil || json.Unmarshal([]byte(*j.Summary), &s) != nil || s.StoredBytes <= 0 {
		return nil
	}
	return &s.StoredBytes
}

// note writes what the job did, where that is not older than what is there.
func (j endedJob) note(tx *database.Tx) error {
	if wire.Kind(j.Kind) == wire.KindPrune {
		// One that does not say what it left leaves what the last one said.
		done := tx.Exec(`UPDATE repository_maintenance SET last_prune_at = ?, stored_bytes = coalesce(?, stored_bytes)
			WHERE repository_id = ? AND (last_prune_at IS NULL OR last_prune_at < ?)`, j.EndedAt, j.stored(), j.Target, j.EndedAt)
		if done.RowsAffected > 0 {
			tx.Notify(database.TopicRepositories)
		}
		return done.Error
	}
	spec, err := wire.DecodeSpec(wire.KindCheck, []byte(j.Spec))
	if err != nil {
		return err
	}
	part, parts, ok := partOf(spec.(*wire.CheckSpec))
	if !ok || j.StartedAt == nil {
		return nil
	}
	// Data that was written after the start was not read: the start is what counts.
	var known []string
	if err := tx.Raw("SELECT id FROM repositories WHERE id = ?", j.Target).Scan(&known).Error; err != nil || len(known) == 0 {
		return err
	}
	done := tx.Exec(`INSERT INTO repository_checks (repository_id, parts, part, checked_at, job_id) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (repository_id, parts, part) DO UPDATE SET checked_at = excluded.checked_at, job_id = excluded.job_id
		WHERE repository_checks.checked_at < excluded.checked_at`, j.Target, parts, part, *j.StartedAt, j.ID)
	if done.RowsAffected > 0 {
		tx.Notify(database.TopicRepositories)
	}
	return done.Error
}

// partOf is which part of the data a check reads; ok is false for one that reads none, or a chance one.
func partOf(c *wire.CheckSpec) (part, parts int64, ok bool) {
	if c.ReadData {
		return 1, 1, true
	}
	n, err := fmt.Sscanf(c.ReadDataSubset, "%d/%d", &part, &parts)
	return part, parts, err == nil && n == 2
}

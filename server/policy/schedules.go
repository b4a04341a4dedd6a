package policy

import (
	"context"
	"fmt"
	"slices"
	"time"

	"restic-manager/server/database"
	"restic-manager/server/fleet"
	"restic-manager/shared/wire"
)

const (
	// silentFor is how long a due time of an agent that keeps its schedule stays open.
	silentFor = 7 * 24 * time.Hour
	// awayFor is how long after its due time the server counts as having been away.
	awayFor = 5 * time.Minute
	// keepTicks is how long it is known what became of a due time.
	keepTicks = 400 * 24 * time.Hour
	// assignmentsAtOnce is how many assignments one transaction looks at; SQLite's writers wait for it.
	assignmentsAtOnce = 100
)

// Report counts what one look at the schedules did.
type Report struct {
	Run       int
	Coalesced int
	Missed    int
	Skipped   int
}

func (r *Report) count(o wire.Outcome) {
	switch o {
	case wire.OutcomeRun:
		r.Run++
	case wire.OutcomeCoalesced:
		r.Coalesced++
	case wire.OutcomeMissed:
		r.Missed++
	case wire.OutcomeSkipped:
		r.Skipped++
	}
}

// RunSchedules has the policies run that are due at hosts whose agents do not keep the schedule, and gives up the due
// times that nothing was heard of for 7 days. Every replica may do it, at the same time too: an assignment that another
// one looks at is passed over.
func (s *Store) RunSchedules(ctx context.Context) (Report, error) {
	var sum Report
	for ctx.Err() == nil {
		var r Report
		var n int
		err := s.db.Write(ctx, func(tx *database.Tx) (err error) {
			r, n, err = s.lookAtSome(tx)
			return err
		})
		if err != nil {
			return sum, fmt.Errorf("run what is due: %w", err)
		}
		sum = Report{sum.Run + r.Run, sum.Coalesced + r.Coalesced, sum.Missed + r.Missed, sum.Skipped + r.Skipped}
		if n < assignmentsAtOnce {
			break
		}
	}
	return sum, ctx.Err()
}

// dueHost is an assignment with a due time that somebody has to look at.
type dueHost struct {
	Open   open `gorm:"embedded"`
	Keeps  bool
	Online bool
}

func (s *Store) lookAtSome(tx *database.Tx) (r Report, n int, err error) {
	of := ""
	if tx.Postgres() {
		of = " FOR NO KEY UPDATE OF hosts, a SKIP LOCKED"
	}
	var rows []*dueHost
	err = tx.Raw(`SELECT a.*, p.name, p.version, p.enabled, `+fleet.KeepsSchedule+` AS keeps, hosts.status = 'online' AS online
		FROM assignments a JOIN hosts ON hosts.id = a.host_id JOIN policies p ON p.id = a.policy_id
		WHERE a.next_due_at <= @now AND hosts.revoked_at IS NULL AND (a.next_due_at <= @silent OR NOT (`+fleet.KeepsSchedule+`))
		ORDER BY a.next_due_at LIMIT @limit`+of,
		map[string]any{"now": tx.Now, "silent": tx.Now.Add(-silentFor), "limit": assignmentsAtOnce}).Scan(&rows).Error
	if err != nil {
		return r, 0, err
	}
	for _, d := range rows {
		if d.Open.line, err = s.readTimeline(tx.DB, d.Open.Row.PolicyID, d.Open.Version); err != nil {
			return r, 0, err
		}
		ticks, opens, err := s.settleDue(tx, d)
		if err != nil {
			return r, 0, err
		}
		if err := writeTicks(tx, ticks...); err != nil {
			return r, 0, err
		}
		for _, t := range ticks {
			r.count(t.Outcome)
		}
		if err := d.Open.advance(tx); err != nil {
			return r, 0, err
		}
		if !opens.IsZero() {
			if err := d.Open.held(tx, opens); err != nil {
				return r, 0, err
			}
		}
	}
	return r, len(rows), nil
}

// settleDue gives what becomes of the due times that are open: the last is run, those before it are missed. Of a host
// whose agent keeps the schedule, those are missed that nothing was heard of for too long. A time says when the last may
// begin by the policy's windows.
func (s *Store) settleDue(tx *database.Tx, d *dueHost) (ticks []tickRow, opens time.Time, err error) {
	o := &d.Open
	until := tx.Now
	if d.Keeps {
		until = tx.Now.Add(-silentFor)
	}
	dues, all, err := o.unaccounted(tx, until)
	if err != nil {
		return nil, opens, err
	}
	missed := func(due time.Time, why string) {
		ticks = append(ticks, tickRow{PolicyID: o.Row.PolicyID, HostID: o.Row.HostID, DueAt: due, Outcome: wire.OutcomeMissed, Why: why, RecordedAt: tx.Now})
	}
	for i, due := range dues {
		switch {
		case d.Keeps:
			missed(due, "nothing was heard of it for 7 days")
		case (i+1 < len(dues) || !all) && o.waits(due):
			ticks = append(ticks, tickRow{PolicyID: o.Row.PolicyID, HostID: o.Row.HostID, DueAt: due, Outcome: wire.OutcomeSkipped, Why: outsideWindows, RecordedAt: tx.Now})
		case i+1 < len(dues) || !all:
			missed(due, "the server was away, and a later one was due before it was back")
		case o.line.current().spec.Schedule.NoCatchUp && !o.waits(due) && tx.Now.Sub(due) > awayFor:
			missed(due, "the server was away")
		case o.line.current().spec.Schedule.NoCatchUp && !o.waits(due) && !d.Online:
			missed(due, "the machine was off")
		default:
			var t tickRow
			if t, opens, err = s.run(tx, o, due); err != nil {
				return nil, opens, err
			}
			if opens.IsZero() {
				ticks = append(ticks, t)
			}
		}
	}
	return ticks, opens, nil
}

// waits reports whether a window does not let a due time begin when it is due.
func (o *open) waits(due time.Time) bool {
	now := o.line.current()
	if len(now.spec.Schedule.Windows) == 0 || now.times == nil {
		return false
	}
	at, ok := now.at(o.Row.PolicyID, o.Row.HostID).MayBegin(due, due)
	return !ok || at.After(due)
}

// unaccounted are the due times up to until that have no outcome; all is false when there are more.
func (o *open) unaccounted(tx *database.Tx, until time.Time) (dues []time.Time, all bool, err error) {
	dues = o.line.between(o.Row.HostID, o.Row.AccountedUntil.UTC(), until, accountedAtOnce)
	if len(dues) == 0 {
		return nil, true, nil
	}
	all = len(dues) < accountedAtOnce
	var told []time.Time
	err = tx.Raw("SELECT due_at FROM ticks WHERE policy_id = ? AND host_id = ? AND due_at >= ? AND due_at <= ?",
		o.Row.PolicyID, o.Row.HostID, dues[0], dues[len(dues)-1]).Scan(&told).Error
	if err != nil {
		return nil, false, fmt.Errorf("read what is accounted for: %w", err)
	}
	return slices.DeleteFunc(dues, func(due time.Time) bool { return slices.ContainsFunc(told, due.Equal) }), all, nil
}

// Expire forgets what became of due times of over 400 days ago.
func (s *Store) Expire(ctx context.Context) (n int64, err error) {
	const portion = 5000
	for {
		var gone int64
		err := s.db.Write(ctx, func(tx *database.Tx) error {
			done := tx.Exec(`DELETE FROM ticks WHERE (policy_id, host_id, due_at) IN
				(SELECT policy_id, host_id, due_at FROM ticks WHERE due_at < ? ORDER BY due_at LIMIT ?)`, tx.Now.Add(-keepTicks), portion)
			gone = done.RowsAffected
			return done.Error
		})
		if err != nil {
			return n, fmt.Errorf("forget old due times: %w", err)
		}
		if n += gone; gone < portion {
			return n, nil
		}
	}
}

package fleet

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"restic-manager/server/database"
	"restic-manager/server/fault"
	"restic-manager/shared/wire"
)

// writableFor is how long a replica may fail to write before it refuses agents: they ask another one.
const writableFor = 30 * time.Second

// flushPortion bounds the rows of one batched statement. SQLite takes some 40 µs for a host and has one writer: an order waits for the
// portion that is under way, and a thousand are 40 ms. Where a portion had to wait itself, because many write, the next ones are
// of flushPortionMost: who stands in that queue a hundred times tells too late who lives.
const (
	flushPortion     = 100
	flushPortionMost = 1000
	flushWaited      = 100 * time.Millisecond
)

// nextPortion is how many rows follow portions of size, the last of which took so long.
func nextPortion(size int, took time.Duration) int {
	if took > flushWaited {
		return flushPortionMost
	}
	return size
}

// Flush writes the signs of life, the leases' renewals and the progress gathered since the last one. Call it
// every few seconds. What could not be written stays for the next time.
func (s *Store) Flush(ctx context.Context) error {
	p := s.pulse
	p.flushing.Lock()
	defer p.flushing.Unlock()
	now := s.db.Clock()
	work := p.take(now)
	err := s.flush(ctx, now, work)
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case err == nil:
		p.failing = time.Time{}
		return nil
	case p.failing.IsZero():
		p.failing = now
	}
	p.putBack(work)
	return fmt.Errorf("write the signs of life: %w", err)
}

// Writable is an unavailable fault when this replica has not been able to write for 30 s. Agents are then to
// be refused: what they say could not be kept, and another replica may be whole.
func (s *Store) Writable() error {
	now := s.db.Clock()
	s.pulse.mu.Lock()
	defer s.pulse.mu.Unlock()
	if s.pulse.failing.IsZero() || now.Sub(s.pulse.failing) < writableFor {
		return nil
	}
	e := fault.New(fault.Unavailable, wire.ProblemUnavailable, "this server cannot write to its database; running jobs go on, ask again")
	e.RetryAfter = 10 * time.Second
	return e
}

// gathered is what one flush writes.
type gathered struct {
	seen     map[string]time.Time
	leases   map[wire.JobRef]time.Time
	progress []storing
	counts   bool // the flush before succeeded: that nothing can be written counts from this one on
}

type storing struct {
	id   string
	last latest
}

// take hands out what is gathered. Progress goes at most every progressEvery per job.
func (p *pulse) take(now time.Time) gathered {
	p.mu.Lock()
	defer p.mu.Unlock()
	g := gathered{seen: p.seen, leases: p.leases, counts: p.failing.IsZero()}
	if g.counts {
		p.failing = now // until this flush goes on, also when it hangs
	}
	p.seen, p.leases = map[string]time.Time{}, map[wire.JobRef]time.Time{}
	for id, l := range p.progress {
		switch {
		case l.dirty && now.Sub(l.stored) >= progressEvery:
			l.dirty, l.stored = false, now
			g.progress = append(g.progress, storing{id, *l})
		case now.Sub(l.at) > progressIdle && now.Sub(l.checked) > progressIdle:
			p.drop(id)
		}
	}
	slices.SortFunc(g.progress, func(a, b storing) int { return strings.Compare(a.id, b.id) })
	return g
}

// putBack keeps what a failed flush took, unless there is newer by now.
func (p *pulse) putBack(g gathered) {
	for id, at := range g.seen {
		if p.seen[id].Before(at) {
			p.seen[id] = at
		}
	}
	for ref, at := range g.leases {
		if p.leases[ref].Before(at) {
			p.leases[ref] = at
		}
	}
	for _, x := range g.progress {
		if l := p.progress[x.id]; l != nil {
			l.dirty, l.stored = true, time.Time{}
		}
	}
}

// wrote notes that a portion of g was written. A flush that is slow and goes on is none that fails; one after a failed one has to
// succeed as a whole.
func (p *pulse) wrote(g gathered, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if g.counts {
		p.failing = now
	}
}

// flush writes in portions, each a transaction of its own: each locks rows of one table only, in the order
// of their ids. now is the clock of this process, against which the ages are measured.
func (s *Store) flush(ctx context.Context, now time.Time, g gathered) error {
	var err error
	size := flushPortion
	run := func(fn func(tx *database.Tx) error) {
		if err != nil {
			return
		}
		began := s.db.Clock()
		if err = s.db.Write(ctx, fn); err == nil {
			s.pulse.wrote(g, s.db.Clock())
		}
		size = nextPortion(size, s.db.Clock().Sub(began))
	}
	for rest := slices.Sorted(maps.Keys(g.seen)); len(rest) > 0; {
		ids := cut(&rest, size)
		run(func(tx *database.Tx) error { return writeSeen(tx, ids, ages(tx, now, ids, g.seen)) })
	}
	byJob := func(a, b wire.JobRef) int {
		return cmp.Or(strings.Compare(a.ID, b.ID), strings.Compare(a.Lease, b.Lease))
	}
	for rest := slices.SortedFunc(maps.Keys(g.leases), byJob); len(rest) > 0; {
		refs := cut(&rest, size)
		run(func(tx *database.Tx) error { return writeRenewals(tx, now, refs, g.leases) })
	}
	for rest := g.progress; len(rest) > 0; {
		part := cut(&rest, size)
		run(func(tx *database.Tx) error { return writeProgress(tx, now, part) })
	}
	if len(g.seen)+len(g.leases)+len(g.progress) == 0 {
		// Nothing to write: whether it could be is asked all the same, else a replica that nobody asks any
		// more would stay refused.
		run(func(tx *database.Tx) error {
			return tx.Exec("UPDATE server_state SET value = value WHERE key = 'sweep'").Error
		})
	}
	return err
}

// cut takes the first size of rest off.
func cut[T any](rest *[]T, size int) []T {
	n := min(size, len(*rest))
	part := (*rest)[:n]
	*rest = (*rest)[n:]
	return part
}

func ages(tx *database.Tx, now time.Time, ids []string, seen map[string]time.Time) []time.Time {
	times := make([]time.Time, len(ids))
	for i, id := range ids {
		times[i] = ago(tx, now, seen[id])
	}
	return times
}

// ago is the deciding clock's time of what this process's clock called at.
func ago(tx *database.Tx, now, at time.Time) time.Time {
	return database.Truncate(tx.Now.Add(-max(now.Sub(at), 0)))
}

// writeSeen brings hosts back online; only the sweeper takes them off.
func writeSeen(tx *database.Tx, ids []string, times []time.Time) error {
	var back []string
	if tx.Postgres() {
		err := tx.Raw(`WITH seen AS (SELECT * FROM unnest(?::uuid[], ?::timestamptz[]) AS v (id, at)),
			rows AS MATERIALIZED (SELECT hosts.id, hosts.status, seen.at FROM hosts JOIN seen USING (id)
				WHERE hosts.revoked_at IS NULL ORDER BY hosts.id FOR NO KEY UPDATE OF hosts),
			written AS (UPDATE hosts SET last_seen_at = greatest(hosts.last_seen_at, rows.at), status = 'online'
				FROM rows WHERE hosts.id = rows.id RETURNING hosts.id, rows.status)
			SELECT id FROM written WHERE status <> 'online'`, textArray(ids), timeArray(times)).Scan(&back).Error
		if err != nil {
			return fmt.Errorf("write who was seen: %w", err)
		}
	} else {
		seen := make([]any, 0, 2*len(ids))
		for i, id := range ids {
			seen = append(seen, id, times[i])
		}
		err := tx.Raw("SELECT id FROM hosts WHERE id IN ? AND status NOT IN ('online', 'revoked')", ids).Scan(&back).Error
		if err != nil {
			return fmt.Errorf("read who was seen: %w", err)
		}
		err = tx.Exec(`UPDATE hosts SET last_seen_at = max(coalesce(last_seen_at, seen.column2), seen.column2), status = 'online'
			FROM (VALUES `+strings.Repeat("(?, ?), ", len(ids)-1)+`(?, ?)) AS seen WHERE hosts.id = seen.column1 AND revoked_at IS NULL`, seen...).Error
		if err != nil {
			return fmt.Errorf("write who was seen: %w", err)
		}
	}
	for _, id := range back {
		tx.Notify(database.TopicHosts, database.TopicHost(id))
	}
	return nil
}

// writeRenewals is the rules' Heard for many jobs: same lease, still active, never back in time.
func writeRenewals(tx *database.Tx, now time.Time, refs []wire.JobRef, leases map[wire.JobRef]time.Time) error {
	heard, ids, names := make([]time.Time, len(refs)), make([]string, len(refs)), make([]string, len(refs))
	for i, ref := range refs {
		heard[i], ids[i], names[i] = ago(tx, now, leases[ref]), ref.ID, ref.Lease
	}
	var back []struct{ ID, HostID string }
	const set = `UPDATE jobs SET disconnected_since = NULL, unnamed_boot = '', unnamed_seq = 0, unnamed_polls = 0, `
	if tx.Postgres() {
		err := tx.Raw(`WITH heard AS (SELECT * FROM unnest(?::uuid[], ?::text[], ?::timestamptz[]) AS v (id, lease, at)),
			rows AS MATERIALIZED (SELECT jobs.id, jobs.disconnected_since, heard.at FROM jobs JOIN heard USING (id)
				WHERE jobs.lease = heard.lease AND jobs.state IN ('accepted', 'running') ORDER BY jobs.id FOR NO KEY UPDATE OF jobs),
			written AS (`+set+`heard_at = greatest(jobs.heard_at, rows.at),
					lease_expires_at = greatest(jobs.lease_expires_at, rows.at + make_interval(secs => ?))
				FROM rows WHERE jobs.id = rows.id RETURNING jobs.id, jobs.host_id, rows.disconnected_since)
			SELECT id, host_id FROM written WHERE disconnected_since IS NOT NULL`,
			textArray(ids), textArray(names), timeArray(heard), wire.LeaseDuration.Seconds()).Scan(&back).Error
		if err != nil {
			return fmt.Errorf("renew leases: %w", err)
		}
	} else {
		for i, id := range ids {
			where := ` WHERE id = ? AND lease = ? AND state IN ('accepted', 'running')`
			var gone []struct{ ID, HostID string }
			if err := tx.Raw("SELECT id, host_id FROM jobs"+where+" AND disconnected_since IS NOT NULL", id, names[i]).Scan(&gone).Error; err != nil {
				return fmt.Errorf("renew leases: %w", err)
			}
			back = append(back, gone...)
			err := tx.Exec(set+`heard_at = max(heard_at, ?), lease_expires_at = max(lease_expires_at, ?)`+where,
				heard[i], heard[i].Add(wire.LeaseDuration), id, names[i]).Error
			if err != nil {
				return fmt.Errorf("renew leases: %w", err)
			}
		}
	}
	for _, j := range back {
		tx.Notify(database.TopicJobs, database.TopicJob(j.ID), database.TopicHost(j.HostID))
	}
	return nil
}

// writeProgress is the rules' Progress for many jobs: the latest of the job's lease wins.
func writeProgress(tx *database.Tx, now time.Time, part []storing) error {
	const set = `progress = v.text, progress_lease = v.lease, progress_seq = v.seq, progress_at = v.at,
		stalled_since = CASE WHEN v.stalled IS NULL THEN NULL ELSE coalesce(jobs.stalled_since, v.stalled) END`
	const where = `jobs.lease = v.lease AND jobs.state = 'running' AND (jobs.progress_lease <> v.lease OR jobs.progress_seq < v.seq)`
	var ids, leases, texts, seqs []string
	var times, stalled []time.Time
	for _, x := range part {
		at := ago(tx, now, x.last.at)
		still := time.Duration(x.last.progress.StalledSeconds * float64(time.Second))
		var since time.Time
		if still >= wire.StallAfter {
			since = database.Truncate(at.Add(-still))
		}
		ids, leases, texts = append(ids, x.id), append(leases, x.last.lease), append(texts, x.last.text)
		seqs = append(seqs, fmt.Sprint(x.last.progress.Seq))
		times, stalled = append(times, at), append(stalled, since)
	}
	if tx.Postgres() {
		err := tx.Exec(`WITH v AS (SELECT * FROM unnest(?::uuid[], ?::text[], ?::text[], ?::bigint[], ?::timestamptz[], ?::timestamptz[])
				AS v (id, lease, text, seq, at, stalled)),
			rows AS MATERIALIZED (SELECT jobs.id FROM jobs JOIN v USING (id) ORDER BY jobs.id FOR NO KEY UPDATE OF jobs)
			UPDATE jobs SET `+set+` FROM v JOIN rows USING (id) WHERE jobs.id = v.id AND `+where,
			textArray(ids), textArray(leases), textArray(texts), textArray(seqs), timeArray(times), timeArray(stalled)).Error
		if err != nil {
			return fmt.Errorf("write progress: %w", err)
		}
	} else {
		for i, id := range ids {
			err := tx.Exec(`UPDATE jobs SET `+set+` FROM (SELECT ? AS id, ? AS lease, ? AS text, ? AS seq, ? AS at, ? AS stalled) AS v
				WHERE jobs.id = v.id AND `+where, id, leases[i], texts[i], part[i].last.progress.Seq, times[i], ptr(stalled[i])).Error
			if err != nil {
				return fmt.Errorf("write progress: %w", err)
			}
		}
	}
	for _, id := range ids {
		tx.Notify(database.TopicJob(id))
	}
	return nil
}

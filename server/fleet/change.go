package fleet

import (
	"fmt"

	"restic-manager/server/database"
	"restic-manager/server/fleet/job"
	"restic-manager/shared/wire"
)

// change is what one event made of one job.
type change struct {
	was, job job.Job
	fx       job.Effects
	// refused is the rules' answer to the caller. What changed is committed all the same.
	refused error
}

// apply has the rules decide on a locked job and writes what comes of it, with all its effects.
func (s *Store) apply(tx *database.Tx, row jobRow, e job.Event) (change, error) {
	return s.applyTo(tx, row.rules(), e)
}

func (s *Store) applyTo(tx *database.Tx, was job.Job, e job.Event) (change, error) {
	c := change{was: was}
	c.job, c.fx, c.refused = job.Apply(was, e, tx.Now)
	if c.job == was {
		return c, nil
	}
	ok, err := write(tx, was, c.job)
	if err != nil {
		return c, err
	}
	if !ok {
		return c, fmt.Errorf("job %s changed under its lock", was.ID)
	}
	if err := s.effects(tx, c); err != nil || !c.fx.Ended {
		return c, err
	}
	return c, recordBackup(tx, c.job)
}

// effects tells who must know, and finds who may go on.
func (s *Store) effects(tx *database.Tx, c change) error {
	tx.Notify(topics(c)...)
	if c.fx.Freed != "" {
		if err := wakeWaiters(tx, c.fx.Freed); err != nil {
			return err
		}
	}
	if c.fx.LeftQueue && c.job.Hold() == wire.HoldExclusive {
		return wakeBehind(tx, c.job)
	}
	return nil
}

// topics are those of a change that are known without asking the database.
func topics(c change) (all []string) {
	if visiblyChanged(c.was, c.job) {
		all = append(all, database.TopicJobs, database.TopicJob(c.job.ID), database.TopicHost(c.job.HostID))
	}
	if c.fx.WakeHost {
		all = append(all, database.TopicWake(c.job.HostID))
	}
	return all
}

// visiblyChanged leaves out what only renews a lease.
func visiblyChanged(a, b job.Job) bool {
	a.HeardAt, a.LeaseExpiresAt, a.Unnamed, a.WaitingSince = b.HeardAt, b.LeaseExpiresAt, b.Unnamed, b.WaitingSince
	a.ProgressLease, a.ProgressSeq = b.ProgressLease, b.ProgressSeq
	return a != b
}

// wakeWaiters wakes the polls of all hosts with a queued job on the hold key.
func wakeWaiters(tx *database.Tx, key string) error {
	var hosts []string
	err := tx.Raw(queuedOn(key, "DISTINCT jobs.host_id", "jobs.hold <> 'none'"), keyArg(key)).Scan(&hosts).Error
	if err != nil {
		return fmt.Errorf("find who waits for %s: %w", key, err)
	}
	for _, h := range hosts {
		tx.Notify(database.TopicWake(h))
	}
	return nil
}

// wakeBehind wakes those who may have waited behind a queued job.
func wakeBehind(tx *database.Tx, j job.Job) error {
	var own []string
	if err := tx.Raw("SELECT coalesce(repository_id, '') FROM hosts WHERE id = ?", j.HostID).Scan(&own).Error; err != nil {
		return fmt.Errorf("read the repository of host %s: %w", j.HostID, err)
	}
	_, id := j.Uses(job.Tie{ID: append(own, "")[0]})
	if id == "" {
		return nil // the host alone; it is awake
	}
	return wakeWaiters(tx, id)
}

// keyOfJob is what a job holds, of jobs joined with hosts: job.Job's Key in SQL.
const keyOfJob = `CASE WHEN jobs.target_setting IS NULL THEN coalesce(hosts.repository_id, 'host:' || hosts.id) ELSE coalesce(nullif(jobs.target, ''), 'host:' || hosts.id) END`

// queuedOn selects columns of the queued jobs that meet the condition and would hold the key, with the argument keyArg:
// those of hosts whose own repository it is, and those that are about it, each by an index of its own.
func queuedOn(key, columns, condition string) string {
	from := "SELECT " + columns + " FROM jobs JOIN hosts ON hosts.id = jobs.host_id WHERE jobs.state = 'queued' AND " + condition
	if isHostKey(key) {
		return from + " AND hosts.id = @key AND CASE WHEN jobs.target_setting IS NULL THEN hosts.repository_id IS NULL ELSE jobs.target = '' END"
	}
	return from + " AND hosts.repository_id = @key AND jobs.target_setting IS NULL UNION " + from + " AND jobs.target = @key AND jobs.target <> ''"
}

func keyArg(key string) map[string]any {
	if isHostKey(key) {
		key = key[len(job.HostKey("")):]
	}
	return map[string]any{"key": key}
}

func isHostKey(key string) bool {
	p := job.HostKey("")
	return len(key) > len(p) && key[:len(p)] == p
}

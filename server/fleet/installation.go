package fleet

import (
	"context"
	"fmt"
	"time"

	"restic-manager/server/database"
)

// Installation is what the database holds and what this replica does. Logs are estimated from the newest.
type Installation struct {
	Database      database.About
	SchemaVersion int64
	Now           time.Time
	Hosts         int64
	Jobs          int64
	JobsEstimated bool
	Snapshots     int64
	LogBytes      int64
	LongPolls     int64      // held by this replica
	LastSweepAt   *time.Time // by any replica; nil: none yet
	OfflineAfter  time.Duration
	OverdueAfter  time.Duration
}

const (
	// countedJobs is how many jobs are counted one by one; of more the database's own estimate is taken.
	countedJobs = 200_000
	// sampledLogs are as many of the newest logs as the mean is taken of.
	sampledLogs = 1000
)

// Installation looks at the database as a whole.
func (s *Store) Installation(ctx context.Context) (i Installation, err error) {
	i = Installation{LongPolls: s.seats.parked.Load(), OfflineAfter: s.settings.OfflineAfter, OverdueAfter: s.settings.OverdueAfter}
	if i.Now, err = s.db.Now(ctx); err != nil {
		return i, err
	}
	if i.Database, err = s.db.About(ctx); err != nil {
		return i, err
	}
	if i.SchemaVersion, err = s.db.SchemaVersion(ctx); err != nil {
		return i, err
	}
	db := s.db.Read(ctx)
	var counts struct{ Hosts, Snapshots, Logs, Mean int64 }
	err = db.Raw(`SELECT (SELECT count(*) FROM hosts) AS hosts, (SELECT coalesce(sum(snapshot_count), 0) FROM repositories) AS snapshots,
		(SELECT count(*) FROM logs WHERE expired_at IS NULL) AS logs,
		(SELECT CAST(coalesce(avg(kept), 0) AS bigint) FROM (SELECT head_bytes + tail_bytes AS kept FROM logs WHERE expired_at IS NULL
			ORDER BY created_at DESC LIMIT ?) x) AS mean`, sampledLogs).Scan(&counts).Error
	if err != nil {
		return i, fmt.Errorf("count what is stored: %w", err)
	}
	i.Hosts, i.Snapshots, i.LogBytes = counts.Hosts, counts.Snapshots, counts.Logs*counts.Mean
	if i.Jobs, i.JobsEstimated, err = s.countJobs(ctx); err != nil {
		return i, err
	}
	state, err := readSweep(db, "")
	if err != nil {
		return i, fmt.Errorf("read the sweeper's state: %w", err)
	}
	i.LastSweepAt = ptr(state.SweptAt.UTC())
	return i, nil
}

// countJobs counts the jobs. To count millions takes PostgreSQL seconds: its own estimate, which autovacuum renews, is
// near enough.
func (s *Store) countJobs(ctx context.Context) (n int64, estimated bool, err error) {
	db := s.db.Read(ctx)
	if s.db.Postgres() {
		if err := db.Raw("SELECT CAST(reltuples AS bigint) FROM pg_class WHERE oid = to_regclass('jobs')").Scan(&n).Error; err != nil {
			return 0, false, fmt.Errorf("estimate the jobs: %w", err)
		}
		if n > countedJobs {
			return n, true, nil
		}
	}
	if err := db.Raw("SELECT count(*) FROM jobs").Scan(&n).Error; err != nil {
		return 0, false, fmt.Errorf("count the jobs: %w", err)
	}
	return n, false, nil
}

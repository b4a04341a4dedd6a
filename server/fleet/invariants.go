package fleet

import (
	"context"
	"fmt"
	"strings"
	"time"

	"gorm.io/gorm"

	"restic-manager/server/database"
)

// The checks look at what is open and at the newest of what has ended, so that an hour's check costs the same
// in the tenth year as in the first.
const (
	newestJobs = 100_000
	// newestLogs are as many jobs whose chunks are counted; bodies are not read.
	newestLogs = 1_000
	// newestLists are as many lists whose snapshots are counted.
	newestLists = 200
	// auditWindow is twice the time between two checks.
	auditWindow = 2 * time.Hour
)

// invariant is a promise of the tables as a query that must find nothing; it gives one text per broken row.
// @newest and @few are ids of jobs: the checks begin with them. @since is the time that the audit trail is read
// from, @ticks how many of the newest due times are looked at.
type invariant struct{ rule, query string }

// brokenJobs finds jobs that meet the condition among the newest and those that are open, or hold, still: each by
// an index of its own.
func brokenJobs(text, condition string) string {
	var parts []string
	for _, those := range []string{"id >= @newest", "state IN ('queued', 'accepted', 'running')", "holding"} {
		parts = append(parts, "SELECT "+text+" FROM jobs WHERE "+those+" AND ("+condition+")")
	}
	return strings.Join(parts, " UNION ")
}

// unaudited finds what changed since @since and has not exactly one row of the audit trail.
func unaudited(noun, action, rows, changedAt, where string) string {
	return `SELECT '` + action + ` of ' || ` + rows + `.id || ' has ' || coalesce(a.n, 0) || ' rows of the audit trail' FROM ` + rows + `
		LEFT JOIN (SELECT target, count(*) AS n FROM audit WHERE at > @since AND action = '` + action + `' GROUP BY target) a
			ON a.target = '` + noun + `:' || ` + rows + `.id
		WHERE ` + where + ` AND ` + changedAt + ` > @since AND coalesce(a.n, 0) <> 1`
}

// invariants are checked in production too: a rule that fails is told, not repaired.
var invariants = []invariant{
	{"J1 an ended job has its end and its reason, an open one has neither", brokenJobs(`'job ' || id || ' is ' || state`,
		`(ended_at IS NULL) <> (state IN ('queued', 'accepted', 'running'))
		OR (error_code <> '') <> (state IN ('failed', 'canceled', 'lost', 'rejected', 'expired'))`)},
	{"J1 a reported end has its report", brokenJobs(`'job ' || id || ' is ' || state`,
		`(finish_sha256 <> '') <> (reported_at IS NOT NULL)
		OR (state IN ('succeeded', 'succeeded_with_issues', 'rejected') AND finish_sha256 = '')
		OR (state IN ('queued', 'accepted', 'running', 'lost', 'expired') AND finish_sha256 <> '')`)},
	{"J2 restic is started once per job", brokenJobs(`'job ' || id || ' is ' || state || ' with nonce ' || start_nonce`,
		`(start_nonce <> '') <> (started_at IS NOT NULL)
		OR (start_nonce = '' AND state IN ('running', 'succeeded', 'succeeded_with_issues', 'failed', 'lost'))
		OR (start_nonce <> '' AND state IN ('queued', 'accepted', 'rejected', 'expired'))`)},
	{"J2 a nonce starts one job", `SELECT 'nonce ' || start_nonce || ' started ' || count(*) || ' jobs' FROM jobs
		WHERE start_nonce <> '' AND state = 'running' GROUP BY start_nonce HAVING count(*) > 1`},
	{"J3 one job per lane and host", `SELECT 'host ' || host_id || ' has ' || count(*) || ' jobs in the lane ' || lane FROM jobs
		WHERE state IN ('accepted', 'running') GROUP BY host_id, lane HAVING count(*) > 1`},
	{"J3 one exclusive hold or any number of shared ones", `SELECT hold_key || ' has ' || count(*) || ' holds, an exclusive one among them' FROM jobs
		WHERE holding AND hold <> 'none' GROUP BY hold_key HAVING count(*) > 1 AND sum(CASE WHEN hold = 'exclusive' THEN 1 ELSE 0 END) > 0`},
	{"J3 a job that runs holds its repository, a queued one none", brokenJobs(`'job ' || id || ' is ' || state`,
		`(state = 'queued' AND (holding OR lease <> '' OR repository_name <> ''))
		OR (state IN ('accepted', 'running') AND hold <> 'none' AND NOT holding AND hold_released_at IS NULL)
		OR (ended_at IS NOT NULL AND holding AND NOT (state = 'lost' AND error_code = 'host_revoked'))`)},
	// One that was fetched and came back may meet the one that was queued meanwhile.
	{"J3 one queued job per host, policy and kind", `SELECT 'host ' || host_id || ' has ' || count(*) || ' queued jobs of policy ' || policy_id FROM jobs
		WHERE state = 'queued' AND policy_id IS NOT NULL AND target_setting IS NULL AND expires_at > @now AND delivery = 1 GROUP BY host_id, policy_id, kind HAVING count(*) > 1`},
	{"T1 a due time that was run names its job", `SELECT 'policy ' || policy_id || ' at host ' || host_id || ', due ' || due_at FROM (
		SELECT * FROM ticks WHERE outcome = 'run' ORDER BY due_at DESC LIMIT @ticks) t
		WHERE job_id IS NULL OR NOT EXISTS (SELECT 1 FROM jobs WHERE jobs.id = t.job_id AND jobs.host_id = t.host_id)`},
	{"T1 a due time up to which all is accounted for has its outcome", `SELECT 'policy ' || a.policy_id || ' at host ' || a.host_id || ' is accounted for until ' || a.accounted_until || ', next due ' || a.next_due_at
		FROM assignments a WHERE a.next_due_at <= a.accounted_until`},
	{"J4 a revoked host has no open job", `SELECT 'job ' || jobs.id || ' is ' || jobs.state FROM jobs JOIN hosts ON hosts.id = jobs.host_id
		WHERE hosts.revoked_at IS NOT NULL AND jobs.state IN ('queued', 'accepted', 'running')`},
	{"L1 a complete log has every line", `SELECT 'log of job ' || job_id || ': next line ' || next_line || ' of ' || coalesce(jobs.log_lines, -1) FROM logs
		JOIN jobs ON jobs.id = logs.job_id WHERE logs.job_id >= @newest AND logs.complete AND (jobs.log_lines IS NULL OR logs.next_line <> jobs.log_lines + 1)`},
	{"L1 the chunks of a log hold its lines, but for those it says are gone", `SELECT 'log of job ' || job_id || ': ' || held || ' of ' || lines || ' lines' FROM (
		SELECT job_id, next_line - 1 - CASE WHEN dropped_from > 0 THEN dropped_to - dropped_from + 1 ELSE 0 END AS lines,
			(SELECT coalesce(sum(line_count), 0) FROM log_chunks WHERE log_chunks.job_id = logs.job_id) AS held
		FROM logs WHERE job_id >= @few AND expired_at IS NULL) x WHERE held <> lines`},
	{"P1 a list has as many snapshots as it says", `SELECT 'repository ' || id || ': ' || held || ' of ' || snapshot_count || ' snapshots' FROM (
		SELECT id, snapshot_count, (SELECT count(*) FROM snapshots WHERE snapshots.repository_id = r.id) AS held
		FROM (SELECT id, snapshot_count FROM repositories WHERE refreshed_at IS NOT NULL ORDER BY refreshed_at DESC LIMIT @lists) r) x WHERE held <> snapshot_count`},
	{"P1 the snapshots of each host name add up to the list", `SELECT 'repository ' || id || ': ' || held || ' of ' || snapshot_count || ' snapshots' FROM (
		SELECT id, snapshot_count, (SELECT coalesce(sum(n.snapshot_count), 0) FROM repository_hostnames n WHERE n.repository_id = repositories.id) AS held
		FROM repositories) x WHERE held <> snapshot_count`},
	{"P1 a host has as many snapshots as its names have", `SELECT 'host ' || id || ': ' || held || ' of ' || snapshot_count || ' snapshots' FROM (
		SELECT id, snapshot_count, (SELECT coalesce(sum(c.snapshot_count), 0) FROM repository_hostnames c JOIN host_names n ON n.hostname = c.hostname
			WHERE c.repository_id = hosts.repository_id AND n.host_id = hosts.id) AS held
		FROM hosts) x WHERE held <> snapshot_count`},
	{"A1 a job was queued with one row of the audit trail", unaudited("job", "job.create", "jobs", "queued_at", "jobs.id >= @newest")},
	{"A1 a job was canceled with one row of the audit trail", unaudited("job", "job.cancel", "jobs", "cancel_requested_at", "jobs.id >= @newest")},
	{"A1 a host was revoked with one row of the audit trail", unaudited("host", "host.revoke", "hosts", "revoked_at", "hosts.revoked_at IS NOT NULL")},
}

// CheckInvariants looks for rows that break a promise. There are none, or something is wrong: with this
// program, or with what changed the database beside it.
func (s *Store) CheckInvariants(ctx context.Context) ([]Violation, error) {
	return Broken(ctx, s.db)
}

func checkInvariants(db *gorm.DB, now time.Time) ([]Violation, error) {
	bounds, err := bounds(db, now)
	if err != nil {
		return nil, err
	}
	var found []Violation
	for _, i := range invariants {
		var details []string
		if err := db.Raw(i.query+" LIMIT 100", i.arguments(bounds)...).Scan(&details).Error; err != nil {
			return nil, fmt.Errorf("check %q: %w", i.rule, err)
		}
		for _, d := range details {
			found = append(found, Violation{Rule: i.rule, Detail: d})
		}
	}
	return found, nil
}

func (i invariant) arguments(bounds map[string]any) []any {
	if strings.Contains(i.query, "@") {
		return []any{bounds}
	}
	return nil
}

// bounds are what the queries begin with.
func bounds(db *gorm.DB, now time.Time) (map[string]any, error) {
	bounds := map[string]any{"since": now.Add(-auditWindow), "lists": newestLists, "ticks": newestJobs, "now": now}
	for name, n := range map[string]int{"newest": newestJobs, "few": newestLogs} {
		var ids []string
		if err := db.Raw("SELECT id FROM jobs ORDER BY id DESC LIMIT 1 OFFSET ?", n-1).Scan(&ids).Error; err != nil {
			return nil, fmt.Errorf("find the newest jobs: %w", err)
		}
		bounds[name] = append(ids, database.FirstID)[0]
	}
	return bounds, nil
}

package fleet

import (
	"context"
	"fmt"
)

// invariants are the promises of the tables as queries that must find nothing; each gives one text per
// broken row. They are checked in production too: a rule that fails is told, not repaired.
var invariants = []struct{ rule, query string }{
	{"J1 an ended job has its end and its reason, an open one has neither", `SELECT 'job ' || id || ' is ' || state FROM jobs WHERE
		(ended_at IS NULL) <> (state IN ('queued', 'accepted', 'running'))
		OR (error_code <> '') <> (state IN ('failed', 'canceled', 'lost', 'rejected', 'expired'))`},
	{"J1 a reported end has its report", `SELECT 'job ' || id || ' is ' || state FROM jobs WHERE
		(finish_sha256 <> '') <> (reported_at IS NOT NULL)
		OR (state IN ('succeeded', 'succeeded_with_issues', 'rejected') AND finish_sha256 = '')
		OR (state IN ('queued', 'accepted', 'running', 'lost', 'expired') AND finish_sha256 <> '')`},
	{"J2 restic is started once per job", `SELECT 'job ' || id || ' is ' || state || ' with nonce ' || start_nonce FROM jobs WHERE
		(start_nonce <> '') <> (started_at IS NOT NULL)
		OR (start_nonce = '' AND state IN ('running', 'succeeded', 'succeeded_with_issues', 'failed', 'lost'))
		OR (start_nonce <> '' AND state IN ('queued', 'accepted', 'rejected', 'expired'))`},
	{"J2 a nonce starts one job", `SELECT 'nonce ' || start_nonce || ' started ' || count(*) || ' jobs' FROM jobs
		WHERE start_nonce <> '' AND state = 'running' GROUP BY start_nonce HAVING count(*) > 1`},
	{"J3 one job per lane and host", `SELECT 'host ' || host_id || ' has ' || count(*) || ' jobs in the lane ' || lane FROM jobs
		WHERE state IN ('accepted', 'running') GROUP BY host_id, lane HAVING count(*) > 1`},
	{"J3 one exclusive hold or any number of shared ones", `SELECT hold_key || ' has ' || count(*) || ' holds, an exclusive one among them' FROM jobs
		WHERE holding AND hold <> 'none' GROUP BY hold_key HAVING count(*) > 1 AND sum(CASE WHEN hold = 'exclusive' THEN 1 ELSE 0 END) > 0`},
	{"J3 a job that runs holds its repository, a queued one none", `SELECT 'job ' || id || ' is ' || state FROM jobs WHERE
		(state = 'queued' AND (holding OR lease <> '' OR repository_name <> ''))
		OR (state IN ('accepted', 'running') AND hold <> 'none' AND NOT holding AND hold_released_at IS NULL)
		OR (ended_at IS NOT NULL AND holding AND NOT (state = 'lost' AND error_code = 'host_revoked'))`},
	{"J4 a revoked host has no open job", `SELECT 'job ' || jobs.id || ' is ' || jobs.state FROM jobs JOIN hosts ON hosts.id = jobs.host_id
		WHERE hosts.revoked_at IS NOT NULL AND jobs.state IN ('queued', 'accepted', 'running')`},
	{"L1 a complete log has every line", `SELECT 'log of job ' || job_id || ': next line ' || next_line || ' of ' || coalesce(jobs.log_lines, -1) FROM logs
		JOIN jobs ON jobs.id = logs.job_id WHERE logs.complete AND (jobs.log_lines IS NULL OR logs.next_line <> jobs.log_lines + 1)`},
}

// CheckInvariants looks for rows that break a promise. There are none, or something is wrong: with this
// program, or with what changed the database beside it.
func (s *Store) CheckInvariants(ctx context.Context) ([]Violation, error) {
	var found []Violation
	for _, i := range invariants {
		var details []string
		if err := s.db.Read(ctx).Raw(i.query + " LIMIT 100").Scan(&details).Error; err != nil {
			return nil, fmt.Errorf("check %q: %w", i.rule, err)
		}
		for _, d := range details {
			found = append(found, Violation{Rule: i.rule, Detail: d})
		}
	}
	return found, nil
}

import type { Plan, Policy } from "../../api/policies";

/** A policy as it should be, for tests. */
export function testPolicy(changes: Partial<Policy> = {}): Policy {
	return {
		id: "01a21b1a-1111-79a0-9ae1-557bf1fbb854",
		name: "Servers",
		enabled: true,
		version: 3,
		spec: {
			hosts: { labels: { env: "prod" } },
			repository_id: "01a21b1a-0000-79a0-9ae1-557bf1fbb854",
			backup: { paths: ["/etc", "/srv"], excludes: ["*.tmp"], exclude_caches: true },
			schedule: { cron: "0 2 * * *", zone: "Europe/Vienna", spread_seconds: 3600 },
			keep: { daily: 7, weekly: 4 },
		},
		created_at: "2026-11-01T00:00:00Z",
		updated_at: "2026-11-20T00:00:00Z",
		host_count: 2,
		problem_count: 0,
		repository_name: "store",
		next_due_at: "2026-11-28T01:00:00Z",
		last: { run: 2, coalesced: 0, missed: 0, skipped: 0, succeeded: 2, issues: 0, failed: 0, open: 0 },
		...changes,
	};
}

export function testPlan(changes: Partial<Plan> = {}): Plan {
	return {
		hosts: { added: [], added_count: 0, removed: [], removed_count: 0, kept: 2, problems: [], problem_count: 0 },
		next_runs: [],
		changes: [],
		warnings: [],
		...changes,
	};
}

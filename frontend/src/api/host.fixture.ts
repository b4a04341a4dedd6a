import type { Host } from "./types";

/** A host as the server tells of it. */
export function host(name: string, more: Partial<Host> = {}): Host {
	return {
		id: `id-${name}`,
		name,
		labels: {},
		status: "online",
		protection: "protected",
		created_at: "2026-11-01T00:00:00Z",
		last_seen_at: "2026-11-27T03:00:00Z",
		last_success_at: "2026-11-27T01:00:00Z",
		last_backup: { job_id: `job-${name}`, state: "succeeded", ended_at: "2026-11-27T01:00:00Z" },
		facts: {
			hostname: name,
			os: "linux",
			os_version: "Debian 13",
			arch: "amd64",
			cpus: 2,
			memory_bytes: 0,
			agent_version: "1.0.0",
			restic_version: "0.18.0",
			restic_path: "/usr/bin/restic",
			time_zone: "UTC",
			restore_root: "/var/restore",
		},
		guard: { summary: "", kinds: [] },
		kinds: ["backup"],
		hooks: [],
		reported_repositories: [{ name: "main", location: "s3:s3.example.net/backups/web" }],
		agent_version: "1.0.0",
		restic_version: "0.18.0",
		protocol_version: 1,
		clock_skew_seconds: 0,
		snapshot_count: 3,
		latest_size_bytes: 1024,
		active_jobs: [],
		...more,
	};
}

import type { Host } from "../../api/types";

/** A machine as it should be, for tests. */
export function testHost(changes: Partial<Host> = {}): Host {
	return {
		id: "01a21b1a-724a-79a0-9ae1-557bf1fbb854",
		name: "web-1",
		labels: {},
		status: "online",
		protection: "protected",
		created_at: "2026-11-01T00:00:00Z",
		last_seen_at: "2026-11-27T11:59:50Z",
		last_success_at: "2026-11-27T03:00:00Z",
		last_backup: { job_id: "j1", state: "succeeded", ended_at: "2026-11-27T03:00:00Z" },
		facts: {
			hostname: "web-1",
			os: "linux",
			os_version: "Debian GNU/Linux 12 (bookworm)",
			arch: "amd64",
			cpus: 2,
			memory_bytes: 4 * 1024 ** 3,
			agent_version: "1.0.0",
			restic_version: "0.18.0",
			restic_path: "/usr/bin/restic",
			restore_root: "/var/lib/restic-manager-agent/restore",
			time_zone: "Etc/UTC",
		},
		guard: {
			summary: "allows backup, restore, check, init, snapshots, unlock (no guard.yaml: the defaults)",
			kinds: ["backup", "restore", "check", "init", "snapshots", "unlock"],
		},
		kinds: ["backup", "restore", "check", "prune", "forget", "init", "snapshots", "unlock"],
		hooks: [],
		reported_repositories: [{ name: "local", location: "/srv/repo" }],
		agent_version: "1.0.0",
		restic_version: "0.18.0",
		protocol_version: 1,
		clock_skew_seconds: 0,
		snapshot_count: 3,
		snapshots_refreshed_at: "2026-11-27T03:00:05Z",
		latest_size_bytes: 1024,
		active_jobs: [],
		...changes,
	};
}

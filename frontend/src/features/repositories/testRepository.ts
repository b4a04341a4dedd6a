import type { Repository } from "../../api/repositories";

/** A repository as it should be, for tests. */
export function testRepository(changes: Partial<Repository> = {}): Repository {
	return {
		id: "01a21b1a-0000-79a0-9ae1-557bf1fbb854",
		name: "store",
		url: "rest:https://b.example/x/{host}/",
		backend: "rest",
		per_host: true,
		append_only: true,
		auto_init: true,
		frozen_count: 0,
		missing_count: 0,
		waiting_removals: 0,
		env_keys: [],
		maintenance_env_keys: [],
		maintenance: { enabled: false, zone: "UTC", check_parts: 10, forget: "30 4 * * *" },
		host_count: 2,
		policy_count: 1,
		snapshot_count: 12,
		size_bytes: 1024 ** 3,
		created_at: "2026-11-01T00:00:00Z",
		updated_at: "2026-11-01T00:00:00Z",
		kit_made_at: "2026-11-02T00:00:00Z",
		kit_stale: false,
		contents: [],
		...changes,
	};
}

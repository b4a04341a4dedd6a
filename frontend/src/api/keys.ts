// The keys of what the page holds in memory, and which of them a topic of GET /api/changes makes stale.
export const keys = {
	me: ["me"] as const,
	fleet: ["fleet"] as const,
	hosts: ["hosts"] as const,
	host: (id: string) => ["host", id] as const,
	snapshots: (hostID: string) => ["snapshots", hostID] as const,
	jobs: ["jobs"] as const,
	jobsOf: (hostID: string) => ["jobs", "of", hostID] as const,
	job: (id: string) => ["job", id] as const,
	repositories: ["repositories"] as const,
	policies: ["policies"] as const,
	tokens: ["enrollment-tokens"] as const,
	sessions: ["sessions"] as const,
	operators: ["operators"] as const,
	apiKeys: ["api-keys"] as const,
	audit: ["audit"] as const,
	server: ["server"] as const,
	install: ["install"] as const,
};

/** The keys (prefixes of them) that a topic makes stale. */
export function staleBy(topic: string): readonly (readonly string[])[] {
	const at = topic.indexOf(":");
	const [noun, id] = at < 0 ? [topic, ""] : [topic.slice(0, at), topic.slice(at + 1)];
	switch (noun) {
		case "hosts":
			return [keys.hosts, keys.fleet];
		case "host":
			return [keys.host(id)];
		case "jobs":
			return [keys.jobs, keys.fleet, keys.hosts];
		case "job":
			return [keys.job(id)];
		case "snapshots":
			return [keys.snapshots(id), keys.host(id)];
		case "audit":
			return [keys.audit];
		default:
			return [[noun]];
	}
}

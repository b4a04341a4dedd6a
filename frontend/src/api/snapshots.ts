import { infiniteQueryOptions, queryOptions } from "@tanstack/react-query";
import { client, got } from "./client";
import { keys } from "./keys";

export interface SnapshotFilter {
	/** Part of one of the paths. */
	path?: string;
	tag?: string;
	/** The whole repository's, not only those of the host. */
	all?: boolean;
}

/** The snapshots of a host as the repository held them at refreshed_at, the newest first. */
export function snapshotsQuery(hostID: string, filter: SnapshotFilter) {
	return infiniteQueryOptions({
		queryKey: [...keys.snapshots(hostID), "list", filter] as const,
		queryFn: ({ pageParam, signal }) =>
			got(
				client.GET("/api/hosts/{id}/snapshots", {
					params: { path: { id: hostID }, query: { ...filter, limit: 50, cursor: pageParam } },
					signal,
				}),
			),
		initialPageParam: undefined as string | undefined,
		getNextPageParam: (page) => page.next_cursor,
	});
}

/** The newest snapshots, as many as a chart of a year has days. */
export function newestSnapshotsQuery(hostID: string, filter: SnapshotFilter) {
	return queryOptions({
		queryKey: [...keys.snapshots(hostID), "newest", filter] as const,
		queryFn: ({ signal }) =>
			got(
				client.GET("/api/hosts/{id}/snapshots", {
					params: { path: { id: hostID }, query: { ...filter, limit: 365 } },
					signal,
				}),
			),
	});
}

/** One snapshot, by its full id or 8 digits and more of it. */
export function snapshotQuery(hostID: string, snapshotID: string) {
	return queryOptions({
		queryKey: [...keys.snapshots(hostID), "one", snapshotID] as const,
		queryFn: ({ signal }) =>
			got(
				client.GET("/api/hosts/{id}/snapshots/{snapshot}", {
					params: { path: { id: hostID, snapshot: snapshotID } },
					signal,
				}),
			),
	});
}

import { infiniteQueryOptions, queryOptions } from "@tanstack/react-query";
import { client, got } from "./client";
import { keys } from "./keys";
import type { components } from "./schema";
import type { BackupSpec, JobKind, JobState } from "./types";

export type CalendarDay = components["schemas"]["CalendarDay"];

/** How a host's backups ended, by the day of the reader's zone; days without any are left out. */
export function calendarQuery(hostID: string, days: number, utcOffsetMinutes: number) {
	return queryOptions({
		queryKey: [...keys.jobsOf(hostID), "calendar", days, utcOffsetMinutes] as const,
		queryFn: ({ signal }) =>
			got(
				client.GET("/api/hosts/{id}/calendar", {
					params: { path: { id: hostID }, query: { days, utc_offset_minutes: utcOffsetMinutes } },
					signal,
				}),
			),
	});
}

/** Which jobs of a host; times are those of the order. */
export interface HistoryFilter {
	state?: JobState[];
	kind?: JobKind;
	after?: string;
	before?: string;
}

/** A host's jobs, the newest first. */
export function historyQuery(hostID: string, filter: HistoryFilter) {
	return infiniteQueryOptions({
		queryKey: [...keys.jobsOf(hostID), "list", filter] as const,
		queryFn: ({ pageParam, signal }) =>
			got(
				client.GET("/api/jobs", {
					params: { query: { host: hostID, ...filter, limit: 50, cursor: pageParam } },
					signal,
				}),
			),
		initialPageParam: undefined as string | undefined,
		getNextPageParam: (page) => page.next_cursor,
	});
}

/** What the last backup of the host was asked; null: there was none. */
export function lastBackupQuery(hostID: string) {
	return queryOptions({
		queryKey: [...keys.jobsOf(hostID), "last backup"] as const,
		queryFn: async ({ signal }) => {
			const page = await got(
				client.GET("/api/jobs", { params: { query: { host: hostID, kind: "backup", limit: 1 } }, signal }),
			);
			return (page.jobs[0]?.spec as BackupSpec | undefined) ?? null;
		},
	});
}

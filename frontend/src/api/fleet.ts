import { type QueryClient, queryOptions } from "@tanstack/react-query";
import { client, got } from "./client";
import { keys } from "./keys";
import type { components, operations } from "./schema";
import type { Host } from "./types";

export type Overview = components["schemas"]["Overview"];
export type Attention = components["schemas"]["Attention"];
export type HostGroup = components["schemas"]["HostGroup"];
export type HostPage = components["schemas"]["HostPage"];

type ListQuery = NonNullable<operations["listHosts"]["parameters"]["query"]>;
/** Which hosts, in which order; what is left out is the server's default. */
export type HostListing = Omit<ListQuery, "cursor" | "limit">;
/** Which hosts. */
export type HostFilter = Omit<HostListing, "sort" | "order" | "group">;

/** What is to be known of the hosts that match: how many are protected, and which need somebody. */
export function fleetQuery(filter: HostFilter = {}, group?: string) {
	return queryOptions({
		queryKey: [...keys.fleet, filter, group ?? ""] as const,
		queryFn: ({ signal }) => got(client.GET("/api/fleet", { params: { query: { ...filter, group } }, signal })),
	});
}

/** One page of a listing. */
export function readHosts(
	listing: HostListing,
	cursor: string | undefined,
	limit: number,
	signal?: AbortSignal,
): Promise<HostPage> {
	return got(client.GET("/api/hosts", { params: { query: { ...listing, cursor, limit } }, signal }));
}

/** The first hosts whose name holds the text: for a choice while it is typed. */
export function findHostsQuery(search: string, limit = 8) {
	return queryOptions({
		queryKey: [...keys.hosts, "find", search, limit] as const,
		queryFn: async ({ signal }) => (await readHosts({ search: search || undefined }, undefined, limit, signal)).hosts,
	});
}

/** All hosts of a listing, page after page; each once, although some may move while it is read. */
export async function allHosts(listing: HostListing, signal?: AbortSignal): Promise<Host[]> {
	const all = new Map<string, Host>();
	let cursor: string | undefined;
	do {
		const page = await readHosts(listing, cursor, 1000, signal);
		for (const host of page.hosts) all.set(host.id, host);
		cursor = page.next_cursor;
	} while (cursor);
	return [...all.values()];
}

/** Makes stale whatever shows hosts or jobs. */
export function staleFleet(queries: QueryClient) {
	for (const key of [keys.hosts, keys.fleet, keys.jobs, ["host"], ["job"]])
		void queries.invalidateQueries({ queryKey: key });
}

/** The machines to try settings on: as many as one call gives, those with the label where there is one. */
export function tryHostsQuery(label: string | undefined) {
	return queryOptions({
		queryKey: [...keys.hosts, "try", label ?? ""] as const,
		queryFn: async ({ signal }) =>
			(await readHosts({ label, status: ["online", "offline"] }, undefined, 1000, signal)).hosts,
	});
}

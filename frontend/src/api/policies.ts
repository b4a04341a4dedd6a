import {
	infiniteQueryOptions,
	keepPreviousData,
	type QueryClient,
	queryOptions,
	useMutation,
	useQueryClient,
} from "@tanstack/react-query";
import { client, got } from "./client";
import { keys } from "./keys";
import type { components } from "./schema";

type Schemas = components["schemas"];

export type PolicySpec = Schemas["PolicySpec"];
export type Windows = NonNullable<PolicySpec["schedule"]["windows"]>;
/** What bounds the times at which a schedule's runs begin. */
export interface Within {
	windows: Windows;
	late_seconds: number;
}
export type PolicyHosts = Schemas["PolicySelector"];
export type Keep = Schemas["Keep"];
export type Policy = Schemas["Policy"];
export type LastDay = Schemas["PolicyLast"];
export type Change = Schemas["PolicyChange"];
export type Tick = Schemas["Tick"];
export type HostPolicies = Schemas["HostPolicies"];
export type Ran = Schemas["RunJob"];

export type HostRef = Schemas["HostRef"];
export type FleetCalendar = Schemas["FleetCalendar"];
export type Plan = Schemas["PolicyPlan"];
export interface PolicyDraft {
	name: string;
	enabled: boolean;
	spec: PolicySpec;
}
export interface TickFilter {
	policy_id?: string;
	host_id?: string;
	outcome?: Tick["outcome"];
}

export const policiesQuery = queryOptions({
	queryKey: keys.policies,
	queryFn: ({ signal }) => got(client.GET("/api/policies", { signal })),
});

export const policyQuery = (id: string) =>
	queryOptions({
		queryKey: [...keys.policies, id] as const,
		queryFn: ({ signal }) => got(client.GET("/api/policies/{id}", { params: { path: { id } }, signal })),
	});

/** Who changed what of it, the newest first. */
export const policyVersionsQuery = (id: string) =>
	queryOptions({
		queryKey: [...keys.policies, id, "versions"] as const,
		queryFn: ({ signal }) => got(client.GET("/api/policies/{id}/versions", { params: { path: { id } }, signal })),
	});

/** The machines it applies to. */
export const policyHostsQuery = (id: string) =>
	infiniteQueryOptions({
		queryKey: [...keys.policies, id, "hosts"] as const,
		queryFn: ({ pageParam, signal }) =>
			got(
				client.GET("/api/policies/{id}/hosts", {
					params: { path: { id }, query: { limit: 100, cursor: pageParam } },
					signal,
				}),
			),
		initialPageParam: undefined as string | undefined,
		getNextPageParam: (page) => page.next_cursor,
	});

/** What applies to one machine, and whether its agent knows. */
export const hostPoliciesQuery = (hostID: string) =>
	queryOptions({
		queryKey: [...keys.policies, "of host", hostID] as const,
		queryFn: ({ signal }) => got(client.GET("/api/hosts/{id}/policies", { params: { path: { id: hostID } }, signal })),
	});

/** Due times and what became of them, the newest first. */
export const ticksQuery = (filter: TickFilter) =>
	infiniteQueryOptions({
		queryKey: [...keys.policies, "ticks", filter] as const,
		queryFn: ({ pageParam, signal }) =>
			got(
				client.GET("/api/ticks", {
					params: { query: { ...filter, limit: 50, cursor: pageParam } },
					signal,
				}),
			),
		initialPageParam: undefined as string | undefined,
		getNextPageParam: (page) => page.next_cursor,
		placeholderData: keepPreviousData,
	});

/** What ran in the last days, and what is due in the next hours. */
export const fleetCalendarQuery = (days: number, aheadHours: number, utcOffsetMinutes: number) =>
	queryOptions({
		queryKey: [...keys.fleet, "calendar", days, aheadHours, utcOffsetMinutes] as const,
		queryFn: ({ signal }) =>
			got(
				client.GET("/api/fleet/calendar", {
					params: { query: { days, ahead_hours: aheadHours, utc_offset_minutes: utcOffsetMinutes } },
					signal,
				}),
			),
	});

/** A schedule in words, and its next times. What is wrong with it is the error. */
export const scheduleQuery = (cron: string, zone: string, spreadSeconds: number, within?: Within) =>
	queryOptions({
		queryKey: ["schedule", cron, zone, spreadSeconds, within] as const,
		queryFn: ({ signal }) =>
			got(
				client.POST("/api/schedules/preview", {
					body: { cron, zone, ...(spreadSeconds > 0 && { spread_seconds: spreadSeconds }), ...within },
					signal,
				}),
			),
		placeholderData: keepPreviousData,
		retry: false,
		refetchInterval: false,
	});

/** What a draft would do: nothing is written. */
export function readPlan(draft: PolicyDraft, id: string | undefined, signal?: AbortSignal): Promise<Plan> {
	return got(client.POST("/api/policies/plan", { body: { ...draft, ...(id && { id }) }, signal }));
}

/** The plan of a draft that is based on a version of the policy; read anew each time it is asked for. */
export const planQuery = (draft: PolicyDraft, id: string | undefined, version: number | undefined) =>
	queryOptions({
		queryKey: ["plan", id ?? "", version ?? 0, draft] as const,
		queryFn: ({ signal }) => readPlan(draft, id, signal),
		staleTime: 0,
		gcTime: 0,
		refetchInterval: false,
		refetchOnWindowFocus: false,
		retry: false,
	});

/** How many machines these are, and the first of them: the plan of a draft that nobody saves. */
export const countQuery = (hosts: PolicyHosts) =>
	queryOptions({
		queryKey: [...keys.hosts, "policy count", hosts] as const,
		queryFn: async ({ signal }) => {
			const plan = await readPlan(
				{
					name: "draft",
					enabled: false,
					spec: {
						hosts,
						backup: { paths: ["/"] },
						schedule: { cron: "0 2 * * *", zone: "UTC" },
					},
				},
				undefined,
				signal,
			);
			return {
				hosts: plan.hosts.kept + plan.hosts.added_count,
				first: plan.hosts.added.slice(0, 5),
			};
		},
		placeholderData: keepPreviousData,
		retry: false,
		refetchInterval: false,
	});

function stale(queries: QueryClient, policy?: Policy) {
	if (policy) queries.setQueryData([...keys.policies, policy.id], policy);
	for (const key of [keys.policies, keys.fleet, keys.hosts, keys.repositories])
		void queries.invalidateQueries({ queryKey: key });
}

/** Makes a policy, or saves the one of the id over the version it was read at. */
export function useWritePolicy() {
	const queries = useQueryClient();
	return useMutation({
		mutationFn: ({ id, version, ...draft }: PolicyDraft & { id?: string; version?: number }) =>
			id === undefined
				? got(client.POST("/api/policies", { body: draft }))
				: got(
						client.PUT("/api/policies/{id}", { params: { path: { id } }, body: { ...draft, version: version ?? 0 } }),
					),
		onSuccess: (policy) => stale(queries, policy),
	});
}

export function useDeletePolicy(id: string) {
	const queries = useQueryClient();
	return useMutation({
		mutationFn: () => got(client.DELETE("/api/policies/{id}", { params: { path: { id } } })),
		onSuccess: () => {
			queries.removeQueries({ queryKey: [...keys.policies, id] });
			stale(queries);
		},
	});
}

/** Orders the policy's backup now, of all its machines or of these. */
export function useRunPolicy(id: string) {
	const queries = useQueryClient();
	return useMutation({
		mutationFn: (host_ids: string[]) =>
			got(
				client.POST("/api/policies/{id}/run", {
					params: { path: { id } },
					body: host_ids.length > 0 ? { host_ids } : {},
				}),
			),
		onSuccess: () => {
			stale(queries);
			for (const key of [keys.jobs, ["host"]]) void queries.invalidateQueries({ queryKey: key });
		},
	});
}

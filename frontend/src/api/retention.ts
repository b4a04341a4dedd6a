import { keepPreviousData, type QueryClient, queryOptions, useMutation, useQueryClient } from "@tanstack/react-query";
import { client, got } from "./client";
import { keys } from "./keys";
import type { Keep } from "./policies";
import type { components } from "./schema";

type Schemas = components["schemas"];

export type RetentionPreview = Schemas["RetentionPreview"];
export type Judged = Schemas["Judged"];
export type Removal = Schemas["Removal"];
export type Work = "forget" | "prune" | "check";

/** What a rule would keep of a machine's snapshots; nothing is removed. */
export const retentionQuery = (hostID: string, policyID: string | undefined, keep: Keep) =>
	queryOptions({
		queryKey: ["retention", hostID, policyID ?? "", keep] as const,
		queryFn: ({ signal }) =>
			got(
				client.POST("/api/retention/preview", {
					body: { host_id: hostID, keep, ...(policyID && { policy_id: policyID }) },
					signal,
				}),
			),
		placeholderData: keepPreviousData,
		retry: false,
		refetchInterval: false,
	});

/** What retention removed from a repository, or would remove, the newest first. */
export const removalsQuery = (id: string) =>
	queryOptions({
		queryKey: [...keys.repositories, id, "removals"] as const,
		queryFn: ({ signal }) => got(client.GET("/api/repositories/{id}/removals", { params: { path: { id } }, signal })),
	});

function stale(queries: QueryClient) {
	void queries.invalidateQueries({ queryKey: keys.jobs });
	return queries.invalidateQueries({ queryKey: keys.repositories });
}

/** Says yes or no to a removal that waits for it. */
export function useDecide() {
	const queries = useQueryClient();
	return useMutation({
		mutationFn: ({ id, yes }: { id: string; yes: boolean }) =>
			yes
				? got(client.POST("/api/removals/{id}/approve", { params: { path: { id } } }))
				: got(client.POST("/api/removals/{id}/refuse", { params: { path: { id } } })),
		onSuccess: () => stale(queries),
	});
}

/** Has snapshots count that no job of ours made: all of a repository. */
export function useAdopt(id: string) {
	const queries = useQueryClient();
	return useMutation({
		mutationFn: (repository_id: string) =>
			got(client.POST("/api/repositories/{id}/adopt", { params: { path: { id } }, body: { repository_id } })),
		onSuccess: () => stale(queries),
	});
}

/** Says that somebody has looked: what does not count is left out, and retention goes on. */
export function useUnfreeze(id: string) {
	const queries = useQueryClient();
	return useMutation({
		mutationFn: (repository_id: string) =>
			got(client.POST("/api/repositories/{id}/unfreeze", { params: { path: { id } }, body: { repository_id } })),
		onSuccess: () => stale(queries),
	});
}

/** Removes what no policy keeps, frees its space, or verifies the next part of the data, now. */
export function useMaintain(id: string) {
	const queries = useQueryClient();
	return useMutation({
		mutationFn: (body: { repository_id: string; kind: Work }) =>
			got(client.POST("/api/repositories/{id}/maintain", { params: { path: { id } }, body })),
		onSuccess: () => stale(queries),
	});
}

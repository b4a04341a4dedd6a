import { type QueryClient, queryOptions, useMutation, useQueryClient } from "@tanstack/react-query";
import { client, got } from "./client";
import { keys } from "./keys";
import type { components } from "./schema";
import type { Host } from "./types";

export type UpdateHost = components["schemas"]["UpdateHost"];
export type PutRepository = components["schemas"]["PutRepository"];

/** One host. While it works it is asked again every 2 s: GET /api/changes tells progress to those who follow the job alone. */
export function hostQuery(id: string) {
	return queryOptions({
		queryKey: keys.host(id),
		queryFn: ({ signal }) => readHost(id, signal),
		refetchInterval: (query) => (query.state.data?.active_jobs.some((j) => j.state !== "queued") ? 2000 : 60_000),
	});
}

// Without hooks: what is done to many hosts tells the pages once, at its end.

export function readHost(id: string, signal?: AbortSignal): Promise<Host> {
	return got(client.GET("/api/hosts/{id}", { params: { path: { id } }, signal }));
}

export function setLabels(id: string, labels: Record<string, string>, signal?: AbortSignal): Promise<Host> {
	return got(client.PATCH("/api/hosts/{id}", { params: { path: { id } }, body: { labels }, signal }));
}

export function revoke(id: string, signal?: AbortSignal): Promise<Host> {
	return got(client.POST("/api/hosts/{id}/revoke", { params: { path: { id } }, signal }));
}

function changed(queries: QueryClient, host: Host) {
	queries.setQueryData(keys.host(host.id), host);
	void queries.invalidateQueries({ queryKey: keys.hosts });
	void queries.invalidateQueries({ queryKey: keys.fleet });
}

function staleHost(queries: QueryClient, id: string) {
	void queries.invalidateQueries({ queryKey: keys.hosts });
	void queries.invalidateQueries({ queryKey: keys.fleet });
	return queries.invalidateQueries({ queryKey: keys.host(id) });
}

/** Renames or labels. */
export function useUpdateHost(id: string) {
	const queries = useQueryClient();
	return useMutation({
		mutationFn: (body: UpdateHost) => got(client.PATCH("/api/hosts/{id}", { params: { path: { id } }, body })),
		onSuccess: (host) => changed(queries, host),
	});
}

/** Voids the host's credential; its jobs that are open are lost. */
export function useRevokeHost(id: string) {
	const queries = useQueryClient();
	return useMutation({
		mutationFn: () => revoke(id),
		onSuccess: (host) => changed(queries, host),
	});
}

/** Revokes the host and deletes it with its jobs and logs. The repository is not touched. */
export function useDeleteHost(id: string) {
	const queries = useQueryClient();
	return useMutation({
		mutationFn: () => got(client.DELETE("/api/hosts/{id}", { params: { path: { id } } })),
		onSuccess: () => {
			queries.removeQueries({ queryKey: keys.host(id) });
			queries.removeQueries({ queryKey: keys.snapshots(id) });
			void queries.invalidateQueries({ queryKey: keys.hosts });
			void queries.invalidateQueries({ queryKey: keys.fleet });
			void queries.invalidateQueries({ queryKey: keys.jobs });
		},
	});
}

/** Says that one of the two copies is switched off. */
export function useClearCloneAlarm(id: string) {
	const queries = useQueryClient();
	return useMutation({
		mutationFn: () => got(client.POST("/api/hosts/{id}/clone-alarm/clear", { params: { path: { id } } })),
		onSuccess: (host) => changed(queries, host),
	});
}

/** Has the server hold the host's repository, in place of what its own configuration names. */
export function usePutRepository(id: string) {
	const queries = useQueryClient();
	return useMutation({
		mutationFn: (body: PutRepository) =>
			got(client.PUT("/api/hosts/{id}/repository", { params: { path: { id } }, body })),
		// The password does not outlive the dialog.
		gcTime: 0,
		onSuccess: () => staleHost(queries, id),
	});
}

/** Lets the host's own configuration name the repository again. */
export function useDeleteRepository(id: string) {
	const queries = useQueryClient();
	return useMutation({
		mutationFn: () => got(client.DELETE("/api/hosts/{id}/repository", { params: { path: { id } } })),
		onSuccess: () => staleHost(queries, id),
	});
}

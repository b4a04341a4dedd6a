import { type QueryClient, queryOptions, useMutation, useQueryClient } from "@tanstack/react-query";
import { call } from "./call";
import { keys } from "./keys";
import type { Job } from "./types";

/** When the server has a repository maintained, and how. */
export interface Maintenance {
	enabled: boolean;
	zone: string;
	/** Cron expressions; without one it is never done. */
	forget?: string;
	prune?: string;
	check?: string;
	/** Into how many parts the stored data is cut: each check reads the next one. */
	check_parts?: number;
	max_unused_percent?: number;
}

export interface RepositoryContent {
	/** restic's. */
	repository_id: string;
	host?: { id: string; name: string };
	snapshot_count: number;
	refreshed_at?: string;
	frozen?: string;
	frozen_at?: string;
	last_forget_at?: string;
	last_prune_at?: string;
	next_forget_at?: string;
	next_prune_at?: string;
	next_check_at?: string;
	fully_checked_at?: string;
	checked_parts: number;
	parts: number;
}

export interface Repository {
	id: string;
	name: string;
	url: string;
	backend: "local" | "rest" | "sftp" | "s3" | "b2" | "azure" | "gs" | "swift";
	per_host: boolean;
	append_only: boolean;
	env_keys: string[];
	maintenance_env_keys: string[];
	runner?: { id: string; name: string };
	maintenance: Maintenance;
	host_count: number;
	policy_count: number;
	snapshot_count: number;
	size_bytes: number;
	created_at: string;
	updated_at: string;
	kit_made_at?: string;
	kit_stale: boolean;
	/** When all data of all it holds was last verified. */
	fully_checked_at?: string;
	frozen_count?: number;
	contents?: RepositoryContent[];
}

export interface WriteRepository {
	name?: string;
	url?: string;
	password?: string;
	append_only?: boolean;
	env?: Record<string, string>;
	maintenance_env?: Record<string, string>;
	runner_id?: string;
	maintenance?: Maintenance;
}

export interface Revealed {
	password: string;
	env: Record<string, string>;
	maintenance_env: Record<string, string>;
}

export interface RepositoryHost {
	id: string;
	name: string;
	repository_id?: string;
	url: string;
}

/** The repositories that the server holds, for one machine or for many. */
export const repositoriesQuery = queryOptions({
	queryKey: keys.repositories,
	queryFn: ({ signal }) => call<{ repositories: Repository[] }>("GET", "/api/repositories", { signal }),
});

export const repositoryQuery = (id: string) =>
	queryOptions({
		queryKey: [...keys.repositories, id] as const,
		queryFn: ({ signal }) => call<Repository>("GET", "/api/repositories/{id}", { params: { path: { id } }, signal }),
	});

/** The machines that use it, each with the place of its own. */
export const repositoryHostsQuery = (id: string) =>
	queryOptions({
		queryKey: [...keys.repositories, id, "hosts"] as const,
		queryFn: ({ signal }) =>
			call<{ hosts: RepositoryHost[] }>("GET", "/api/repositories/{id}/hosts", { params: { path: { id } }, signal }),
	});

function stale(queries: QueryClient) {
	void queries.invalidateQueries({ queryKey: keys.policies });
	void queries.invalidateQueries({ queryKey: ["host"] });
	return queries.invalidateQueries({ queryKey: keys.repositories });
}

/** Makes one, or changes the one of the id. The secrets do not outlive the form. */
export function useWriteRepository(id?: string) {
	const queries = useQueryClient();
	return useMutation({
		mutationFn: (body: WriteRepository) =>
			id === undefined
				? call<Repository>("POST", "/api/repositories", { body })
				: call<Repository>("PATCH", "/api/repositories/{id}", { params: { path: { id } }, body }),
		gcTime: 0,
		onSuccess: () => stale(queries),
	});
}

/** Has the server forget it. The data is not touched. */
export function useDeleteRepositorySetting(id: string) {
	const queries = useQueryClient();
	return useMutation({
		mutationFn: () => call<void>("DELETE", "/api/repositories/{id}", { params: { path: { id } } }),
		onSuccess: () => {
			queries.removeQueries({ queryKey: [...keys.repositories, id] });
			void stale(queries);
		},
	});
}

/** Its secrets, for who proves again to be an administrator. */
export function useReveal(id: string) {
	return useMutation({
		mutationFn: (current_password: string) =>
			call<Revealed>("POST", "/api/repositories/{id}/reveal", { params: { path: { id } }, body: { current_password } }),
		gcTime: 0,
	});
}

/** The recovery kit, an encrypted file. */
export function useKit(id: string) {
	const queries = useQueryClient();
	return useMutation({
		mutationFn: (body: { passphrase: string; current_password: string }) =>
			call<Blob>("POST", "/api/repositories/{id}/kit", { params: { path: { id } }, body, parseAs: "blob" }),
		gcTime: 0,
		onSuccess: () => stale(queries),
	});
}

/** Has a machine ask the repository for its snapshots, whether it uses it or not. */
export function useTestRepository(id: string) {
	return useMutation({
		mutationFn: (host_id: string) =>
			call<Job>("POST", "/api/repositories/{id}/test", { params: { path: { id } }, body: { host_id } }),
	});
}

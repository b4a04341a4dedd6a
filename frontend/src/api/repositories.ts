import { type QueryClient, queryOptions, useMutation, useQueryClient } from "@tanstack/react-query";
import { client, got } from "./client";
import { keys } from "./keys";
import type { components } from "./schema";

type Schemas = components["schemas"];

export type Maintenance = Schemas["Maintenance"];
export type RepositoryContent = Schemas["RepositoryContent"];
export type Repository = Schemas["Repository"];
export type RepositoryHost = Schemas["RepositoryHost"];
export type CreateRepository = Schemas["CreateRepository"];
export type Rotation = Schemas["Rotation"];
export type GrowthDay = Schemas["GrowthDay"];
export type UpdateRepository = Schemas["UpdateRepository"];

/** The repositories that the server holds, for one machine or for many. */
export const repositoriesQuery = queryOptions({
	queryKey: keys.repositories,
	queryFn: ({ signal }) => got(client.GET("/api/repositories", { signal })),
});

export const repositoryQuery = (id: string) =>
	queryOptions({
		queryKey: [...keys.repositories, id] as const,
		queryFn: ({ signal }) => got(client.GET("/api/repositories/{id}", { params: { path: { id } }, signal })),
	});

/** The machines that use it, each with the place of its own. */
export const repositoryHostsQuery = (id: string) =>
	queryOptions({
		queryKey: [...keys.repositories, id, "hosts"] as const,
		queryFn: ({ signal }) => got(client.GET("/api/repositories/{id}/hosts", { params: { path: { id } }, signal })),
	});

/** What a repository held day by day; without one: all of them together. */
export const growthQuery = (id: string | undefined, days: number) =>
	queryOptions({
		queryKey: [...keys.repositories, id ?? "all", "growth", days] as const,
		queryFn: ({ signal }) =>
			id === undefined
				? got(client.GET("/api/growth", { params: { query: { days } }, signal }))
				: got(client.GET("/api/repositories/{id}/growth", { params: { path: { id }, query: { days } }, signal })),
		staleTime: 600_000,
	});

function stale(queries: QueryClient) {
	void queries.invalidateQueries({ queryKey: keys.policies });
	void queries.invalidateQueries({ queryKey: ["host"] });
	return queries.invalidateQueries({ queryKey: keys.repositories });
}

/** Makes one. The secrets do not outlive the form. */
export function useCreateRepository() {
	const queries = useQueryClient();
	return useMutation({
		mutationFn: (body: CreateRepository) => got(client.POST("/api/repositories", { body })),
		gcTime: 0,
		onSuccess: () => stale(queries),
	});
}

/** Changes one. The secrets do not outlive the form. */
export function useUpdateRepository(id: string) {
	const queries = useQueryClient();
	return useMutation({
		mutationFn: (body: UpdateRepository) =>
			got(client.PATCH("/api/repositories/{id}", { params: { path: { id } }, body })),
		gcTime: 0,
		onSuccess: () => stale(queries),
	});
}

/** Has the server forget it. The data is not touched. */
export function useDeleteRepositorySetting(id: string) {
	const queries = useQueryClient();
	return useMutation({
		mutationFn: () => got(client.DELETE("/api/repositories/{id}", { params: { path: { id } } })),
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
			got(client.POST("/api/repositories/{id}/reveal", { params: { path: { id } }, body: { current_password } })),
		gcTime: 0,
	});
}

/** The recovery kit, an encrypted file, and what it is to be called. */
export function useKit(id: string) {
	const queries = useQueryClient();
	return useMutation({
		mutationFn: async (body: { passphrase: string; current_password: string }) => {
			const answer = await client.POST("/api/repositories/{id}/kit", {
				params: { path: { id } },
				body,
				parseAs: "blob",
			});
			const name = /filename="([^"]+)"/.exec(answer.response.headers.get("Content-Disposition") ?? "")?.[1];
			return { file: await got<Blob>(Promise.resolve(answer)), name: name ?? "recovery-kit.age" };
		},
		gcTime: 0,
		onSuccess: () => stale(queries),
	});
}

/** Has a machine ask the repository for its snapshots, whether it uses it or not. */
export function useTestRepository(id: string) {
	return useMutation({
		mutationFn: (host_id: string) =>
			got(client.POST("/api/repositories/{id}/test", { params: { path: { id } }, body: { host_id } })),
	});
}

/** Gives the repository another password, or has a change that is under way go on at once. */
export function useRotate(id: string) {
	const queries = useQueryClient();
	return useMutation({
		mutationFn: (host_id: string) =>
			got(
				client.POST("/api/repositories/{id}/rotate", {
					params: { path: { id } },
					body: { ...(host_id && { host_id }) },
				}),
			),
		onSuccess: () => stale(queries),
	});
}

/** Ends a change of the password that cannot go on. */
export function useGiveUpRotation(id: string) {
	const queries = useQueryClient();
	return useMutation({
		mutationFn: () => got(client.POST("/api/repositories/{id}/rotate/give-up", { params: { path: { id } } })),
		onSuccess: () => stale(queries),
	});
}

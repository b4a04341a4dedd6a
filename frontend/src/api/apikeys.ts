import { queryOptions, useMutation, useQueryClient } from "@tanstack/react-query";
import { client, got } from "./client";
import { keys } from "./keys";
import type { components } from "./schema";

export type APIKey = components["schemas"]["APIKey"];

/** The keys of programs, newest first. */
export const apiKeysQuery = queryOptions({
	queryKey: keys.apiKeys,
	queryFn: ({ signal }) => got(client.GET("/api/api-keys", { signal })),
});

export type Scope = APIKey["scopes"][number];

export interface NewAPIKey {
	name: string;
	/** All that the role may; without it scopes are given. */
	role?: APIKey["role"];
	scopes?: Scope[];
	expires_in_seconds?: number;
}

/** Makes a key. Its secret is in the answer alone, and not kept in the page's memory of mutations. */
export function useMakeAPIKey() {
	const queries = useQueryClient();
	return useMutation({
		mutationFn: (body: NewAPIKey) => got(client.POST("/api/api-keys", { body })),
		gcTime: 0,
		onSuccess: () => void queries.invalidateQueries({ queryKey: keys.apiKeys }),
	});
}

/** Makes a key void. */
export function useDeleteAPIKey() {
	const queries = useQueryClient();
	return useMutation({
		mutationFn: (id: string) => got(client.DELETE("/api/api-keys/{id}", { params: { path: { id } } })),
		onSuccess: () => void queries.invalidateQueries({ queryKey: keys.apiKeys }),
	});
}

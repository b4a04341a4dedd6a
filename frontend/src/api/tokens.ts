import { infiniteQueryOptions, queryOptions, useMutation, useQueryClient } from "@tanstack/react-query";
import { client, got } from "./client";
import { keys } from "./keys";

/** Enrollment tokens, newest first, used and expired ones too. */
export const tokensQuery = infiniteQueryOptions({
	queryKey: [...keys.tokens, "list"],
	queryFn: ({ pageParam, signal }) =>
		got(client.GET("/api/enrollment-tokens", { params: { query: { limit: 100, cursor: pageParam } }, signal })),
	initialPageParam: undefined as string | undefined,
	getNextPageParam: (page) => page.next_cursor,
});

/** One token: whether a machine has used it, and which. */
export const tokenQuery = (id: string) =>
	queryOptions({
		queryKey: [...keys.tokens, id],
		queryFn: ({ signal }) => got(client.GET("/api/enrollment-tokens/{id}", { params: { path: { id } }, signal })),
	});

export interface NewToken {
	name?: string;
	labels?: Record<string, string>;
	expires_in_seconds?: number;
}

/** Makes a token. Its secret is in the answer alone, and not kept in the page's memory of mutations. */
export function useMakeToken() {
	const queries = useQueryClient();
	return useMutation({
		mutationFn: (body: NewToken) => got(client.POST("/api/enrollment-tokens", { body })),
		gcTime: 0,
		onSuccess: () => void queries.invalidateQueries({ queryKey: [...keys.tokens, "list"] }),
	});
}

/** Makes a token void. */
export function useVoidToken() {
	const queries = useQueryClient();
	return useMutation({
		mutationFn: (id: string) => got(client.DELETE("/api/enrollment-tokens/{id}", { params: { path: { id } } })),
		onSuccess: () => void queries.invalidateQueries({ queryKey: [...keys.tokens, "list"] }),
	});
}

import { type QueryClient, queryOptions, useMutation, useQueryClient } from "@tanstack/react-query";
import { client, forgetAnswers, got } from "./client";
import { keys } from "./keys";
import { session } from "./link";
import type { Me } from "./types";

/** Who is signed in. */
export const meQuery = queryOptions({
	queryKey: keys.me,
	queryFn: async ({ signal }) => {
		const me = await got(client.GET("/api/auth/me", { signal }));
		session.set("signed_in");
		return me;
	},
	staleTime: 60_000,
});

async function begin(queries: QueryClient) {
	const before = queries.getQueryData<Me>(keys.me);
	const me = await queries.fetchQuery({ ...meQuery, staleTime: 0 });
	// Another person than before must not see what the first one could.
	if (before && before.id !== me.id) {
		forgetAnswers();
		queries.clear();
		queries.setQueryData(keys.me, me);
		return;
	}
	await queries.invalidateQueries();
}

export function useSignIn() {
	const queries = useQueryClient();
	return useMutation({
		mutationFn: (body: { username: string; password: string }) => got(client.POST("/api/auth/login", { body })),
		onSuccess: () => begin(queries),
	});
}

export function useSetUp() {
	const queries = useQueryClient();
	return useMutation({
		mutationFn: (body: { code: string; username: string; password: string }) =>
			got(client.POST("/api/setup", { body })),
		onSuccess: () => begin(queries),
	});
}

export function useSignOut() {
	const queries = useQueryClient();
	return useMutation({
		mutationFn: () => got(client.POST("/api/auth/logout")),
		onSuccess: () => {
			forgetAnswers();
			session.set("signed_out");
			queries.clear();
		},
	});
}

const ranks = { viewer: 0, operator: 1, administrator: 2 } as const;

/** Whether the role may do what needs at least this one. */
export function mayAs(role: Me["role"] | undefined, least: Me["role"]): boolean {
	return role !== undefined && ranks[role] >= ranks[least];
}

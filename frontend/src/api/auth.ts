import { type QueryClient, queryOptions, useMutation, useQueryClient } from "@tanstack/react-query";
import { client, forgetAnswers, got } from "./client";
import { keys } from "./keys";
import { session } from "./link";
import { Problem } from "./problem";
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
	// Another person than before must see neither what the first one could nor what they typed.
	if (before && before.id !== me.id) {
		location.reload();
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
		// The session ended by itself: that is what was asked for.
		onError: (error) => {
			if (error instanceof Problem && error.status === 401) session.set("signed_out");
		},
	});
}

/** One's own password. The other sessions end, this one goes on. */
export function useChangePassword() {
	return useMutation({
		mutationFn: (body: { current: string; new: string }) => got(client.PUT("/api/auth/password", { body })),
	});
}

/** Which field of an account an error is about, and what is wrong with it; undefined: none of them. */
export function accountFault(
	error: unknown,
): { field: "code" | "username" | "current" | "password"; message: string } | undefined {
	if (!(error instanceof Problem)) return undefined;
	for (const [at, field] of [
		["code", "code"],
		["username", "username"],
		["current", "current"],
		["password", "password"],
		["new", "password"],
	] as const) {
		const message = error.fields[at];
		if (message) return { field, message };
	}
	if (error.code === "bad_setup_code") return { field: "code", message: error.message };
	if (error.code === "wrong_password") return { field: "current", message: error.message };
	if (error.code === "username_taken") return { field: "username", message: error.message };
	// The rules of names and passwords are told without a place.
	if (error.status === 422 && /^(The|That) password /.test(error.message))
		return { field: "password", message: error.message };
	if (error.status === 422 && /^A user name /.test(error.message)) return { field: "username", message: error.message };
	return undefined;
}

const ranks = { viewer: 0, operator: 1, administrator: 2 } as const;

/** Whether the role may do what needs at least this one. */
export function mayAs(role: Me["role"] | undefined, least: Me["role"]): boolean {
	return role !== undefined && ranks[role] >= ranks[least];
}

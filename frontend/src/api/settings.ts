import { infiniteQueryOptions, queryOptions, useMutation, useQueryClient } from "@tanstack/react-query";
import { client, got } from "./client";
import { keys } from "./keys";
import type { Role } from "./types";

/** The server itself: version, database, what it holds. */
export const serverQuery = queryOptions({
	queryKey: keys.server,
	queryFn: ({ signal }) => got(client.GET("/api/server", { signal })),
	refetchInterval: 10_000,
});

/** How a machine is added: the command, the agents to download, whom a machine is to trust. */
export const installQuery = queryOptions({
	queryKey: keys.install,
	queryFn: ({ signal }) => got(client.GET("/api/install", { signal })),
});

/** One's own sign-ins. */
export const sessionsQuery = queryOptions({
	queryKey: keys.sessions,
	queryFn: ({ signal }) => got(client.GET("/api/sessions", { signal })),
});

/** Ends these sessions one after the other; those that ended by themselves meanwhile count as ended. */
export function useEndSessions() {
	const queries = useQueryClient();
	return useMutation({
		mutationFn: async (ids: readonly string[]) => {
			for (const id of ids) {
				const { error, response } = await client.DELETE("/api/sessions/{id}", { params: { path: { id } } });
				if (!response.ok && response.status !== 404) await got(Promise.resolve({ error, response }));
			}
		},
		onSettled: () => queries.invalidateQueries({ queryKey: keys.sessions }),
	});
}

/** The accounts. */
export const operatorsQuery = infiniteQueryOptions({
	queryKey: keys.operators,
	queryFn: ({ pageParam, signal }) =>
		got(client.GET("/api/operators", { params: { query: { limit: 200, cursor: pageParam } }, signal })),
	initialPageParam: undefined as string | undefined,
	getNextPageParam: (page) => page.next_cursor,
});

export function useCreateOperator() {
	const queries = useQueryClient();
	return useMutation({
		mutationFn: (body: { username: string; password: string; role: Role }) =>
			got(client.POST("/api/operators", { body })),
		gcTime: 0,
		onSuccess: () => queries.invalidateQueries({ queryKey: keys.operators }),
	});
}

export interface OperatorPatch {
	role?: Role;
	disabled?: boolean;
	password?: string;
	username?: string;
}

export function useUpdateOperator() {
	const queries = useQueryClient();
	return useMutation({
		mutationFn: ({ id, ...body }: OperatorPatch & { id: string }) =>
			got(client.PATCH("/api/operators/{id}", { params: { path: { id } }, body })),
		gcTime: 0,
		onSuccess: () =>
			Promise.all([
				queries.invalidateQueries({ queryKey: keys.operators }),
				queries.invalidateQueries({ queryKey: keys.me }),
			]),
	});
}

export function useDeleteOperator() {
	const queries = useQueryClient();
	return useMutation({
		mutationFn: (id: string) => got(client.DELETE("/api/operators/{id}", { params: { path: { id } } })),
		onSuccess: () => queries.invalidateQueries({ queryKey: keys.operators }),
	});
}

export interface AuditFilter {
	/** An action (host.revoke) or its noun (host). */
	action?: string;
	/** An id or a name. */
	actor?: string;
	/** noun:id, or the noun. */
	target?: string;
	/** Times, RFC 3339: from after on, until before. */
	after?: string;
	before?: string;
}

/** Who changed what, newest first. */
export const auditQuery = (filter: AuditFilter) =>
	infiniteQueryOptions({
		queryKey: [...keys.audit, filter],
		queryFn: ({ pageParam, signal }) =>
			got(client.GET("/api/audit", { params: { query: { ...filter, limit: 100, cursor: pageParam } }, signal })),
		initialPageParam: undefined as string | undefined,
		getNextPageParam: (page) => page.next_cursor,
		// The list stands still while the next filter's is fetched.
		placeholderData: (before) => before,
	});

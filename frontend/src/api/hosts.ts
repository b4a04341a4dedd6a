import { queryOptions, useMutation, useQueryClient } from "@tanstack/react-query";
import { client, got } from "./client";
import { keys } from "./keys";

/** One machine. */
export const hostQuery = (id: string) =>
	queryOptions({
		queryKey: keys.host(id),
		queryFn: ({ signal }) => got(client.GET("/api/hosts/{id}", { params: { path: { id } }, signal })),
	});

/** Names the host's repository on the server, in place of that in its agent.yaml. */
export function usePutRepository(hostID: string) {
	const queries = useQueryClient();
	return useMutation({
		mutationFn: (body: { url: string; password: string; env?: Record<string, string> }) =>
			got(client.PUT("/api/hosts/{id}/repository", { params: { path: { id: hostID } }, body })),
		gcTime: 0,
		onSuccess: () => queries.invalidateQueries({ queryKey: keys.host(hostID) }),
	});
}

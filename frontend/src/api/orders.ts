import { type QueryClient, useMutation, useQueryClient } from "@tanstack/react-query";
import { client, got } from "./client";
import { keys } from "./keys";
import type { Job, OrderJob } from "./types";

/**
 * A key for one order: the server takes what comes twice under one key (a double click, an answer that was lost) as one
 * order. randomUUID is missing where the page came over plain HTTP, getRandomValues is not.
 */
export function orderKey(): string {
	return Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, "0")).join("");
}

// Without hooks: what is done to many hosts tells the pages once, at its end.

/** Orders once more what the job was asked. */
export function orderAgain(jobID: string, key = orderKey(), signal?: AbortSignal): Promise<Job> {
	return got(
		client.POST("/api/jobs/{id}/retry", {
			params: { path: { id: jobID }, header: { "Idempotency-Key": key } },
			signal,
		}),
	);
}

export function order(hostID: string, body: OrderJob, key = orderKey(), signal?: AbortSignal): Promise<Job> {
	return got(
		client.POST("/api/hosts/{id}/jobs", {
			params: { path: { id: hostID }, header: { "Idempotency-Key": key } },
			body,
			signal,
		}),
	);
}

export function cancel(jobID: string, signal?: AbortSignal): Promise<Job> {
	return got(client.POST("/api/jobs/{id}/cancel", { params: { path: { id: jobID } }, signal }));
}

function stale(queries: QueryClient, job: Job) {
	queries.setQueryData(keys.job(job.id), job);
	void queries.invalidateQueries({ queryKey: keys.jobs });
	void queries.invalidateQueries({ queryKey: keys.host(job.host_id) });
	void queries.invalidateQueries({ queryKey: keys.hosts });
	void queries.invalidateQueries({ queryKey: keys.fleet });
}

/** An order and the key of the dialog it was made in. */
export interface Order {
	key: string;
	body: OrderJob;
}

/** Orders a job of the host. `waited` says that the same order was already there, and that this is its job. */
export function useOrderJob(hostID: string) {
	const queries = useQueryClient();
	return useMutation({
		mutationFn: async ({ key, body }: Order): Promise<{ job: Job; waited: boolean }> => {
			const answer = await client.POST("/api/hosts/{id}/jobs", {
				params: { path: { id: hostID }, header: { "Idempotency-Key": key } },
				body,
			});
			const job = await got(Promise.resolve(answer));
			return { job, waited: answer.response.status === 200 };
		},
		onSuccess: ({ job }) => stale(queries, job),
	});
}

/** Asks a job to stop: a queued one ends at once, a running one with its agent's next call. */
export function useCancelJob() {
	const queries = useQueryClient();
	return useMutation({
		mutationFn: (jobID: string) => cancel(jobID),
		onSuccess: (job) => stale(queries, job),
	});
}

/** Orders once more what a job that has ended was asked; the answer is the new job. */
export function useRetryJob() {
	const queries = useQueryClient();
	return useMutation({
		mutationFn: ({ jobID, key }: { jobID: string; key: string }) => orderAgain(jobID, key),
		onSuccess: (job) => stale(queries, job),
	});
}

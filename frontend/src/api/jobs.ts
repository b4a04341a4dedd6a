import { infiniteQueryOptions, queryOptions } from "@tanstack/react-query";
import { client, got } from "./client";
import { keys } from "./keys";
import { isOpen, type Job, type JobKind, type JobState } from "./types";

/** Which jobs are asked for; days are of the reader's zone, both inclusive. */
export interface JobFilter {
	/** Part of a machine's name. */
	search?: string;
	state?: readonly JobState[];
	kind?: JobKind;
	/** key or key=value */
	label?: string;
	/** 2026-11-27 */
	from?: string;
	to?: string;
	host?: string;
	/** A policy's id. */
	policy?: string;
	/** The id of a repository that the server holds. */
	repository?: string;
}

/** How many jobs one call gives. */
const pageSize = 100;

export interface JobsPage {
	jobs: Job[];
	next_cursor?: string;
}

/** The first moment of a day in the reader's zone, moved by whole days, as the server reads it. */
export function startOfDay(day: string, plus = 0): string {
	const [y, m, d] = day.split("-").map(Number);
	return new Date(y ?? 1970, (m ?? 1) - 1, (d ?? 1) + plus).toISOString();
}

function page(f: JobFilter, cursor: string | undefined, signal: AbortSignal): Promise<JobsPage> {
	return got(
		client.GET("/api/jobs", {
			params: {
				query: {
					limit: pageSize,
					cursor,
					host: f.host,
					policy: f.policy,
					repository: f.repository,
					search: f.search,
					state: f.state ? [...f.state] : undefined,
					kind: f.kind,
					label: f.label,
					after: f.from ? startOfDay(f.from) : undefined,
					before: f.to ? startOfDay(f.to, 1) : undefined,
				},
			},
			querySerializer: { array: { style: "form", explode: false } },
			signal,
		}),
	);
}

const busy = (jobs: readonly Job[]) => jobs.some((j) => isOpen(j.state));

/** The newest jobs: made stale by every change, and asked for often while one of them is at work. */
export const newestJobsQuery = (f: JobFilter) =>
	queryOptions({
		queryKey: [...keys.jobs, "newest", f],
		queryFn: ({ signal }) => page(f, undefined, signal),
		refetchInterval: (q) => (q.state.data && busy(q.state.data.jobs) ? 3000 : 60_000),
	});

/**
 * All jobs page by page, from the newest on. It is kept apart from the newest ones: a change makes those stale at once,
 * while many pages are asked for again at a pace of their own, so that a busy fleet cannot keep them from arriving.
 */
export const olderJobsQuery = (f: JobFilter) =>
	infiniteQueryOptions({
		queryKey: ["older-jobs", f],
		initialPageParam: "",
		queryFn: ({ pageParam, signal }) => page(f, pageParam || undefined, signal),
		getNextPageParam: (last) => last.next_cursor,
		refetchInterval: (q) => (q.state.data?.pages.some((p) => busy(p.jobs)) ? 15_000 : 60_000),
	});

/** The newest jobs and what is below them, each once. */
export function joined(newest: JobsPage | undefined, older: readonly JobsPage[] | undefined): Job[] {
	if (!newest) return [];
	const last = newest.jobs.at(-1);
	if (!last || !newest.next_cursor || !older) return newest.jobs;
	// Ids are in the order of their making.
	const seen = new Set<string>();
	const below = older
		.flatMap((p) => p.jobs)
		.filter((j) => j.id < last.id && !seen.has(j.id) && seen.add(j.id) !== undefined);
	return [...newest.jobs, ...below];
}

/** Whether so many jobs were made that between the newest ones and the pages below some are missing. */
export function apart(newest: JobsPage | undefined, older: readonly JobsPage[] | undefined): boolean {
	const last = newest?.jobs.at(-1);
	const first = older?.[0]?.jobs[0];
	return Boolean(newest?.next_cursor && last && first && first.id < last.id);
}

/** One job. While it is at work it is asked for often: the feed of changes tells of progress only now and then. */
export const jobQuery = (id: string) =>
	queryOptions({
		queryKey: keys.job(id),
		queryFn: ({ signal }) => got(client.GET("/api/jobs/{id}", { params: { path: { id } }, signal })),
		refetchInterval: (q) => pace(q.state.data),
	});

/** Milliseconds until a job is asked for again. */
export function pace(job: Job | undefined): number {
	if (!job) return 60_000;
	if (job.state === "running" || job.state === "accepted") return job.disconnected_since ? 5000 : 1500;
	if (job.state === "queued") return 5000;
	return job.log_complete || job.log_problem ? 60_000 : 5000;
}

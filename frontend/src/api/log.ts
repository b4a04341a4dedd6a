import { client, got } from "./client";
import type { LogPage } from "./types";

/** The most lines that one call gives. */
export const mostLines = 5000;

interface Stretch {
	/** The last line one has; 0: from the beginning. */
	after: number;
	limit: number;
	/** Seconds to wait for more when there is none. */
	wait?: number;
}

/** Lines of a job's log after a number. They may be fewer than asked for: an answer is bounded by bytes too. */
export function readLog(jobID: string, { after, limit, wait }: Stretch, signal?: AbortSignal): Promise<LogPage> {
	return got(
		client.GET("/api/jobs/{id}/log", { params: { path: { id: jobID }, query: { after, limit, wait } }, signal }),
	);
}

/** Where the whole log is, as text. */
export function logFile(jobID: string): string {
	return `/api/jobs/${encodeURIComponent(jobID)}/log.txt`;
}

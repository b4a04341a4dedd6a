import { useRef } from "react";
import type { Job } from "../../api/types";
import { type Reading, remaining, remember, speed } from "../../lib/progress";

export interface Pace {
	/** 0 to 1; undefined while restic still counts. */
	part: number | undefined;
	/** Bytes a second. */
	rate: number | undefined;
	/** Seconds to the end. */
	left: number | undefined;
}

/** How fast a running job is, by what was seen of it while this is on the page. */
export function usePace(job: Job): Pace {
	const readings = useRef<{ id: string; seen: Reading[] }>({ id: job.id, seen: [] });
	const p = job.progress;
	if (readings.current.id !== job.id) readings.current = { id: job.id, seen: [] };
	if (!p) return { part: undefined, rate: undefined, left: undefined };
	const at = job.progress_at ? Date.parse(job.progress_at) : p.elapsed_seconds * 1000;
	if (readings.current.seen.at(-1)?.at !== at)
		readings.current.seen = remember(readings.current.seen, {
			at,
			bytesDone: p.bytes_done,
			totalBytes: p.total_bytes,
			elapsedSeconds: p.elapsed_seconds,
		});
	const rate = speed(readings.current.seen);
	return {
		part: p.total_bytes > 0 || p.percent_done > 0 ? p.percent_done : undefined,
		rate,
		left: remaining(readings.current.seen.at(-1), rate),
	};
}

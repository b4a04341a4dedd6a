/** What is known of a running job at one moment. */
export interface Reading {
	/** When it was read, ms of a monotonic clock or epoch. */
	at: number;
	bytesDone: number;
	totalBytes: number;
	elapsedSeconds: number;
}

/** Bytes a second over the last half minute, or over all that is known when that is less; undefined before anything moved. */
export function speed(readings: readonly Reading[]): number | undefined {
	const last = readings.at(-1);
	if (!last) return undefined;
	const first = readings.find((r) => last.at - r.at <= 30_000 && r.bytesDone <= last.bytesDone) ?? last;
	const seconds = (last.at - first.at) / 1000;
	if (seconds >= 2) return (last.bytesDone - first.bytesDone) / seconds;
	return last.elapsedSeconds > 0 && last.bytesDone > 0 ? last.bytesDone / last.elapsedSeconds : undefined;
}

/**
 * Seconds until the end at this speed; undefined while restic still counts (no total), when nothing moves, and when the
 * answer would be longer than a month: a number nobody should plan by.
 */
export function remaining(r: Reading | undefined, bytesPerSecond: number | undefined): number | undefined {
	if (!r || r.totalBytes <= 0 || !bytesPerSecond || bytesPerSecond < 1) return undefined;
	const seconds = Math.max(0, r.totalBytes - r.bytesDone) / bytesPerSecond;
	return seconds > 30 * 86400 ? undefined : seconds;
}

/** Keeps the readings that speed needs; readings of an earlier attempt (less done than before) begin anew. */
export function remember(readings: readonly Reading[], next: Reading): Reading[] {
	const last = readings.at(-1);
	if (last && (next.bytesDone < last.bytesDone || next.elapsedSeconds < last.elapsedSeconds)) return [next];
	if (last && next.at === last.at) return [...readings.slice(0, -1), next];
	return [...readings.filter((r) => next.at - r.at <= 40_000), next];
}

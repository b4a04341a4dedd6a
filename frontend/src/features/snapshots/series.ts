import type { Snapshot } from "../../api/types";

/** One place of the chart: a snapshot, or a day of them. */
export interface Point {
	/** ms */
	at: number;
	/** What the newest snapshot of it holds; null: restic stored no figures. */
	size: number | null;
	/** What all of it added to the repository, before compression. */
	added: number;
	snapshots: number;
}

/** Snapshots that hold the same paths of the same machine: only their sizes can be compared. */
export interface Series {
	key: string;
	hostname: string;
	paths: string[];
	snapshots: Snapshot[];
}

/** The snapshots by what they hold, the series with the newest first. */
export function seriesOf(snapshots: readonly Snapshot[]): Series[] {
	const by = new Map<string, Series>();
	for (const s of [...snapshots].sort((a, b) => Date.parse(b.time) - Date.parse(a.time))) {
		const paths = [...s.paths].sort();
		const key = JSON.stringify([s.hostname, paths]);
		const series = by.get(key);
		if (series) series.snapshots.push(s);
		else by.set(key, { key, hostname: s.hostname, paths, snapshots: [s] });
	}
	return [...by.values()];
}

/** Above this many snapshots a point is a day. */
export const mostPoints = 90;

/** The points of a series, the oldest first. Where there are many snapshots, those of one day in the reader's zone are one. */
export function pointsOf(snapshots: readonly Snapshot[]): Point[] {
	const oldest = [...snapshots].sort((a, b) => Date.parse(a.time) - Date.parse(b.time));
	const daily = oldest.length > mostPoints;
	const points: Point[] = [];
	let day = "";
	for (const s of oldest) {
		const at = Date.parse(s.time);
		const known = s.size_bytes > 0 || s.summary !== undefined;
		const size = known ? s.size_bytes : null;
		const d = new Date(at).toDateString();
		const last = points.at(-1);
		if (daily && last && d === day) {
			last.at = at;
			last.size = size ?? last.size;
			last.added += s.data_added;
			last.snapshots++;
		} else {
			points.push({ at, size, added: s.data_added, snapshots: 1 });
		}
		day = d;
	}
	return points;
}

/** The figures of all points in short. */
export interface Trend {
	first: number;
	last: number;
	firstSize: number;
	lastSize: number;
	added: number;
	snapshots: number;
}

/** Undefined when no size is known. */
export function trendOf(points: readonly Point[]): Trend | undefined {
	const sized = points.filter((p): p is Point & { size: number } => p.size !== null);
	const a = sized[0];
	const b = sized.at(-1);
	if (!a || !b) return undefined;
	return {
		first: a.at,
		last: b.at,
		firstSize: a.size,
		lastSize: b.size,
		added: points.reduce((n, p) => n + p.added, 0),
		snapshots: points.reduce((n, p) => n + p.snapshots, 0),
	};
}

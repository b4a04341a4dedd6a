import type { LogPage } from "../../api/types";

/** The most lines that are remembered to match. */
export const mostMatches = 100_000;

/** Where a text stands in a line: beginnings and ends, in order, at most 200 of them. */
export function placesOf(text: string, query: string, exact: boolean): [number, number][] {
	if (query === "") return [];
	const places: [number, number][] = [];
	if (exact) {
		for (let i = text.indexOf(query); i >= 0 && places.length < 200; i = text.indexOf(query, i + query.length))
			places.push([i, i + query.length]);
		return places;
	}
	// Some letters change their length with their case: only a pattern keeps the places right.
	const pattern = new RegExp(query.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"), "giu");
	for (const m of text.matchAll(pattern)) {
		if (places.length >= 200) break;
		places.push([m.index, m.index + m[0].length]);
	}
	return places;
}

/** A test of lines for a text. */
export function matcher(query: string, exact: boolean): (text: string) => boolean {
	if (exact) return (text) => text.includes(query);
	const pattern = new RegExp(query.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"), "iu");
	return (text) => pattern.test(text);
}

export type Read = (after: number, signal: AbortSignal) => Promise<Pick<LogPage, "lines" | "next">>;

/**
 * The search of one text in a log: goes through its lines in order, a page in memory at a time, and keeps the numbers of
 * those that match. It can be stopped, and goes on where it was when more lines have come.
 */
export class Search {
	readonly query: string;
	readonly exact: boolean;
	/** Lines that match, in order. */
	readonly matches: number[] = [];
	/** The last line that was looked at. */
	searched = 0;
	/** More lines match than are remembered. */
	full = false;
	readonly #matches: (text: string) => boolean;

	constructor(query: string, exact: boolean) {
		this.query = query;
		this.exact = exact;
		this.#matches = matcher(query, exact);
	}

	/** Looks at the lines up to one; tells after every page. */
	async run(to: number, read: Read, signal: AbortSignal, tell: () => void) {
		while (this.searched < to && !this.full) {
			const page = await read(this.searched, signal);
			if (signal.aborted) return;
			this.take(page.lines);
			// An answer without a line and without a step forward has nothing after it either.
			this.searched = page.next > this.searched ? page.next : to;
			tell();
		}
	}

	take(lines: LogPage["lines"]) {
		for (const line of lines) {
			if (line.n <= this.searched || !this.#matches(line.text)) continue;
			if (this.matches.length >= mostMatches) {
				this.full = true;
				return;
			}
			this.matches.push(line.n);
		}
	}

	/** Which of the matches comes next after (or, backwards, before) a line; round the ends. -1: there is none. */
	next(line: number, backwards = false): number {
		const n = this.matches.length;
		if (n === 0) return -1;
		let low = 0;
		let high = n;
		while (low < high) {
			const mid = (low + high) >> 1;
			const m = this.matches[mid] ?? 0;
			if (backwards ? m < line : m <= line) low = mid + 1;
			else high = mid;
		}
		return backwards ? (low - 1 + n) % n : low % n;
	}
}

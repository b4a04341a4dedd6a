import type { LogLine, LogPage } from "../../api/types";

// What of a log is held and shown. A log may have millions of lines: nothing here grows with their number but a few bytes
// per hundred of rows that were measured.

/** Lines from one to another, both included. */
export interface Stretch {
	from: number;
	to: number;
}

/** How many rows a log has: one per line, and one in place of all lines that are no longer kept. */
export function rowCount(total: number, gap: Stretch | undefined): number {
	if (!gap || gap.from > total) return total;
	return total - (Math.min(gap.to, total) - gap.from);
}

/** The row, from 0, where a line stands. */
export function rowOf(line: number, gap: Stretch | undefined): number {
	if (!gap || line < gap.from) return line - 1;
	return line <= gap.to ? gap.from - 1 : line - 1 - (gap.to - gap.from);
}

/** The line of a row; of the gap's row its first. */
export function lineOf(row: number, gap: Stretch | undefined): number {
	if (!gap || row < gap.from) return row + 1;
	return row + 1 + (gap.to - gap.from);
}

/** Whether the row stands for all lines that are no longer kept. */
export function isGap(row: number, gap: Stretch | undefined): boolean {
	return gap !== undefined && row === gap.from - 1;
}

const pageLines = 500;
// Lines are at most 64 KiB each: not their number bounds the memory.
const mostPages = 60;
const mostCharacters = 24 << 20;

interface Page {
	/** By line; null where the server has none. */
	lines: (LogLine | null | undefined)[];
	characters: number;
}

/** The lines in memory: pages of them, the least lately used are dropped. */
export class Pages {
	readonly #pages = new Map<number, Page>();
	#characters = 0;

	/** The line; null where the server has none; undefined when it must be asked for. Does not count as use. */
	line(n: number): LogLine | null | undefined {
		return this.#pages.get(Math.floor((n - 1) / pageLines))?.lines[(n - 1) % pageLines];
	}

	/** Takes in what the server answered to after and limit. */
	put(answer: Pick<LogPage, "lines">, after: number, limit: number) {
		let expected = after + 1;
		for (const line of answer.lines) {
			// Lines before the first one given are not there; an answer may end before the limit for its size alone.
			for (; expected < line.n && expected <= after + limit; expected++) this.#set(expected, null);
			this.#set(line.n, line);
			expected = line.n + 1;
		}
		this.#trim(Math.floor(after / pageLines));
	}

	/** The lines are not there for good. */
	putMissing(from: number, to: number) {
		for (let n = from; n <= to; n++) if (this.line(n) === undefined) this.#set(n, null);
	}

	/** Marks the lines as in use and gives the first call that brings some of them that are not here. */
	wanted(from: number, to: number, gap?: Stretch): { after: number; limit: number } | undefined {
		for (let p = Math.floor((from - 1) / pageLines); p <= Math.floor((to - 1) / pageLines); p++) {
			const page = this.#pages.get(p);
			if (page) {
				this.#pages.delete(p);
				this.#pages.set(p, page);
			}
			const first = Math.max(from, p * pageLines + 1);
			const last = Math.min(to, (p + 1) * pageLines);
			for (let n = first; n <= last; n++) {
				if (gap && n >= gap.from && n <= gap.to) {
					n = gap.to;
					continue;
				}
				// From the first that is wanted to the page's end: what is scrolled to next comes with it.
				if (page?.lines[(n - 1) % pageLines] === undefined) return { after: n - 1, limit: (p + 1) * pageLines - n + 1 };
			}
		}
		return undefined;
	}

	get characters(): number {
		return this.#characters;
	}

	get size(): number {
		return this.#pages.size;
	}

	clear() {
		this.#pages.clear();
		this.#characters = 0;
	}

	#set(n: number, line: LogLine | null) {
		const p = Math.floor((n - 1) / pageLines);
		let page = this.#pages.get(p);
		if (!page) {
			page = { lines: [], characters: 0 };
			this.#pages.set(p, page);
		}
		const at = (n - 1) % pageLines;
		const grown = (line?.text.length ?? 0) - (page.lines[at]?.text.length ?? 0);
		page.lines[at] = line;
		page.characters += grown;
		this.#characters += grown;
	}

	#trim(keep: number) {
		for (const [p, page] of this.#pages) {
			if (this.#pages.size <= 2 || (this.#pages.size <= mostPages && this.#characters <= mostCharacters)) return;
			if (p === keep) continue;
			this.#pages.delete(p);
			this.#characters -= page.characters;
		}
	}
}

const blockRows = 128;

/**
 * The heights of rows, of which most were never measured and are taken to be one line high. Sums over blocks of rows are
 * kept in a Fenwick tree, so that a row's place and the row at a place are found in steps of the logarithm.
 */
export class Heights {
	#unit: number;
	#count = 0;
	/** By block: how much higher its rows are than one line each, summed as in a Fenwick tree (from 1). */
	#sums: number[] = [0];
	/** By block: the rows that are higher, and by how much. */
	readonly #higher = new Map<number, Map<number, number>>();

	constructor(unit: number) {
		this.#unit = unit;
	}

	get count(): number {
		return this.#count;
	}

	get total(): number {
		return this.#count * this.#unit + this.#before(this.#sums.length - 1);
	}

	/** Forgets what was measured. */
	reset(unit = this.#unit) {
		this.#unit = unit;
		this.#higher.clear();
		this.#sums.fill(0);
	}

	/** More rows. Fewer begin anew. */
	resize(count: number) {
		if (count < this.#count) this.reset();
		this.#count = count;
		while ((this.#sums.length - 1) * blockRows < count) {
			// A new place of the tree sums the places below it.
			const i = this.#sums.length;
			this.#sums.push(0);
			for (let j = i - 1; j > i - (i & -i); j -= j & -j) this.#sums[i] = (this.#sums[i] ?? 0) + (this.#sums[j] ?? 0);
		}
	}

	height(row: number): number {
		return this.#unit + (this.#higher.get(Math.floor(row / blockRows))?.get(row) ?? 0);
	}

	/** Where a row begins. */
	top(row: number): number {
		const block = Math.floor(row / blockRows);
		let sum = row * this.#unit + this.#before(block);
		for (const [r, more] of this.#higher.get(block) ?? []) if (r < row) sum += more;
		return sum;
	}

	/** The row at a place, within the rows there are. */
	at(y: number): number {
		if (this.#count === 0) return 0;
		let block = 0;
		let rest = y;
		let step = 1;
		while (step * 2 < this.#sums.length) step *= 2;
		for (; step > 0; step >>= 1) {
			const next = block + step;
			if (next >= this.#sums.length) continue;
			const size = step * blockRows * this.#unit + (this.#sums[next] ?? 0);
			if (size <= rest) {
				block = next;
				rest -= size;
			}
		}
		let row = block * blockRows;
		for (; row < this.#count - 1; row++) {
			const h = this.height(row);
			if (rest < h) break;
			rest -= h;
		}
		return Math.min(row, this.#count - 1);
	}

	/** Whether the row was taken for another height. */
	measure(row: number, height: number): boolean {
		const block = Math.floor(row / blockRows);
		let rows = this.#higher.get(block);
		const was = rows?.get(row) ?? 0;
		const is = height - this.#unit;
		if (Math.abs(is - was) < 0.5) return false;
		if (!rows) {
			rows = new Map();
			this.#higher.set(block, rows);
		}
		rows.set(row, is);
		for (let i = block + 1; i < this.#sums.length; i += i & -i) this.#sums[i] = (this.#sums[i] ?? 0) + is - was;
		return true;
	}

	/** The surplus of the first blocks. */
	#before(blocks: number): number {
		let sum = 0;
		for (let i = Math.min(blocks, this.#sums.length - 1); i > 0; i -= i & -i) sum += this.#sums[i] ?? 0;
		return sum;
	}
}

/**
 * The tallest that an element is made. Browsers clamp at 17.9 to 33.5 million pixels of the layout, and a page that is
 * enlarged has several of them to each of ours.
 */
export const tallest = 8_000_000;

/** What of the rows is seen: where the view begins in them, and what the browser's scroll offset lacks to it. */
export interface View {
	top: number;
	shift: number;
}

interface Sizes {
	/** Of all rows. */
	content: number;
	/** Of what is seen at once. */
	view: number;
}

export const physical = (content: number) => Math.min(content, tallest);

const clamp = (n: number, least: number, most: number) => Math.min(Math.max(n, least), Math.max(least, most));

/** The browser's scroll offset for a place in the rows, and the view then. */
export function scrollTo(top: number, { content, view }: Sizes): { view: View; offset: number } {
	const most = Math.max(0, content - view);
	const to = clamp(top, 0, most);
	if (content <= tallest) return { view: { top: to, shift: 0 }, offset: to };
	const offset = Math.round((to / most) * (tallest - view));
	return { view: { top: to, shift: to - offset }, offset };
}

/**
 * The view after the browser scrolled to an offset. Where the rows are taller than an element can be, a short way is one
 * pixel to the pixel, as everywhere, and a long one (the bar was dragged, a key went to an end) is in proportion.
 */
export function scrolled(before: View, offset: number, sizes: Sizes): View {
	const { content, view } = sizes;
	const most = Math.max(0, content - view);
	if (content <= tallest) return { top: clamp(offset, 0, most), shift: 0 };
	const mostOffset = tallest - view;
	if (offset <= 0) return { top: 0, shift: 0 };
	if (offset >= mostOffset - 1) return { top: most, shift: most - offset };
	const was = before.top - before.shift;
	let way = offset - was;
	if (Math.abs(way) > view * 1.5) {
		const top = (offset / mostOffset) * most;
		return { top, shift: top - offset };
	}
	// Near an end of the offsets the way left in them must be the way left in the rows.
	const near = view * 10;
	if (way < 0 && was < near) way *= before.top / Math.max(1, was);
	if (way > 0 && mostOffset - was < near) way *= (most - before.top) / Math.max(1, mostOffset - was);
	const top = clamp(before.top + way, 0, most);
	return { top, shift: top - offset };
}

/** The lines that a URL's #L12 or #L12-L40 names. */
export function parseHash(hash: string): Stretch | undefined {
	const m = /^#?L([1-9]\d{0,11})(?:-L?([1-9]\d{0,11}))?$/.exec(hash);
	if (!m) return undefined;
	const a = Number(m[1]);
	const b = m[2] ? Number(m[2]) : a;
	return { from: Math.min(a, b), to: Math.max(a, b) };
}

export function formatHash({ from, to }: Stretch): string {
	return from === to ? `L${from}` : `L${from}-L${to}`;
}

export type Level = "error" | "warning" | "agent" | "quiet" | "plain";

/** How a line is to be seen: by its stream, and by how restic begins what went wrong. */
export function levelOf(line: Pick<LogLine, "s" | "text">): Level {
	const text = line.text;
	if (/^(Fatal|panic|error)\b/i.test(text) || /"message_type":"(error|exit_error)"/.test(text.slice(0, 80)))
		return "error";
	if (line.s === "agent") return "agent";
	if (line.s === "err" || /^warn/i.test(text)) return "warning";
	if (/^unchanged\s/.test(text)) return "quiet";
	return "plain";
}

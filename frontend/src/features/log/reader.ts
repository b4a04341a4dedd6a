import type { LogPage } from "../../api/types";
import { Pages, type Stretch } from "./window";

export type ReadPage = (
	stretch: { after: number; limit: number; wait?: number },
	signal: AbortSignal,
) => Promise<LogPage>;

// What is scrolled past within so many milliseconds is not asked for.
const patience = 40;
const tailLines = 1000;

/** Reads what of one log is looked at, and its end as it grows; tells its subscribers after every change. */
export class LogReader {
	readonly pages = new Pages();
	/** How many lines the server is known to have. */
	total = 0;
	/** Lines that are no longer kept. */
	gap: Stretch | undefined;
	problem: string | undefined;
	complete = false;
	/** Of the last call, while it fails. */
	error: unknown;

	#version = 0;
	#wanted: Stretch | undefined;
	#timer: ReturnType<typeof setTimeout> | undefined;
	#busy: (Stretch & { abort: AbortController }) | undefined;
	#tail: AbortController | undefined;
	readonly #read: ReadPage;
	readonly #listeners = new Set<() => void>();

	constructor(read: ReadPage) {
		this.#read = read;
	}

	readonly subscribe = (l: () => void) => {
		this.#listeners.add(l);
		return () => this.#listeners.delete(l);
	};
	readonly version = () => this.#version;

	/** The job says how many lines there are. */
	received(lines: number) {
		if (lines <= this.total) return;
		this.total = lines;
		this.#tell();
	}

	/** These lines are looked at. */
	want(from: number, to: number) {
		this.#wanted = { from, to };
		const b = this.#busy;
		if (b && (b.to < from - 2000 || b.from > to + 2000)) b.abort.abort();
		this.#timer ??= setTimeout(() => {
			this.#timer = undefined;
			void this.#fetch();
		}, patience);
	}

	/** Whether the end is read as it comes. */
	follow(on: boolean) {
		if (!on) {
			this.#tail?.abort();
			this.#tail = undefined;
		} else if (!this.#tail) {
			this.#tail = new AbortController();
			void this.#readTail(this.#tail.signal);
		}
	}

	stop() {
		this.follow(false);
		clearTimeout(this.#timer);
		this.#timer = undefined;
		this.#busy?.abort.abort();
	}

	#tell() {
		this.#version++;
		for (const l of [...this.#listeners]) l();
	}

	#note(page: LogPage) {
		const last = page.lines.at(-1)?.n ?? 0;
		if (last > this.total) this.total = last;
		const d = page.dropped;
		if (d?.from !== this.gap?.from || d?.to !== this.gap?.to) this.gap = d ? { from: d.from, to: d.to } : undefined;
		this.problem = page.problem;
		this.complete = page.complete;
		this.error = undefined;
	}

	async #fetch() {
		while (!this.#busy && this.#wanted) {
			const { from, to } = this.#wanted;
			const call = this.pages.wanted(Math.max(1, from), Math.min(to, this.total), this.gap);
			if (!call) return;
			const abort = new AbortController();
			this.#busy = { from: call.after + 1, to: call.after + call.limit, abort };
			try {
				const page = await this.#read(call, abort.signal);
				this.pages.put(page, call.after, call.limit);
				if (page.lines.length === 0)
					this.pages.putMissing(call.after + 1, Math.min(call.after + call.limit, this.total));
				this.#note(page);
				this.#busy = undefined;
				this.#tell();
			} catch (e) {
				this.#busy = undefined;
				if (abort.signal.aborted) continue;
				this.error = e;
				this.#tell();
				this.#timer ??= setTimeout(() => {
					this.#timer = undefined;
					void this.#fetch();
				}, 3000);
				return;
			}
		}
	}

	async #readTail(signal: AbortSignal) {
		let after = this.total;
		while (!signal.aborted && !this.complete && !this.problem) {
			await visiblePage(signal);
			if (signal.aborted) return;
			// A log that grows faster than it can be read here is read from near its end on.
			after = Math.max(after, this.total - tailLines);
			try {
				const page = await this.#read({ after, limit: tailLines, wait: 25 }, signal);
				if (signal.aborted) return;
				this.pages.put(page, after, tailLines);
				after = page.next;
				this.#note(page);
				this.#tell();
			} catch (e) {
				if (signal.aborted) return;
				this.error = e;
				this.#tell();
				await new Promise((r) => setTimeout(r, 3000));
			}
		}
	}
}

function visiblePage(signal: AbortSignal): Promise<void> {
	if (document.visibilityState !== "hidden") return Promise.resolve();
	return new Promise((resolve) => {
		const look = () => {
			if (document.visibilityState === "hidden" && !signal.aborted) return;
			document.removeEventListener("visibilitychange", look);
			resolve();
		};
		document.addEventListener("visibilitychange", look);
		signal.addEventListener("abort", look);
	});
}

import { describe, expect, it } from "vitest";
import {
	formatHash,
	Heights,
	isGap,
	levelOf,
	lineOf,
	Pages,
	parseHash,
	rowCount,
	rowOf,
	scrolled,
	scrollTo,
	tallest,
	type View,
} from "./window";

const line = (n: number, text = `line ${n}`) => ({ n, s: "out", t: "2026-11-27T03:00:00Z", text });
const lines = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => line(from + i));

describe("rows and lines", () => {
	const gap = { from: 1001, to: 90_000 };
	it("are the same without a gap", () =>
		expect([rowCount(7, undefined), rowOf(7, undefined), lineOf(6, undefined)]).toEqual([7, 6, 7]));
	it("count a gap as one row", () => expect(rowCount(100_000, gap)).toBe(1000 + 1 + 10_000));
	it("agree on both sides of a gap", () => {
		for (const n of [1, 1000, 1001, 90_001, 100_000]) expect(lineOf(rowOf(n, gap), gap)).toBe(n);
	});
	it("put every line of the gap into its row", () => {
		expect(rowOf(1001, gap)).toBe(1000);
		expect(rowOf(50_000, gap)).toBe(1000);
		expect(rowOf(90_000, gap)).toBe(1000);
		expect([isGap(999, gap), isGap(1000, gap), isGap(1001, gap)]).toEqual([false, true, false]);
	});
});

describe("Pages", () => {
	it("asks for what is not here, to the end of its page, and once it is here for nothing", () => {
		const p = new Pages();
		expect(p.wanted(120, 180)).toEqual({ after: 119, limit: 381 });
		p.put({ lines: lines(120, 500) }, 119, 381);
		expect(p.wanted(120, 180)).toBeUndefined();
		expect(p.wanted(100, 180)).toEqual({ after: 99, limit: 401 });
		expect(p.wanted(400, 520)).toEqual({ after: 500, limit: 500 });
	});
	it("goes on where an answer ended before its limit", () => {
		const p = new Pages();
		p.put({ lines: lines(1, 64) }, 0, 500);
		expect(p.wanted(1, 100)).toEqual({ after: 64, limit: 436 });
	});
	it("does not ask for lines of the gap", () => {
		const p = new Pages();
		p.put({ lines: lines(1, 500) }, 0, 500);
		expect(p.wanted(490, 2100, { from: 501, to: 2000 })).toEqual({ after: 2000, limit: 500 });
	});
	it("knows lines that an answer passed over to be gone, and does not ask again", () => {
		const p = new Pages();
		p.put({ lines: lines(11, 20) }, 0, 20);
		expect(p.line(5)).toBeNull();
		expect(p.line(11)?.text).toBe("line 11");
		expect(p.wanted(1, 20)).toBeUndefined();
	});
	it("drops the least lately used pages, and never the one that came last", () => {
		const p = new Pages();
		for (let page = 0; page < 200; page++) {
			p.put({ lines: lines(page * 500 + 1, page * 500 + 500) }, page * 500, 500);
			p.wanted(1, 10);
		}
		expect(p.size).toBeLessThanOrEqual(60);
		expect(p.line(1)).toBeDefined();
		expect(p.line(99_999)).toBeDefined();
		expect(p.line(20_000)).toBeUndefined();
	});
	it("is bounded by characters where lines are long", () => {
		const p = new Pages();
		const long = "x".repeat(65_000);
		for (let page = 0; page < 40; page++)
			p.put({ lines: lines(page * 500 + 1, page * 500 + 60).map((l) => ({ ...l, text: long })) }, page * 500, 500);
		expect(p.characters).toBeLessThanOrEqual(32 << 20);
		expect(p.line(39 * 500 + 1)).toBeDefined();
	});
});

describe("Heights", () => {
	it("takes rows that were not measured for one line high", () => {
		const h = new Heights(20);
		h.resize(1_000_000);
		expect(h.total).toBe(20_000_000);
		expect(h.top(500_000)).toBe(10_000_000);
		expect(h.at(10_000_000)).toBe(500_000);
		expect(h.at(19_999_999)).toBe(999_999);
		expect(h.at(99_999_999)).toBe(999_999);
	});
	it("agrees with plain sums, however rows are measured and come", () => {
		const h = new Heights(20);
		const plain: number[] = [];
		let seed = 7;
		const random = (n: number) => {
			seed = (seed * 1103515245 + 12345) % 2147483648;
			return seed % n;
		};
		for (let round = 0; round < 40; round++) {
			const grown = plain.length + random(300) + 1;
			while (plain.length < grown) plain.push(20);
			h.resize(plain.length);
			for (let i = 0; i < 60; i++) {
				const row = random(plain.length);
				const height = 20 * (1 + random(6));
				plain[row] = height;
				h.measure(row, height);
			}
			let top = 0;
			for (let row = 0; row < plain.length; row++) {
				if (row % 37 === 0) {
					expect(h.top(row)).toBe(top);
					expect(h.at(top)).toBe(row);
					expect(h.at(top + (plain[row] ?? 0) - 1)).toBe(row);
				}
				top += plain[row] ?? 0;
			}
			expect(h.total).toBe(top);
		}
	});
	it("says whether a measure was news, and forgets all on reset", () => {
		const h = new Heights(20);
		h.resize(1000);
		expect(h.measure(5, 60)).toBe(true);
		expect(h.measure(5, 60)).toBe(false);
		h.reset();
		expect(h.total).toBe(20_000);
		expect(h.at(19_990)).toBe(999);
	});
});

describe("scrolling", () => {
	const view = 600;
	it("is the browser's own where the rows fit", () => {
		const sizes = { content: 100_000, view };
		expect(scrolled({ top: 0, shift: 0 }, 1234, sizes)).toEqual({ top: 1234, shift: 0 });
		expect(scrollTo(99_999, sizes)).toEqual({ view: { top: 99_400, shift: 0 }, offset: 99_400 });
	});
	const sizes = { content: 200_000_000, view };
	it("is pixel by pixel for short ways where the rows are taller than an element may be", () => {
		const { view: v, offset } = scrollTo(100_000_000, sizes);
		const next = scrolled(v, offset + 100, sizes);
		expect(next.top - v.top).toBeCloseTo(100, 6);
	});
	it("is in proportion for long ways", () => {
		const v = scrolled({ top: 0, shift: 0 }, (tallest - view) / 2, sizes);
		expect(v.top).toBeCloseTo((200_000_000 - view) / 2, 3);
	});
	it("reaches both ends exactly", () => {
		expect(scrolled({ top: 5000, shift: 0 }, 0, sizes).top).toBe(0);
		expect(scrolled({ top: 5000, shift: 0 }, tallest - view, sizes).top).toBe(200_000_000 - view);
		expect(scrollTo(Number.MAX_SAFE_INTEGER, sizes).offset).toBe(tallest - view);
	});
	it("comes to the first line by steps without a jump", () => {
		const start = scrollTo(40_000, sizes);
		let v: View = start.view;
		let offset = start.offset;
		let most = 0;
		for (let i = 0; i < 10_000 && offset > 0; i++) {
			offset = Math.max(0, offset - 20);
			const next = scrolled(v, offset, sizes);
			most = Math.max(most, v.top - next.top);
			v = next;
		}
		expect(v.top).toBe(0);
		expect(most).toBeLessThan(view);
	});
	it("moves no row when the bar is put where it belongs", () => {
		let { view: v, offset } = scrollTo(100_000_000, sizes);
		for (let i = 0; i < 50; i++) {
			offset += 120;
			v = scrolled(v, offset, sizes);
		}
		const rested = scrollTo(v.top, sizes);
		expect(rested.view.top).toBe(v.top);
		expect(rested.view.top - rested.view.shift).toBe(rested.offset);
	});
});

describe("the hash of a URL", () => {
	it.each([
		["#L12", { from: 12, to: 12 }],
		["L12", { from: 12, to: 12 }],
		["#L12-L40", { from: 12, to: 40 }],
		["#L40-12", { from: 12, to: 40 }],
		["#L0", undefined],
		["#L", undefined],
		["#L1e9", undefined],
		["#L-5", undefined],
		["", undefined],
		["#main", undefined],
		[`#L${"9".repeat(40)}`, undefined],
	])("%s", (hash, want) => expect(parseHash(hash)).toEqual(want));
	it("comes back as it was", () => {
		for (const s of [
			{ from: 3, to: 3 },
			{ from: 3, to: 1_000_000 },
		])
			expect(parseHash(formatHash(s))).toEqual(s);
	});
});

describe("how a line is seen", () => {
	it.each([
		["err", "Fatal: wrong password or no key found", "error"],
		["err", "error: open /x: permission denied", "error"],
		["out", '{"message_type":"error","error":{}}', "error"],
		["err", "repository is locked", "warning"],
		["out", "unchanged /srv/a.pdf", "quiet"],
		["agent", "the log was cut", "agent"],
		["out", "errors.log was saved", "plain"],
		["out", "new /srv/error.txt", "plain"],
	])("%s %s is %s", (s, text, want) => expect(levelOf({ s, text })).toBe(want));
});

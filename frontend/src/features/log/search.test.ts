import { describe, expect, it } from "vitest";
import { matcher, mostMatches, placesOf, Search } from "./search";

const line = (n: number, text: string) => ({ n, s: "out", t: "2026-11-27T03:00:00Z", text });
/** A log of so many lines; each 100th has an error. Pages of 1000. */
const log =
	(total: number, calls: number[] = []) =>
	async (after: number) => {
		calls.push(after);
		const lines = [];
		for (let n = after + 1; n <= Math.min(after + 1000, total); n++)
			lines.push(line(n, n % 100 === 0 ? `Error in ${n}` : `file ${n}`));
		return { lines, next: Math.min(after + 1000, total) };
	};

describe("where a text stands", () => {
	it("finds all places, whatever the case", () =>
		expect(placesOf("aBab AB", "ab", false)).toEqual([
			[0, 2],
			[2, 4],
			[5, 7],
		]));
	it("distinguishes the case when asked", () => expect(placesOf("aBab AB", "ab", true)).toEqual([[2, 4]]));
	it("takes no character for a pattern", () => {
		expect(placesOf("a.c abc (x)", "a.c", false)).toEqual([[0, 3]]);
		expect(matcher("(x)*[", false)("look: (X)*[")).toBe(true);
		expect(matcher(".*", false)("abc")).toBe(false);
	});
	it("keeps places right where a letter's case changes its length", () => {
		const [place] = placesOf("İİİ needle", "needle", false);
		expect("İİİ needle".slice(...(place ?? [0, 0]))).toBe("needle");
	});
	it("is bounded", () => expect(placesOf("a".repeat(5000), "a", false).length).toBe(200));
});

describe("the search of a log", () => {
	it("goes through all pages in order and tells after each", async () => {
		const calls: number[] = [];
		const s = new Search("error", false);
		let told = 0;
		await s.run(3500, log(3500, calls), new AbortController().signal, () => told++);
		expect(calls).toEqual([0, 1000, 2000, 3000]);
		expect(told).toBe(4);
		expect(s.matches.length).toBe(35);
		expect(s.matches.slice(0, 2)).toEqual([100, 200]);
	});
	it("stops when told, and goes on where it was without finding a line twice", async () => {
		const abort = new AbortController();
		const s = new Search("error", false);
		await s.run(5000, log(5000), abort.signal, () => s.searched >= 2000 && abort.abort());
		expect(s.searched).toBe(2000);
		await s.run(5000, log(5000), new AbortController().signal, () => {});
		expect(s.matches.length).toBe(50);
		expect(new Set(s.matches).size).toBe(50);
	});
	it("passes over lines that are no longer kept", async () => {
		const s = new Search("x", false);
		const read = async (after: number) =>
			after < 10 ? { lines: [line(10, "x")], next: 10 } : { lines: [line(9000, "x")], next: 9000 };
		await s.run(9000, read, new AbortController().signal, () => {});
		expect(s.matches).toEqual([10, 9000]);
	});
	it("ends where nothing more is to come", async () => {
		const s = new Search("x", false);
		await s.run(
			100,
			async (after) => ({ lines: [], next: after }),
			new AbortController().signal,
			() => {},
		);
		expect(s.searched).toBe(100);
	});
	it("remembers no more matches than it may", async () => {
		const s = new Search("x", false);
		s.take(Array.from({ length: mostMatches + 5 }, (_, i) => line(i + 1, "x")));
		expect([s.matches.length, s.full]).toEqual([mostMatches, true]);
	});
	it("gives the next and the previous match of a line, round the ends", () => {
		const s = new Search("x", false);
		s.take([10, 20, 30].map((n) => line(n, "x")));
		expect([s.next(0), s.next(10), s.next(15), s.next(30)]).toEqual([0, 1, 1, 0]);
		expect([s.next(10, true), s.next(25, true), s.next(99, true)]).toEqual([2, 1, 2]);
		expect(new Search("x", false).next(1)).toBe(-1);
	});
});

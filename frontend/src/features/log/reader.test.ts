import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { LogPage } from "../../api/types";
import { LogReader } from "./reader";

const line = (n: number) => ({ n, s: "out", t: "2026-11-27T03:00:00Z", text: `line ${n}` });

/** A server that has so many lines; calls with wait are answered by hand. */
function server(have: number) {
	const calls: { after: number; limit: number; wait?: number }[] = [];
	const waiting: ((page: LogPage) => void)[] = [];
	const read = async (s: { after: number; limit: number; wait?: number }): Promise<LogPage> => {
		calls.push(s);
		if (s.wait) return new Promise((resolve) => waiting.push(resolve));
		const lines = [];
		for (let n = s.after + 1; n <= Math.min(s.after + s.limit, have); n++) lines.push(line(n));
		return { lines, next: lines.at(-1)?.n ?? s.after, complete: false };
	};
	return { calls, waiting, read };
}

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

describe("LogReader", () => {
	it("reads what is looked at when the scrolling rests, not what was passed", async () => {
		const s = server(1_000_000);
		const r = new LogReader(s.read);
		r.received(1_000_000);
		for (let n = 1; n < 900_000; n += 50_000) r.want(n, n + 40);
		r.want(700_010, 700_050);
		await vi.advanceTimersByTimeAsync(100);
		expect(s.calls).toEqual([{ after: 700_009, limit: 491 }]);
		expect(r.pages.line(700_020)?.text).toBe("line 700020");
	});
	it("asks for nothing beyond the last line", async () => {
		const s = server(10);
		const r = new LogReader(s.read);
		r.received(10);
		r.want(1, 40);
		await vi.advanceTimersByTimeAsync(100);
		expect(s.calls.length).toBe(1);
	});
	it("follows the end, and counts lines it was told of only", async () => {
		const s = server(5);
		const r = new LogReader(s.read);
		r.received(5);
		r.follow(true);
		await vi.advanceTimersByTimeAsync(0);
		expect(s.calls).toEqual([{ after: 5, limit: 1000, wait: 25 }]);
		s.waiting[0]?.({ lines: [line(6), line(7)], next: 7, complete: false });
		await vi.advanceTimersByTimeAsync(0);
		expect([r.total, s.calls[1]?.after]).toEqual([7, 7]);
		s.waiting[1]?.({ lines: [line(8)], next: 8, complete: true });
		await vi.advanceTimersByTimeAsync(0);
		expect([r.total, s.calls.length]).toEqual([8, 2]);
	});
	it("skips what a fast log is ahead by", async () => {
		const s = server(5);
		const r = new LogReader(s.read);
		r.received(5);
		r.follow(true);
		await vi.advanceTimersByTimeAsync(0);
		r.received(500_000);
		s.waiting[0]?.({ lines: [line(6)], next: 6, complete: false });
		await vi.advanceTimersByTimeAsync(0);
		expect(s.calls[1]?.after).toBe(499_000);
	});
	it("says what fails and tries again by itself", async () => {
		let broken = true;
		const s = server(100);
		const r = new LogReader((x) => (broken ? Promise.reject(new Error("away")) : s.read(x)));
		r.received(100);
		r.want(1, 40);
		await vi.advanceTimersByTimeAsync(100);
		expect(r.error).toEqual(new Error("away"));
		broken = false;
		await vi.advanceTimersByTimeAsync(3100);
		expect([r.error, r.pages.line(1)?.text]).toEqual([undefined, "line 1"]);
	});
	it("stops at a log that will not be complete", async () => {
		const s = server(5);
		const r = new LogReader(s.read);
		r.received(5);
		r.follow(true);
		await vi.advanceTimersByTimeAsync(0);
		s.waiting[0]?.({ lines: [], next: 5, complete: false, problem: "the log is too long" });
		await vi.advanceTimersByTimeAsync(60_000);
		expect([r.problem, s.calls.length]).toEqual(["the log is too long", 1]);
	});
});

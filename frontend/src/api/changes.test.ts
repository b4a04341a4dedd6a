import { QueryClient } from "@tanstack/react-query";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { backOff, followChanges } from "./changes";
import { keys, staleBy } from "./keys";
import { session } from "./link";

let queries: QueryClient;
let stop = () => {};
let visible: DocumentVisibilityState;
const asked: URL[] = [];
type Reply = { topics?: string[]; next?: string; all?: boolean } | Error;
let replies: Reply[];

beforeEach(() => {
	vi.useFakeTimers();
	queries = new QueryClient();
	asked.length = 0;
	replies = [];
	visible = "visible";
	session.set("signed_in");
	vi.spyOn(document, "visibilityState", "get").mockImplementation(() => visible);
	vi.spyOn(globalThis, "fetch").mockImplementation((input) => {
		const request = input as Request;
		asked.push(new URL(request.url));
		const next = replies.shift();
		if (next instanceof Error) return Promise.reject(next);
		if (next)
			return Promise.resolve(
				new Response(JSON.stringify({ topics: [], all: false, next: "n", ...next }), {
					headers: { "Content-Type": "application/json" },
				}),
			);
		// Nothing to tell: the call waits until it is given up.
		return new Promise((_, give) =>
			request.signal.addEventListener("abort", () => give(new DOMException("aborted", "AbortError"))),
		);
	});
});

afterEach(() => {
	stop();
	vi.useRealTimers();
});

function show(state: DocumentVisibilityState) {
	visible = state;
	document.dispatchEvent(new Event("visibilitychange"));
}

it("begins now, goes on from the answer's cursor, and makes stale what changed, once for many", async () => {
	const stale = vi.spyOn(queries, "invalidateQueries");
	replies = [{ next: "a" }, { topics: ["hosts", "job:1"], next: "b" }, { topics: ["hosts"], next: "c" }];
	stop = followChanges(queries);
	await vi.advanceTimersByTimeAsync(2000);
	expect(asked.map((u) => u.search)).toEqual(["?wait=0", "?since=a&wait=25", "?since=b&wait=25", "?since=c&wait=25"]);
	const made = stale.mock.calls.map(([f]) => f?.queryKey);
	expect(made.filter((k) => JSON.stringify(k) === JSON.stringify(keys.hosts))).toHaveLength(1);
	expect(made).toContainEqual(keys.job("1"));
});

it("makes everything stale when the cursor is too old to tell", async () => {
	const stale = vi.spyOn(queries, "invalidateQueries");
	replies = [{ all: true }];
	stop = followChanges(queries);
	await vi.advanceTimersByTimeAsync(100);
	expect(stale).toHaveBeenCalledWith();
});

it("asks nothing in a hidden tab, and catches up when it is seen again", async () => {
	replies = [{ next: "a" }];
	stop = followChanges(queries);
	await vi.advanceTimersByTimeAsync(100);
	const before = asked.length;
	show("hidden");
	await vi.advanceTimersByTimeAsync(120_000);
	expect(asked).toHaveLength(before);
	const stale = vi.spyOn(queries, "invalidateQueries");
	show("visible");
	await vi.advanceTimersByTimeAsync(100);
	expect(asked.length).toBe(before + 1);
	expect(stale).toHaveBeenCalledWith();
});

it("asks nothing while nobody is signed in", async () => {
	session.set("expired");
	stop = followChanges(queries);
	await vi.advanceTimersByTimeAsync(60_000);
	expect(asked).toHaveLength(0);
	session.set("signed_in");
	await vi.advanceTimersByTimeAsync(100);
	expect(asked).toHaveLength(1);
});

it("waits longer after each failure, and never comes with all others at once", async () => {
	replies = [new TypeError("x"), new TypeError("x"), new TypeError("x")];
	stop = followChanges(queries);
	await vi.advanceTimersByTimeAsync(10);
	expect(asked).toHaveLength(1);
	await vi.advanceTimersByTimeAsync(1300);
	expect(asked).toHaveLength(2);
	expect([1, 2, 3, 4, 5, 9].map((n) => backOff(n, () => 0.5))).toEqual([1000, 2000, 4000, 8000, 15000, 15000]);
	expect(backOff(1, () => 0)).not.toBe(backOff(1, () => 0.9));
});

it("knows what each topic makes stale", () => {
	expect(staleBy("host:7")).toEqual([keys.host("7")]);
	expect(staleBy("snapshots:7")).toEqual([keys.snapshots("7"), keys.host("7")]);
	expect(staleBy("enrollment-tokens")).toEqual([keys.tokens]);
	expect(staleBy("something:new")).toEqual([["something"]]);
});

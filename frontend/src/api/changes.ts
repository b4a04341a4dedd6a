import type { QueryClient } from "@tanstack/react-query";
import { client, got } from "./client";
import { staleBy } from "./keys";
import { session } from "./link";

// Where many machines report at once, a list is asked for anew at most this often.
const calm = 1500;

/**
 * Follows GET /api/changes while the page is visible and somebody is signed in, and makes stale what changed. It holds no
 * socket: one call after the other, each at most 25 s. Returns what ends it.
 */
export function followChanges(queries: QueryClient): () => void {
	const over = new AbortController();
	const pending = new Map<string, readonly string[]>();
	let timer: ReturnType<typeof setTimeout> | undefined;
	let last = 0;

	function flush() {
		timer = undefined;
		last = Date.now();
		for (const key of pending.values()) void queries.invalidateQueries({ queryKey: key });
		pending.clear();
	}
	function stale(key: readonly string[]) {
		pending.set(key.join(" "), key);
		timer ??= setTimeout(flush, Math.max(50, calm - (Date.now() - last)));
	}

	async function loop() {
		let since: string | undefined;
		let failures = 0;
		let lapsed = false;
		while (!over.signal.aborted) {
			if (document.visibilityState === "hidden" || session.get() !== "signed_in") {
				lapsed = true;
				await until(() => document.visibilityState !== "hidden" && session.get() === "signed_in", over.signal);
				continue;
			}
			if (lapsed) {
				lapsed = false;
				void queries.invalidateQueries();
			}
			const hidden = new AbortController();
			const hide = () => document.visibilityState === "hidden" && hidden.abort();
			document.addEventListener("visibilitychange", hide);
			try {
				const page = await got(
					client.GET("/api/changes", {
						params: { query: since ? { since, wait: 25 } : { wait: 0 } },
						signal: AbortSignal.any([over.signal, hidden.signal, AbortSignal.timeout(40_000)]),
					}),
				);
				if (failures > 0) void queries.invalidateQueries();
				failures = 0;
				since = page.next;
				if (page.all) void queries.invalidateQueries();
				for (const topic of page.topics) for (const key of staleBy(topic)) stale(key);
			} catch {
				if (over.signal.aborted || hidden.signal.aborted) continue;
				failures++;
				await pause(backOff(failures), over.signal);
			} finally {
				document.removeEventListener("visibilitychange", hide);
			}
		}
	}
	void loop();
	return () => {
		over.abort();
		clearTimeout(timer);
	};
}

/** Milliseconds before the next try: 1, 2, 4, 8, 15 s, a quarter more or less so that a thousand pages do not come at once. */
export function backOff(failures: number, random = Math.random): number {
	return Math.min(15_000, 1000 * 2 ** (failures - 1)) * (0.75 + random() / 2);
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
	return new Promise((resolve) => {
		const timer = setTimeout(resolve, ms);
		signal.addEventListener("abort", () => {
			clearTimeout(timer);
			resolve();
		});
	});
}

function until(ready: () => boolean, signal: AbortSignal): Promise<void> {
	return new Promise((resolve) => {
		const look = () => {
			if (!ready() && !signal.aborted) return;
			document.removeEventListener("visibilitychange", look);
			unsubscribe();
			resolve();
		};
		document.addEventListener("visibilitychange", look);
		const unsubscribe = session.subscribe(look);
		signal.addEventListener("abort", look);
		look();
	});
}

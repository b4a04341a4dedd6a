/** What came of one of many. */
export type Outcome<T> =
	| { item: T; state: "done" }
	| { item: T; state: "skipped"; why: string }
	| { item: T; state: "failed"; error: unknown };

/** Says that nothing was to be done, and why. */
export class Skip extends Error {}

/** Calls at once: quick enough for thousands, and a server has room for other people meanwhile. */
export const atOnce = 6;

/**
 * Does the work for each item, at most `limit` at a time, in order, and says what came of each. One that fails does not
 * stop the others. After the signal no more are begun; what is under way ends, for its result is not to be guessed.
 */
export async function forEach<T>(
	items: readonly T[],
	work: (item: T) => Promise<unknown>,
	options: { limit?: number; signal: AbortSignal; report?: (outcomes: readonly Outcome<T>[]) => void },
): Promise<Outcome<T>[]> {
	const outcomes: Outcome<T>[] = [];
	let next = 0;
	async function worker() {
		while (next < items.length && !options.signal.aborted) {
			const item = items[next++] as T;
			try {
				await work(item);
				outcomes.push({ item, state: "done" });
			} catch (error) {
				outcomes.push(
					error instanceof Skip ? { item, state: "skipped", why: error.message } : { item, state: "failed", error },
				);
			}
			options.report?.(outcomes);
		}
	}
	await Promise.all(Array.from({ length: Math.min(options.limit ?? atOnce, items.length) }, worker));
	return outcomes;
}

/** The labels with some set and some taken away; nothing where that changes nothing. */
export function relabeled(
	labels: Readonly<Record<string, string>>,
	add: Readonly<Record<string, string>>,
	remove: readonly string[],
): Record<string, string> | undefined {
	const next: Record<string, string> = { ...labels };
	for (const key of remove) delete next[key];
	Object.assign(next, add);
	const same =
		Object.keys(next).length === Object.keys(labels).length &&
		Object.entries(next).every(([k, v]) => Object.hasOwn(labels, k) && labels[k] === v);
	return same ? undefined : next;
}

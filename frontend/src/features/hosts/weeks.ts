import type { CalendarDay } from "../../api/history";

/** One cell of the calendar. */
export interface Day {
	/** 2026-11-27 */
	date: string;
	succeeded: number;
	issues: number;
	failed: number;
	canceled: number;
}

export type DayTone = "none" | "ok" | "warn" | "bad" | "mixed" | "idle";

const dayMS = 86_400_000;

/** A date without a time of day is the same all over the world: it is counted in UTC. */
const at = (date: string) => Date.parse(`${date}T00:00:00Z`);
const dateOf = (ms: number) => new Date(ms).toISOString().slice(0, 10);

/** Today in the reader's zone. */
export function today(now = new Date()): string {
	return dateOf(now.getTime() - now.getTimezoneOffset() * 60_000);
}

/**
 * The last days up to today in columns of weeks that begin on Monday; where the first week has days before the span, and
 * the last one days to come, the place is empty (undefined).
 */
export function weeks(given: readonly CalendarDay[], days: number, last: string): (Day | undefined)[][] {
	const by = new Map(given.map((d) => [d.date, d]));
	const end = at(last);
	const begin = end - (days - 1) * dayMS;
	const monday = begin - weekday(begin) * dayMS;
	const columns: (Day | undefined)[][] = [];
	for (let week = monday; week <= end; week += 7 * dayMS) {
		columns.push(
			Array.from({ length: 7 }, (_, i) => {
				const ms = week + i * dayMS;
				if (ms < begin || ms > end) return undefined;
				const d = by.get(dateOf(ms));
				return {
					date: dateOf(ms),
					succeeded: d?.succeeded ?? 0,
					issues: d?.succeeded_with_issues ?? 0,
					failed: d?.failed ?? 0,
					canceled: d?.canceled ?? 0,
				};
			}),
		);
	}
	return columns;
}

/** 0 Monday to 6 Sunday. */
function weekday(ms: number): number {
	return (new Date(ms).getUTCDay() + 6) % 7;
}

/** A day on which something failed is bad only when nothing succeeded after all: otherwise it is mixed. */
export function toneOf(d: Day): DayTone {
	const good = d.succeeded + d.issues;
	if (d.failed > 0) return good > 0 ? "mixed" : "bad";
	if (d.issues > 0) return "warn";
	if (d.succeeded > 0) return "ok";
	return d.canceled > 0 ? "idle" : "none";
}

const dayFormat = new Intl.DateTimeFormat("en-GB", {
	weekday: "short",
	day: "numeric",
	month: "short",
	year: "numeric",
	timeZone: "UTC",
});

/** Fri, 27 Nov 2026 */
export function dayName(date: string): string {
	return dayFormat.format(at(date));
}

/** What a day held, in words: "2 succeeded, 1 failed". */
export function dayWords(d: Day): string {
	const parts = [
		[d.succeeded, "succeeded"],
		[d.issues, "with issues"],
		[d.failed, "failed"],
		[d.canceled, "canceled"],
	]
		.filter(([n]) => Number(n) > 0)
		.map(([n, word]) => `${n} ${word}`);
	return parts.length > 0 ? parts.join(", ") : "no backup ended";
}

const monthFormat = new Intl.DateTimeFormat("en", { month: "short", timeZone: "UTC" });

/** The month above each column: named where a month begins in it, and not where two names would touch. */
export function monthNames(columns: readonly (readonly (Day | undefined)[])[]): (string | undefined)[] {
	let last = -3;
	return columns.map((week, i) => {
		const first = week.find((d) => d && (d.date.endsWith("-01") || i === 0));
		if (!first || i - last < 3) return undefined;
		last = i;
		return monthFormat.format(at(first.date));
	});
}

/** Where an arrow key leads from a day: a day up and down, a week left and right; stays within the span. */
export function step(date: string, key: string, first: string, last: string): string | undefined {
	const days = { ArrowUp: -1, ArrowDown: 1, ArrowLeft: -7, ArrowRight: 7 }[key];
	if (key === "Home") return first;
	if (key === "End") return last;
	if (days === undefined) return undefined;
	const to = at(date) + days * dayMS;
	return to < at(first) || to > at(last) ? date : dateOf(to);
}

/** All of the span in one sentence. */
export function spanWords(columns: readonly (readonly (Day | undefined)[])[]): string {
	const days = columns.flat().filter((d): d is Day => d !== undefined);
	const sum = (f: (d: Day) => number) => days.reduce((n, d) => n + f(d), 0);
	const good = days.filter((d) => d.succeeded + d.issues > 0).length;
	return `${good} of ${days.length} days with a good backup; ${sum((d) => d.succeeded)} succeeded, ${sum((d) => d.issues)} with issues, ${sum((d) => d.failed)} failed`;
}

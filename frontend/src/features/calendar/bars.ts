import type { FleetCalendar } from "../../api/policies";
import { counted } from "../../lib/bytes";

const dayMS = 86_400_000;
const hourMS = 3_600_000;

/** A date without a time of day is the same all over the world: it is counted in UTC. */
const at = (date: string) => Date.parse(`${date}T00:00:00Z`);
const dateOf = (ms: number) => new Date(ms).toISOString().slice(0, 10);

export interface Day {
	/** 2026-11-27 */
	date: string;
	succeeded: number;
	issues: number;
	failed: number;
	missed: number;
	skipped: number;
}

/** Today in the reader's zone. */
export function today(now = new Date()): string {
	return dateOf(now.getTime() - now.getTimezoneOffset() * 60_000);
}

/** The last days up to today, each once; those of which nothing is known are empty. */
export function pastDays(given: FleetCalendar["days"], days: number, last: string): Day[] {
	const by = new Map(given.map((d) => [d.date, d]));
	return Array.from({ length: days }, (_, i) => {
		const date = dateOf(at(last) - (days - 1 - i) * dayMS);
		return by.get(date) ?? { date, succeeded: 0, issues: 0, failed: 0, missed: 0, skipped: 0 };
	});
}

export interface Hour {
	/** The begin of the hour (ms). */
	at: number;
	count: number;
}

/** The hours from this one on, each once. */
export function hoursAhead(given: FleetCalendar["due"], hours: number, now: number): Hour[] {
	const first = Math.floor(now / hourMS) * hourMS;
	const by = new Map<number, number>();
	for (const d of given) {
		const h = Math.floor(Date.parse(d.at) / hourMS) * hourMS;
		by.set(h, (by.get(h) ?? 0) + d.count);
	}
	return Array.from({ length: hours }, (_, i) => ({ at: first + i * hourMS, count: by.get(first + i * hourMS) ?? 0 }));
}

export const parts = [
	{ key: "failed", tone: "bad", name: "failed" },
	{ key: "missed", tone: "missed", name: "missed" },
	{ key: "skipped", tone: "idle", name: "skipped" },
	{ key: "issues", tone: "warn", name: "with issues" },
	{ key: "succeeded", tone: "ok", name: "succeeded" },
] as const;

export function totalOf(d: Day): number {
	return parts.reduce((n, p) => n + d[p.key], 0);
}

const dayFormat = new Intl.DateTimeFormat("en-GB", {
	weekday: "short",
	day: "numeric",
	month: "short",
	timeZone: "UTC",
});

/** Fri 27 Nov: 12 succeeded, 1 failed */
export function dayWords(d: Day): string {
	const some = parts.filter((p) => d[p.key] > 0).map((p) => `${d[p.key]} ${p.name}`);
	return `${dayFormat.format(at(d.date))}: ${some.length > 0 ? some.reverse().join(", ") : "nothing"}`;
}

const hourFormat = new Intl.DateTimeFormat("en-GB", { weekday: "short", hour: "2-digit", minute: "2-digit" });

/** Fri 14:00: 12 backups */
export function hourWords(h: Hour): string {
	return `${hourFormat.format(h.at)}: ${h.count > 0 ? counted(h.count, "backup") : "none"}`;
}

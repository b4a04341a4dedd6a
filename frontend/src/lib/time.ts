const second = 1000;
const minute = 60 * second;
const hour = 60 * minute;
const day = 24 * hour;

/** How long ago, in the fewest words that are still true: now, 12 s ago, 5 min ago, 3 h ago, 2 d ago, 5 wk ago; in 3 h. */
export function ago(at: string | number | Date, now: number): string {
	const t = new Date(at).getTime();
	if (Number.isNaN(t)) return "–";
	const d = now - t;
	const size = Math.abs(d);
	if (size < 5 * second) return "now";
	const text = short(size);
	return d < 0 ? `in ${text}` : `${text} ago`;
}

/** A length of time by its largest unit, rounded down. */
export function short(ms: number): string {
	if (ms < minute) return `${Math.floor(ms / second)} s`;
	if (ms < hour) return `${Math.floor(ms / minute)} min`;
	if (ms < 2 * day) return `${Math.floor(ms / hour)} h`;
	if (ms < 14 * day) return `${Math.floor(ms / day)} d`;
	if (ms < 60 * day) return `${Math.floor(ms / (7 * day))} wk`;
	if (ms < 730 * day) return `${Math.floor(ms / (30.44 * day))} mo`;
	return `${Math.floor(ms / (365.25 * day))} y`;
}

/** A length of time in its two largest units: 0.4 s, 12 s, 3 min 5 s, 2 h 10 min, 4 d 3 h. */
export function duration(seconds: number): string {
	if (!Number.isFinite(seconds) || seconds < 0) return "–";
	if (seconds < 9.95) return `${Number(seconds.toFixed(1))} s`;
	const s = Math.round(seconds);
	if (s < 60) return `${s} s`;
	const parts: [number, string][] = [
		[Math.floor(s / 86400), "d"],
		[Math.floor((s % 86400) / 3600), "h"],
		[Math.floor((s % 3600) / 60), "min"],
		[s % 60, "s"],
	];
	const first = parts.findIndex(([n]) => n > 0);
	return parts
		.slice(first, first + 2)
		.filter(([n]) => n > 0)
		.map(([n, unit]) => `${n} ${unit}`)
		.join(" ");
}

const exactFormat = new Intl.DateTimeFormat("en-GB", {
	year: "numeric",
	month: "short",
	day: "numeric",
	hour: "2-digit",
	minute: "2-digit",
	second: "2-digit",
	timeZoneName: "short",
});

/** The exact time in the reader's zone: 27 Nov 2026, 03:12:45 UTC. */
export function exact(at: string | number | Date): string {
	const t = new Date(at);
	return Number.isNaN(t.getTime()) ? "–" : exactFormat.format(t);
}

const clockFormat = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });

/** The time of day in the reader's zone: 03:12:45. */
export function clock(at: string | number | Date): string {
	const t = new Date(at);
	return Number.isNaN(t.getTime()) ? "–" : clockFormat.format(t);
}

const zonedFormats = new Map<string, Intl.DateTimeFormat>();

/** Day and time of day in a zone: Fri 27 Nov, 02:00. A zone that the browser does not know is told in UTC. */
export function zoned(at: string | number | Date, zone: string): string {
	const t = new Date(at);
	if (Number.isNaN(t.getTime())) return "–";
	let format = zonedFormats.get(zone);
	if (!format) {
		const make = (timeZone: string) =>
			new Intl.DateTimeFormat("en-GB", {
				weekday: "short",
				day: "numeric",
				month: "short",
				hour: "2-digit",
				minute: "2-digit",
				timeZone,
			});
		try {
			format = make(zone);
		} catch {
			format = make("UTC");
		}
		zonedFormats.set(zone, format);
	}
	return format.format(t);
}

/** How often something is due, as the builder shows it; what it cannot show is a cron expression. */
export type Rhythm =
	| { every: "hour"; step: number; minute: number }
	| { every: "day"; hour: number; minute: number }
	/** Sunday is 0. */
	| { every: "week"; days: number[]; hour: number; minute: number }
	| { every: "month"; day: number; hour: number; minute: number }
	| { every: "cron"; cron: string };

/** The steps of hours that divide a day, so that the distance is the same over midnight. */
export const hourSteps = [1, 2, 3, 4, 6, 8, 12] as const;

const dayNames = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/** Monday first, as a week is read. */
export const weekdays: readonly { day: number; name: string; long: string }[] = [
	{ day: 1, name: "Mon", long: "Monday" },
	{ day: 2, name: "Tue", long: "Tuesday" },
	{ day: 3, name: "Wed", long: "Wednesday" },
	{ day: 4, name: "Thu", long: "Thursday" },
	{ day: 5, name: "Fri", long: "Friday" },
	{ day: 6, name: "Sat", long: "Saturday" },
	{ day: 0, name: "Sun", long: "Sunday" },
];

function number(text: string | undefined, least: number, most: number): number | undefined {
	if (text === undefined || !/^\d{1,2}$/.test(text)) return undefined;
	const n = Number(text);
	return n >= least && n <= most ? n : undefined;
}

function days(text: string): number[] | undefined {
	const found = new Set<number>();
	const one = (t: string) => {
		const i = dayNames.indexOf(t.toLowerCase());
		return i >= 0 ? i : number(t, 0, 6);
	};
	for (const part of text.split(",")) {
		const [from, to, ...more] = part.split("-");
		const a = one(from ?? "");
		const b = to === undefined ? a : one(to);
		if (a === undefined || b === undefined || b < a || more.length > 0) return undefined;
		for (let d = a; d <= b; d++) found.add(d);
	}
	return [...found].sort((a, b) => a - b);
}

/** The builder's reading of a cron expression of five fields. */
export function rhythmOf(cron: string): Rhythm {
	const other: Rhythm = { every: "cron", cron };
	const fields = cron.trim().split(/\s+/);
	if (fields.length !== 5) return other;
	const [m, h, day, month, week] = fields as [string, string, string, string, string];
	const minute = number(m, 0, 59);
	if (minute === undefined || month !== "*") return other;
	if (day === "*" && week === "*") {
		if (h === "*") return { every: "hour", step: 1, minute };
		const step = /^\*\/(\d{1,2})$/.exec(h);
		if (step) {
			const n = Number(step[1]);
			return hourSteps.some((s) => s === n) ? { every: "hour", step: n, minute } : other;
		}
	}
	const hour = number(h, 0, 23);
	if (hour === undefined) return other;
	if (day === "*" && week === "*") return { every: "day", hour, minute };
	if (day === "*") {
		const which = days(week);
		return which ? { every: "week", days: which, hour, minute } : other;
	}
	const of = number(day, 1, 31);
	return of !== undefined && week === "*" ? { every: "month", day: of, hour, minute } : other;
}

/** The cron expression of a rhythm. A week without a day is one of every day's. */
export function cronOf(r: Rhythm): string {
	switch (r.every) {
		case "hour":
			return `${r.minute} ${r.step === 1 ? "*" : `*/${r.step}`} * * *`;
		case "day":
			return `${r.minute} ${r.hour} * * *`;
		case "week":
			return `${r.minute} ${r.hour} * * ${r.days.length === 0 ? "*" : ranges(r.days)}`;
		case "month":
			return `${r.minute} ${r.hour} ${r.day} * *`;
		case "cron":
			return r.cron.trim();
	}
}

/** 1,2,3,5 → 1-3,5 */
function ranges(of: readonly number[]): string {
	const sorted = [...new Set(of)].sort((a, b) => a - b);
	const parts: string[] = [];
	for (let i = 0; i < sorted.length; ) {
		let end = i;
		while (sorted[end + 1] === (sorted[end] ?? 0) + 1) end++;
		if (end - i >= 2) parts.push(`${sorted[i]}-${sorted[end]}`);
		else parts.push(...sorted.slice(i, end + 1).map(String));
		i = end + 1;
	}
	return parts.join(",");
}

/** The rhythm that is shown when another kind is chosen: it keeps the time of day. */
export function changed(r: Rhythm, every: Rhythm["every"]): Rhythm {
	const minute = "minute" in r ? r.minute : 0;
	const hour = "hour" in r ? r.hour : 2;
	switch (every) {
		case "hour":
			return { every, step: 1, minute };
		case "day":
			return { every, hour, minute };
		case "week":
			return { every, days: [0], hour, minute };
		case "month":
			return { every, day: 1, hour, minute };
		case "cron":
			return { every, cron: cronOf(r) };
	}
}

/** 02:05 */
export function timeText(hour: number, minute: number): string {
	return `${String(hour).padStart(2, "0")}:${String(minute).padStart(2, "0")}`;
}

/** The hour and minute of a time of day; undefined where it is none. */
export function parseTime(text: string): { hour: number; minute: number } | undefined {
	const m = /^(\d{1,2}):(\d{2})$/.exec(text.trim());
	const hour = number(m?.[1], 0, 23);
	const minute = number(m?.[2], 0, 59);
	return hour === undefined || minute === undefined ? undefined : { hour, minute };
}

/**
 * A cron expression in a few words, for a list: the server says the rest. "daily at 02:00", "Mon–Fri at 22:30", "hourly".
 */
export function shortWords(cron: string): string {
	const r = rhythmOf(cron);
	switch (r.every) {
		case "hour":
			return r.step === 1 ? `hourly at :${String(r.minute).padStart(2, "0")}` : `every ${r.step} hours`;
		case "day":
			return `daily at ${timeText(r.hour, r.minute)}`;
		case "week":
			return `${weekWords(r.days)} at ${timeText(r.hour, r.minute)}`;
		case "month":
			return `monthly on the ${ordinal(r.day)} at ${timeText(r.hour, r.minute)}`;
		case "cron":
			return r.cron;
	}
}

function weekWords(of: readonly number[]): string {
	const key = [...of].sort((a, b) => a - b).join();
	if (key === "1,2,3,4,5") return "Mon–Fri";
	if (key === "0,6") return "weekends";
	if (of.length === 7) return "daily";
	return weekdays
		.filter((w) => of.includes(w.day))
		.map((w) => w.name)
		.join(", ");
}

export function ordinal(n: number): string {
	const tens = n % 100;
	const end = tens >= 11 && tens <= 13 ? "th" : (["th", "st", "nd", "rd"][n % 10] ?? "th");
	return `${n}${end}`;
}

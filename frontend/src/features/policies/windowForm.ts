import type { PolicySpec } from "../../api/policies";
import { weekdays } from "../../lib/cron";

export type Window = NonNullable<PolicySpec["schedule"]["windows"]>[number];
type Day = NonNullable<Window["days"]>[number];

/** The days of a week as the server names them, Monday first. */
export const days: readonly { id: Day; name: string; long: string }[] = weekdays.map((w) => ({
	id: w.name.toLowerCase() as Day,
	name: w.name,
	long: w.long,
}));

/** A window as it is typed. */
export interface WindowForm {
	/** Tells it from others while some are taken away. */
	key: number;
	/** None: every day. */
	days: Day[];
	from: string;
	to: string;
	stop: boolean;
}

export const mostWindows = 20;

/** The next one that is offered: the night, where there is none yet. */
export function anotherWindow(have: readonly WindowForm[]): WindowForm {
	return { key: 1 + Math.max(-1, ...have.map((w) => w.key)), days: [], from: "22:00", to: "06:00", stop: false };
}

export function windowForms(windows: readonly Window[] | undefined): WindowForm[] {
	return (windows ?? []).map((w, key) => ({
		key,
		days: [...(w.days ?? [])],
		from: w.from,
		to: w.to,
		stop: w.stop_at_end === true,
	}));
}

/** What is sent. A day of its own ends at 24:00, which a field for a time cannot say. */
export function windowsOf(forms: readonly WindowForm[]): Window[] {
	return forms.map((w) => ({
		...(w.days.length > 0 && w.days.length < 7 && { days: days.map((d) => d.id).filter((d) => w.days.includes(d)) }),
		from: w.from,
		to: w.from === "00:00" && w.to === "00:00" ? "24:00" : w.to,
		...(w.stop && { stop_at_end: true }),
	}));
}

/** What is wrong with one; undefined: nothing. */
export function windowError(w: WindowForm): string | undefined {
	const time = /^([01]\d|2[0-3]):[0-5]\d$/;
	if (!time.test(w.from) || (w.to !== "24:00" && !time.test(w.to))) return "Give both times, as in 22:00";
	if (w.from === w.to && w.from !== "00:00") return "Both times are the same; for the whole day give 00:00 to 00:00";
	return undefined;
}

/** A window in words: "Mon to Fri 22:00–06:00 of the next day". */
export function windowWords(w: Window): string {
	const to = w.to === "24:00" ? "midnight" : w.to <= w.from ? `${w.to} of the next day` : w.to;
	return `${dayWords(w.days ?? [])} ${w.from}–${to}${w.stop_at_end ? ", stopped at its end" : ""}`;
}

function dayWords(of: readonly string[]): string {
	const named = days.filter((d) => of.includes(d.id));
	const [head] = named;
	if (!head || named.length === 7) return "every day";
	const first = days.indexOf(head);
	const inRow = named.length > 2 && named.every((d, i) => days[first + i] === d);
	return inRow ? `${head.name} to ${named.at(-1)?.name}` : named.map((d) => d.name).join(", ");
}

/** When a policy does not begin, in words; undefined: it always may. */
export function conditionWords(s: PolicySpec["schedule"]): string | undefined {
	const not = [...(s.skip_on_battery ? ["on battery"] : []), ...(s.skip_on_metered ? ["on a metered connection"] : [])];
	return not.length > 0 ? not.join(", nor ") : undefined;
}

import type { Attention, Overview } from "../../api/fleet";
import { count, counted } from "../../lib/bytes";
import { ago } from "../../lib/time";
import { sentence, type Tone } from "../../lib/words";

export interface Notice {
	tone: Tone;
	/** What is the matter, after the machine's name: a sentence, and what to do about it. */
	text: string;
	/** What the machine or restic said, to the letter. */
	said?: string;
	/** The next step. job: see the job; again: order the last backup again; host: the machine's page. */
	next: { do: "job" | "again" | "host"; label: string };
}

/** Why a machine needs somebody, in words, and the next step. */
export function noticeOf(a: Attention, now: number): Notice {
	const since = a.since ? ago(a.since, now) : undefined;
	const job = (label: string): Notice["next"] =>
		a.job_id ? { do: "job", label } : { do: "host", label: "Open the machine" };
	const said = a.message ? { said: sentence(a.message) } : {};
	switch (a.reason) {
		case "clone_alarm":
			return {
				tone: "bad",
				text: `has a double: two machines speak with its identity${since ? `, first seen ${since}` : ""}. It gets no jobs until one of them is switched off and the alarm is cleared.`,
				...said,
				next: { do: "host", label: "Resolve" },
			};
		case "guard_broken":
			return {
				tone: "bad",
				text: "cannot read its guard file, and refuses jobs until its owner mends it.",
				...said,
				next: { do: "host", label: "Open the machine" },
			};
		case "restic_missing":
			return {
				tone: "bad",
				text: "has no restic, so nothing can be backed up. Install it there.",
				...said,
				next: { do: "host", label: "Open the machine" },
			};
		case "failing":
			return {
				tone: "bad",
				text: `was not backed up: the last try${since ? `, ${since},` : ""} did not succeed.`,
				...said,
				next: job("See what happened"),
			};
		case "never_backed_up":
			return a.job_id
				? {
						tone: "bad",
						text: `has no backup yet: the first try did not succeed.`,
						...said,
						next: job("See what happened"),
					}
				: {
						tone: "warn",
						text: `has no backup yet${since ? `; it was added ${since}` : ""}.`,
						next: { do: "host", label: "Back it up" },
					};
		case "overdue":
			return {
				tone: "warn",
				text: since ? `was last backed up ${since}.` : "was not backed up for a while.",
				next: { do: "again", label: "Back up now" },
			};
		case "issues":
			return {
				tone: "warn",
				text: `was backed up${since ? ` ${since}` : ""}, but some files could not be read, or a script failed.`,
				...said,
				next: job("See which"),
			};
		case "listing_failed":
			return {
				tone: "warn",
				text: "is backed up, but its snapshots could not be listed: what is shown of them may be old.",
				...said,
				next: { do: "host", label: "Open the machine" },
			};
		case "clock_skew":
			return {
				tone: "warn",
				text: "has a clock that is wrong, and so have its snapshots. Let it follow a time server.",
				...said,
				next: { do: "host", label: "Open the machine" },
			};
		case "offline":
			return {
				tone: "warn",
				text: `was last heard of ${since ?? "more than a day ago"}. Is it switched off?`,
				next: { do: "host", label: "Open the machine" },
			};
	}
}

/** Whether everything is backed up, in one sentence, and how bad it is. */
export function answerOf(o: Overview): { text: string; tone: Tone } {
	const h = o.hosts;
	const live = h.total - h.revoked;
	const bare = h.at_risk + h.failing + h.never_backed_up;
	if (live === 0) return { text: h.revoked > 0 ? "All machines are revoked" : "There is no machine", tone: "idle" };
	const all =
		live === 1
			? "The machine is protected"
			: live === 2
				? "Both machines are protected"
				: `All ${count(live)} machines are protected`;
	if (o.attention_total === 0 && bare === 0) return { text: all, tone: "ok" };
	// A machine may be protected and yet need somebody: a wrong clock, or offline for a day.
	const need = Math.max(o.attention_total, bare);
	if (bare === 0) return { text: `${all}; ${need === 1 ? "one needs" : `${count(need)} need`} a look`, tone: "warn" };
	const tone = h.failing > 0 || o.attention.some((a) => noticeOf(a, 0).tone === "bad") ? "bad" : "warn";
	if (live === 1) return { text: "The machine needs you", tone };
	if (need === live)
		return { text: live === 2 ? "Both machines need you" : `All ${count(live)} machines need you`, tone };
	return { text: `${count(need)} of ${counted(live, "machine")} ${need === 1 ? "needs" : "need"} you`, tone };
}

/** So many of the list: one of each kind of trouble before a second of any, the worst first. */
export function varied(list: readonly Attention[], most: number): Attention[] {
	const first = list.filter((a, i) => list.findIndex((b) => b.reason === a.reason) === i);
	const rest = list.filter((a) => !first.includes(a));
	const chosen = new Set([...first, ...rest].slice(0, most));
	return list.filter((a) => chosen.has(a));
}

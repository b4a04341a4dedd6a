import type { Repository, RepositoryContent } from "../../api/repositories";
import type { Tone } from "../../lib/words";

const day = 86_400_000;

/** When all data of all it holds was last verified: the oldest of them; undefined where one never was. */
export function fullyChecked(contents: readonly RepositoryContent[]): string | undefined {
	let oldest: string | undefined;
	for (const c of contents) {
		if (!c.fully_checked_at) return undefined;
		if (oldest === undefined || c.fully_checked_at < oldest) oldest = c.fully_checked_at;
	}
	return oldest;
}

/** Something about a repository that somebody should see to. */
export interface Need {
	id: "frozen" | "kit" | "check" | "unused";
	tone: Tone;
	/** One or two words for a list. */
	short: string;
	title: string;
	text: string;
}

/** What a repository needs, the worst first. */
export function needsOf(r: Repository, now: number): Need[] {
	const needs: Need[] = [];
	const frozen = (r.contents ?? []).filter((c) => c.frozen);
	if (frozen.length > 0)
		needs.push({
			id: "frozen",
			tone: "bad",
			short: "Frozen",
			title:
				frozen.length === 1 ? "Retention is frozen" : `Retention is frozen in ${frozen.length} of its repositories`,
			text: "Nothing is removed from it until somebody has looked: see below why, and what to do.",
		});
	if (r.kit_stale)
		needs.push({
			id: "kit",
			tone: "warn",
			short: r.kit_made_at ? "Kit outdated" : "No kit",
			title: r.kit_made_at ? "The recovery kit is outdated" : "There is no recovery kit",
			text: r.kit_made_at
				? "The secrets changed after it was made: it does not open the repository any more. Make a new one."
				: "Were this server lost, nobody could read the backups: the password is here alone. Make a kit and keep it elsewhere.",
		});
	const held = (r.contents ?? []).filter((c) => c.snapshot_count > 0);
	const checked = held.length > 0 ? fullyChecked(held) : undefined;
	if (
		held.length > 0 &&
		r.maintenance.enabled &&
		r.maintenance.check &&
		checked &&
		now - Date.parse(checked) > 180 * day
	)
		needs.push({
			id: "check",
			tone: "warn",
			short: "Not verified",
			title: "Its data was not verified for half a year",
			text: "The checks read a part each time; with more of them, or fewer parts, all of it is read sooner.",
		});
	return needs;
}

import type { Repository } from "../../api/repositories";
import type { Tone } from "../../lib/words";

const day = 86_400_000;

/** Something about a repository that somebody should see to. */
export interface Need {
	id: "frozen" | "missing" | "removals" | "kit" | "check" | "unused";
	tone: Tone;
	/** One or two words for a list. */
	short: string;
	title: string;
	text: string;
}

/** What a repository needs, the worst first. */
export function needsOf(r: Repository, now: number): Need[] {
	const needs: Need[] = [];
	if (r.missing_count > 0)
		needs.push({
			id: "missing",
			tone: "bad",
			short: "Gone",
			title:
				r.missing_count === 1
					? "The repository that was there is gone"
					: `${r.missing_count} of its repositories are gone`,
			text: "restic says that there is none at its place any more: a disk that is not mounted, another address, or somebody deleted it. No new one is made there by itself. Once it is listed again, this ends.",
		});
	if (r.frozen_count > 0)
		needs.push({
			id: "frozen",
			tone: "bad",
			short: "Frozen",
			title:
				r.frozen_count === 1 ? "Retention is frozen" : `Retention is frozen in ${r.frozen_count} of its repositories`,
			text: "Nothing is removed from it until somebody has looked: see below why, and what to do.",
		});
	if (r.waiting_removals > 0)
		needs.push({
			id: "removals",
			tone: "warn",
			short: "Waits for a yes",
			title: r.waiting_removals === 1 ? "A removal waits for a yes" : `${r.waiting_removals} removals wait for a yes`,
			text: "More snapshots would go than may without a person: see Removals below.",
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
	const checked = r.oldest_verified_at;
	if (r.maintenance.enabled && r.maintenance.check && checked && now - Date.parse(checked) > 180 * day)
		needs.push({
			id: "check",
			tone: "warn",
			short: "Not verified",
			title: "Its data was not verified for half a year",
			text: "The checks read a part each time; with more of them, or fewer parts, all of it is read sooner.",
		});
	return needs;
}

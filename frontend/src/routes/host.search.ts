import { oneOf, someOf, text } from "../lib/search";
import { jobKinds, jobStates } from "./jobs.search";

export const hostTabs = ["snapshots", "jobs", "policies", "settings"] as const;

export interface HostSearch {
	tab?: (typeof hostTabs)[number];
	/** Part of a path of the snapshots. */
	path?: string;
	tag?: string;
	/** The whole repository's snapshots, not only this machine's. */
	all?: "1";
	state?: (typeof jobStates)[number][];
	kind?: (typeof jobKinds)[number];
	/** The day on which the jobs ended: 2026-11-27. */
	day?: string;
}

export function hostSearch(s: Record<string, unknown>): HostSearch {
	return {
		tab: oneOf(s.tab, hostTabs),
		path: text(s.path),
		tag: text(s.tag),
		all: s.all === "1" || s.all === 1 ? "1" : undefined,
		state: someOf(s.state, jobStates),
		kind: oneOf(s.kind, jobKinds),
		day: typeof s.day === "string" && /^\d{4}-\d\d-\d\d$/.test(s.day) ? s.day : undefined,
	};
}

import type { JobKind, JobState } from "../api/types";
import { oneOf, someOf, text } from "../lib/search";

export const jobStates = [
	"queued",
	"accepted",
	"running",
	"succeeded",
	"succeeded_with_issues",
	"failed",
	"canceled",
	"lost",
	"rejected",
	"expired",
] as const satisfies readonly JobState[];
export const jobKinds = [
	"backup",
	"restore",
	"check",
	"prune",
	"forget",
	"init",
	"snapshots",
	"unlock",
	"rotate_key",
	"estimate",
] as const satisfies readonly JobKind[];

/** Which jobs are shown, all in the URL. */
export interface JobsSearch {
	/** Part of a machine's name. */
	q?: string;
	state?: JobState[];
	kind?: JobKind;
	/** key or key=value */
	label?: string;
	/** A policy's id. */
	policy?: string;
	/** Days: 2026-11-27. */
	from?: string;
	to?: string;
}

const day = (v: unknown) => (typeof v === "string" && /^\d{4}-\d\d-\d\d$/.test(v) ? v : undefined);

export function jobsSearch(s: Record<string, unknown>): JobsSearch {
	return {
		q: text(s.q),
		state: someOf(s.state, jobStates),
		kind: oneOf(s.kind, jobKinds),
		label: text(s.label),
		policy: text(s.policy, 64),
		from: day(s.from),
		to: day(s.to),
	};
}

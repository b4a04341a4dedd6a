import { oneOf, someOf, text, whole } from "../lib/search";

export const protections = ["protected", "at_risk", "failing", "never_backed_up", "revoked"] as const;
export const hostStatuses = ["online", "offline", "never_seen", "revoked"] as const;
export const hostSorts = [
	"name",
	"protection",
	"last_success",
	"last_seen",
	"snapshots",
	"size",
	"version",
	"status",
] as const;

/** What the fleet shows: filters, order and grouping, all in the URL. */
export interface FleetSearch {
	q?: string;
	protection?: (typeof protections)[number][];
	status?: (typeof hostStatuses)[number][];
	/** key or key=value */
	label?: string;
	version?: string;
	/** A policy's id, or "none": no enabled policy runs there. */
	policy?: string;
	/** Hours since the last success: older than. */
	older?: number;
	sort?: (typeof hostSorts)[number];
	order?: "asc" | "desc";
	/** The key of a label. */
	group?: string;
}

export function fleetSearch(s: Record<string, unknown>): FleetSearch {
	return {
		q: text(s.q),
		protection: someOf(s.protection, protections),
		status: someOf(s.status, hostStatuses),
		label: text(s.label),
		version: text(s.version),
		policy: text(s.policy, 64),
		older: whole(s.older, 1, 100_000),
		sort: oneOf(s.sort, hostSorts),
		order: oneOf(s.order, ["asc", "desc"]),
		group: text(s.group),
	};
}

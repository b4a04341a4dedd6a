import type { HostFilter, HostListing } from "../../api/fleet";
import { protectionWords, statusWords } from "../../lib/words";

/** What the page shows, as its URL says. */
export interface View {
	q?: string;
	protection?: NonNullable<HostListing["protection"]>;
	status?: NonNullable<HostListing["status"]>;
	/** key or key=value */
	label?: string;
	version?: string;
	/** A policy's id, or "none": no enabled policy runs there. */
	policy?: string;
	/** Hours since the last success: older than. */
	older?: number;
	sort?: NonNullable<HostListing["sort"]>;
	order?: "asc" | "desc";
	/** The key of a label. */
	group?: string;
}

export type Sort = NonNullable<View["sort"]>;

/** Sets some of the view; undefined takes away. `replace` keeps it out of the history. */
export type SetView = (change: Partial<View>, replace?: boolean) => void;

/** Which hosts the table shows. */
export function filterOf(view: View): HostFilter {
	return {
		...scopeOf(view),
		...(view.q && { search: view.q.trim() }),
		...(view.protection && { protection: view.protection }),
		...(view.status && { status: view.status }),
		...(view.policy && { policy: view.policy }),
		...(view.older && { older_than_seconds: view.older * 3600 }),
	};
}

/** Which hosts the head speaks of: its counts are what one filters by, and stay while one does. */
export function scopeOf(view: View): HostFilter {
	return { ...(view.label && { label: view.label }), ...(view.version && { version: view.version }) };
}

export function listingOf(view: View): HostListing {
	return {
		...filterOf(view),
		...(view.sort && view.sort !== "name" && { sort: view.sort }),
		...(view.order === "desc" && { order: "desc" as const }),
		...(view.group && { group: view.group }),
	};
}

export const noFilter: Partial<View> = {
	q: undefined,
	protection: undefined,
	status: undefined,
	label: undefined,
	version: undefined,
	policy: undefined,
	older: undefined,
};

export interface Chip {
	id: string;
	/** What the filter says. */
	text: string;
	/** A text of a machine or a person, after it. */
	foreign?: string;
	without: Partial<View>;
}

/** The filters that are set, each with what takes it away. The search has its own field. */
export function chipsOf(view: View): Chip[] {
	const chips: Chip[] = [];
	for (const p of view.protection ?? [])
		chips.push({ id: p, text: protectionWords[p].name, without: { protection: less(view.protection, p) } });
	for (const s of view.status ?? [])
		chips.push({ id: `status ${s}`, text: statusWords[s].name, without: { status: less(view.status, s) } });
	if (view.label) chips.push({ id: "label", text: "", foreign: view.label, without: { label: undefined } });
	if (view.version)
		chips.push({ id: "version", text: "Agent", foreign: view.version, without: { version: undefined } });
	if (view.policy === "none")
		chips.push({ id: "policy", text: "No policy protects it", without: { policy: undefined } });
	else if (view.policy) chips.push({ id: "policy", text: "Of one policy", without: { policy: undefined } });
	if (view.older)
		chips.push({ id: "older", text: `No success for ${hours(view.older)}`, without: { older: undefined } });
	return chips;
}

function less<T>(list: T[] | undefined, one: T): T[] | undefined {
	const rest = list?.filter((x) => x !== one);
	return rest?.length ? rest : undefined;
}

/** The list with the value in it, or without where it was in it; nothing instead of an empty list. */
export function toggled<T>(list: T[] | undefined, one: T): T[] | undefined {
	return list?.includes(one) ? less(list, one) : [...(list ?? []), one];
}

export function hours(n: number): string {
	if (n % 168 === 0) return n === 168 ? "a week" : `${n / 168} weeks`;
	if (n % 24 === 0) return n === 24 ? "a day" : `${n / 24} days`;
	return n === 1 ? "an hour" : `${n} hours`;
}

// The direction that shows first what one looks for.
const descendingFirst: readonly Sort[] = ["size", "snapshots"];

/** The view after a click on the header: sorted by it, then the other way round, then by name again. */
export function sortedBy(view: View, sort: Sort): Partial<View> {
	const first = descendingFirst.includes(sort) ? "desc" : "asc";
	const now = view.sort ?? "name";
	const order = view.order ?? "asc";
	if (now !== sort) return tidy(sort, first);
	if (order === first) return tidy(sort, first === "asc" ? "desc" : "asc");
	return tidy("name", "asc");
}

function tidy(sort: Sort, order: "asc" | "desc"): Partial<View> {
	return { sort: sort === "name" ? undefined : sort, order: order === "asc" ? undefined : order };
}

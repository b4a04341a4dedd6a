import type { Host } from "../../api/types";

/** Which hosts are chosen: some, or all that match the filter but for some (also those that are not loaded). */
export type Selection = { all: false; hosts: ReadonlyMap<string, Host> } | { all: true; except: ReadonlySet<string> };

export const nobody: Selection = { all: false, hosts: new Map() };
export const everybody: Selection = { all: true, except: new Set() };

export function isChosen(s: Selection, id: string): boolean {
	return s.all ? !s.except.has(id) : s.hosts.has(id);
}

/** How many; total is how many match the filter. */
export function chosen(s: Selection, total: number): number {
	return s.all ? Math.max(0, total - s.except.size) : s.hosts.size;
}

/** The selection with these hosts in it, or out of it. */
export function choose(s: Selection, hosts: readonly Host[], on: boolean): Selection {
	if (s.all) {
		const except = new Set(s.except);
		for (const { id } of hosts) on ? except.delete(id) : except.add(id);
		return { all: true, except };
	}
	const some = new Map(s.hosts);
	for (const host of hosts) on ? some.set(host.id, host) : some.delete(host.id);
	return { all: false, hosts: some };
}

/**
 * A click on the row at `to`. With shift the rows from the one clicked before (the anchor) to it become as that one is
 * now; without, or without an anchor, the row alone changes.
 */
export function clicked(
	s: Selection,
	rows: readonly Host[],
	to: number,
	anchor: string | undefined,
	shift: boolean,
): Selection {
	const row = rows[to];
	if (!row) return s;
	const from = shift && anchor !== undefined ? rows.findIndex((h) => h.id === anchor) : -1;
	if (from < 0) return choose(s, [row], !isChosen(s, row.id));
	const on = anchor !== undefined && isChosen(s, anchor);
	return choose(s, rows.slice(Math.min(from, to), Math.max(from, to) + 1), on);
}

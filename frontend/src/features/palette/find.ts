/** Something to go to or to do. */
export interface Entry {
	id: string;
	section: string;
	text: string;
	/** The text is a machine's own. */
	foreign?: boolean;
	detail?: string;
	hotkey?: string;
	/** Other words it is found by. */
	words?: string;
	icon: "host" | "job" | "policy" | "repository" | "page" | "action" | "look";
	run: () => void;
}

/** How well the entry is what was typed: the smaller the better; undefined: not at all. */
export function rank(typed: string, entry: Pick<Entry, "text" | "words">): number | undefined {
	const wanted = typed.trim().toLowerCase();
	if (wanted === "") return 0;
	const text = entry.text.toLowerCase();
	if (text.startsWith(wanted)) return 0;
	const parts = wanted.split(/\s+/);
	const all = `${text} ${(entry.words ?? "").toLowerCase()}`;
	const begins = (part: string) => all.startsWith(part) || all.includes(` ${part}`);
	if (parts.every(begins)) return 1;
	if (parts.every((part) => all.includes(part))) return 2;
	return undefined;
}

/** The entries that are what was typed, the best first within each section; the sections stay in their order. */
export function found(typed: string, entries: readonly Entry[]): Entry[] {
	const sections = [...new Set(entries.map((e) => e.section))];
	return entries
		.map((entry, i) => ({ entry, i, rank: rank(typed, entry) }))
		.filter((e) => e.rank !== undefined)
		.sort(
			(a, b) =>
				sections.indexOf(a.entry.section) - sections.indexOf(b.entry.section) ||
				(a.rank ?? 0) - (b.rank ?? 0) ||
				a.i - b.i,
		)
		.map((e) => e.entry);
}

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

/** The id in what was typed or pasted, also out of a URL. */
export function idIn(typed: string): string | undefined {
	const last = typed
		.trim()
		.split(/[/?#\s]/)
		.find((part) => uuid.test(part));
	return last?.toLowerCase();
}

/** What was gone to, the newest first. It names machines, so it lasts no longer than the tab. */
export interface Recent {
	kind: "host" | "job";
	id: string;
	text: string;
}

const most = 6;

export function readRecent(who: string): Recent[] {
	try {
		const list: unknown = JSON.parse(sessionStorage.getItem(`recent ${who}`) ?? "[]");
		if (Array.isArray(list)) return list.filter(isRecent).slice(0, most);
	} catch {
		// Not ours.
	}
	return [];
}

export function addRecent(who: string, entry: Recent) {
	const list = [entry, ...readRecent(who).filter((r) => r.id !== entry.id)].slice(0, most);
	try {
		sessionStorage.setItem(`recent ${who}`, JSON.stringify(list));
	} catch {
		// A full or forbidden storage: nothing is remembered.
	}
}

function isRecent(r: unknown): r is Recent {
	if (typeof r !== "object" || r === null) return false;
	const { kind, id, text } = r as Record<string, unknown>;
	return (kind === "host" || kind === "job") && typeof id === "string" && typeof text === "string";
}

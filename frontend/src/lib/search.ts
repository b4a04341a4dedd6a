// What a page keeps in its URL. Whatever a URL says, a page gets values it can show; what is default is left out of it.

/** One of the values, or undefined. */
export function oneOf<T extends string>(value: unknown, allowed: readonly T[]): T | undefined {
	return allowed.find((a) => a === value);
}

/** The values of a comma list that are allowed; undefined when there is none. */
export function someOf<T extends string>(value: unknown, allowed: readonly T[]): T[] | undefined {
	const given = Array.isArray(value) ? value.map(String) : typeof value === "string" ? value.split(",") : [];
	const some = allowed.filter((a) => given.includes(a));
	return some.length > 0 ? some : undefined;
}

/** A text that is not empty, at most this long. */
export function text(value: unknown, most = 256): string | undefined {
	if (typeof value !== "string" && typeof value !== "number") return undefined;
	const t = String(value).slice(0, most);
	return t.trim() === "" ? undefined : t;
}

/** A whole number within bounds. */
export function whole(value: unknown, least: number, most: number): number | undefined {
	const n = typeof value === "number" ? value : typeof value === "string" && value !== "" ? Number(value) : Number.NaN;
	return Number.isInteger(n) && n >= least && n <= most ? n : undefined;
}

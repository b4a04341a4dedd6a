/** The lines that hold something, without blanks around them. */
export function linesOf(text: string): string[] {
	return text
		.split("\n")
		.map((l) => l.trim())
		.filter((l) => l !== "");
}

/** The path as it stands in an order: no slash at its end, none doubled. */
export function cleanPath(path: string): string {
	const p = path.replace(/\/{2,}/g, "/");
	return p.length > 1 ? p.replace(/\/$/, "") : p;
}

/** What is wrong with the first of the paths that is no absolute one; undefined when all are. */
export function pathError(paths: readonly string[]): string | undefined {
	for (const p of paths) {
		if (!p.startsWith("/")) return `"${cut(p)}" is not absolute; begin it with /`;
		if (p.split("/").some((part) => part === "." || part === ".."))
			return `"${cut(p)}" has . or .. in it; write the path without`;
	}
	const twice = paths.find((p, i) => paths.indexOf(p) !== i);
	return twice === undefined ? undefined : `"${cut(twice)}" is named twice`;
}

function cut(text: string): string {
	return text.length > 60 ? `${text.slice(0, 60)}…` : text;
}

const powers: Record<string, number> = { "": 0, k: 1, m: 2, g: 3, t: 4, p: 5 };

/** Bytes of a size as people type it, in units of 1024: "500 MiB", "1.5g", "4096". Undefined when it is none. */
export function parseSize(text: string): number | undefined {
	const m = /^(\d+(?:[.,]\d+)?)\s*([kmgtp]?)(?:i?b)?$/i.exec(text.trim());
	if (!m) return undefined;
	const n = Number((m[1] ?? "").replace(",", ".")) * 1024 ** (powers[(m[2] ?? "").toLowerCase()] ?? 0);
	return Number.isFinite(n) && n <= Number.MAX_SAFE_INTEGER ? Math.round(n) : undefined;
}

/** A size that parseSize reads back to the same number of bytes. */
export function exactSize(bytes: number): string {
	const units = ["", " KiB", " MiB", " GiB", " TiB"];
	let unit = 0;
	let n = bytes;
	while (n >= 1024 && n % 1024 === 0 && unit < units.length - 1) {
		n /= 1024;
		unit++;
	}
	return `${n}${units[unit]}`;
}

const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/** A size in IEC units, three significant digits: 0 B, 1.5 KiB, 23.4 GiB. */
export function bytes(n: number): string {
	if (!Number.isFinite(n) || n < 0) return "–";
	let unit = 0;
	let value = n;
	while (value >= 1023.5 && unit < units.length - 1) {
		value /= 1024;
		unit++;
	}
	const digits = unit === 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
	return `${trim(value.toFixed(digits))} ${units[unit]}`;
}

function trim(s: string): string {
	return s.includes(".") ? s.replace(/\.?0+$/, "") : s;
}

/** A rate in IEC units a second. */
export function rate(bytesPerSecond: number): string {
	return `${bytes(bytesPerSecond)}/s`;
}

const whole = new Intl.NumberFormat("en");

/** A count with thousands set apart: 12,345. */
export function count(n: number): string {
	return whole.format(n);
}

/** "1 file", "2 files", "1,204 files"; give the plural where it is not the singular and an s. */
export function counted(n: number, one: string, many = `${one}s`): string {
	return `${count(n)} ${n === 1 ? one : many}`;
}

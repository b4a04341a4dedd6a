/** Round values of an axis of bytes: from 0 by a step of 1, 2 or 5 of a binary unit to at least the largest. */
export function byteTicks(largest: number, about = 4): number[] {
	if (largest <= 0) return [0];
	const rough = largest / about;
	const unit = 1024 ** Math.floor(Math.log(rough) / Math.log(1024));
	const n = rough / Math.max(1, unit);
	const step = ([1, 2, 5, 10, 20, 50, 100, 200, 500, 1024].find((s) => s >= n) ?? 1024) * Math.max(1, unit);
	const ticks = [0];
	while ((ticks.at(-1) ?? 0) < largest) ticks.push((ticks.at(-1) ?? 0) + step);
	return ticks;
}

import type { GrowthDay } from "../../api/repositories";
import { bytes } from "../../lib/bytes";
import { byteTicks } from "../../lib/ticks";
import classes from "./Repositories.module.css";

const width = 900;
const height = 150;
const at = (day: string) => Date.parse(`${day}T00:00:00Z`);

/** The points of a line as SVG reads them. */
export function line(
	days: readonly GrowthDay[],
	value: (d: GrowthDay) => number | undefined,
	most: number,
): [number, number][] {
	const from = at(days[0]?.day ?? "");
	const span = Math.max(1, at(days.at(-1)?.day ?? "") - from);
	return days.flatMap((d) => {
		const v = value(d);
		return v === undefined
			? []
			: [[((at(d.day) - from) / span) * width, height - (most > 0 ? v / most : 0) * height] as [number, number]];
	});
}

const path = (points: readonly [number, number][]) =>
	points.map(([x, y], i) => `${i === 0 ? "M" : "L"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");

/** What the newest snapshots hold as an area, what lies in the storage as a line. Its words and its table stand beside it. */
export function GrowthChart({ days }: { days: readonly GrowthDay[] }) {
	const ticks = byteTicks(Math.max(...days.map((d) => Math.max(d.size_bytes, d.stored_bytes ?? 0))));
	const most = ticks.at(-1) ?? 0;
	const size = line(days, (d) => d.size_bytes, most);
	const stored = line(days, (d) => d.stored_bytes, most);
	return (
		<div className={classes.chart} aria-hidden>
			<div className={classes.ticks}>
				{[...ticks].reverse().map((t) => (
					<span key={t}>{bytes(t)}</span>
				))}
			</div>
			<svg viewBox={`0 0 ${width} ${height}`} preserveAspectRatio="none" role="presentation">
				{ticks.map((t) => {
					const y = height - (most > 0 ? t / most : 0) * height;
					return <path key={t} d={`M0 ${y}H${width}`} className={classes.grid} />;
				})}
				<path d={`${path(size)}L${width} ${height}L0 ${height}Z`} className={classes.area} />
				<path d={path(size)} className={classes.line} />
				{stored.length > 1 && <path d={path(stored)} className={classes.line} data-stored />}
			</svg>
			<div className={classes.days}>
				<span>{days[0]?.day}</span>
				<span className={classes.legend}>
					<span>newest snapshots hold</span>
					{stored.length > 1 && <span data-stored>in the storage</span>}
				</span>
				<span>{days.at(-1)?.day}</span>
			</div>
		</div>
	);
}

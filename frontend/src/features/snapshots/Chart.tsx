import { Area, Bar, CartesianGrid, ComposedChart, ResponsiveContainer, Tooltip, XAxis, YAxis } from "recharts";
import { bytes, counted } from "../../lib/bytes";
import { byteTicks } from "../../lib/ticks";
import { exact } from "../../lib/time";
import classes from "./Snapshots.module.css";
import type { Point } from "./series";

const dayFormat = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const clockFormat = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });

/** Sizes as an area, what each snapshot added as bars below it. It stands still: nothing in it moves. */
export default function Chart({ points }: { points: readonly Point[] }) {
	const sizes = byteTicks(Math.max(...points.map((p) => p.size ?? 0)));
	const added = byteTicks(Math.max(...points.map((p) => p.added)), 2);
	const span = (points.at(-1)?.at ?? 0) - (points[0]?.at ?? 0);
	const short = span < 2 * 86_400_000;
	const when = (at: number) => (short ? clockFormat : dayFormat).format(at);
	const axis = { fontSize: 11, fill: "var(--rm-muted)" };
	const rest = { axisLine: false, tickLine: false, tick: axis } as const;
	const time = {
		dataKey: "at",
		type: "number",
		scale: "time",
		domain: ["dataMin", "dataMax"],
		padding: { left: 10, right: 10 },
	} as const;
	const data = [...points];
	return (
		<div className={classes.charts}>
			<ResponsiveContainer width="100%" height={150} initialDimension={{ width: 900, height: 150 }}>
				<ComposedChart
					data={data}
					syncId="snapshots"
					margin={{ top: 6, right: 8, bottom: 0, left: 0 }}
					accessibilityLayer={false}
				>
					<CartesianGrid vertical={false} stroke="var(--rm-border)" />
					<XAxis {...time} hide />
					<YAxis {...rest} width={68} ticks={sizes} domain={[0, sizes.at(-1) ?? 0]} tickFormatter={bytes} />
					<Tooltip content={(p) => <Hint active={p.active} point={p.payload?.[0]?.payload as Point | undefined} />} />
					<Area
						dataKey="size"
						type="linear"
						stroke="var(--rm-info-area)"
						strokeWidth={1.75}
						fill="var(--rm-info-area)"
						fillOpacity={0.13}
						dot={data.length < 30 ? { r: 2.5, fill: "var(--rm-info-area)", fillOpacity: 1, strokeWidth: 0 } : false}
						activeDot={{ r: 4, fill: "var(--rm-info-area)", stroke: "var(--rm-surface)" }}
						connectNulls
						isAnimationActive={false}
					/>
				</ComposedChart>
			</ResponsiveContainer>
			<ResponsiveContainer width="100%" height={84} initialDimension={{ width: 900, height: 84 }}>
				<ComposedChart
					data={data}
					syncId="snapshots"
					margin={{ top: 8, right: 8, bottom: 0, left: 0 }}
					accessibilityLayer={false}
				>
					<CartesianGrid vertical={false} stroke="var(--rm-border)" />
					<XAxis {...time} {...rest} tickFormatter={when} minTickGap={56} height={20} />
					<YAxis {...rest} width={68} ticks={added} domain={[0, added.at(-1) ?? 0]} tickFormatter={bytes} />
					<Tooltip content={() => null} cursor={{ fill: "var(--rm-hover)" }} />
					<Bar
						dataKey="added"
						fill="var(--rm-ok-area)"
						maxBarSize={10}
						minPointSize={1}
						radius={[2, 2, 0, 0]}
						isAnimationActive={false}
					/>
				</ComposedChart>
			</ResponsiveContainer>
		</div>
	);
}

function Hint({ active, point }: { active: boolean; point: Point | undefined }) {
	if (!active || !point) return null;
	return (
		<div className={classes.hint}>
			<b>{exact(point.at)}</b>
			<span>{point.size === null ? "size not known" : `holds ${bytes(point.size)}`}</span>
			<span>{bytes(point.added)} new</span>
			{point.snapshots > 1 && <span>{counted(point.snapshots, "snapshot")} of that day</span>}
		</div>
	);
}

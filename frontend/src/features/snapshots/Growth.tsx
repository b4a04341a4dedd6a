import { NativeSelect, Skeleton } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { lazy, Suspense, useState } from "react";
import { newestSnapshotsQuery, type SnapshotFilter } from "../../api/snapshots";
import { bytes, counted } from "../../lib/bytes";
import { visible } from "../../lib/escape";
import { exact } from "../../lib/time";
import { Figures, FiguresButton, useFigures } from "../../ui/Figures";
import { Card } from "../../ui/Page";
import classes from "./Snapshots.module.css";
import { pointsOf, type Series, seriesOf, type Trend, trendOf } from "./series";

const Chart = lazy(() => import("./Chart"));

/** How large backups are and what they add, over the newest 365 snapshots. */
export function Growth({ hostID, filter }: { hostID: string; filter: SnapshotFilter }) {
	const { data } = useQuery(newestSnapshotsQuery(hostID, filter));
	const [chosen, setChosen] = useState<string>();
	const figures = useFigures();
	// One snapshot is no line.
	const all = data ? seriesOf(data.snapshots).filter((s) => s.snapshots.length > 1) : [];
	const series = all.find((s) => s.key === chosen) ?? all[0];
	const points = series ? pointsOf(series.snapshots) : [];
	const trend = trendOf(points);
	if (data && !series) return null;
	return (
		<Card
			title="Size and new data"
			actions={
				<>
					{all.length > 1 && (
						<NativeSelect
							size="xs"
							aria-label="What the snapshots hold"
							className={classes.series}
							value={series?.key ?? ""}
							onChange={(e) => setChosen(e.currentTarget.value)}
						>
							{all.slice(0, 50).map((s) => (
								<option key={s.key} value={s.key}>
									{nameOf(s, filter.all === true)} ({s.snapshots.length})
								</option>
							))}
						</NativeSelect>
					)}
					{trend && <FiguresButton {...figures} />}
				</>
			}
		>
			{!data ? (
				<Skeleton height={258} radius="sm" />
			) : !trend ? (
				<p className={classes.words}>
					restic stored no sizes with these snapshots: it does so from 0.17.0 on. Update restic on the machine to see
					them from then on.
				</p>
			) : (
				<figure className={classes.figure}>
					<div className={classes.plot} aria-hidden>
						<Suspense fallback={<Skeleton height={234} radius="sm" />}>
							<Chart points={points} />
						</Suspense>
					</div>
					<figcaption className={classes.words}>{trendWords(trend)}</figcaption>
				</figure>
			)}
			<Figures
				{...figures}
				label="Size and new data"
				when={{ name: "When", of: (p) => exact(p.at) }}
				keyOf={(p) => String(p.at)}
				columns={[
					{ name: "Holds", short: "holds", of: (p) => (p.size === null ? "–" : bytes(p.size)) },
					{ name: "New", short: "new", of: (p) => bytes(p.added) },
					{ name: "Snapshots", short: "snapshots", of: (p) => String(p.snapshots) },
				]}
				of={points}
			/>
		</Card>
	);
}

function nameOf(s: Series, withHost: boolean): string {
	const paths = s.paths.slice(0, 3).map((p) => visible(p.length > 40 ? `${p.slice(0, 40)}…` : p));
	const more = s.paths.length > 3 ? ` and ${s.paths.length - 3} more` : "";
	return `${withHost ? `${visible(s.hostname)}: ` : ""}${paths.join(", ")}${more}`;
}

/** What the chart shows, in words. */
export function trendWords(t: Trend): string {
	const d = t.lastSize - t.firstSize;
	const change =
		d === 0
			? "as much as at first"
			: `${bytes(Math.abs(d))} ${d > 0 ? "more" : "less"} than at first (${bytes(t.firstSize)})`;
	return `${counted(t.snapshots, "snapshot")} from ${exact(t.first)} to ${exact(t.last)}. The newest holds ${bytes(t.lastSize)}, ${change}; together they added ${bytes(t.added)} before compression.`;
}

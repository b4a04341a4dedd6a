import { Button, NativeSelect, Skeleton } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { lazy, Suspense, useId, useState } from "react";
import { newestSnapshotsQuery, type SnapshotFilter } from "../../api/snapshots";
import { bytes, counted } from "../../lib/bytes";
import { visible } from "../../lib/escape";
import { exact } from "../../lib/time";
import { Card } from "../../ui/Page";
import rows from "../../ui/Rows.module.css";
import classes from "./Snapshots.module.css";
import { type Point, pointsOf, type Series, seriesOf, type Trend, trendOf } from "./series";

const Chart = lazy(() => import("./Chart"));

/** How large backups are and what they add, over the newest 365 snapshots. */
export function Growth({ hostID, filter }: { hostID: string; filter: SnapshotFilter }) {
	const { data } = useQuery(newestSnapshotsQuery(hostID, filter));
	const [chosen, setChosen] = useState<string>();
	const [table, setTable] = useState(false);
	const id = useId();
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
					{trend && (
						<Button
							size="xs"
							variant="default"
							aria-expanded={table}
							aria-controls={id}
							onClick={() => setTable(!table)}
						>
							{table ? "Hide the figures" : "Show the figures"}
						</Button>
					)}
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
			<div id={id} hidden={!table}>
				{table && <Table points={points} />}
			</div>
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

function Table({ points }: { points: readonly Point[] }) {
	return (
		// biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reached by keys
		<section className={classes.table} tabIndex={0} aria-label="Size and new data as a table">
			<table className={rows.rows}>
				<thead>
					<tr>
						<th scope="col">When</th>
						<th scope="col" className={rows.number}>
							Holds
						</th>
						<th scope="col" className={rows.number}>
							New
						</th>
						<th scope="col" className={rows.number}>
							Snapshots
						</th>
					</tr>
				</thead>
				<tbody>
					{[...points].reverse().map((p) => (
						<tr key={p.at}>
							<td data-line>{exact(p.at)}</td>
							<td className={rows.number} data-name="holds">
								{p.size === null ? "–" : bytes(p.size)}
							</td>
							<td className={rows.number} data-name="new">
								{bytes(p.added)}
							</td>
							<td className={rows.number} data-name="snapshots">
								{p.snapshots}
							</td>
						</tr>
					))}
				</tbody>
			</table>
		</section>
	);
}

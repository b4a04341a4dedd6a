import { Button, NativeSelect } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useId, useState } from "react";
import { type GrowthDay, growthQuery } from "../../api/repositories";
import { bytes, count, counted } from "../../lib/bytes";
import { Card } from "../../ui/Page";
import rows from "../../ui/Rows.module.css";
import { Empty, Shown } from "../../ui/States";
import { GrowthChart } from "./GrowthChart";
import classes from "./Repositories.module.css";

const spans = [
	{ days: 30, name: "30 days" },
	{ days: 90, name: "90 days" },
	{ days: 365, name: "A year" },
	{ days: 730, name: "Two years" },
];

/** How a repository grew, or all of them together. */
export function Growth({ id, title }: { id?: string; title: string }) {
	const [days, setDays] = useState(90);
	const [table, setTable] = useState(false);
	const region = useId();
	const query = useQuery(growthQuery(id, days));
	const known = (query.data?.days.length ?? 0) > 0;
	return (
		<Card
			title={title}
			actions={
				<>
					<NativeSelect
						size="xs"
						aria-label={`${title}: how far back`}
						value={days}
						onChange={(e) => setDays(Number(e.currentTarget.value))}
						data={spans.map((s) => ({ value: String(s.days), label: s.name }))}
					/>
					{known && (
						<Button
							size="xs"
							variant="default"
							aria-expanded={table}
							aria-controls={region}
							onClick={() => setTable(!table)}
						>
							{table ? "Hide the figures" : "Show the figures"}
						</Button>
					)}
				</>
			}
		>
			<Shown
				query={query}
				rows={3}
				isEmpty={(d) => d.days.length === 0}
				empty={
					<Empty title="Nothing is known yet">Once its snapshots were listed, each day has its figures here.</Empty>
				}
			>
				{(d) => (
					<figure className={classes.growth}>
						{d.days.length > 1 && <GrowthChart days={d.days} />}
						<figcaption className={classes.about}>{growthWords(d.days)}</figcaption>
						<div id={region} hidden={!table}>
							{table && <Table title={title} days={d.days} />}
						</div>
					</figure>
				)}
			</Shown>
		</Card>
	);
}

/** What the chart shows, in words. */
export function growthWords(days: readonly GrowthDay[]): string {
	const first = days[0];
	const last = days.at(-1);
	if (!first || !last) return "";
	const stored =
		last.stored_bytes === undefined ? "" : `, ${bytes(last.stored_bytes)} in the storage after the last prune`;
	const now = `${counted(last.snapshot_count, "snapshot")}; the newest hold ${bytes(last.size_bytes)}${stored}.`;
	if (first === last) return now;
	const d = last.size_bytes - first.size_bytes;
	const change = d === 0 ? "as much as" : `${bytes(Math.abs(d))} ${d > 0 ? "more" : "less"} than`;
	return `${now} That is ${change} on ${first.day}, and ${signed(last.snapshot_count - first.snapshot_count)} snapshots.`;
}

const signed = (n: number) => (n > 0 ? `${count(n)} more` : n < 0 ? `${count(-n)} fewer` : "as many");

function Table({ title, days }: { title: string; days: readonly GrowthDay[] }) {
	return (
		// biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reached by keys
		<section className={classes.growthTable} tabIndex={0} aria-label={`${title} as a table`}>
			<table className={rows.rows}>
				<thead>
					<tr>
						<th scope="col">Day</th>
						<th scope="col" className={rows.number}>
							Snapshots
						</th>
						<th scope="col" className={rows.number}>
							Newest hold
						</th>
						<th scope="col" className={rows.number}>
							In the storage
						</th>
					</tr>
				</thead>
				<tbody>
					{[...days].reverse().map((d) => (
						<tr key={d.day}>
							<td data-line>{d.day}</td>
							<td className={rows.number} data-name="snapshots">
								{count(d.snapshot_count)}
							</td>
							<td className={rows.number} data-name="hold">
								{bytes(d.size_bytes)}
							</td>
							<td className={rows.number} data-name="stored">
								{d.stored_bytes === undefined ? "–" : bytes(d.stored_bytes)}
							</td>
						</tr>
					))}
				</tbody>
			</table>
		</section>
	);
}

import { NativeSelect } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { type GrowthDay, growthQuery } from "../../api/repositories";
import { bytes, count, counted } from "../../lib/bytes";
import { Figures, FiguresButton, useFigures } from "../../ui/Figures";
import { Card } from "../../ui/Page";
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
	const figures = useFigures();
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
					{known && <FiguresButton {...figures} />}
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
						<Figures
							{...figures}
							label={title}
							when={{ name: "Day", of: (day) => day.day }}
							keyOf={(day) => day.day}
							columns={[
								{ name: "Snapshots", short: "snapshots", of: (day) => count(day.snapshot_count) },
								{ name: "Newest hold", short: "hold", of: (day) => bytes(day.size_bytes) },
								{
									name: "In the storage",
									short: "stored",
									of: (day) => (day.stored_bytes === undefined ? "–" : bytes(day.stored_bytes)),
								},
							]}
							of={d.days}
						/>
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

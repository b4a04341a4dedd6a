import { Button } from "@mantine/core";
import { useId, useState } from "react";
import classes from "./Figures.module.css";
import rows from "./Rows.module.css";

/** Whether a chart's figures are shown, for its button and its table. */
export function useFigures() {
	const [shown, setShown] = useState(false);
	return { id: useId(), shown, toggle: () => setShown(!shown) };
}

type Shown = ReturnType<typeof useFigures>;

export function FiguresButton({ id, shown, toggle }: Shown) {
	return (
		<Button size="xs" variant="default" aria-expanded={shown} aria-controls={id} onClick={toggle}>
			{shown ? "Hide the figures" : "Show the figures"}
		</Button>
	);
}

/** A column of figures; short is its name where a row stands in lines, on a narrow screen. */
export interface Column<Row> {
	name: string;
	short: string;
	of: (row: Row) => string;
}

/** What a chart shows, as a table, the newest row first. keyOf tells rows apart. */
export function Figures<Row>({
	id,
	shown,
	label,
	when,
	keyOf,
	columns,
	of,
}: Shown & {
	label: string;
	when: { name: string; of: (row: Row) => string };
	keyOf: (row: Row) => string;
	columns: readonly Column<Row>[];
	of: readonly Row[];
}) {
	return (
		<div id={id} hidden={!shown}>
			{shown && (
				// biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reached by keys
				<section className={classes.table} tabIndex={0} aria-label={`${label} as a table`}>
					<table className={rows.rows}>
						<thead>
							<tr>
								<th scope="col">{when.name}</th>
								{columns.map((c) => (
									<th key={c.name} scope="col" className={rows.number}>
										{c.name}
									</th>
								))}
							</tr>
						</thead>
						<tbody>
							{[...of].reverse().map((row) => (
								<tr key={keyOf(row)}>
									<td data-line>{when.of(row)}</td>
									{columns.map((c) => (
										<td key={c.name} className={rows.number} data-name={c.short}>
											{c.of(row)}
										</td>
									))}
								</tr>
							))}
						</tbody>
					</table>
				</section>
			)}
		</div>
	);
}

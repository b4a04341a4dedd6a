import { useQuery } from "@tanstack/react-query";
import { useEffect, useRef, useState } from "react";
import { calendarQuery } from "../../api/history";
import { Card } from "../../ui/Page";
import { Shown } from "../../ui/States";
import classes from "./Host.module.css";
import { type Day, dayName, dayWords, monthNames, spanWords, step, today, toneOf, weeks } from "./weeks";

const days = 280;

interface Props {
	hostID: string;
	day: string | undefined;
	/** Shows the jobs of a day; undefined: of all. */
	choose: (day: string | undefined) => void;
}

/** How backups ended, day by day; a day leads to its jobs. */
export function Calendar({ hostID, day, choose }: Props) {
	const query = useQuery(calendarQuery(hostID, days, -new Date().getTimezoneOffset()));
	return (
		<Card title="Backups by day" label="Backups by day">
			<Shown query={query} rows={7}>
				{(c) => <Grid columns={weeks(c.days, days, today())} day={day} choose={choose} />}
			</Shown>
		</Card>
	);
}

export function Grid({
	columns,
	day,
	choose,
}: {
	columns: (Day | undefined)[][];
	day: string | undefined;
	choose: (day: string | undefined) => void;
}) {
	const scroller = useRef<HTMLDivElement>(null);
	const all = columns.flat().filter((d): d is Day => d !== undefined);
	const first = all[0]?.date ?? "";
	const last = all.at(-1)?.date ?? "";
	// One day is in the order of the Tab key, the arrows lead from it to the others.
	const [at, setAt] = useState(day ?? last);
	const here = all.some((d) => d.date === at) ? at : last;

	useEffect(() => {
		const s = scroller.current;
		if (s) s.scrollLeft = s.scrollWidth;
	}, []);

	function onKey(e: React.KeyboardEvent) {
		const to = step(here, e.key, first, last);
		if (to === undefined) return;
		e.preventDefault();
		setAt(to);
		scroller.current?.querySelector<HTMLElement>(`[data-date="${to}"]`)?.focus();
	}
	return (
		<>
			<div ref={scroller} className={classes.calendar}>
				{/* biome-ignore lint/a11y/noStaticElementInteractions: the arrows move among the buttons in it */}
				<div className={classes.grid} onKeyDown={onKey}>
					<span />
					{["Mon", "", "Wed", "", "Fri", "", "Sun"].map((name, i) => (
						// biome-ignore lint/suspicious/noArrayIndexKey: seven places that never move
						<span key={i} className={classes.weekday} aria-hidden>
							{name}
						</span>
					))}
					{monthNames(columns).map((month, i) => (
						<Column key={columns[i]?.find(Boolean)?.date ?? i} month={month}>
							{columns[i]?.map((d, j) =>
								d ? (
									<button
										key={d.date}
										type="button"
										className={classes.day}
										data-tone={toneOf(d)}
										data-date={d.date}
										tabIndex={d.date === here ? 0 : -1}
										aria-pressed={d.date === day}
										aria-label={`${dayName(d.date)}: ${dayWords(d)}`}
										title={`${dayName(d.date)}: ${dayWords(d)}`}
										onFocus={() => setAt(d.date)}
										onClick={() => choose(d.date === day ? undefined : d.date)}
									/>
								) : (
									// biome-ignore lint/suspicious/noArrayIndexKey: a weekday's place
									<span key={j} />
								),
							)}
						</Column>
					))}
				</div>
			</div>
			<div className={classes.legend}>
				{(
					[
						["ok", "succeeded"],
						["warn", "with issues"],
						["mixed", "failed, then succeeded"],
						["bad", "failed"],
						["none", "none"],
					] as const
				).map(([tone, name]) => (
					<span key={tone}>
						<span className={classes.day} data-tone={tone} aria-hidden />
						{name}
					</span>
				))}
				<span style={{ marginLeft: "auto" }}>{spanWords(columns)}</span>
			</div>
		</>
	);
}

function Column({ month, children }: { month: string | undefined; children: React.ReactNode }) {
	return (
		<>
			<span className={classes.month} aria-hidden>
				<span>{month}</span>
			</span>
			{children}
		</>
	);
}

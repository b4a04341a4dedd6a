import { Button } from "@mantine/core";
import { IconCalendarOff } from "@tabler/icons-react";
import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { fleetCalendarQuery, ticksQuery } from "../../api/policies";
import { count, counted } from "../../lib/bytes";
import { useNow } from "../../ui/Ago";
import { DueTimes } from "../../ui/Due";
import { Older } from "../../ui/Older";
import { Card, Page } from "../../ui/Page";
import rows from "../../ui/Rows.module.css";
import { Empty, Shown } from "../../ui/States";
import { type Day, dayWords, type Hour, hoursAhead, hourWords, parts, pastDays, today, totalOf } from "./bars";
import classes from "./Calendar.module.css";

const daysBack = 30;
const hoursShown = 48;

/** What ran in the last days, what is due in the next hours, and what was missed. */
export function Calendar() {
	const query = useQuery(fleetCalendarQuery(daysBack, hoursShown, -new Date().getTimezoneOffset()));
	const now = useNow();
	return (
		<Page
			title="Calendar"
			subtitle="What ran on all machines, and what is due"
			actions={
				<Button variant="default" renderRoot={(props) => <Link to="/policies" {...props} />}>
					Policies
				</Button>
			}
		>
			<Card title="The last 30 days" label="The last 30 days">
				<Shown query={query} rows={6}>
					{(c) => <Past days={pastDays(c.days, daysBack, today())} />}
				</Shown>
			</Card>
			<Card title="The next 48 hours" label="The next 48 hours">
				<Shown query={query} rows={6}>
					{(c) => <Ahead hours={hoursAhead(c.due, hoursShown, now)} />}
				</Shown>
			</Card>
			<Missed />
		</Page>
	);
}

function Past({ days }: { days: readonly Day[] }) {
	const most = Math.max(1, ...days.map(totalOf));
	return (
		<>
			<ol className={`${classes.bars} ${classes.past}`}>
				{days.map((d) => (
					<li key={d.date}>
						<Link
							to="/jobs"
							search={{ kind: "backup", from: d.date, to: d.date }}
							className={classes.bar}
							aria-label={dayWords(d)}
							title={dayWords(d)}
						>
							{parts.map(
								(p) =>
									d[p.key] > 0 && (
										<span key={p.key} data-tone={p.tone} style={{ height: `${(d[p.key] / most) * 100}%` }} />
									),
							)}
						</Link>
					</li>
				))}
			</ol>
			<div className={`${classes.axis} ${classes.past}`} aria-hidden>
				{days.map((d, i) => (
					<span key={d.date}>{(days.length - 1 - i) % 5 === 0 ? Number(d.date.slice(8)) : ""}</span>
				))}
			</div>
			<div className={classes.legend}>
				{[...parts].reverse().map((p) => (
					<span key={p.key}>
						<span className={classes.mark} data-tone={p.tone} aria-hidden />
						{p.name}
					</span>
				))}
				<span className="rm-numbers">at most {count(most)} a day</span>
			</div>
		</>
	);
}

function Ahead({ hours }: { hours: readonly Hour[] }) {
	const most = Math.max(1, ...hours.map((h) => h.count));
	const all = hours.reduce((n, h) => n + h.count, 0);
	if (all === 0)
		return (
			<Empty icon={<IconCalendarOff size={26} />} title="Nothing is due">
				No policy that is switched on has a due time in the next two days.
			</Empty>
		);
	return (
		<>
			<ol className={classes.bars}>
				{hours.map((h) => (
					<li key={h.at}>
						<span className={classes.bar} role="img" aria-label={hourWords(h)} title={hourWords(h)}>
							{h.count > 0 && <span data-tone="due" style={{ height: `${(h.count / most) * 100}%` }} />}
						</span>
					</li>
				))}
			</ol>
			<div className={classes.axis} aria-hidden>
				{hours.map((h) => {
					const hour = new Date(h.at).getHours();
					return <span key={h.at}>{hour % 6 === 0 ? `${String(hour).padStart(2, "0")}:00` : ""}</span>;
				})}
			</div>
			<div className={classes.legend}>
				<span className="rm-numbers">
					{counted(all, "backup")} due, at most {count(most)} an hour
				</span>
			</div>
		</>
	);
}

/** The due times at which nothing ran, the newest first. */
function Missed() {
	const query = useInfiniteQuery(ticksQuery({ outcome: "missed" }));
	return (
		<Card flush title="Missed">
			<Shown
				query={query}
				rows={3}
				isEmpty={(d) => d.pages[0]?.ticks.length === 0}
				empty={<Empty title="Nothing was missed" />}
			>
				{(d) => (
					<>
						<DueTimes ticks={d.pages.flatMap((page) => page.ticks)} policies hosts />
						{query.hasNextPage && (
							<div className={rows.foot}>
								<Older query={query} />
							</div>
						)}
					</>
				)}
			</Shown>
		</Card>
	);
}

import { NativeSelect, Select, TextInput } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { useQuery } from "@tanstack/react-query";
import { useId, useState } from "react";
import { scheduleQuery, type Windows } from "../api/policies";
import { messageOf } from "../api/problem";
import { changed, cronOf, hourSteps, parseTime, type Rhythm, rhythmOf, timeText, weekdays } from "../lib/cron";
import { duration, short, zoned } from "../lib/time";
import { sentence } from "../lib/words";
import { useNow } from "./Ago";
import classes from "./When.module.css";

interface Props {
	/** What is due: the group's name. */
	label: string;
	cron: string;
	set: (cron: string) => void;
	error?: string;
}

const everyWords: Record<Rhythm["every"], string> = {
	hour: "Hours",
	day: "Day",
	week: "Week",
	month: "Month",
	cron: "As cron says",
};

/** Builds a cron expression from what people mean by "when"; what it cannot show is written as one. */
export function When({ label, cron, set, error }: Props) {
	const wrong = useId();
	// An expression that is being written stays one, also while it reads as a day's.
	const [written, setWritten] = useState(false);
	const rhythm: Rhythm = written ? { every: "cron", cron } : rhythmOf(cron);
	const to = (r: Rhythm) => set(cronOf(r));
	return (
		// biome-ignore lint/a11y/useSemanticElements: a fieldset brings a look of its own
		<div role="group" aria-label={label} aria-describedby={error ? wrong : undefined}>
			<div className={classes.line}>
				<NativeSelect
					aria-label={`${label}: every`}
					data={(["hour", "day", "week", "month", "cron"] as const).map((value) => ({
						value,
						label:
							value === "cron"
								? everyWords.cron
								: `Every ${everyWords[value].toLowerCase()}`.replace("hours", "few hours"),
					}))}
					value={rhythm.every}
					onChange={(e) => {
						const every = e.currentTarget.value as Rhythm["every"];
						setWritten(every === "cron");
						to(changed(rhythm.every === "cron" ? { every: "day", hour: 2, minute: 0 } : rhythm, every));
						if (every === "cron") set(cron);
					}}
				/>
				{rhythm.every === "hour" && (
					<>
						<NativeSelect
							aria-label={`${label}: how often`}
							data={hourSteps.map((n) => ({ value: String(n), label: n === 1 ? "each hour" : `every ${n} hours` }))}
							value={String(rhythm.step)}
							onChange={(e) => to({ ...rhythm, step: Number(e.currentTarget.value) })}
						/>
						<span className={classes.word}>at minute</span>
						<Minute label={label} minute={rhythm.minute} set={(minute) => to({ ...rhythm, minute })} />
					</>
				)}
				{rhythm.every === "week" && (
					// biome-ignore lint/a11y/useSemanticElements: a fieldset brings a look of its own
					<div role="group" aria-label={`${label}: days`} className={classes.days}>
						{weekdays.map((w) => {
							const on = rhythm.days.includes(w.day);
							return (
								<button
									key={w.day}
									type="button"
									aria-pressed={on}
									title={w.long}
									onClick={() => {
										const days = on ? rhythm.days.filter((d) => d !== w.day) : [...rhythm.days, w.day];
										// The last day stays: a week without one would be every day.
										if (days.length > 0) to({ ...rhythm, days });
									}}
								>
									{w.name}
								</button>
							);
						})}
					</div>
				)}
				{rhythm.every === "month" && (
					<NativeSelect
						aria-label={`${label}: day of the month`}
						data={Array.from({ length: 31 }, (_, i) => ({
							value: String(i + 1),
							label: i < 28 ? `on day ${i + 1}` : `on day ${i + 1}, where there is one`,
						}))}
						value={String(rhythm.day)}
						onChange={(e) => to({ ...rhythm, day: Number(e.currentTarget.value) })}
					/>
				)}
				{(rhythm.every === "day" || rhythm.every === "week" || rhythm.every === "month") && (
					<>
						<span className={classes.word}>at</span>
						<Time label={label} hour={rhythm.hour} minute={rhythm.minute} set={(t) => to({ ...rhythm, ...t })} />
					</>
				)}
				{rhythm.every === "cron" && (
					<TextInput
						aria-label={`${label}: cron expression`}
						placeholder="minute hour day month weekday"
						spellCheck={false}
						autoComplete="off"
						autoCapitalize="none"
						classNames={{ input: "rm-mono" }}
						style={{ flex: "1 1 180px", maxWidth: 320 }}
						maxLength={200}
						value={cron}
						error={Boolean(error)}
						onChange={(e) => {
							setWritten(true);
							set(e.currentTarget.value);
						}}
					/>
				)}
			</div>
			{error && (
				<p id={wrong} className={classes.wrong}>
					{error}
				</p>
			)}
		</div>
	);
}

/** A time of day; what is typed half is kept here until it is one. */
function Time({
	label,
	hour,
	minute,
	set,
}: {
	label: string;
	hour: number;
	minute: number;
	set: (t: { hour: number; minute: number }) => void;
}) {
	return (
		<TextInput
			type="time"
			className={classes.time}
			aria-label={`${label}: time of day`}
			value={timeText(hour, minute)}
			onChange={(e) => {
				const t = parseTime(e.currentTarget.value);
				if (t) set(t);
			}}
		/>
	);
}

function Minute({ label, minute, set }: { label: string; minute: number; set: (minute: number) => void }) {
	return (
		<NativeSelect
			className={classes.short}
			aria-label={`${label}: minute`}
			data={Array.from({ length: 60 }, (_, i) => ({ value: String(i), label: String(i).padStart(2, "0") }))}
			value={String(minute)}
			onChange={(e) => set(Number(e.currentTarget.value))}
		/>
	);
}

let zones: string[] | undefined;

/** All time zones by their names; the reader's own and UTC come first. */
function allZones(): string[] {
	if (zones) return zones;
	const own = Intl.DateTimeFormat().resolvedOptions().timeZone;
	const known = Intl.supportedValuesOf("timeZone");
	zones = [...new Set([own, "UTC", ...known])].filter(Boolean);
	return zones;
}

export function ZonePicker({
	value,
	set,
	error,
	label = "Time zone",
}: {
	value: string;
	set: (zone: string) => void;
	error?: string;
	label?: string;
}) {
	const names = allZones();
	return (
		<Select
			label={label}
			searchable
			limit={80}
			allowDeselect={false}
			nothingFoundMessage="There is no such zone"
			data={names.includes(value) || value === "" ? names : [value, ...names]}
			value={value || null}
			error={error}
			onChange={(zone) => zone && set(zone)}
		/>
	);
}

/** The zone of the reader. */
export function ownZone(): string {
	return Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";
}

/** What the schedule means: in words, and its next five times in its own zone; or what is wrong with it. */
export function SchedulePreview({
	cron,
	zone,
	spreadSeconds = 0,
	lateSeconds = 0,
	windows = [],
}: {
	cron: string;
	zone: string;
	spreadSeconds?: number;
	lateSeconds?: number;
	windows?: Windows;
}) {
	const bounds = windows.length > 0 ? JSON.stringify({ windows, late_seconds: lateSeconds }) : "";
	const text = `${cron.trim()}\n${zone}\n${spreadSeconds}\n${bounds}`;
	const [asked] = useDebouncedValue(text, 300);
	const [c = "", z = "", s = "0", b = ""] = asked.split("\n");
	const now = useNow();
	const query = useQuery({
		...scheduleQuery(c, z, Number(s), b === "" ? undefined : JSON.parse(b)),
		enabled: c !== "" && z !== "",
	});
	if (c === "") return <div className={classes.preview}>Say when, and the next times stand here.</div>;
	if (query.error)
		return (
			<div className={classes.preview} data-wrong role="alert">
				{sentence(messageOf(query.error))}
			</div>
		);
	const p = query.data;
	if (!p)
		return (
			<div className={classes.preview} role="status" aria-label="Reading the schedule">
				…
			</div>
		);
	return (
		<div className={classes.preview} data-old={query.isPlaceholderData || asked !== text || undefined} role="status">
			<span>
				<b>{sentence(p.text)}</b>
				{p.every_seconds !== undefined && p.every_seconds < 900 && (
					<> That is as often as every {duration(p.every_seconds)}; few backups are done by then.</>
				)}
			</span>
			{b !== "" && p.next.length === 0 && (
				<span role="alert">It never begins: no time lies in one of its windows, and none can wait for one.</span>
			)}
			<ol className={classes.next} aria-label={b === "" ? "The next times" : "The next times at which it begins"}>
				{p.next.map((at) => (
					<li key={at} title={`in ${short(Math.max(0, Date.parse(at) - now))}`}>
						<time dateTime={at}>{zoned(at, z)}</time>
					</li>
				))}
			</ol>
		</div>
	);
}

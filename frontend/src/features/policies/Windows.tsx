import { ActionIcon, Button, Checkbox, Switch, TextInput } from "@mantine/core";
import { IconTrash } from "@tabler/icons-react";
import { useRef } from "react";
import type { PolicyForm } from "./form";
import classes from "./Policies.module.css";
import styles from "./Windows.module.css";
import { anotherWindow, days, mostWindows, type WindowForm } from "./windowForm";

interface Props {
	form: PolicyForm;
	set: <F extends keyof PolicyForm>(f: F, value: PolicyForm[F]) => void;
	error: (f: string) => string | undefined;
}

/** When a run may begin, and what has to be so. */
export function WindowFields({ form, set, error }: Props) {
	const add = useRef<HTMLButtonElement>(null);
	const change = (key: number, to: Partial<WindowForm>) =>
		set(
			"windows",
			form.windows.map((w) => (w.key === key ? { ...w, ...to } : w)),
		);
	return (
		<div className={classes.fields}>
			<p className={classes.about}>
				{form.windows.length === 0
					? "Without a window a run begins whenever it is due."
					: "A run begins in one of these windows only. What is due outside waits for the next one, if that opens before it is too late and before the next run is due; else it is skipped."}
			</p>
			{form.windows.map((w, i) => (
				<Window
					key={w.key}
					name={`Window ${i + 1}`}
					window={w}
					change={(to) => change(w.key, to)}
					remove={() => {
						set(
							"windows",
							form.windows.filter((x) => x.key !== w.key),
						);
						add.current?.focus();
					}}
					error={error(`window${w.key}`)}
				/>
			))}
			{error("windows") && <p className={classes.wrong}>{error("windows")}</p>}
			<div>
				<Button
					ref={add}
					variant="default"
					size="xs"
					disabled={form.windows.length >= mostWindows}
					onClick={() => set("windows", [...form.windows, anotherWindow(form.windows)])}
				>
					Add a window
				</Button>
			</div>
			<Switch
				label="Not on battery"
				description="Looked at again every five minutes while it may still begin. A machine that cannot tell counts as plugged in."
				checked={form.skipOnBattery}
				onChange={(e) => set("skipOnBattery", e.currentTarget.checked)}
			/>
			<Switch
				label="Not on a metered connection"
				description="As NetworkManager sees it: a phone's hotspot, a paid link. A machine without NetworkManager counts as unmetered."
				checked={form.skipOnMetered}
				onChange={(e) => set("skipOnMetered", e.currentTarget.checked)}
			/>
		</div>
	);
}

function Window({
	name,
	window: w,
	change,
	remove,
	error,
}: {
	name: string;
	window: WindowForm;
	change: (to: Partial<WindowForm>) => void;
	remove: () => void;
	error: string | undefined;
}) {
	const wrong = `${name.replace(" ", "-").toLowerCase()}-wrong`;
	const every = w.days.length === 0;
	return (
		// biome-ignore lint/a11y/useSemanticElements: a fieldset brings a look of its own
		<div role="group" aria-label={name} aria-describedby={error ? wrong : undefined} className={styles.window}>
			{/* biome-ignore lint/a11y/useSemanticElements: a fieldset brings a look of its own */}
			<div role="group" aria-label={`${name}: days on which it opens`} className={styles.days}>
				{days.map((d) => (
					<button
						key={d.id}
						type="button"
						title={d.long}
						aria-pressed={every || w.days.includes(d.id)}
						onClick={() => {
							const now = every ? days.map((x) => x.id) : w.days;
							const next = now.includes(d.id) ? now.filter((x) => x !== d.id) : [...now, d.id];
							// The last day stays: none would be every day.
							if (next.length > 0) change({ days: next.length === 7 ? [] : next });
						}}
					>
						{d.name}
					</button>
				))}
			</div>
			<div className={styles.times}>
				<TextInput
					type="time"
					aria-label={`${name}: from`}
					value={w.from}
					error={Boolean(error)}
					onChange={(e) => change({ from: e.currentTarget.value })}
				/>
				<span className={styles.word}>to</span>
				<TextInput
					type="time"
					aria-label={`${name}: to`}
					value={w.to === "24:00" ? "00:00" : w.to}
					error={Boolean(error)}
					onChange={(e) => change({ to: e.currentTarget.value })}
				/>
				{w.to !== "" && w.to <= w.from && <span className={styles.word}>of the next day</span>}
			</div>
			<Checkbox
				className={styles.stop}
				label="Stop what still runs at its end"
				checked={w.stop}
				onChange={(e) => change({ stop: e.currentTarget.checked })}
			/>
			<ActionIcon
				variant="subtle"
				color="gray"
				className={styles.remove}
				aria-label={`Remove ${name.toLowerCase()}`}
				onClick={remove}
			>
				<IconTrash size={16} aria-hidden />
			</ActionIcon>
			{error && (
				<p id={wrong} className={classes.wrong}>
					{error}
				</p>
			)}
		</div>
	);
}

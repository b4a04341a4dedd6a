import { TextInput } from "@mantine/core";
import type { Policy } from "../../api/policies";
import { Note } from "../../ui/Note";
import { type KeepNumber, keepNumbers, keepOf, keepWords, type PolicyForm } from "./form";
import classes from "./Policies.module.css";
import { RetentionTry } from "./Timeline";

const words: Record<KeepNumber, string> = {
	last: "Last",
	hourly: "Hourly",
	daily: "Daily",
	weekly: "Weekly",
	monthly: "Monthly",
	yearly: "Yearly",
	within_days: "All within days",
};

interface Props {
	form: PolicyForm;
	set: <F extends keyof PolicyForm>(f: F, value: PolicyForm[F]) => void;
	error: (f: string) => string | undefined;
	policy?: Policy;
}

/** How many snapshots of which age are kept. */
export function KeepFields({ form, set, error, policy }: Props) {
	const kept = keepOf(form);
	const keep = "errors" in kept ? undefined : kept.keep;
	return (
		<div className={classes.fields}>
			<div className={classes.numbers}>
				{keepNumbers.map((n) => (
					<TextInput
						key={n}
						label={words[n]}
						inputMode="numeric"
						autoComplete="off"
						maxLength={5}
						value={form.keep[n]}
						error={error(n)}
						onChange={(e) => set("keep", { ...form.keep, [n]: e.currentTarget.value })}
					/>
				))}
			</div>
			<TextInput
				label="Always keep those tagged"
				description="legal, before-upgrade"
				spellCheck={false}
				autoComplete="off"
				value={form.keepTags}
				error={error("keep")}
				onChange={(e) => set("keepTags", e.currentTarget.value)}
			/>
			<Note tone="info">
				<span>
					{keep ? (
						<>
							Kept: <b>{keepWords(keep)}</b>. A snapshot that any of these holds stays; the newest of a machine always
							does. The rest is removed by the maintenance of the repository, and only what this policy's jobs made.
						</>
					) : (
						<>
							Nothing is set: <b>every snapshot is kept</b>, for ever.
						</>
					)}
				</span>
			</Note>
			{keep && <RetentionTry keep={keep} policy={policy} />}
		</div>
	);
}

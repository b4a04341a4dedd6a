import { Button, NativeSelect, Switch, TextInput } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { type ReactNode, useCallback, useRef, useState } from "react";
import type { Policy, PolicyDraft } from "../../api/policies";
import type { Problem } from "../../api/problem";
import { repositoriesQuery } from "../../api/repositories";
import { fieldErrors } from "../../lib/fields";
import { duration } from "../../lib/time";
import { BackupFields } from "../../ui/BackupFields";
import { Note } from "../../ui/Note";
import { Card } from "../../ui/Page";
import { ownZone, SchedulePreview, When, ZonePicker } from "../../ui/When";
import { draftOf, formOf, movedOn, type PolicyErrors, type PolicyForm, policyFields } from "./form";
import { HookFields } from "./Hooks";
import { KeepFields } from "./Keep";
import { LimitFields } from "./Limits";
import { PlanDialog } from "./PlanDialog";
import classes from "./Policies.module.css";
import { presets } from "./presets";
import { Trial } from "./Trial";
import { Who } from "./Who";
import { WindowFields } from "./Windows";
import { windowError, windowsOf } from "./windowForm";

interface Props {
	/** The policy as it is now; none: a new one. */
	policy?: Policy;
	/** What a new one begins with. */
	draft?: PolicyDraft;
	saved: (policy: Policy) => void;
	leave: ReactNode;
}

/** Sets a policy up, or changes it: nothing is done before its plan was seen. */
export function Editor({ policy, draft: first, saved, leave }: Props) {
	const [base, setBase] = useState(policy?.version);
	const [form, setForm] = useState(() => formOf(policy ?? first, ownZone()));
	const [errors, setErrors] = useState<PolicyErrors>({});
	const [preset, setPreset] = useState<string>();
	const [draft, setDraft] = useState<PolicyDraft>();
	const box = useRef<HTMLFormElement>(null);
	const set = <F extends keyof PolicyForm>(f: F, value: PolicyForm[F]) => setForm((now) => ({ ...now, [f]: value }));
	const error = (f: string) => errors[f];

	function check() {
		const made = draftOf(form);
		if ("errors" in made) {
			setErrors(made.errors);
			// The first field that is wrong may be far above the button.
			requestAnimationFrame(() => box.current?.querySelector<HTMLElement>("[aria-invalid=true]")?.focus());
			return;
		}
		setErrors({});
		setDraft(made.draft);
	}
	const refused = useCallback((e: Problem) => {
		const { fields } = fieldErrors<string>(e, policyFields);
		if (e.code === "name_taken") fields.name = e.message;
		if (Object.keys(fields).length === 0) return;
		setErrors(fields);
		setDraft(undefined);
		requestAnimationFrame(() => box.current?.querySelector<HTMLElement>("[aria-invalid=true]")?.focus());
	}, []);
	function take(theirs: Policy) {
		setForm(formOf(theirs, ownZone()));
		setBase(theirs.version);
		setDraft(undefined);
		setErrors({});
	}
	const wrong = Object.keys(errors).length;
	return (
		<form
			ref={box}
			className={classes.form}
			noValidate
			onSubmit={(e) => {
				e.preventDefault();
				// The dialog's own form is inside of this one for React, not for the page.
				if (e.target === e.currentTarget) check();
			}}
		>
			{policy && movedOn(policy, base) && (
				<Note tone="warn" role="status">
					<span>
						Version {policy.version} was saved by somebody while you edit version {base}. What you typed stays.
					</span>
					<Button size="compact-xs" variant="default" onClick={() => take(policy)}>
						Take theirs
					</Button>
				</Note>
			)}
			{!policy && (
				<Card title="Begin with">
					{/* biome-ignore lint/a11y/useSemanticElements: a fieldset brings a look of its own */}
					<div role="group" aria-label="Starting points" className={classes.presets}>
						{presets.map((p) => (
							<button
								key={p.id}
								type="button"
								aria-pressed={preset === p.id}
								onClick={() => {
									setPreset(p.id);
									setForm((now) => {
										// The name of another starting point is not one that somebody typed.
										const made = presets.some((x) => x.apply({ ...now, name: "" }).name === now.name);
										return p.apply(made ? { ...now, name: "" } : now);
									});
								}}
							>
								<b>{p.name}</b>
								<span>{p.about}</span>
							</button>
						))}
					</div>
				</Card>
			)}
			<Card title="Name">
				<div className={classes.fields}>
					<TextInput
						aria-label="Name"
						required
						maxLength={128}
						autoComplete="off"
						placeholder="Servers"
						value={form.name}
						error={error("name")}
						onChange={(e) => set("name", e.currentTarget.value)}
					/>
					<Switch
						label="Switched on"
						description="Off: it is kept, applies to its machines, and nothing is due."
						checked={form.enabled}
						onChange={(e) => set("enabled", e.currentTarget.checked)}
					/>
				</div>
			</Card>
			<Card title="Who">
				<Who form={form} set={set} error={error} />
			</Card>
			<Card title="What">
				<div className={classes.fields}>
					{form.hooks.dump ? (
						<p className={classes.about}>What the script below writes, in place of folders.</p>
					) : (
						<BackupFields
							form={form.backup}
							set={(f, value) => setForm((now) => ({ ...now, backup: { ...now.backup, [f]: value } }))}
							error={error}
							trial={<Trial form={form} set={set} />}
							limitsElsewhere
							paths="Absolute, one a line: /etc, /home, /srv. Where a machine lacks one of them, its backup ends with issues."
						/>
					)}
				</div>
			</Card>
			<Card title="Hooks and dumps">
				<HookFields form={form} set={set} error={error} />
			</Card>
			<Card title="Where">
				<Where form={form} set={set} error={error} />
			</Card>
			<Card title="When">
				<Schedule form={form} set={set} error={error} />
			</Card>
			<Card title="Windows and conditions">
				<WindowFields form={form} set={set} error={error} />
			</Card>
			<Card title="Limits">
				<LimitFields
					form={form.backup}
					set={(f, value) => setForm((now) => ({ ...now, backup: { ...now.backup, [f]: value } }))}
					error={error}
				/>
			</Card>
			<Card title="What is kept">
				<KeepFields form={form} set={set} error={error} policy={policy} />
			</Card>
			<div className={classes.end}>
				<span role="status" className={classes.wrong}>
					{wrong > 0 && (wrong === 1 ? "One field is not right yet" : `${wrong} fields are not right yet`)}
				</span>
				{leave}
				<Button type="submit">Show the plan…</Button>
			</div>
			{draft && (
				<PlanDialog
					draft={draft}
					id={policy?.id}
					version={base}
					close={() => setDraft(undefined)}
					saved={saved}
					take={take}
					refused={refused}
				/>
			)}
		</form>
	);
}

interface PartProps {
	form: PolicyForm;
	set: <F extends keyof PolicyForm>(f: F, value: PolicyForm[F]) => void;
	error: (f: string) => string | undefined;
}

function Where({ form, set, error }: PartProps) {
	const { data } = useQuery(repositoriesQuery);
	const chosen = data?.repositories.find((r) => r.id === form.repository);
	return (
		<div className={classes.fields}>
			<NativeSelect
				label="Repository"
				description={
					form.repository === ""
						? "Each machine uses what its own agent.yaml names, or what it was given by hand."
						: chosen?.per_host
							? "One repository a machine: they are made under this place."
							: "The machines share it."
				}
				data={[
					{ value: "", label: "Each machine's own" },
					...(data?.repositories ?? []).map((r) => ({ value: r.id, label: r.name })),
					...(form.repository !== "" && data && !chosen ? [{ value: form.repository, label: "One that is gone" }] : []),
				]}
				value={form.repository}
				error={error("repository")}
				onChange={(e) => set("repository", e.currentTarget.value)}
			/>
			{data?.repositories.length === 0 && (
				<p className={classes.about}>
					No repository is set up on this server yet. <Link to="/repositories/new">Set one up</Link> to choose it here.
				</p>
			)}
		</div>
	);
}

const minute = 60;
const hour = 3600;

/** A choice of lengths of time; one that is not among them stays as it is. */
function choices(of: readonly number[], none: string, now: number, words = (s: string) => s) {
	const all = of.includes(now) || now === 0 ? of : [...of, now].sort((a, b) => a - b);
	return [{ value: "0", label: none }, ...all.map((s) => ({ value: String(s), label: words(duration(s)) }))];
}

function Schedule({ form, set, error }: PartProps) {
	return (
		<div className={classes.fields}>
			<When label="When" cron={form.cron} set={(cron) => set("cron", cron)} error={error("cron")} />
			<div className={classes.pair}>
				<ZonePicker value={form.zone} set={(zone) => set("zone", zone)} error={error("zone")} />
				<NativeSelect
					label="Spread over"
					data={choices(
						[5 * minute, 15 * minute, 30 * minute, hour, 2 * hour, 4 * hour, 6 * hour],
						"Nothing: all at once",
						form.spread,
					)}
					value={String(form.spread)}
					error={error("spread")}
					onChange={(e) => set("spread", Number(e.currentTarget.value))}
				/>
			</div>
			<p className={classes.about}>
				With a spread each machine begins at a time of its own within it, always the same: a hundred do not meet at the
				storage at once.
			</p>
			<SchedulePreview
				cron={form.cron}
				zone={form.zone}
				spreadSeconds={form.spread}
				lateSeconds={form.late}
				windows={windowsOf(form.windows.filter((w) => !windowError(w)))}
			/>
			<div className={classes.pair}>
				<NativeSelect
					label="May begin late by"
					description="A run that could not begin by then is skipped"
					data={choices(
						[hour, 2 * hour, 4 * hour, 8 * hour, 12 * hour, 24 * hour],
						"Until the next one is due",
						form.late,
					)}
					value={String(form.late)}
					error={error("late")}
					onChange={(e) => set("late", Number(e.currentTarget.value))}
				/>
				<NativeSelect
					label="Time limit"
					description="A run that takes longer is stopped"
					data={choices(
						[hour, 4 * hour, 8 * hour, 12 * hour, 24 * hour, 48 * hour],
						"The server's own",
						form.timeLimit,
					)}
					value={String(form.timeLimit)}
					error={error("timeLimit")}
					onChange={(e) => set("timeLimit", Number(e.currentTarget.value))}
				/>
			</div>
			<Switch
				label="Catch up"
				description="When a machine was off over several due times, one backup is made when it is back. Off: all of them are missed."
				checked={form.catchUp}
				onChange={(e) => set("catchUp", e.currentTarget.checked)}
			/>
		</div>
	);
}

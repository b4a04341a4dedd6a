import { Alert, Button, Checkbox, Radio, Stack, Switch, TextInput } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { type ReactNode, useRef, useState } from "react";
import { hostQuery } from "../../api/hosts";
import { Problem } from "../../api/problem";
import {
	type CreateRepository,
	type Repository,
	useCreateRepository,
	useUpdateRepository,
} from "../../api/repositories";
import { guardAllows, refusal } from "../../lib/allowed";
import { fieldErrors } from "../../lib/fields";
import { type Backend, backendOrder, backends, perHost, withPerHost } from "../../lib/place";
import { schemeOf } from "../../lib/repository";
import { kindWords } from "../../lib/words";
import { Foreign } from "../../ui/Foreign";
import { HostSelect } from "../../ui/Hosts";
import { Note } from "../../ui/Note";
import { done } from "../../ui/notify";
import { Card } from "../../ui/Page";
import { SecretInput } from "../../ui/SecretInput";
import { ownZone, SchedulePreview, When, ZonePicker } from "../../ui/When";
import { Credentials, Kept } from "./Credentials";
import {
	bodyOf,
	formOf,
	newBodyOf,
	type RepositoryErrors,
	type RepositoryForm,
	repositoryFields,
	urlOf,
	type Work,
	works,
} from "./form";
import classes from "./Repositories.module.css";

interface Props {
	/** The one to change; without: a new one. */
	repository?: Repository;
	saved: (repository: Repository) => void;
	leave: ReactNode;
}

/** Sets a repository up, or changes it. */
export function RepositoryEditor({ repository, saved, leave }: Props) {
	const [form, setForm] = useState(() => formOf(repository, ownZone()));
	const [own, setOwn] = useState<RepositoryErrors>({});
	const create = useCreateRepository();
	const update = useUpdateRepository(repository?.id ?? "");
	const write = repository ? update : create;
	const box = useRef<HTMLFormElement>(null);
	const refused = fieldErrors<string>(write.error, repositoryFields);
	const taken = write.error instanceof Problem && write.error.code === "name_taken" ? write.error.message : undefined;
	const error = (f: string) => own[f] ?? refused.fields[f] ?? (f === "name" ? taken : undefined);
	const set = <F extends keyof RepositoryForm>(f: F, value: RepositoryForm[F]) =>
		setForm((now) => ({ ...now, [f]: value }));
	const url = urlOf(form);
	const scheme = form.raw ? schemeOf(form.url) : form.backend;

	function submit() {
		const made = repository ? bodyOf(form, repository) : newBodyOf(form);
		if ("errors" in made) {
			setOwn(made.errors);
			// The first field that is wrong may be far above the button.
			requestAnimationFrame(() => box.current?.querySelector<HTMLElement>("[aria-invalid=true]")?.focus());
			return;
		}
		setOwn({});
		if (!repository) {
			create.mutate(made.body as CreateRepository, {
				onSuccess: (r) => {
					done("The repository is set up.");
					saved(r);
				},
			});
		} else if (Object.keys(made.body).length === 0) saved(repository);
		else
			update.mutate(made.body, {
				onSuccess: (r) => {
					done("The repository is changed.");
					saved(r);
				},
			});
	}
	return (
		<form
			ref={box}
			className={classes.form}
			noValidate
			onSubmit={(e) => {
				e.preventDefault();
				if (!write.isPending) submit();
			}}
		>
			<Card title="Where it is">
				<div className={classes.fields}>
					<TextInput
						label="Name"
						description="As it is called here"
						required
						data-autofocus
						maxLength={128}
						autoComplete="off"
						value={form.name}
						error={error("name")}
						onChange={(e) => set("name", e.currentTarget.value)}
					/>
					<Place form={form} set={set} error={error} />
					{repository && url !== undefined && url !== repository.url && (
						<Note tone="warn">
							The data does not move: what is at the old place stays there, and the machines go on at the new one.
						</Note>
					)}
				</div>
			</Card>
			<Card title="What opens it">
				<div className={classes.fields}>
					<Password form={form} set={set} error={error} there={repository !== undefined} />
					{scheme !== "local" &&
						scheme !== "sftp" &&
						(form.setEnv ? (
							<Credentials
								label="Credentials of the storage"
								about={
									repository
										? "All that are to be there: those that were set are replaced."
										: "What the storage asks for. They are kept encrypted, and reach a machine with each job alone."
								}
								scheme={scheme}
								env={form.env}
								set={(env) => set("env", env)}
								error={error("env")}
							/>
						) : (
							<Kept
								keys={repository?.env_keys ?? []}
								what="Credentials of the storage"
								anew={() => set("setEnv", true)}
							/>
						))}
				</div>
			</Card>
			<Card title="If there is none yet">
				<div className={classes.fields}>
					<Switch
						label="Make the repository by itself"
						description="The first machine to be told by restic that there is none makes it. One that was there and is gone is never made anew."
						checked={form.autoInit}
						onChange={(e) => set("autoInit", e.currentTarget.checked)}
					/>
				</div>
			</Card>
			<Card title="What may be removed">
				<div className={classes.fields}>
					<Switch
						label="The storage is append-only for the machines"
						description="Say so where their credentials may add but not delete: rest-server --append-only, or a bucket's policy. A machine that is broken into cannot destroy its backups then, and the server does not order it to."
						checked={form.appendOnly}
						onChange={(e) => set("appendOnly", e.currentTarget.checked)}
					/>
					{scheme !== "local" && scheme !== "sftp" && scheme !== "rclone" && (
						<Switch
							label="Maintenance has credentials of its own"
							description="The machine that removes and prunes gets these in place of the ones above; the others never see them."
							checked={form.second}
							onChange={(e) => set("second", e.currentTarget.checked)}
						/>
					)}
					{form.second &&
						(form.setSecond ? (
							<Credentials
								label="Credentials of maintenance"
								about="They may delete."
								scheme={scheme}
								env={form.secondEnv}
								set={(env) => set("secondEnv", env)}
								error={error("secondEnv")}
							/>
						) : (
							<Kept
								keys={repository?.maintenance_env_keys ?? []}
								what="Credentials of maintenance"
								anew={() => set("setSecond", true)}
							/>
						))}
				</div>
			</Card>
			<Maintenance form={form} set={set} error={error} />
			{refused.rest && !taken && (
				<Alert color="red" role="alert">
					{refused.rest}
				</Alert>
			)}
			<div className={classes.end}>
				{leave}
				<Button type="submit" loading={write.isPending}>
					{repository ? "Save" : "Set it up"}
				</Button>
			</div>
		</form>
	);
}

interface PartProps {
	form: RepositoryForm;
	set: <F extends keyof RepositoryForm>(f: F, value: RepositoryForm[F]) => void;
	error: (f: string) => string | undefined;
}

function Place({ form, set, error }: PartProps) {
	const kind = backends[form.backend];
	const url = urlOf(form);
	const each = form.raw ? form.url.includes(perHost) : (form.parts.path ?? "").includes(perHost);
	const list = useRef<HTMLDivElement>(null);
	function choose(b: Backend, focus = false) {
		set("backend", b);
		if (focus) list.current?.querySelector<HTMLElement>(`[data-backend="${b}"]`)?.focus();
	}
	function step(by: number) {
		const at = backendOrder.indexOf(form.backend);
		const next = backendOrder[(at + by + backendOrder.length) % backendOrder.length];
		if (next) choose(next, true);
	}
	if (form.raw)
		return (
			<>
				<TextInput
					label="Place"
					description="As restic's --repo takes it, without a password in it; {host} stands for the machine"
					required
					spellCheck={false}
					autoCapitalize="none"
					autoComplete="off"
					classNames={{ input: "rm-mono" }}
					value={form.url}
					error={error("url")}
					onChange={(e) => set("url", e.currentTarget.value)}
				/>
				<Button
					size="compact-xs"
					variant="default"
					style={{ justifySelf: "start" }}
					onClick={() => {
						set("raw", false);
						set("parts", {});
					}}
				>
					Build it from its parts
				</Button>
			</>
		);
	return (
		<>
			<div>
				<div
					ref={list}
					className={classes.backends}
					role="radiogroup"
					aria-label="Kind of storage"
					onKeyDown={(e) => {
						if (e.key === "ArrowRight" || e.key === "ArrowDown") step(1);
						else if (e.key === "ArrowLeft" || e.key === "ArrowUp") step(-1);
						else return;
						e.preventDefault();
					}}
				>
					{backendOrder.map((b) => (
						// biome-ignore lint/a11y/useSemanticElements: the looks of a button, the keys of a radio
						<button
							key={b}
							type="button"
							role="radio"
							aria-checked={b === form.backend}
							data-backend={b}
							tabIndex={b === form.backend ? 0 : -1}
							onClick={() => choose(b)}
						>
							{backends[b].name}
						</button>
					))}
				</div>
				<p className={classes.about} style={{ marginTop: 6 }}>
					{kind.about}
				</p>
			</div>
			<div className={classes.pair}>
				{kind.parts.map((p) => (
					<TextInput
						key={`${form.backend} ${p.name}`}
						label={p.label}
						description={p.about}
						placeholder={p.example}
						required={!p.optional}
						inputWrapperOrder={["label", "input", "description", "error"]}
						spellCheck={false}
						autoCapitalize="none"
						autoComplete="off"
						classNames={{ input: "rm-mono" }}
						value={form.parts[p.name] ?? ""}
						error={error(p.name)}
						onChange={(e) => set("parts", { ...form.parts, [p.name]: e.currentTarget.value })}
					/>
				))}
			</div>
			<Switch
				label="A repository of its own for each machine"
				description={
					each
						? "{host} in the place stands for the machine: one cannot read what another stored, and none waits for another."
						: "All machines share one repository: what several have alike is stored once, and each can read the others' backups."
				}
				checked={each}
				onChange={(e) =>
					set("parts", { ...form.parts, path: withPerHost(form.parts.path ?? "", e.currentTarget.checked) })
				}
			/>
			<div className={classes.url}>
				<span>restic gets</span>
				{url ? <Foreign mono>{url}</Foreign> : <span className={classes.about}>what the fields above make</span>}
			</div>
			{error("url") && (
				<p className={`${classes.about} ${classes.wrong}`} role="alert">
					{error("url")}
				</p>
			)}
		</>
	);
}

function Password({ form, set, error, there }: PartProps & { there: boolean }) {
	return (
		<div className={classes.group}>
			<Radio.Group
				label="Password of the repository"
				description="It encrypts the backups: without it nobody can read them. Keep a recovery kit of it elsewhere."
				value={form.password}
				onChange={(v) => set("password", v as RepositoryForm["password"])}
			>
				<Stack gap={6} mt={8}>
					{there ? (
						<Radio value="keep" label="As it is" />
					) : (
						<Radio value="generate" label="Have a new one made: 32 random bytes" />
					)}
					<Radio value="own" label={there ? "Another one" : "I have one: the repository is there already"} />
				</Stack>
			</Radio.Group>
			{form.password === "own" && (
				<SecretInput
					aria-label="The password"
					autoComplete="new-password"
					value={form.ownPassword}
					error={error("ownPassword")}
					onChange={(e) => set("ownPassword", e.currentTarget.value)}
				/>
			)}
			{there && form.password === "own" && (
				<Note tone="warn">This tells the server another password. It does not change the repository's.</Note>
			)}
		</div>
	);
}

const workWords: Record<Work, { title: string; about: string }> = {
	forget: {
		title: "Remove what the policies do not keep",
		about: "Snapshots alone; their data goes with the next prune.",
	},
	prune: {
		title: "Prune",
		about: "Frees the space of what no snapshot needs any more. It takes the repository for itself.",
	},
	check: {
		title: "Verify",
		about: "Reads a part of the stored data each time, so that after all parts all of it was read.",
	},
};

function Maintenance({ form, set, error }: PartProps) {
	return (
		<Card title="Maintenance">
			<div className={classes.fields}>
				<Switch
					label="Maintain it on a schedule"
					description="One machine does it for all: remove, prune and verify."
					checked={form.maintained}
					onChange={(e) => set("maintained", e.currentTarget.checked)}
				/>
				{form.maintained && (
					<>
						<div className={classes.pair}>
							<HostSelect
								label="Machine that does it"
								description="Best one that is near the storage, always on, and holds nothing else of worth"
								placeholder="Search machines"
								clearable
								value={form.runner}
								set={(id) => set("runner", id)}
								error={error("runner")}
							/>
							<div style={{ alignSelf: "end" }}>
								<ZonePicker value={form.zone} set={(z) => set("zone", z)} error={error("zone")} />
							</div>
						</div>
						{form.runner !== "" && <Runner id={form.runner} form={form} />}
						{works.map((w) => {
							const { on, cron } = form.crons[w];
							const put = (to: Partial<{ on: boolean; cron: string }>) =>
								set("crons", { ...form.crons, [w]: { on, cron, ...to } });
							return (
								<div key={w} className={classes.work}>
									<Checkbox
										label={workWords[w].title}
										description={workWords[w].about}
										checked={on}
										onChange={(e) => put({ on: e.currentTarget.checked })}
									/>
									{on && (
										<>
											<When label={workWords[w].title} cron={cron} set={(c) => put({ cron: c })} error={error(w)} />
											<SchedulePreview cron={cron} zone={form.zone} />
											{w === "check" && (
												<TextInput
													label="Parts"
													description="With 10, each time a tenth of the data is read"
													inputMode="numeric"
													styles={{ input: { width: 140 } }}
													value={form.checkParts}
													error={error("checkParts")}
													onChange={(e) => set("checkParts", e.currentTarget.value)}
												/>
											)}
											{w === "prune" && (
												<TextInput
													label="Unused data that may stay"
													description="Percent; empty: 5, restic's own. More is quicker, less takes less space."
													inputMode="numeric"
													styles={{ input: { width: 140 } }}
													value={form.maxUnused}
													error={error("maxUnused")}
													onChange={(e) => set("maxUnused", e.currentTarget.value)}
												/>
											)}
										</>
									)}
								</div>
							);
						})}
					</>
				)}
			</div>
		</Card>
	);
}

/** What the guard of the machine that maintains says to it. */
function Runner({ id, form }: { id: string; form: RepositoryForm }) {
	const { data: host } = useQuery(hostQuery(id));
	if (!host) return null;
	const barred = works.filter((w) => form.crons[w].on && guardAllows(host, w) === false);
	if (barred.length === 0) {
		const known = guardAllows(host, "check") !== undefined;
		return (
			<Note tone={known ? "ok" : "info"}>
				{known ? "Its owner allows all that is on." : "What its owner allows is known with its agent's first call."}
			</Note>
		);
	}
	return (
		<Note tone="warn">
			<span>
				{barred.map((w) => (
					<span key={w} style={{ display: "block" }}>
						<b>{kindWords[w].name}</b> is refused there: {refusal(w)}
					</span>
				))}
			</span>
		</Note>
	);
}

/** A link that looks like the button beside the one that saves. */
export function LeaveLink({ to, id }: { to: "/repositories" | "/repositories/$repositoryId"; id?: string }) {
	return (
		<Button
			variant="default"
			renderRoot={(props) =>
				to === "/repositories" || id === undefined ? (
					<Link to="/repositories" {...props} />
				) : (
					<Link to="/repositories/$repositoryId" params={{ repositoryId: id }} {...props} />
				)
			}
		>
			Leave it
		</Button>
	);
}

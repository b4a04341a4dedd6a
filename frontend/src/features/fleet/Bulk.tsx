import { Alert, Button, Checkbox, Group, Modal, Radio, Stack, Text, Textarea, TextInput } from "@mantine/core";
import { useQueryClient } from "@tanstack/react-query";
import { type ReactNode, useEffect, useRef, useState } from "react";
import { allHosts, type HostFilter, staleFleet } from "../../api/fleet";
import { readHost, revoke, setLabels } from "../../api/hosts";
import { cancel, order, orderAgain, orderKey } from "../../api/orders";
import { messageOf, Problem, Unreachable } from "../../api/problem";
import { type Host, isOpen } from "../../api/types";
import { count, counted } from "../../lib/bytes";
import { parseLabels } from "../../lib/labels";
import { Foreign } from "../../ui/Foreign";
import { Progress } from "../../ui/Progress";
import { Failure, Loading } from "../../ui/States";
import classes from "./Bulk.module.css";
import type { BulkAction } from "./BulkBar";
import { forEach, type Outcome, relabeled, Skip } from "./bulk";
import type { Selection } from "./selection";

interface Props {
	action: BulkAction;
	selection: Selection;
	/** What "all that match" match. */
	filter: HostFilter;
	close: () => void;
	/** These alone are to stay chosen. */
	keep: (hosts: readonly Host[]) => void;
}

type Work = (host: Host) => Promise<unknown>;

const titles: Record<BulkAction, string> = {
	backup: "Back up now",
	cancel: "Cancel jobs",
	label: "Label machines",
	revoke: "Revoke machines",
};

/** Does one thing to many machines: asks how, does it with its progress in view, and names what did not succeed. */
export default function Bulk({ action, selection, filter, close, keep }: Props) {
	const [hosts, setHosts] = useState<readonly Host[] | undefined>(
		selection.all ? undefined : [...selection.hosts.values()],
	);
	const [error, setError] = useState<unknown>();
	const [running, setRunning] = useState(false);
	const [work, setWork] = useState<Work>();
	const gather = useRef(() => {});
	gather.current = () => {
		if (!selection.all) return;
		setError(undefined);
		allHosts(filter).then((all) => setHosts(all.filter((h) => !selection.except.has(h.id))), setError);
	};
	useEffect(() => gather.current(), []);

	return (
		<Modal
			opened
			onClose={close}
			title={titles[action]}
			size="lg"
			closeOnEscape={!running}
			closeOnClickOutside={false}
			withCloseButton={!running}
		>
			{error !== undefined ? (
				<Failure error={error} retry={() => gather.current()} />
			) : !hosts ? (
				<Loading rows={3} label="Finding the machines" />
			) : work ? (
				<Run hosts={hosts} work={work} close={close} keep={keep} setRunning={setRunning} />
			) : (
				<Ask action={action} hosts={hosts} begin={(w) => setWork(() => w)} close={close} />
			)}
		</Modal>
	);
}

interface AskProps {
	hosts: readonly Host[];
	begin: (work: Work) => void;
	close: () => void;
}

function Ask({ action, ...props }: AskProps & { action: BulkAction }) {
	switch (action) {
		case "backup":
			return <AskBackup {...props} />;
		case "cancel":
			return <AskCancel {...props} />;
		case "label":
			return <AskLabels {...props} />;
		case "revoke":
			return <AskRevoke {...props} />;
	}
}

interface FormProps {
	children: ReactNode;
	submit: () => void;
	close: () => void;
	action: string;
	danger?: boolean;
	ready: boolean;
}

function Form({ children, submit, close, action, danger, ready }: FormProps) {
	return (
		<form
			onSubmit={(e) => {
				e.preventDefault();
				if (ready) submit();
			}}
		>
			<Stack gap="md">
				{children}
				<Group justify="flex-end">
					<Button variant="default" onClick={close}>
						Keep as it is
					</Button>
					<Button type="submit" color={danger ? "red" : undefined} disabled={!ready}>
						{action}
					</Button>
				</Group>
			</Stack>
		</form>
	);
}

const revokedSkip = "revoked: it may not speak to the server any more";

/** One path in each line; what is not absolute is an error. */
export function parsePaths(text: string): { paths: string[] } | { error: string } {
	const paths = text
		.split("\n")
		.map((p) => p.trim())
		.filter((p) => p !== "");
	const wrong = paths.find((p) => !/^(\/|[A-Za-z]:[\\/])/.test(p));
	return wrong === undefined ? { paths } : { error: `"${wrong}" is not absolute: begin it with /` };
}

function AskBackup({ hosts, begin, close }: AskProps) {
	const usable = hosts.filter((h) => h.status !== "revoked");
	const without = usable.filter((h) => !h.last_backup);
	const [how, setHow] = useState(without.length < usable.length ? "again" : "paths");
	const [text, setText] = useState("");
	// One key for each machine, also for a second try: an answer that was lost does not make two backups.
	const [keys] = useState(() => new Map<string, string>());
	const parsed = parsePaths(text);
	const paths = "paths" in parsed ? parsed.paths : [];
	const ready =
		"paths" in parsed && (how === "again" ? without.length < usable.length || paths.length > 0 : paths.length > 0);

	const work: Work = async (host) => {
		if (host.status === "revoked") throw new Skip(revokedSkip);
		const now = await readHost(host.id);
		if (now.active_jobs.some((j) => j.kind === "backup")) throw new Skip("a backup is queued or at work already");
		const key = keys.get(host.id) ?? orderKey();
		keys.set(host.id, key);
		if (how === "again" && now.last_backup) return orderAgain(now.last_backup.job_id, key);
		if (paths.length === 0) throw new Skip("no earlier backup to repeat");
		return order(host.id, { kind: "backup", args: paths }, key);
	};
	return (
		<Form
			submit={() => begin(work)}
			close={close}
			action={`Back up ${counted(usable.length, "machine")}`}
			ready={ready && usable.length > 0}
		>
			<Radio.Group value={how} onChange={setHow} label="What is backed up" data-autofocus>
				<Stack gap="xs" mt="xs">
					<Radio
						value="again"
						disabled={without.length === usable.length}
						label="The same as each machine's last backup"
						description={
							without.length > 0
								? `${counted(without.length, "machine")} of these ${without.length === 1 ? "has" : "have"} no earlier backup`
								: undefined
						}
					/>
					<Radio value="paths" label="These paths, on each machine" />
				</Stack>
			</Radio.Group>
			{(how === "paths" || without.length > 0) && (
				<Textarea
					label={how === "paths" ? "Paths" : "Paths for those without an earlier backup"}
					description={
						how === "paths"
							? "One absolute path in each line"
							: "One absolute path in each line; with none they are left out"
					}
					rows={3}
					spellCheck={false}
					placeholder={"/etc\n/home"}
					value={text}
					onChange={(e) => setText(e.currentTarget.value)}
					error={"error" in parsed ? parsed.error : undefined}
				/>
			)}
			<Text size="sm" c="dimmed">
				Machines that are offline begin when they are back. One that backs up already is left out
				{usable.length < hosts.length &&
					`, and so ${hosts.length - usable.length === 1 ? "is the one that is" : "are those that are"} revoked`}
				.
			</Text>
		</Form>
	);
}

function AskCancel({ hosts, begin, close }: AskProps) {
	const open = hosts.reduce((n, h) => n + h.active_jobs.length, 0);
	const work: Work = async (host) => {
		const now = await readHost(host.id);
		const jobs = now.active_jobs.filter((j) => isOpen(j.state));
		if (jobs.length === 0) throw new Skip("no job is queued or at work");
		for (const job of jobs) {
			try {
				await cancel(job.id);
			} catch (e) {
				// It ended in between: nothing is left to cancel.
				if (!(e instanceof Problem && e.status === 409)) throw e;
			}
		}
		return undefined;
	};
	return (
		<Form submit={() => begin(work)} close={close} action="Cancel their jobs" danger ready>
			<Text size="sm">
				{open === 0
					? `None of the ${counted(hosts.length, "machine")} had a job when this page last heard of them; those that have one now stop it.`
					: `${counted(open, "job")} of ${counted(hosts.length, "machine")} stop: those that wait at once, those at work as soon as their machine asks. restic ends in order, and what a backup stored so far is used by the next one.`}
			</Text>
		</Form>
	);
}

/** Labels as they are typed; the server wants a value for each. */
export function parsePairs(text: string): ReturnType<typeof parseLabels> {
	const parsed = parseLabels(text);
	if ("error" in parsed) return parsed;
	const bare = Object.keys(parsed.labels).find((key) => parsed.labels[key] === "");
	return bare === undefined ? parsed : { error: `"${bare}" has no value: write ${bare}=…` };
}

function AskLabels({ hosts, begin, close }: AskProps) {
	const [text, setText] = useState("");
	const [remove, setRemove] = useState<string[]>([]);
	const parsed = parsePairs(text);
	const add = "labels" in parsed ? parsed.labels : {};
	const present = new Map<string, number>();
	for (const h of hosts) for (const key of Object.keys(h.labels)) present.set(key, (present.get(key) ?? 0) + 1);
	const known = [...present].sort(([, a], [, b]) => b - a).slice(0, 24);
	const ready = "labels" in parsed && (Object.keys(add).length > 0 || remove.length > 0);

	const work: Work = async (host) => {
		// As they are now: somebody else may have labeled it since.
		const labels = relabeled((await readHost(host.id)).labels, add, remove);
		if (!labels) throw new Skip("nothing to change");
		return setLabels(host.id, labels);
	};
	return (
		<Form submit={() => begin(work)} close={close} action={`Label ${counted(hosts.length, "machine")}`} ready={ready}>
			<TextInput
				data-autofocus
				label="Set"
				description="key=value, separated by commas; a key that is there gets the new value"
				placeholder="env=prod, team=db"
				autoComplete="off"
				spellCheck={false}
				value={text}
				onChange={(e) => setText(e.currentTarget.value)}
				error={"error" in parsed ? parsed.error : undefined}
			/>
			{known.length > 0 && (
				<Checkbox.Group label="Take away" value={remove} onChange={setRemove}>
					<Group gap="md" mt="xs">
						{known.map(([key, n]) => (
							<Checkbox
								key={key}
								value={key}
								size="xs"
								disabled={Object.hasOwn(add, key)}
								label={
									<>
										<Foreign>{key}</Foreign> <span className={classes.muted}>{count(n)}</span>
									</>
								}
							/>
						))}
					</Group>
				</Checkbox.Group>
			)}
		</Form>
	);
}

function AskRevoke({ hosts, begin, close }: AskProps) {
	const [text, setText] = useState("");
	const usable = hosts.filter((h) => h.status !== "revoked");
	const only = hosts.length === 1 ? hosts[0]?.name : undefined;
	const typed = only ?? `revoke ${hosts.length} machines`;
	const work: Work = async (host) => {
		if (host.status === "revoked") throw new Skip("revoked already");
		return revoke(host.id);
	};
	return (
		<Form
			submit={() => begin(work)}
			close={close}
			action={`Revoke ${counted(usable.length, "machine")}`}
			danger
			ready={text.trim() === typed.trim() && usable.length > 0}
		>
			<Text size="sm">
				Their agents may not speak to the server any more, and their jobs are given up. Snapshots, jobs and logs stay.
				To come back, a machine is enrolled anew.
			</Text>
			<ul className={classes.names}>
				{hosts.slice(0, 8).map((h) => (
					<li key={h.id}>
						<Foreign cut>{h.name}</Foreign>
					</li>
				))}
				{hosts.length > 8 && <li className={classes.muted}>and {count(hosts.length - 8)} more</li>}
			</ul>
			<TextInput
				data-autofocus
				label={
					<>
						Type <b className="rm-foreign">{typed}</b> to confirm
					</>
				}
				value={text}
				onChange={(e) => setText(e.currentTarget.value)}
				autoComplete="off"
				spellCheck={false}
			/>
		</Form>
	);
}

interface RunProps {
	hosts: readonly Host[];
	work: Work;
	close: () => void;
	keep: (hosts: readonly Host[]) => void;
	setRunning: (running: boolean) => void;
}

function Run({ hosts, work, close, keep, setRunning }: RunProps) {
	const queries = useQueryClient();
	const [todo, setTodo] = useState<readonly Host[]>(hosts);
	const [outcomes, setOutcomes] = useState<readonly Outcome<Host>[]>([]);
	const [ended, setEnded] = useState(false);
	const stop = useRef<AbortController>(undefined);

	useEffect(() => {
		const over = new AbortController();
		stop.current = over;
		setEnded(false);
		setOutcomes([]);
		setRunning(true);
		// Thousands of outcomes come faster than a screen shows them.
		let shown = 0;
		const report = (all: readonly Outcome<Host>[]) => {
			if (Date.now() - shown < 120) return;
			shown = Date.now();
			setOutcomes([...all]);
		};
		const careful: Work = async (host) => {
			try {
				return await work(host);
			} catch (e) {
				// Without a session or a server the others would fail alike.
				if (e instanceof Unreachable || (e instanceof Problem && e.status === 401)) over.abort();
				throw e;
			}
		};
		void Promise.resolve()
			.then(() => forEach(todo, careful, { signal: over.signal, report }))
			.then((all) => {
				staleFleet(queries);
				if (stop.current !== over) return;
				setOutcomes(all);
				setEnded(true);
				setRunning(false);
			});
		return () => {
			over.abort();
			if (stop.current === over) stop.current = undefined;
		};
	}, [todo, work, queries, setRunning]);

	const failures = outcomes.filter((o) => o.state === "failed");
	const skipped = outcomes.filter((o) => o.state === "skipped");
	const done = outcomes.length - failures.length - skipped.length;
	const undone = todo.length - outcomes.length;
	const left = () => {
		const over = new Set(outcomes.filter((o) => o.state !== "failed").map((o) => o.item.id));
		return todo.filter((h) => !over.has(h.id));
	};

	function leave() {
		keep(left());
		close();
	}
	return (
		<Stack gap="md">
			<div>
				<Progress
					value={todo.length === 0 ? 1 : outcomes.length / todo.length}
					label={`${outcomes.length} of ${todo.length}`}
					tone={ended ? (failures.length > 0 ? "bad" : undone > 0 ? "warn" : "ok") : "info"}
				/>
				<div className={classes.result} role="status">
					{ended ? (
						<>
							<b>{counted(done, "machine")} done</b>
							{skipped.length > 0 && <span>{count(skipped.length)} left out</span>}
							{failures.length > 0 && <span className={classes.bad}>{count(failures.length)} failed</span>}
							{undone > 0 && <span>{count(undone)} not begun</span>}
						</>
					) : (
						<span className="rm-numbers">
							{count(outcomes.length)} of {count(todo.length)}
							{failures.length > 0 && <span className={classes.bad}>, {count(failures.length)} failed</span>}
						</span>
					)}
				</div>
			</div>
			{failures.length > 0 && (
				<Alert color="red" variant="light" title="Not done">
					<ul className={classes.failures} aria-label="Machines it was not done for">
						{failures.map((f) => (
							<li key={f.item.id}>
								<b>
									<Foreign>{f.item.name.length > 80 ? `${f.item.name.slice(0, 80)}…` : f.item.name}</Foreign>
								</b>
								: {messageOf(f.error)}
							</li>
						))}
					</ul>
				</Alert>
			)}
			{ended && skipped.length > 0 && (
				<Text size="sm" c="dimmed" component="div">
					Left out:
					<ul className={classes.names}>
						{reasons(skipped).map(([why, n]) => (
							<li key={why}>
								{counted(n, "machine")}: {why}
							</li>
						))}
					</ul>
				</Text>
			)}
			<Group justify="flex-end">
				{ended ? (
					<>
						{failures.length + undone > 0 && (
							<Button variant="default" onClick={() => setTodo(left())}>
								{failures.length > 0 ? "Try again" : "Go on"} with {count(failures.length + undone)}
							</Button>
						)}
						<Button onClick={leave} data-autofocus>
							Close
						</Button>
					</>
				) : (
					<Button variant="default" onClick={() => stop.current?.abort()}>
						Stop
					</Button>
				)}
			</Group>
		</Stack>
	);
}

function reasons(skipped: readonly Outcome<Host>[]): [string, number][] {
	const by = new Map<string, number>();
	for (const s of skipped) {
		const why = s.state === "skipped" ? s.why : "";
		by.set(why, (by.get(why) ?? 0) + 1);
	}
	return [...by].sort(([, a], [, b]) => b - a);
}

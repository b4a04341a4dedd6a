import { Alert, Button, Checkbox, Group, Modal, Stack, Tabs, Text, TextInput } from "@mantine/core";
import { IconCheck, IconRefresh } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { Link, useBlocker } from "@tanstack/react-router";
import { type ReactNode, useEffect, useRef, useState } from "react";
import { hostQuery } from "../../api/hosts";
import { messageOf, Problem } from "../../api/problem";
import { installQuery } from "../../api/settings";
import { tokenQuery, useMakeToken, useVoidToken } from "../../api/tokens";
import type { Host } from "../../api/types";
import { bytes } from "../../lib/bytes";
import { labelsText, parseLabels } from "../../lib/labels";
import { Badge } from "../../ui/Badge";
import { Command, Copy } from "../../ui/Copy";
import { timeLeft, useSecondsLeft } from "../../ui/countdown";
import { Foreign } from "../../ui/Foreign";
import { Note } from "../../ui/Note";
import { failed } from "../../ui/notify";
import { Page } from "../../ui/Page";
import { Shown } from "../../ui/States";
import classes from "./AddMachine.module.css";
import { byHand, type Choices, docker, type Installation, type Step as Line, pasted, readFirst } from "./command";
import { FirstBackup } from "./FirstBackup";

/** A token as the page holds it: in its memory alone. */
interface Made {
	id: string;
	secret: string;
	name: string;
	labels: Record<string, string>;
	/** When it expires, by this device's clock (ms). */
	until: number;
}

/** From nothing to the first backup of a machine. */
export function AddMachine() {
	const [made, setMade] = useState<Made>();
	const [voided, setVoided] = useState(false);
	const [ordered, setOrdered] = useState(false);
	const make = useMakeToken();
	const void_ = useVoidToken();
	const left = useSecondsLeft(made?.until);

	const token = useQuery({
		...tokenQuery(made?.id ?? ""),
		enabled: made !== undefined && !voided,
		// The changes feed tells too; this is for a proxy that swallows it.
		refetchInterval: (q) => (q.state.data?.used_at ? false : 2000),
		retry: false,
	});
	const used = Boolean(token.data?.used_at);
	const gone = voided || (token.error instanceof Problem && token.error.status === 404);
	const hostID = token.data?.host_id;
	const host = useQuery({
		...hostQuery(hostID ?? ""),
		enabled: hostID !== undefined,
		// Until it is there and names a repository: those come with its next word.
		refetchInterval: (q) => (q.state.data?.status === "online" && repositoryOf(q.state.data) ? 15_000 : 2000),
	});
	const online = host.data?.status === "online";
	const expired = made !== undefined && !used && left === 0;
	const open = made !== undefined && !used && !gone && !expired;

	async function begin(name: string, labels: Record<string, string>) {
		// One page, one token: the one before it was not used.
		if (made && open) await void_.mutateAsync(made.id).catch(() => undefined);
		const asked = Date.now();
		const t = await make.mutateAsync({ name: name || undefined, labels });
		const life = new Date(t.expires_at).getTime() - new Date(t.created_at).getTime();
		make.reset();
		setVoided(false);
		setMade({ id: t.id, secret: t.token, name: t.name, labels: t.labels, until: asked + life });
		// The form that had the focus is gone.
		requestAnimationFrame(() => document.getElementById("step-2")?.focus());
	}

	return (
		<Page
			narrow
			title="Add a machine"
			subtitle="One command on the machine, and it shows up here. The machine calls the server; nothing connects to it."
		>
			<ol className={classes.steps}>
				<Step n={1} title="Name it" done={made !== undefined}>
					{made ? (
						<Named made={made} />
					) : (
						<NameForm busy={make.isPending} error={make.error} begin={(n, l) => void begin(n, l).catch(() => {})} />
					)}
				</Step>
				<Step n={2} title="Run this on the machine, as root" later={made === undefined} done={used}>
					{made && !used && (
						<Stack gap="sm">
							<Life
								left={left}
								state={gone ? "void" : expired ? "expired" : "open"}
								busy={make.isPending}
								renew={() => void begin(made.name, made.labels).catch((e) => failed("No new command could be made", e))}
							/>
							{open && <Ways secret={made.secret} name={made.name} />}
						</Stack>
					)}
					{made && used && (
						<Text size="sm" c="dimmed">
							The command was used
							{host.data && (
								<>
									{" "}
									by <Foreign>{host.data.facts.hostname || host.data.name}</Foreign>
								</>
							)}
							; it enrolls no other machine.
						</Text>
					)}
				</Step>
				<Step n={3} title="The machine calls" later={made === undefined} done={online}>
					{made && (
						<Arrival
							open={open}
							used={used}
							host={host.data}
							error={token.error && !gone ? token.error : (host.error ?? undefined)}
						/>
					)}
				</Step>
				<Step n={4} title="First backup" later={!online} done={ordered}>
					{online && host.data && (
						<FirstBackup host={host.data} repository={repositoryOf(host.data)} ordered={() => setOrdered(true)} />
					)}
				</Step>
			</ol>
			<Leaving
				open={open}
				left={left}
				revoke={async () => {
					if (!made) return;
					await void_.mutateAsync(made.id);
					setVoided(true);
				}}
			/>
		</Page>
	);
}

/** The repository that the host's jobs go to, as people read it; undefined: none is named. */
export function repositoryOf(host: Host): string | undefined {
	return host.repository?.url ?? host.reported_repositories?.[0]?.location;
}

function Step({
	n,
	title,
	done,
	later,
	children,
}: {
	n: number;
	title: string;
	done?: boolean;
	later?: boolean;
	children?: ReactNode;
}) {
	return (
		<li className={classes.step} data-state={done ? "done" : later ? "later" : "now"}>
			<span className={classes.number} aria-hidden>
				{done ? <IconCheck size={15} stroke={3} /> : n}
			</span>
			<section className={classes.body} aria-label={title}>
				<h2 tabIndex={-1} id={`step-${n}`}>
					{title}
					{done && <span className="rm-hidden"> (done)</span>}
				</h2>
				{children}
			</section>
		</li>
	);
}

function NameForm({
	busy,
	error,
	begin,
}: {
	busy: boolean;
	error: unknown;
	begin: (name: string, labels: Record<string, string>) => void;
}) {
	const [name, setName] = useState("");
	const [labels, setLabels] = useState("");
	const parsed = parseLabels(labels);
	const fields = error instanceof Problem ? error.fields : {};
	return (
		<form
			onSubmit={(e) => {
				e.preventDefault();
				if (!busy && "labels" in parsed) begin(name.trim(), parsed.labels);
			}}
		>
			<Stack gap="md">
				<div className={classes.pair}>
					<TextInput
						label="Name"
						description="Empty: the machine's own hostname"
						placeholder="web1"
						maxLength={128}
						autoFocus
						autoComplete="off"
						spellCheck={false}
						error={fields.name}
						value={name}
						onChange={(e) => setName(e.currentTarget.value)}
					/>
					<TextInput
						label="Labels"
						description="To group and filter by; can be changed later"
						placeholder="env=prod, db"
						autoComplete="off"
						spellCheck={false}
						error={"error" in parsed ? parsed.error : fields.labels}
						value={labels}
						onChange={(e) => setLabels(e.currentTarget.value)}
					/>
				</div>
				{error !== null && error !== undefined && !fields.name && !fields.labels && (
					<Alert color="red" role="alert">
						{messageOf(error)}
					</Alert>
				)}
				<Group>
					<Button type="submit" loading={busy} disabled={"error" in parsed}>
						Make the command
					</Button>
				</Group>
			</Stack>
		</form>
	);
}

function Named({ made }: { made: Made }) {
	const labels = labelsText(made.labels);
	return (
		<Text size="sm" c="dimmed">
			{made.name ? (
				<b className={classes.strong}>
					<Foreign>{made.name}</Foreign>
				</b>
			) : (
				"Named as the machine names itself"
			)}
			{labels && (
				<>
					, with <Foreign mono>{labels}</Foreign>
				</>
			)}
		</Text>
	);
}

/** How long the command is still good for. */
function Life({
	left,
	state,
	busy,
	renew,
}: {
	left: number;
	state: "open" | "expired" | "void";
	busy: boolean;
	renew: () => void;
}) {
	return (
		<div className={classes.life} data-state={state}>
			{state === "open" ? (
				<span>
					For one machine, for{" "}
					<b className="rm-numbers" role="timer" aria-live="off">
						{timeLeft(left)}
					</b>
					. It is shown on this page alone, once.
				</span>
			) : (
				<span role="alert">
					{state === "expired" ? "The command has expired; nobody used it." : "The command was made void."}
				</span>
			)}
			<Button
				size="compact-sm"
				variant={state === "open" ? "subtle" : "filled"}
				leftSection={<IconRefresh size={14} />}
				loading={busy}
				onClick={renew}
			>
				Make a new one
			</Button>
		</div>
	);
}

/** The ways to bring the agent onto the machine. */
function Ways({ secret, name }: { secret: string; name: string }) {
	const install = useQuery(installQuery);
	const [choices, setChoices] = useState<Choices>({ maintenance: false, installRestic: true, sudo: false });
	const set = (c: Partial<Choices>) => setChoices((was) => ({ ...was, ...c }));
	return (
		<Shown query={install} rows={3}>
			{(i) => (
				<Stack gap="sm">
					<Tabs defaultValue="curl" variant="pills" classNames={{ list: classes.tabs, tab: classes.tab }}>
						<Tabs.List aria-label="Ways to install">
							<Tabs.Tab value="curl">One command</Tabs.Tab>
							<Tabs.Tab value="wget">wget</Tabs.Tab>
							<Tabs.Tab value="read">Read it first</Tabs.Tab>
							<Tabs.Tab value="hand">By hand</Tabs.Tab>
							<Tabs.Tab value="docker">Docker</Tabs.Tab>
						</Tabs.List>
						<Tabs.Panel value="curl" pt="sm">
							<Command>{pasted(i.command, secret, choices)}</Command>
						</Tabs.Panel>
						<Tabs.Panel value="wget" pt="sm">
							<Command>{pasted(i.wget_command, secret, choices)}</Command>
						</Tabs.Panel>
						<Tabs.Panel value="read" pt="sm">
							<Text size="sm" c="dimmed" mb="xs">
								The script is plain shell. <code>--dry-run</code> behind the last line tells what it would do.
							</Text>
							<Command what="the commands">{readFirst(i, secret, choices).join("\n")}</Command>
						</Tabs.Panel>
						<Tabs.Panel value="hand" pt="sm">
							<ByHand install={i} secret={secret} choices={choices} />
						</Tabs.Panel>
						<Tabs.Panel value="docker" pt="sm">
							<Lines lines={docker(i, secret, choices, name || "my-host")} />
							<Text size="sm" c="dimmed" mt="sm">
								A container sees what is mounted into it, and a restart of the container ends a running restic.
							</Text>
						</Tabs.Panel>
					</Tabs>
					<Warnings install={i} />
					<fieldset className={classes.choices}>
						<legend className="rm-hidden">Choices</legend>
						<Checkbox
							size="sm"
							label="Install restic where it is missing"
							description="By the distribution's own package"
							checked={choices.installRestic}
							onChange={(e) => set({ installRestic: e.currentTarget.checked })}
						/>
						<Checkbox
							size="sm"
							label="Use sudo"
							description="Where you are not root"
							checked={choices.sudo}
							onChange={(e) => set({ sudo: e.currentTarget.checked })}
						/>
						<Checkbox
							size="sm"
							label="This machine may also remove old snapshots"
							description="Lets forget and prune be ordered from here. Without it, whoever takes over this server cannot delete this machine's backups. Only the machine's owner can change it later, in guard.yaml."
							checked={choices.maintenance}
							onChange={(e) => set({ maintenance: e.currentTarget.checked })}
						/>
					</fieldset>
				</Stack>
			)}
		</Shown>
	);
}

function Warnings({ install }: { install: Installation & { certificate: string } }) {
	const { hostname, protocol } = new URL(install.server_url);
	const local = hostname === "localhost" || hostname === "[::1]" || /^127\./.test(hostname);
	return (
		<>
			{local && (
				<Note tone="warn">
					<span>
						<Foreign mono>{install.server_url}</Foreign> is reached from this server's own machine alone. For others set{" "}
						<code>--public-url</code> (or <code>RESTIC_MANAGER_PUBLIC_URL</code>) and open this page there.
					</span>
				</Note>
			)}
			{!local && protocol === "http:" && (
				<Note tone="warn">
					This server is reached by plain http: whoever listens on the way can read the token and what machines report.
				</Note>
			)}
			{install.certificate === "private" && (
				<Text size="xs" c="dimmed">
					This server's certificate is its own or of your own authority: the command carries its fingerprint, and the
					machine trusts that alone.
				</Text>
			)}
		</>
	);
}

const platformName = (p: { os: string; arch: string }) => `${p.os}-${p.arch}`;

function ByHand({ install, secret, choices }: { install: Installation; secret: string; choices: Choices }) {
	const platforms = install.platforms ?? [];
	const [chosen, setChosen] = useState("linux-amd64");
	const platform = platforms.find((p) => platformName(p) === chosen) ?? platforms[0];
	if (!platform)
		return (
			<Text size="sm" c="dimmed">
				This server was built without agents to hand out. Build one with <code>make build</code> and enroll as in “Read
				it first”.
			</Text>
		);
	return (
		<Stack gap="sm">
			<fieldset className={classes.platforms}>
				<legend className="rm-hidden">Platform</legend>
				{platforms.map((p) => (
					<label key={platformName(p)} className={classes.platform}>
						<input type="radio" name="platform" checked={p === platform} onChange={() => setChosen(platformName(p))} />
						<span>{platformName(p)}</span>
						<small className="rm-numbers">{bytes(p.size_bytes)}</small>
					</label>
				))}
			</fieldset>
			<Lines lines={byHand(install, secret, choices, platform)} />
		</Stack>
	);
}

function Lines({ lines }: { lines: readonly Line[] }) {
	return (
		<ol className={classes.lines}>
			{lines.map((l) => (
				<li key={l.title}>
					<div>{l.title}</div>
					<div className={classes.command}>
						<Command what={`“${l.title}”`}>{l.command}</Command>
					</div>
				</li>
			))}
		</ol>
	);
}

/** Waits for the machine, and greets it. */
function Arrival({ open, used, host, error }: { open: boolean; used: boolean; host?: Host; error: unknown }) {
	const online = host?.status === "online";
	return (
		<div>
			<div role="status">
				{online ? (
					<div className={classes.there}>
						<IconCheck size={18} stroke={2.6} aria-hidden />
						<span>
							<b>
								<Foreign>{host.name}</Foreign>
							</b>{" "}
							is there.
						</span>
						<Link to="/hosts/$hostId" params={{ hostId: host.id }} className={classes.there_link}>
							Its page
						</Link>
					</div>
				) : used ? (
					<Waiting>
						{host ? <Foreign>{host.name}</Foreign> : "The machine"} has enrolled. Its agent starts and makes its first
						call.
					</Waiting>
				) : open ? (
					<Waiting>Waiting for the machine. This page notices by itself.</Waiting>
				) : (
					<Text size="sm" c="dimmed">
						Nothing to wait for: make a new command.
					</Text>
				)}
			</div>
			{error !== undefined && error !== null && (
				<Text size="sm" c="dimmed" mt="xs" role="alert">
					{messageOf(error)}
				</Text>
			)}
			{used && !online && <Slow />}
			{online && <Facts host={host} />}
		</div>
	);
}

function Waiting({ children }: { children: ReactNode }) {
	return (
		<div className={classes.waiting}>
			<span className={classes.pulse} aria-hidden />
			<span>{children}</span>
		</div>
	);
}

/** Help for an agent that does not call: after a while, not at once. */
function Slow() {
	const [slow, setSlow] = useState(false);
	useEffect(() => {
		const timer = setTimeout(() => setSlow(true), 15_000);
		return () => clearTimeout(timer);
	}, []);
	if (!slow) return null;
	return (
		<Text size="sm" c="dimmed" mt="xs" component="div">
			It takes longer than usual. On the machine this says why:
			<div style={{ marginTop: 6 }}>
				<Command>restic-manager-agent status</Command>
			</div>
		</Text>
	);
}

function Facts({ host }: { host: Host }) {
	const f = host.facts;
	const rows: [string, ReactNode][] = [
		["System", <Foreign key="s">{[f.os_version || f.os, f.arch].filter(Boolean).join(", ")}</Foreign>],
		["Size", `${f.cpus} ${f.cpus === 1 ? "CPU" : "CPUs"}, ${bytes(f.memory_bytes)} memory`],
		["Agent", <Foreign key="a">{host.agent_version || "–"}</Foreign>],
		[
			"restic",
			host.restic_version ? (
				<Foreign key="r">{host.restic_version}</Foreign>
			) : (
				<Badge key="r" tone="bad">
					not installed
				</Badge>
			),
		],
		["Guard", <Foreign key="g">{host.guard.broken ? "broken" : host.guard.summary || "–"}</Foreign>],
		[
			"Id",
			<span key="i" className={classes.id}>
				<Foreign mono cut>
					{host.id}
				</Foreign>
				<Copy value={host.id} what="the machine's id" />
			</span>,
		],
	];
	return (
		<>
			<dl className={classes.facts}>
				{rows.map(([name, value]) => (
					<div key={name}>
						<dt>{name}</dt>
						<dd>{value}</dd>
					</div>
				))}
			</dl>
			{!host.restic_version && (
				<div className={classes.gap}>
					<Note tone="warn">
						<span>
							There is no restic on the machine. Install it there (<code>apt-get install restic</code>, 0.14.0 or
							newer); this page notices within a minute.
						</span>
					</Note>
				</div>
			)}
			{host.guard.broken && (
				<div className={classes.gap}>
					<Note tone="bad">
						<span>
							Its guard.yaml is broken, and it refuses every job: <Foreign>{host.guard.broken}</Foreign>
						</span>
					</Note>
				</div>
			)}
		</>
	);
}

/** Who leaves a command that is still good is asked what becomes of it. */
function Leaving({ open, left, revoke }: { open: boolean; left: number; revoke: () => Promise<void> }) {
	const [busy, setBusy] = useState(false);
	const [error, setError] = useState<unknown>();
	const stay = useRef<HTMLButtonElement>(null);
	const block = useBlocker({ shouldBlockFn: () => open, enableBeforeUnload: () => open, withResolver: true });
	const asked = block.status === "blocked";
	return (
		<Modal opened={asked} onClose={() => block.reset?.()} title="The command was not used yet">
			<Stack gap="md">
				<Text size="sm">
					It stays good for {timeLeft(left)}, and this page does not show it again. If you have it, leave it: the
					machine enrolls all the same, and the token is listed under Settings, Enrollment tokens. If not, make it void.
				</Text>
				{error !== undefined && (
					<Alert color="red" role="alert">
						{messageOf(error)}
					</Alert>
				)}
				<Group justify="flex-end" gap="xs">
					<Button ref={stay} data-autofocus variant="default" onClick={() => block.reset?.()}>
						Stay here
					</Button>
					<Button variant="default" onClick={() => block.proceed?.()}>
						Leave it good
					</Button>
					<Button
						color="red"
						loading={busy}
						onClick={async () => {
							setBusy(true);
							setError(undefined);
							try {
								await revoke();
								block.proceed?.();
							} catch (e) {
								setError(e);
							} finally {
								setBusy(false);
							}
						}}
					>
						Make it void
					</Button>
				</Group>
			</Stack>
		</Modal>
	);
}

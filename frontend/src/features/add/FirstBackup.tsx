import { Alert, Button, Checkbox, Group, Stack, Tabs, Text, Textarea, TextInput } from "@mantine/core";
import { IconArrowRight, IconKey } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { type ReactNode, useCallback, useEffect, useState } from "react";
import { usePutRepository } from "../../api/hosts";
import { jobQuery } from "../../api/jobs";
import { orderKey, useOrderJob } from "../../api/orders";
import { messageOf, Problem } from "../../api/problem";
import { type Host, isOpen, type Job, type JobKind } from "../../api/types";
import { makePassword } from "../../lib/password";
import { reasonOf } from "../../lib/words";
import { StateBadge } from "../../ui/Badge";
import { Command, Copy } from "../../ui/Copy";
import { Foreign } from "../../ui/Foreign";
import { Note } from "../../ui/Note";
import { SecretInput } from "../../ui/SecretInput";
import classes from "./AddMachine.module.css";
import { parseEnvironment, parsePaths } from "./command";

/** Where to, whether it answers, and what: the first backup of a machine that is there. */
export function FirstBackup({
	host,
	repository,
	ordered,
}: {
	host: Host;
	repository: string | undefined;
	/** The first backup is on its way. */
	ordered: () => void;
}) {
	const [changing, setChanging] = useState(false);
	const [verified, setVerified] = useState(false);
	const verify = useCallback(() => setVerified(true), []);
	if (!repository || changing)
		return (
			<Repository
				host={host}
				cancel={repository ? () => setChanging(false) : undefined}
				saved={() => {
					setChanging(false);
					setVerified(false);
				}}
			/>
		);
	return (
		<Stack gap="lg">
			<div>
				<div className={classes.part}>
					<span>
						Repository <Foreign mono>{repository}</Foreign>
						{!host.repository && (
							<Text span c="dimmed">
								{" (from agent.yaml)"}
							</Text>
						)}
					</span>
					<Button size="compact-xs" variant="subtle" onClick={() => setChanging(true)}>
						Change
					</Button>
				</div>
				<Test key={repository + (host.repository?.updated_at ?? "")} host={host} verified={verify} />
			</div>
			<Paths host={host} verified={verified} ordered={ordered} />
		</Stack>
	);
}

function Repository({ host, cancel, saved }: { host: Host; cancel?: () => void; saved: () => void }) {
	return (
		<Tabs defaultValue="server" variant="pills" classNames={{ list: classes.tabs, tab: classes.tab }}>
			<Tabs.List aria-label="Where the repository is named">
				<Tabs.Tab value="server">Named here</Tabs.Tab>
				<Tabs.Tab value="machine">In agent.yaml on the machine</Tabs.Tab>
			</Tabs.List>
			<Tabs.Panel value="server" pt="sm">
				<RepositoryForm host={host} cancel={cancel} saved={saved} />
			</Tabs.Panel>
			<Tabs.Panel value="machine" pt="sm">
				<Stack gap="sm">
					<Text size="sm" c="dimmed">
						The server then never sees the password. Add to <code>/etc/restic-manager/agent.yaml</code>:
					</Text>
					<Command what="the lines">
						{
							"repo_url: rest:https://storage.example/web1\nrepo_password_file: /etc/restic-manager/repository.password\nenvironment:\n  RESTIC_REST_USERNAME: web1\n  RESTIC_REST_PASSWORD: secret"
						}
					</Command>
					<Text size="sm" c="dimmed">
						Put the password alone into the named file (<code>chmod 600</code>), keep a copy of it elsewhere, and
						restart the agent. This page notices by itself.
					</Text>
					<Command>systemctl restart restic-manager-agent</Command>
				</Stack>
			</Tabs.Panel>
		</Tabs>
	);
}

function RepositoryForm({ host, cancel, saved }: { host: Host; cancel?: () => void; saved: () => void }) {
	const put = usePutRepository(host.id);
	const [url, setUrl] = useState("");
	const [password, setPassword] = useState("");
	const [visible, setVisible] = useState(false);
	const [kept, setKept] = useState(false);
	const [environment, setEnvironment] = useState("");
	const env = parseEnvironment(environment);
	const fields = put.error instanceof Problem ? put.error.fields : {};
	return (
		<form
			onSubmit={(e) => {
				e.preventDefault();
				if (put.isPending || "error" in env || !kept) return;
				put.mutate({ url: url.trim(), password, env: env.env }, { onSuccess: saved });
			}}
		>
			<Stack gap="md">
				<TextInput
					label="Repository"
					description="As restic's --repo: rest:https://…, s3:https://…/bucket, sftp:user@host:/path, b2:, azure:, gs:, or a folder"
					placeholder="rest:https://storage.example/web1"
					required
					autoComplete="off"
					spellCheck={false}
					error={fields.url}
					value={url}
					onChange={(e) => setUrl(e.currentTarget.value)}
				/>
				{url.trim().startsWith("/") && (
					<Text size="xs" c="dimmed">
						A folder on the machine itself: it does not outlive the machine, and the agent's service needs leave to
						write it (<code>systemctl edit restic-manager-agent</code>, <code>ReadWritePaths=</code>).
					</Text>
				)}
				<div className={classes.secret}>
					<SecretInput
						label="The repository's password"
						required
						autoComplete="new-password"
						visible={visible}
						onVisibilityChange={setVisible}
						styles={{ innerInput: { fontFamily: "var(--mantine-font-family-monospace)" } }}
						error={fields.password}
						value={password}
						onChange={(e) => setPassword(e.currentTarget.value)}
					/>
					<Button
						variant="default"
						leftSection={<IconKey size={14} />}
						onClick={() => {
							setPassword(makePassword());
							setVisible(true);
							setKept(false);
						}}
					>
						Generate
					</Button>
					{password !== "" && <Copy value={password} what="the password" size={34} />}
				</div>
				<Note tone="warn">
					<div>
						Without this password nobody can read the backups, not even restic's makers. Keep it where it outlives this
						server and this machine: a password manager, or paper.
						<Checkbox
							mt="xs"
							size="sm"
							label="I have it in a safe place"
							checked={kept}
							onChange={(e) => setKept(e.currentTarget.checked)}
						/>
					</div>
				</Note>
				<Textarea
					label="Credentials of the storage"
					description="NAME=value, one a line: AWS_ACCESS_KEY_ID, RESTIC_REST_USERNAME … Sealed in the database, and not shown again."
					autosize
					minRows={2}
					maxRows={8}
					spellCheck={false}
					autoComplete="off"
					styles={{ input: { fontFamily: "var(--mantine-font-family-monospace)" } }}
					error={"error" in env ? env.error : fields.env}
					value={environment}
					onChange={(e) => setEnvironment(e.currentTarget.value)}
				/>
				<Wrong error={put.error} but={["url", "password", "env"]} />
				<Group>
					<Button
						type="submit"
						loading={put.isPending}
						disabled={"error" in env || !kept || url.trim() === "" || password === ""}
					>
						Save the repository
					</Button>
					{cancel && (
						<Button variant="default" onClick={cancel}>
							Keep the one before
						</Button>
					)}
				</Group>
			</Stack>
		</form>
	);
}

function Wrong({ error, but = [] }: { error: unknown; but?: string[] }) {
	if (!error) return null;
	if (error instanceof Problem && but.some((f) => error.fields[f])) return null;
	return (
		<Alert color="red" role="alert">
			{messageOf(error)}
		</Alert>
	);
}

/** Follows a job to its end. */
function useJob(id: string | undefined) {
	return useQuery({
		...jobQuery(id ?? ""),
		enabled: id !== undefined,
		refetchInterval: (q) => (q.state.data && !isOpen(q.state.data.state) ? false : 1500),
	});
}

/** Asks the repository for its snapshots; makes one where there is none. */
function Test({ host, verified }: { host: Host; verified: () => void }) {
	const order = useOrderJob(host.id);
	const [id, setID] = useState<string>();
	const job = useJob(id).data;
	const begin = (kind: JobKind) =>
		order.mutate(
			{ key: orderKey(), body: { kind } },
			{
				onSuccess: ({ job }) => setID(job.id),
			},
		);
	const busy = order.isPending || (id !== undefined && (!job || isOpen(job.state)));
	const ended = job && !isOpen(job.state) ? job : undefined;
	const code = ended?.error?.code;
	const good = ended?.state === "succeeded" || ended?.state === "succeeded_with_issues";
	useEffect(() => {
		if (good) verified();
	}, [good, verified]);
	const missing = ended?.kind === "snapshots" && code === "repository_missing";
	const exists = ended?.kind === "init" && code === "repository_exists";
	return (
		<Stack gap="xs" mt="xs">
			{ended && (
				<div role="status" className={classes.result} data-good={good || exists || undefined}>
					{good && ended.kind === "init" && "The repository is made, and empty."}
					{good && ended.kind === "snapshots" && "The repository answers, and the password fits."}
					{missing && "The place answers, but there is no repository yet."}
					{exists && "There is a repository already. Test it to see whether the password fits."}
					{!good && !missing && !exists && (
						<>
							<Foreign>{reasonOf(ended)}</Foreign> <JobLink job={ended}>Its log</JobLink>
						</>
					)}
				</div>
			)}
			<Wrong error={order.error} />
			{!good && (
				<Group gap="xs">
					<Button
						size="xs"
						variant={missing ? "default" : "light"}
						loading={busy && (job?.kind ?? order.variables?.body.kind) === "snapshots"}
						disabled={busy}
						onClick={() => begin("snapshots")}
					>
						Test it
					</Button>
					<Button
						size="xs"
						variant={missing ? "filled" : "light"}
						loading={busy && (job?.kind ?? order.variables?.body.kind) === "init"}
						disabled={busy}
						onClick={() => begin("init")}
					>
						Make it: it is new
					</Button>
					{busy && job && <StateBadge state={job.state} />}
				</Group>
			)}
		</Stack>
	);
}

function Paths({ host, verified, ordered }: { host: Host; verified: boolean; ordered: () => void }) {
	const order = useOrderJob(host.id);
	// One form, one order: a double click is not a second backup.
	const [key] = useState(orderKey);
	const [text, setText] = useState("/etc\n/home\n/root");
	const [excludes, setExcludes] = useState("");
	const [id, setID] = useState<string>();
	const job = useJob(id).data;
	const parsed = parsePaths(text);
	if (id)
		return (
			<div className={classes.there} role="status">
				{job && <StateBadge state={job.state} />}
				<span>
					The first backup of <Foreign>{host.name}</Foreign>{" "}
					{!job || isOpen(job.state) ? "is on its way." : <Foreign>{`has ended. ${reasonOf(job)}`}</Foreign>}
				</span>
				<Link to="/jobs/$jobId" params={{ jobId: id }} className={classes.go}>
					{!job || isOpen(job.state) ? "Follow it live" : "What it did"} <IconArrowRight size={15} aria-hidden />
				</Link>
			</div>
		);
	return (
		<form
			onSubmit={(e) => {
				e.preventDefault();
				if ("error" in parsed || order.isPending) return;
				const leave = excludes
					.split("\n")
					.map((x) => x.trim())
					.filter(Boolean);
				order.mutate(
					{
						key,
						body: {
							kind: "backup",
							spec: { paths: parsed.paths, exclude_caches: true, ...(leave.length > 0 && { excludes: leave }) },
						},
					},
					{
						onSuccess: ({ job }) => {
							setID(job.id);
							ordered();
						},
					},
				);
			}}
		>
			<Stack gap="md">
				<div className={classes.pair}>
					<Textarea
						label="Folders to back up"
						description="Absolute paths, one a line"
						autosize
						minRows={3}
						maxRows={12}
						spellCheck={false}
						styles={{ input: { fontFamily: "var(--mantine-font-family-monospace)" } }}
						error={"error" in parsed ? parsed.error : undefined}
						value={text}
						onChange={(e) => setText(e.currentTarget.value)}
					/>
					<Textarea
						label="Leave out"
						description="restic's patterns, one a line"
						placeholder="*.tmp"
						autosize
						minRows={3}
						maxRows={12}
						spellCheck={false}
						styles={{ input: { fontFamily: "var(--mantine-font-family-monospace)" } }}
						value={excludes}
						onChange={(e) => setExcludes(e.currentTarget.value)}
					/>
				</div>
				<Wrong error={order.error} />
				<Group>
					<Button type="submit" loading={order.isPending} disabled={"error" in parsed}>
						Start the first backup
					</Button>
					{!verified && (
						<Text size="xs" c="dimmed">
							Test the repository first, or it fails where there is none.
						</Text>
					)}
				</Group>
			</Stack>
		</form>
	);
}

function JobLink({ job, children }: { job: Job; children: ReactNode }) {
	return (
		<Link to="/jobs/$jobId" params={{ jobId: job.id }}>
			{children}
		</Link>
	);
}

import { Button, Group, Modal, NativeSelect, SegmentedControl, Stack, Text, TextInput } from "@mantine/core";
import { IconCircleCheck, IconCircleX, IconInfoCircle, IconPlus, IconTrash } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useRef, useState } from "react";
import { mayAs } from "../../api/auth";
import { useDeleteRepository, usePutRepository } from "../../api/hosts";
import { jobQuery } from "../../api/jobs";
import { orderKey, useOrderJob } from "../../api/orders";
import { messageOf } from "../../api/problem";
import { type Repository as ListedRepository, repositoriesQuery } from "../../api/repositories";
import type { Host, Role } from "../../api/types";
import { whyNot } from "../../lib/allowed";
import { fieldErrors } from "../../lib/fields";
import { isSecretEnv, repositoryEnv, schemeOf, usualEnv } from "../../lib/repository";
import { Ago } from "../../ui/Ago";
import { BarredButton } from "../../ui/Barred";
import { Confirm } from "../../ui/Confirm";
import { Copy } from "../../ui/Copy";
import { Facts } from "../../ui/Facts";
import { Foreign } from "../../ui/Foreign";
import { FormEnd } from "../../ui/FormEnd";
import { done } from "../../ui/notify";
import { Card } from "../../ui/Page";
import { SecretInput } from "../../ui/SecretInput";
import { Loading } from "../../ui/States";
import { hasRepository } from "./findings";
import classes from "./Host.module.css";
import { verdict } from "./repositoryTest";

const readsOnly = "Your account only reads. Ask an operator.";

/** Where the machine's backups go, how old the list of it is, and whether it can be reached. */
export function Repository({ host, role }: { host: Host; role: Role | undefined }) {
	const [dialog, setDialog] = useState<"put" | "remove">();
	const test = useTest(host.id);
	const barred = !mayAs(role, "operator")
		? readsOnly
		: host.status === "revoked"
			? "This machine is revoked."
			: undefined;
	const mayTest = whyNot(host, "snapshots", role);
	return (
		<Card title="Repository">
			<Location host={host} />
			<Facts
				facts={[
					[
						"Listed",
						host.snapshots_refreshed_at ? (
							<>
								<Ago at={host.snapshots_refreshed_at} />
								{host.listing_error && <span style={{ color: "var(--rm-warn)" }}>, a newer try failed</span>}
							</>
						) : (
							"never"
						),
					],
					[
						"Id",
						host.repository_id && (
							<span key="id" style={{ display: "flex", alignItems: "center", gap: 4, minWidth: 0 }}>
								<span className="rm-mono rm-cut">{host.repository_id}</span>
								<Copy value={host.repository_id} what="the repository's id" size={20} />
							</span>
						),
					],
				]}
			/>
			<div className={classes.cardFoot}>
				<BarredButton
					size="xs"
					variant="default"
					reason={hasRepository(host) ? mayTest : (mayTest ?? "Set a repository first.")}
					onClick={() => test.begin("snapshots")}
				>
					Test from this machine
				</BarredButton>
				<BarredButton size="xs" variant="default" reason={barred} onClick={() => setDialog("put")}>
					{host.repository ? "Replace…" : "Set…"}
				</BarredButton>
				{host.repository && (
					<BarredButton size="xs" variant="default" reason={barred} onClick={() => setDialog("remove")}>
						Remove…
					</BarredButton>
				)}
			</div>
			{test.begun && <Test host={host} role={role} test={test} />}
			<RepositoryDialog
				host={host}
				opened={dialog === "put"}
				close={() => setDialog(undefined)}
				test={() => test.begin("snapshots")}
			/>
			<RemoveDialog host={host} opened={dialog === "remove"} close={() => setDialog(undefined)} />
		</Card>
	);
}

function Location({ host }: { host: Host }) {
	if (host.repository)
		return (
			<Facts
				facts={[
					[
						"Name",
						host.repository.setting_id && (
							<Link key="n" to="/repositories/$repositoryId" params={{ repositoryId: host.repository.setting_id }}>
								<Foreign>{host.repository.name || "one of the server's list"}</Foreign>
							</Link>
						),
					],
					["Place", <Foreign key="u">{host.repository.url}</Foreign>],
					["Held by", "the server; the machine gets it with each job"],
					[
						"Credentials",
						host.repository.env_keys.length > 0 ? (
							<span key="e" className="rm-mono">
								{host.repository.env_keys.join(", ")}
							</span>
						) : (
							"the password alone"
						),
					],
					["Set", <Ago key="s" at={host.repository.updated_at} />],
				]}
			/>
		);
	if (host.reported_repositories.length === 0)
		return (
			<Text size="sm" c="dimmed" mb={6}>
				None. Set one here, or name one in agent.yaml on the machine.
			</Text>
		);
	return (
		<>
			{host.reported_repositories.slice(0, 3).map((r) => (
				<Facts
					key={r.name}
					facts={[
						["Place", <Foreign key="l">{r.location}</Foreign>],
						[
							"Held by",
							<>
								agent.yaml on the machine, as <Foreign>{r.name}</Foreign>
							</>,
						],
					]}
				/>
			))}
		</>
	);
}

/** A `snapshots` job from its order to its end; where there is no repository, the `init` after it. */
function useTest(hostID: string) {
	const order = useOrderJob(hostID);
	const ordered = order.data?.job;
	const { data: job } = useQuery({ ...jobQuery(ordered?.id ?? ""), enabled: ordered !== undefined });
	return {
		begun: !order.isIdle,
		job: job ?? ordered,
		error: order.error ?? undefined,
		begin: (kind: "snapshots" | "init") => order.mutate({ key: orderKey(), body: { kind } }),
	};
}

function Test({ host, role, test }: { host: Host; role: Role | undefined; test: ReturnType<typeof useTest> }) {
	const now = test.job;
	const v = verdict(now, host, test.error);
	const mayInit = whyNot(host, "init", role);
	const Icon = v.tone === "ok" ? IconCircleCheck : v.tone === "bad" || v.tone === "warn" ? IconCircleX : IconInfoCircle;
	const place = useRef<HTMLDivElement>(null);
	return (
		<div className={classes.test} ref={place} tabIndex={-1}>
			<div className={classes.verdict} role="status">
				<Icon size={18} aria-hidden color={`var(--rm-${v.tone})`} className={v.busy ? classes.busy : undefined} />
				<div>
					<b>{v.title}</b>
					<span>{v.text}</span>
					{v.foreign && (
						<div className={classes.words}>
							<Foreign mono>{v.foreign}</Foreign>
						</div>
					)}
				</div>
			</div>
			<Group gap={8}>
				{v.offerInit && (
					<BarredButton
						size="xs"
						reason={mayInit}
						onClick={() => {
							// The button goes with the press; the words that follow stay in its place.
							place.current?.focus();
							test.begin("init");
						}}
					>
						Initialize it here
					</BarredButton>
				)}
				{now && (
					<Button
						size="xs"
						variant="default"
						renderRoot={(props) => <Link to="/jobs/$jobId" params={{ jobId: now.id }} {...props} />}
					>
						Open the job
					</Button>
				)}
			</Group>
		</div>
	);
}

interface DialogProps {
	host: Host;
	opened: boolean;
	close: () => void;
}

interface Row {
	id: number;
	key: string;
	value: string;
}

/** Sets or replaces the repository that the server holds for the machine. */
export function RepositoryDialog({ host, opened, close, test }: DialogProps & { test: () => void }) {
	return (
		<Modal
			opened={opened}
			onClose={close}
			title={host.repository ? `Replace the repository of ${host.name}` : `Set the repository of ${host.name}`}
			size={620}
		>
			<Choice host={host} close={close} test={test} />
		</Modal>
	);
}

/** One of the server's list, where there are some, or one that this machine alone uses. */
function Choice({ host, close, test }: Omit<DialogProps, "opened"> & { test: () => void }) {
	const { data, isPending } = useQuery(repositoriesQuery);
	const listed = data?.repositories ?? [];
	const byHand = host.repository !== undefined && !host.repository.setting_id;
	const [alone, setAlone] = useState<boolean>();
	if (isPending) return <Loading rows={5} />;
	const own = listed.length === 0 || (alone ?? byHand);
	return (
		<Stack gap="md">
			{listed.length > 0 && (
				<SegmentedControl
					aria-label="Which repository"
					data={[
						{ value: "listed", label: "One of the list" },
						{ value: "alone", label: "For this machine alone" },
					]}
					value={own ? "alone" : "listed"}
					onChange={(v) => setAlone(v === "alone")}
				/>
			)}
			{own ? (
				<Form host={host} close={close} test={test} />
			) : (
				<Listed host={host} listed={listed} close={close} test={test} />
			)}
		</Stack>
	);
}

function Listed({
	host,
	listed,
	close,
	test,
}: Omit<DialogProps, "opened"> & { listed: readonly ListedRepository[]; test: () => void }) {
	const put = usePutRepository(host.id);
	const [id, setID] = useState(host.repository?.setting_id ?? listed[0]?.id ?? "");
	const chosen = listed.find((r) => r.id === id);
	return (
		<form
			onSubmit={(e) => {
				e.preventDefault();
				if (id === "" || put.isPending) return;
				put.mutate(
					{ setting_id: id },
					{
						onSuccess: () => {
							done("The repository is set.");
							close();
							test();
						},
					},
				);
			}}
		>
			<Stack gap="md">
				<NativeSelect
					label="Repository"
					description={
						chosen?.per_host
							? "The machine gets a repository of its own under this place."
							: "The machine shares it with the others that use it, and can read what they store."
					}
					data={listed.map((r) => ({ value: r.id, label: r.name }))}
					value={id}
					onChange={(e) => setID(e.currentTarget.value)}
				/>
				{chosen && (
					<Text size="xs" c="dimmed">
						<Foreign mono>{chosen.url}</Foreign>
					</Text>
				)}
				<FormEnd
					wrong={put.error ? messageOf(put.error) : undefined}
					close={close}
					action="Use it and test"
					busy={put.isPending}
					disabled={id === ""}
				/>
			</Stack>
		</form>
	);
}

function Form({ host, close, test }: Omit<DialogProps, "opened"> & { test: () => void }) {
	const put = usePutRepository(host.id);
	const [url, setURL] = useState(host.repository?.url ?? "");
	const [password, setPassword] = useState("");
	const [rows, setRows] = useState<Row[]>(() =>
		(host.repository?.env_keys ?? []).map((key, id) => ({ id, key, value: "" })),
	);
	const [touched, setTouched] = useState(rows.length > 0);
	const scheme = schemeOf(url);
	const refused = fieldErrors(put.error, {
		repository: "url",
		url: "url",
		password: "password",
		environment: "env",
		env: "env",
	});
	const shown: Row[] = touched ? rows : usualEnv(scheme).map((key, i) => ({ id: -1 - i, key, value: "" }));

	function change(next: Row[]) {
		setTouched(true);
		setRows(next);
	}
	const nextID = () => Math.max(0, ...shown.map((r) => r.id)) + 1;

	function submit() {
		const env = Object.fromEntries(shown.filter((r) => r.key !== "" && r.value !== "").map((r) => [r.key, r.value]));
		put.mutate(
			{ url: url.trim(), password, ...(Object.keys(env).length > 0 && { env }) },
			{
				onSuccess: () => {
					done("The repository is set.");
					close();
					test();
				},
			},
		);
	}
	return (
		<form
			onSubmit={(e) => {
				e.preventDefault();
				if (!put.isPending) submit();
			}}
		>
			<Stack gap="md">
				<Text size="sm" c="dimmed">
					The server keeps password and credentials encrypted and hands them to this machine with each job; they are
					never shown again, and never written to the machine's disk.
				</Text>
				<TextInput
					label="Place"
					description="As restic's --repo, without a password in it: rest:https://storage.example/web1, s3:https://s3.example/bucket/web1, sftp:backup@storage.example:/srv/web1, /mnt/backup"
					required
					data-autofocus
					spellCheck={false}
					autoCapitalize="none"
					autoComplete="off"
					classNames={{ input: "rm-mono" }}
					value={url}
					error={refused.fields.url}
					onChange={(e) => setURL(e.currentTarget.value)}
				/>
				<SecretInput
					label="Password of the repository"
					description="It encrypts the backups. Keep a copy elsewhere: without it they cannot be read, by nobody."
					required
					autoComplete="new-password"
					value={password}
					error={refused.fields.password}
					onChange={(e) => setPassword(e.currentTarget.value)}
				/>
				{scheme !== "local" && scheme !== "sftp" && (
					<Stack gap={8} role="group" aria-label="Credentials of the storage">
						<div>
							<Text size="sm" fw={500}>
								Credentials of the storage
							</Text>
							<Text size="xs" c="dimmed">
								{host.repository
									? "All that are to be there: those that were set are replaced, and cannot be shown."
									: "What the storage asks for. Empty ones are not set."}
							</Text>
						</div>
						{shown.map((r) => {
							const edit = (to: Partial<Row>) => change(shown.map((x) => (x.id === r.id ? { ...x, ...to } : x)));
							return (
								<div key={r.id} className={classes.envRow}>
									<NativeSelect aria-label="Key" value={r.key} onChange={(e) => edit({ key: e.currentTarget.value })}>
										{r.key === "" && <option value="">Choose a key</option>}
										{Object.entries(repositoryEnv)
											.sort(([a], [b]) => Number(b === scheme) - Number(a === scheme))
											.map(([name, keys]) => (
												<optgroup key={name} label={name}>
													{keys.map((k) => (
														<option key={k} value={k} disabled={k !== r.key && shown.some((x) => x.key === k)}>
															{k}
														</option>
													))}
												</optgroup>
											))}
									</NativeSelect>
									{isSecretEnv(r.key) ? (
										<SecretInput
											aria-label={`Value of ${r.key}`}
											shows={`Show the value of ${r.key}`}
											autoComplete="off"
											value={r.value}
											onChange={(e) => edit({ value: e.currentTarget.value })}
										/>
									) : (
										<TextInput
											aria-label={`Value of ${r.key || "the key"}`}
											autoComplete="off"
											spellCheck={false}
											value={r.value}
											onChange={(e) => edit({ value: e.currentTarget.value })}
										/>
									)}
									<Button
										variant="default"
										px={9}
										aria-label={`Remove ${r.key || "the row"}`}
										onClick={() => change(shown.filter((x) => x.id !== r.id))}
									>
										<IconTrash size={15} />
									</Button>
								</div>
							);
						})}
						<Button
							size="xs"
							variant="default"
							leftSection={<IconPlus size={14} />}
							style={{ justifySelf: "start", alignSelf: "flex-start" }}
							onClick={() => change([...shown, { id: nextID(), key: "", value: "" }])}
						>
							Add a credential
						</Button>
						{refused.fields.env && (
							<Text size="xs" c="var(--mantine-color-error)" role="alert">
								{refused.fields.env}
							</Text>
						)}
					</Stack>
				)}
				<FormEnd
					wrong={refused.rest}
					close={close}
					action="Set and test"
					busy={put.isPending}
					disabled={url.trim() === "" || password === ""}
				/>
			</Stack>
		</form>
	);
}

/** Lets the machine's own configuration name the repository again. */
function RemoveDialog({ host, opened, close }: DialogProps) {
	const remove = useDeleteRepository(host.id);
	return (
		<Confirm
			opened={opened}
			close={close}
			title="Remove the repository from the server"
			action="Remove it"
			danger
			typed={host.name}
			run={async () => {
				await remove.mutateAsync();
				done("The server holds no repository for this machine any more.");
			}}
		>
			The server forgets its place, password and credentials. The repository and what it holds stay as they are.
			{host.reported_repositories.length > 0
				? " The machine goes by its own agent.yaml again."
				: " The machine has none of its own: its backups are refused until one is set."}
		</Confirm>
	);
}

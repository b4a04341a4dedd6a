import { ActionIcon, Menu, TextInput } from "@mantine/core";
import {
	IconDots,
	IconKey,
	IconPencil,
	IconPlugConnected,
	IconRefresh,
	IconSearch,
	IconTrash,
} from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useMemo, useState } from "react";
import { mayAs, meQuery } from "../../api/auth";
import {
	type Repository,
	type RepositoryHost,
	repositoryHostsQuery,
	repositoryQuery,
	useDeleteRepositorySetting,
} from "../../api/repositories";
import type { Role } from "../../api/types";
import { bytes, count, counted } from "../../lib/bytes";
import { shortWords } from "../../lib/cron";
import { backends } from "../../lib/place";
import { Ago, useNow } from "../../ui/Ago";
import { useActions } from "../../ui/actions";
import { Badge } from "../../ui/Badge";
import { BarredButton, BarredItem } from "../../ui/Barred";
import { Confirm } from "../../ui/Confirm";
import { Copy } from "../../ui/Copy";
import { Facts } from "../../ui/Facts";
import { Foreign } from "../../ui/Foreign";
import { done } from "../../ui/notify";
import { Card, Page } from "../../ui/Page";
import rows from "../../ui/Rows.module.css";
import { Empty, Shown } from "../../ui/States";
import { Contents } from "./Contents";
import { works } from "./form";
import { Growth } from "./Growth";
import { History } from "./History";
import { Removals } from "./Removals";
import classes from "./Repositories.module.css";
import { RotateDialog, RotationNote } from "./Rotation";
import { KitDialog, RevealDialog } from "./Secrets";
import { TestDialog } from "./TestDialog";
import { needsOf } from "./words";

interface Props {
	id: string;
	edit: () => void;
	gone: () => void;
}

/** One repository. */
export function RepositoryPage({ id, ...props }: Props) {
	const query = useQuery(repositoryQuery(id));
	if (!query.data)
		return (
			<Page title="Repository" crumbs={<Crumb />}>
				<Shown query={query} rows={10}>
					{() => null}
				</Shown>
			</Page>
		);
	return <View repository={query.data} query={query} {...props} />;
}

export function Crumb() {
	return (
		<Link to="/repositories" className="rm-link">
			Repositories
		</Link>
	);
}

type Dialog = "reveal" | "kit" | "test" | "rotate" | "delete";
const readsOnly = "Your account only reads. Ask an operator.";

function View({
	repository: r,
	query,
	edit,
	gone,
}: Omit<Props, "id"> & { repository: Repository; query: Parameters<typeof Shown<Repository>>[0]["query"] }) {
	const { data: me } = useQuery(meQuery);
	const role = me?.role;
	const operator = mayAs(role, "operator");
	const [dialog, setDialog] = useState<Dialog>();
	const close = () => setDialog(undefined);
	const now = useNow();
	useActions(
		useMemo(
			() =>
				operator
					? [
							{ id: "edit", label: `Change ${r.name}`, hotkey: "e", run: edit },
							{ id: "test", label: `Test ${r.name} from a machine`, hotkey: "t", run: () => setDialog("test") },
						]
					: [],
			[operator, r.name, edit],
		),
	);
	const barred = operator ? undefined : readsOnly;
	const used =
		r.policy_count > 0
			? `${counted(r.policy_count, "policy names", "policies name")} it.`
			: r.host_count > 0
				? `${counted(r.host_count, "machine uses", "machines use")} it.`
				: undefined;
	return (
		<Page
			title={r.name}
			heading={<Foreign>{r.name}</Foreign>}
			crumbs={<Crumb />}
			aside={
				<>
					<Badge tone="idle">{backends[r.backend]?.name ?? r.backend}</Badge>
					{r.append_only && <Badge tone="ok">Append-only</Badge>}
				</>
			}
			subtitle={`${counted(r.host_count, "machine")}, ${counted(r.policy_count, "policy", "policies")}, ${counted(r.snapshot_count, "snapshot")}${r.size_bytes > 0 ? `, ${bytes(r.size_bytes)}` : ""}`}
			actions={
				<>
					<BarredButton
						variant="default"
						reason={barred}
						leftSection={<IconPlugConnected size={16} aria-hidden />}
						onClick={() => setDialog("test")}
					>
						Test…
					</BarredButton>
					<BarredButton reason={barred} leftSection={<IconPencil size={16} aria-hidden />} onClick={edit}>
						Change
					</BarredButton>
					<Menu width={280} withinPortal={false} withInitialFocusPlaceholder={false}>
						<Menu.Target>
							<ActionIcon variant="default" size={34} aria-label="More to do with this repository">
								<IconDots size={18} />
							</ActionIcon>
						</Menu.Target>
						<Menu.Dropdown>
							<BarredItem
								icon={<IconRefresh size={16} />}
								reason={barred ?? (r.per_host ? "Each machine has a repository of its own here." : undefined)}
								about="A new one is added, then the old one is removed."
								onClick={() => setDialog("rotate")}
							>
								Change the password…
							</BarredItem>
							<BarredItem
								icon={<IconTrash size={16} />}
								danger
								reason={barred ?? used}
								about="The server forgets it; the data stays."
								onClick={() => setDialog("delete")}
							>
								Remove from here…
							</BarredItem>
						</Menu.Dropdown>
					</Menu>
				</>
			}
		>
			<Shown query={query}>{() => null}</Shown>
			<Needs repository={r} role={role} now={now} kit={() => setDialog("kit")} />
			<RotationNote repository={r} operator={operator} goOn={() => setDialog("rotate")} />
			<div className={classes.cards}>
				<PlaceCard repository={r} role={role} reveal={() => setDialog("reveal")} />
				<KitCard repository={r} role={role} make={() => setDialog("kit")} />
				<MaintenanceCard repository={r} />
			</div>
			<Contents repository={r} operator={operator} />
			<Growth id={r.id} title="Size and snapshots" />
			<Removals repository={r} operator={operator} />
			<History repository={r} />
			<Hosts id={r.id} />
			<RevealDialog repository={r} opened={dialog === "reveal"} close={close} />
			<KitDialog repository={r} opened={dialog === "kit"} close={close} />
			<RotateDialog repository={r} opened={dialog === "rotate"} close={close} />
			<TestDialog repository={r} opened={dialog === "test"} close={close} />
			<DeleteDialog repository={r} opened={dialog === "delete"} close={close} gone={gone} />
		</Page>
	);
}

function Needs({
	repository,
	role,
	now,
	kit,
}: {
	repository: Repository;
	role: Role | undefined;
	now: number;
	kit: () => void;
}) {
	const needs = needsOf(repository, now);
	if (needs.length === 0) return null;
	return (
		<div className={classes.needs}>
			{needs.map((n) => (
				<div key={n.id} className={classes.need} data-tone={n.tone}>
					<div>
						<h2>{n.title}</h2>
						<p>{n.text}</p>
					</div>
					{n.id === "kit" && (
						<BarredButton
							size="xs"
							reason={mayAs(role, "administrator") ? undefined : "Administrators make recovery kits."}
							onClick={kit}
						>
							Make one
						</BarredButton>
					)}
				</div>
			))}
		</div>
	);
}

function PlaceCard({
	repository: r,
	role,
	reveal,
}: {
	repository: Repository;
	role: Role | undefined;
	reveal: () => void;
}) {
	return (
		<Card title="Place and secrets">
			<Facts
				facts={[
					[
						"Place",
						<span key="u" style={{ display: "flex", gap: 4, alignItems: "baseline" }}>
							<Foreign mono>{r.url}</Foreign>
							<Copy value={r.url} what="the place" size={20} />
						</span>,
					],
					["Shared", r.per_host ? "no: one repository a machine" : "all machines use one repository"],
					[
						"Credentials",
						r.env_keys.length > 0 ? (
							<span key="e" className="rm-mono">
								{r.env_keys.join(", ")}
							</span>
						) : (
							"the password alone"
						),
					],
					[
						"Of maintenance",
						r.maintenance_env_keys.length > 0 && (
							<span key="m" className="rm-mono">
								{r.maintenance_env_keys.join(", ")}
							</span>
						),
					],
					["Set up", <Ago key="c" at={r.created_at} />],
					["Changed", r.updated_at !== r.created_at && <Ago key="s" at={r.updated_at} />],
				]}
			/>
			<div className={classes.foot}>
				<BarredButton
					size="xs"
					variant="default"
					reason={mayAs(role, "administrator") ? undefined : "Administrators can see the secrets."}
					onClick={reveal}
				>
					Show the secrets…
				</BarredButton>
			</div>
		</Card>
	);
}

function KitCard({ repository: r, role, make }: { repository: Repository; role: Role | undefined; make: () => void }) {
	return (
		<Card title="Recovery kit">
			<Facts
				facts={[
					["Made", <Ago key="m" at={r.kit_made_at} />],
					[
						"State",
						r.kit_stale ? (
							<Badge key="k" tone="warn">
								{r.kit_made_at ? "Outdated" : "Missing"}
							</Badge>
						) : (
							"as the secrets are"
						),
					],
				]}
			/>
			<p className={classes.about} style={{ marginTop: 8 }}>
				All that is needed to restore when this server is lost: an encrypted file to keep elsewhere.
			</p>
			<div className={classes.foot}>
				<BarredButton
					size="xs"
					variant={r.kit_stale ? "filled" : "default"}
					leftSection={<IconKey size={14} aria-hidden />}
					reason={mayAs(role, "administrator") ? undefined : "Administrators make recovery kits."}
					onClick={make}
				>
					{r.kit_made_at ? "Make a new one…" : "Make it…"}
				</BarredButton>
			</div>
		</Card>
	);
}

const workNames = { forget: "Remove", prune: "Prune", check: "Verify" } as const;

function MaintenanceCard({ repository: r }: { repository: Repository }) {
	const m = r.maintenance;
	return (
		<Card title="Maintenance">
			{m.enabled ? (
				<Facts
					facts={[
						[
							"Done by",
							r.runner ? (
								<Link key="r" to="/hosts/$hostId" params={{ hostId: r.runner.id }}>
									<Foreign>{r.runner.name}</Foreign>
								</Link>
							) : (
								<Badge key="n" tone="warn">
									No machine
								</Badge>
							),
						],
						...works.map((w) => [workNames[w], m[w] ? shortWords(m[w]) : "never"] as const),
						["Each check reads", m.check && `1 of ${count(m.check_parts ?? 10)} parts`],
						["Zone", <Foreign key="z">{m.zone ?? "UTC"}</Foreign>],
					]}
				/>
			) : (
				<p className={classes.about}>
					Off: nothing is removed, pruned or verified by a schedule. What the policies are to keep is not acted on.
				</p>
			)}
		</Card>
	);
}

const shownHosts = 100;

function Hosts({ id }: { id: string }) {
	const query = useQuery(repositoryHostsQuery(id));
	const [search, setSearch] = useState("");
	const many = (query.data?.hosts.length ?? 0) > 12;
	return (
		<Card
			flush
			title="Machines that use it"
			actions={
				many && (
					<TextInput
						size="xs"
						type="search"
						data-filter
						aria-label="Part of a machine's name"
						placeholder="Machine"
						leftSection={<IconSearch size={14} />}
						value={search}
						onChange={(e) => setSearch(e.currentTarget.value)}
					/>
				)
			}
		>
			<Shown
				query={query}
				rows={3}
				isEmpty={(d) => d.hosts.length === 0}
				empty={
					<Empty title="No machine uses it yet">
						Name it in a policy, or choose it on a machine's page under Repository.
					</Empty>
				}
			>
				{(d) => <HostList hosts={d.hosts.filter((h) => h.name.toLowerCase().includes(search.trim().toLowerCase()))} />}
			</Shown>
		</Card>
	);
}

function HostList({ hosts }: { hosts: readonly RepositoryHost[] }) {
	if (hosts.length === 0) return <Empty title="None is called that" />;
	return (
		<>
			<div className={rows.scroll}>
				<table className={rows.rows}>
					<thead>
						<tr>
							<th scope="col">Machine</th>
							<th scope="col">Place</th>
							<th scope="col">Repository</th>
						</tr>
					</thead>
					<tbody>
						{hosts.slice(0, shownHosts).map((h) => (
							<tr key={h.id}>
								<td>
									<Link to="/hosts/$hostId" params={{ hostId: h.id }} data-row>
										<Foreign>{h.name}</Foreign>
									</Link>
								</td>
								<td data-line>
									<Foreign mono>{h.url}</Foreign>
								</td>
								<td className="rm-mono">
									{h.repository_id?.slice(0, 12) ?? <span className={rows.muted}>not known yet</span>}
								</td>
							</tr>
						))}
					</tbody>
				</table>
			</div>
			{hosts.length > shownHosts && (
				<div className={rows.foot}>and {count(hosts.length - shownHosts)} more: type a name to find them</div>
			)}
		</>
	);
}

function DeleteDialog({
	repository: r,
	opened,
	close,
	gone,
}: {
	repository: Repository;
	opened: boolean;
	close: () => void;
	gone: () => void;
}) {
	const remove = useDeleteRepositorySetting(r.id);
	return (
		<Confirm
			opened={opened}
			close={close}
			title={`Remove ${r.name} from here`}
			action="Remove it"
			typed={r.name}
			danger
			run={async () => {
				await remove.mutateAsync();
				done(`${r.name} is not kept here any more.`);
				gone();
			}}
		>
			The server forgets its place, its password and credentials. The data stays as it is, and can be read only by who
			has the password: {r.kit_stale ? <b>there is no recovery kit that fits.</b> : "the recovery kit holds it."}
		</Confirm>
	);
}

import { ActionIcon, Menu, Tabs } from "@mantine/core";
import {
	IconCloudUpload,
	IconDots,
	IconEraser,
	IconLockOpen,
	IconPencil,
	IconRefresh,
	IconShieldCheck,
	IconSparkles,
	IconTrash,
	IconUserOff,
} from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { type ReactNode, useMemo, useState } from "react";
import { mayAs, meQuery } from "../../api/auth";
import { hostQuery } from "../../api/hosts";
import type { Host } from "../../api/types";
import { whyNot } from "../../lib/allowed";
import { statusWords } from "../../lib/words";
import { Ago } from "../../ui/Ago";
import { useActions } from "../../ui/actions";
import { Badge, ProtectionBadge } from "../../ui/Badge";
import { BarredButton, BarredItem } from "../../ui/Barred";
import { Foreign } from "../../ui/Foreign";
import { Page } from "../../ui/Page";
import { Shown } from "../../ui/States";
import { BackupDialog } from "./BackupDialog";
import { Allowed, Machine } from "./Cards";
import { DeleteDialog, EditDialog, RevokeDialog } from "./Edit";
import { Findings } from "./Findings";
import { hasRepository } from "./findings";
import classes from "./Host.module.css";
import { Jobs, type JobsChoice } from "./Jobs";
import { OrderDialog, type SmallKind } from "./OrderDialog";
import { Policies } from "./Policies";
import { Repository } from "./Repository";
import { Settings } from "./Settings";
import { Strip } from "./Strip";

export type Tab = "snapshots" | "jobs" | "policies" | "settings";

interface Props {
	hostID: string;
	tab: Tab;
	setTab: (tab: Tab) => void;
	jobs: JobsChoice;
	chooseJobs: (to: Partial<JobsChoice>) => void;
	/** The snapshots are a feature of their own. */
	snapshots: (host: Host, action: ReactNode) => ReactNode;
	/** The machine was deleted. */
	gone: () => void;
}

type Dialog = "backup" | "edit" | "revoke" | "delete" | SmallKind;

/** One machine. */
export function HostPage({ hostID, ...props }: Props) {
	const query = useQuery(hostQuery(hostID));
	if (!query.data)
		return (
			<Page title="Machine" crumbs={<Crumb />}>
				<Shown query={query} rows={10}>
					{() => null}
				</Shown>
			</Page>
		);
	return <View host={query.data} stale={query} {...props} />;
}

function Crumb() {
	return (
		<Link to="/" className="rm-link">
			Fleet
		</Link>
	);
}

interface ViewProps extends Omit<Props, "hostID"> {
	host: Host;
	stale: Parameters<typeof Shown<Host>>[0]["query"];
}

function View({ host, stale, tab, setTab, jobs, chooseJobs, snapshots, gone }: ViewProps) {
	const { data: me } = useQuery(meQuery);
	const role = me?.role;
	const operator = mayAs(role, "operator");
	const [dialog, setDialog] = useState<Dialog>();
	const close = () => setDialog(undefined);
	const small = dialog && isSmall(dialog) ? dialog : undefined;
	const noBackup = whyNot(host, "backup", role);
	const noList = whyNot(host, "snapshots", role);
	useActions(
		useMemo(
			() => [
				...(noBackup === undefined
					? [{ id: "backup", label: `Back up ${host.name} now`, hotkey: "b", run: () => setDialog("backup") }]
					: []),
				...(noList === undefined
					? [{ id: "list", label: `List the snapshots of ${host.name}`, run: () => setDialog("snapshots") }]
					: []),
				...(operator ? [{ id: "edit", label: `Rename or label ${host.name}`, run: () => setDialog("edit") }] : []),
			],
			[host.name, noBackup, noList, operator],
		),
	);
	const status = statusWords[host.status];
	return (
		<Page
			title={host.name}
			heading={<Foreign>{host.name}</Foreign>}
			crumbs={<Crumb />}
			aside={
				<>
					<Badge tone={status.tone}>{status.name}</Badge>
					{host.protection !== host.status && <ProtectionBadge protection={host.protection} />}
				</>
			}
			subtitle={<Subtitle host={host} />}
			actions={
				<>
					<BarredButton
						reason={noBackup}
						leftSection={<IconCloudUpload size={16} aria-hidden />}
						onClick={() => setDialog("backup")}
					>
						Back up now
					</BarredButton>
					<More host={host} role={role} open={setDialog} />
				</>
			}
		>
			<Shown query={stale}>{() => null}</Shown>
			<Findings host={host} role={role} revoke={() => setDialog("revoke")} />
			<Strip host={host} operator={operator} />
			<div className={classes.cards}>
				<Repository host={host} role={role} />
				<Machine host={host} />
				<Allowed host={host} />
			</div>
			<Tabs value={tab} onChange={(t) => setTab((t ?? "snapshots") as Tab)}>
				<Tabs.List>
					<Tabs.Tab value="snapshots">Snapshots</Tabs.Tab>
					<Tabs.Tab value="jobs">Jobs</Tabs.Tab>
					<Tabs.Tab value="policies">Policies</Tabs.Tab>
					<Tabs.Tab value="settings">Settings</Tabs.Tab>
				</Tabs.List>
				<Tabs.Panel value="snapshots" className={classes.panel}>
					{snapshots(
						host,
						<BarredButton reason={noBackup} onClick={() => setDialog("backup")}>
							Back up now
						</BarredButton>,
					)}
				</Tabs.Panel>
				<Tabs.Panel value="jobs" className={classes.panel}>
					<Jobs host={host} choice={jobs} choose={chooseJobs} />
				</Tabs.Panel>
				<Tabs.Panel value="policies" className={classes.panel}>
					<Policies host={host} />
				</Tabs.Panel>
				<Tabs.Panel value="settings" className={classes.panel}>
					<Settings host={host} role={role} revoke={() => setDialog("revoke")} remove={() => setDialog("delete")} />
				</Tabs.Panel>
			</Tabs>
			<BackupDialog host={host} opened={dialog === "backup"} close={close} />
			<OrderDialog host={host} kind={small} close={close} />
			<EditDialog host={host} opened={dialog === "edit"} close={close} />
			<RevokeDialog host={host} opened={dialog === "revoke"} close={close} />
			<DeleteDialog host={host} opened={dialog === "delete"} close={close} gone={gone} />
		</Page>
	);
}

function isSmall(d: Dialog): d is SmallKind {
	return d === "check" || d === "snapshots" || d === "unlock" || d === "prune" || d === "init";
}

function Subtitle({ host }: { host: Host }) {
	const labels = Object.entries(host.labels).sort(([a], [b]) => (a < b ? -1 : 1));
	return (
		<span className={classes.sub}>
			<span>
				{host.status === "online" ? "Heard of " : "Last heard of "}
				<Ago at={host.last_seen_at} />
			</span>
			{labels.length > 0 && (
				<span className={classes.labels}>
					{labels.map(([k, v]) => {
						const text = v === "" ? k : `${k}=${v}`;
						return (
							<Link
								key={k}
								to="/"
								search={{ label: text }}
								className={classes.label}
								title={`All machines with ${text}`}
							>
								<Foreign>{text}</Foreign>
							</Link>
						);
					})}
				</span>
			)}
		</span>
	);
}

function More({ host, role, open }: { host: Host; role: Parameters<typeof whyNot>[2]; open: (d: Dialog) => void }) {
	const operator = mayAs(role, "operator");
	const barred = operator ? undefined : "Your account only reads.";
	const revoked = host.status === "revoked" ? "It is revoked already." : undefined;
	const where = hasRepository(host) || host.status === "never_seen" ? undefined : "Set a repository first.";
	return (
		<Menu width={310} position="bottom-end" withinPortal={false} withInitialFocusPlaceholder={false}>
			<Menu.Target>
				<ActionIcon variant="default" size={34} aria-label="More to do with this machine">
					<IconDots size={18} />
				</ActionIcon>
			</Menu.Target>
			<Menu.Dropdown>
				<Menu.Label>Repository</Menu.Label>
				<BarredItem
					icon={<IconRefresh size={16} />}
					reason={whyNot(host, "snapshots", role) ?? where}
					onClick={() => open("snapshots")}
				>
					List the snapshots…
				</BarredItem>
				<BarredItem
					icon={<IconShieldCheck size={16} />}
					reason={whyNot(host, "check", role) ?? where}
					onClick={() => open("check")}
				>
					Check…
				</BarredItem>
				<BarredItem
					icon={<IconLockOpen size={16} />}
					reason={whyNot(host, "unlock", role) ?? where}
					onClick={() => open("unlock")}
				>
					Unlock…
				</BarredItem>
				<BarredItem
					icon={<IconEraser size={16} />}
					reason={whyNot(host, "prune", role) ?? where}
					onClick={() => open("prune")}
				>
					Prune…
				</BarredItem>
				{host.repository_id === undefined && (
					<BarredItem
						icon={<IconSparkles size={16} />}
						reason={whyNot(host, "init", role) ?? where}
						onClick={() => open("init")}
					>
						Initialize…
					</BarredItem>
				)}
				<Menu.Divider />
				<Menu.Label>Machine</Menu.Label>
				<BarredItem icon={<IconPencil size={16} />} reason={barred} onClick={() => open("edit")}>
					Rename and label…
				</BarredItem>
				<BarredItem icon={<IconUserOff size={16} />} reason={barred ?? revoked} danger onClick={() => open("revoke")}>
					Revoke…
				</BarredItem>
				<BarredItem icon={<IconTrash size={16} />} reason={barred} danger onClick={() => open("delete")}>
					Delete…
				</BarredItem>
			</Menu.Dropdown>
		</Menu>
	);
}

import { IconRestore } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { type ReactNode, useMemo, useState } from "react";
import { meQuery } from "../../api/auth";
import { hostQuery } from "../../api/hosts";
import { snapshotQuery } from "../../api/snapshots";
import type { Host, Snapshot } from "../../api/types";
import { whyNot } from "../../lib/allowed";
import { bytes, count } from "../../lib/bytes";
import { duration, exact } from "../../lib/time";
import { Ago } from "../../ui/Ago";
import { useActions } from "../../ui/actions";
import { BarredButton } from "../../ui/Barred";
import { Command, Copy } from "../../ui/Copy";
import { Facts } from "../../ui/Facts";
import { Foreign } from "../../ui/Foreign";
import { Card, Page } from "../../ui/Page";
import { Shown } from "../../ui/States";
import { restoreCommand } from "./command";
import { RestoreDialog } from "./RestoreDialog";
import classes from "./Snapshots.module.css";

interface Props {
	hostID: string;
	snapshotID: string;
	follow: (jobID: string) => void;
}

/** One snapshot: what it holds, and how it is brought back. */
export function SnapshotPage({ hostID, snapshotID, follow }: Props) {
	const host = useQuery(hostQuery(hostID));
	const snapshot = useQuery(snapshotQuery(hostID, snapshotID));
	const { data: me } = useQuery(meQuery);
	const [restores, setRestores] = useState(false);
	const barred = host.data ? whyNot(host.data, "restore", me?.role) : "The machine is not known yet.";
	const short = snapshot.data?.short_id ?? snapshotID.slice(0, 8);
	useActions(
		useMemo(
			() => [
				{ id: "restore", label: "Restore this snapshot", hotkey: "r", run: () => setRestores(barred === undefined) },
			],
			[barred],
		),
	);
	return (
		<Page
			title={`Snapshot ${short}`}
			crumbs={
				<>
					<Link to="/" className="rm-link">
						Fleet
					</Link>
					<span aria-hidden>/</span>
					<Link to="/hosts/$hostId" params={{ hostId: hostID }} className="rm-link rm-cut">
						<Foreign>{host.data?.name ?? "…"}</Foreign>
					</Link>
				</>
			}
			subtitle={
				snapshot.data ? (
					<>
						Taken <Ago at={snapshot.data.time} />, {exact(snapshot.data.time)}
					</>
				) : (
					" "
				)
			}
			actions={
				<BarredButton
					reason={snapshot.data ? barred : (barred ?? "The snapshot is not loaded yet.")}
					leftSection={<IconRestore size={16} aria-hidden />}
					onClick={() => setRestores(true)}
				>
					Restore…
				</BarredButton>
			}
		>
			<Shown query={snapshot} rows={10}>
				{(s) => (
					<>
						<Figures snapshot={s} />
						<div className={classes.two}>
							<Holds hostID={hostID} snapshot={s} />
							<div style={{ display: "grid", gap: 14, minWidth: 0 }}>
								<Summary snapshot={s} />
								{host.data && <Without host={host.data} snapshot={s} />}
							</div>
						</div>
						{host.data && (
							<RestoreDialog
								host={host.data}
								snapshot={s}
								opened={restores}
								close={() => setRestores(false)}
								follow={follow}
							/>
						)}
					</>
				)}
			</Shown>
		</Page>
	);
}

function Figures({ snapshot: s }: { snapshot: Snapshot }) {
	const known = s.summary !== undefined || s.size_bytes > 0;
	const packed = s.summary?.data_added_packed ?? 0;
	const took = secondsOf(s);
	const all: [string, string, string][] = [
		["Holds", known ? bytes(s.size_bytes) : "–", known ? "before deduplication" : "restic stored no sizes"],
		["Files", known ? count(s.file_count) : "–", ""],
		["New data", known ? bytes(s.data_added) : "–", packed > 0 ? `${bytes(packed)} stored` : ""],
		["Took", took === undefined ? "–" : duration(took), ""],
	];
	return (
		<dl className={classes.figures}>
			{all.map(([name, value, note]) => (
				<div key={name}>
					<dt>{name}</dt>
					<dd>
						{value}
						<small>{note || "\u00a0"}</small>
					</dd>
				</div>
			))}
		</dl>
	);
}

/** How long restic took, by its own clock. */
export function secondsOf(s: Pick<Snapshot, "summary">): number | undefined {
	const { backup_start: a, backup_end: b } = s.summary ?? {};
	if (!a || !b) return undefined;
	const seconds = (Date.parse(b) - Date.parse(a)) / 1000;
	return Number.isFinite(seconds) && seconds >= 0 ? seconds : undefined;
}

function ID({ value, what, children }: { value: string; what: string; children?: ReactNode }) {
	return (
		<span className={classes.id}>
			{children ?? <span className="rm-mono rm-cut">{value}</span>}
			<Copy value={value} what={what} size={20} />
		</span>
	);
}

function Texts({ all }: { all: readonly string[] | undefined }) {
	if (!all || all.length === 0) return <span style={{ color: "var(--rm-muted)" }}>none</span>;
	return (
		<ul className={classes.list}>
			{all.map((t) => (
				<li key={t}>
					<Foreign>{t}</Foreign>
				</li>
			))}
		</ul>
	);
}

function Holds({ hostID, snapshot: s }: { hostID: string; snapshot: Snapshot }) {
	return (
		<Card title="Snapshot">
			<Facts
				wide
				facts={[
					["Id", <ID key="i" value={s.id} what="the snapshot's id" />],
					["Short id", <ID key="s" value={s.short_id} what="the short id" />],
					["Host", <Foreign key="h">{s.hostname}</Foreign>],
					["User", s.username && <Foreign>{s.username}</Foreign>],
					["Paths", <Texts key="p" all={s.paths} />],
					["Tags", <Texts key="t" all={s.tags} />],
					["Left out", <Texts key="e" all={s.excludes} />],
					[
						"Parent",
						s.parent ? (
							<ID key="q" value={s.parent} what="the parent's id">
								<Link
									to="/hosts/$hostId/snapshots/$snapshotId"
									params={{ hostId: hostID, snapshotId: s.parent }}
									className="rm-mono rm-cut"
								>
									{s.parent}
								</Link>
							</ID>
						) : (
							"none: all files were read"
						),
					],
					["Tree", <ID key="r" value={s.tree} what="the tree's id" />],
					["Before", s.original && <ID value={s.original} what="the id it had before" />],
					["Made with", s.program_version && <Foreign>{s.program_version}</Foreign>],
					[
						"Made by",
						s.job_id && (
							<Link to="/jobs/$jobId" params={{ jobId: s.job_id }}>
								this backup
							</Link>
						),
					],
				]}
			/>
		</Card>
	);
}

function Summary({ snapshot: s }: { snapshot: Snapshot }) {
	const m = s.summary;
	return (
		<Card title="What the backup found">
			{m ? (
				<Facts
					wide
					facts={[
						["New files", count(m.files_new)],
						["Changed files", count(m.files_changed)],
						["Unmodified files", count(m.files_unmodified)],
						["Read through", `${count(m.total_files_processed)} files, ${bytes(m.total_bytes_processed)}`],
						[
							"New data",
							`${bytes(m.data_added)}${m.data_added_packed > 0 ? `, ${bytes(m.data_added_packed)} as it is stored` : ""}`,
						],
						["Began", m.backup_start && exact(m.backup_start)],
						["Ended", m.backup_end && exact(m.backup_end)],
					]}
				/>
			) : (
				<p className={classes.para}>restic stored no summary with it; it does so from 0.17.0 on.</p>
			)}
		</Card>
	);
}

/** What brings it back when neither server nor agent is there. */
function Without({ host, snapshot }: { host: Host; snapshot: Snapshot }) {
	return (
		<Card title="Restore it without restic-manager">
			<p className={classes.para}>
				It is an ordinary restic repository. All it takes is its place, its password and the storage's credentials
				{host.repository && host.repository.env_keys.length > 0 && (
					<>
						{" "}
						(<span className="rm-mono">{host.repository.env_keys.join(", ")}</span>)
					</>
				)}
				: keep them somewhere else than on the machine and on this server.
			</p>
			<Command>{restoreCommand(host, snapshot)}</Command>
		</Card>
	);
}

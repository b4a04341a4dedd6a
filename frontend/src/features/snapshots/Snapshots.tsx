import { Switch, TextInput } from "@mantine/core";
import { useDebouncedCallback } from "@mantine/hooks";
import { IconCamera, IconFilter, IconTag } from "@tabler/icons-react";
import { useInfiniteQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { type ReactNode, useEffect, useState } from "react";
import { snapshotsQuery } from "../../api/snapshots";
import type { Host, Snapshot } from "../../api/types";
import { bytes, count, counted } from "../../lib/bytes";
import { exact } from "../../lib/time";
import { Ago } from "../../ui/Ago";
import { Foreign } from "../../ui/Foreign";
import { Older } from "../../ui/Older";
import { Card } from "../../ui/Page";
import rows from "../../ui/Rows.module.css";
import { Empty, Shown } from "../../ui/States";
import { Growth } from "./Growth";

export interface SnapshotsChoice {
	path?: string;
	tag?: string;
	all?: "1";
}

interface Props {
	host: Host;
	choice: SnapshotsChoice;
	choose: (to: Partial<SnapshotsChoice>) => void;
	/** What to do where there are none. */
	action?: ReactNode;
}

/** What the repository holds of the machine. */
export function Snapshots({ host, choice, choose, action }: Props) {
	const filter = { path: choice.path, tag: choice.tag, all: choice.all === "1" || undefined };
	const query = useInfiniteQuery(snapshotsQuery(host.id, filter));
	const filtered = Boolean(choice.path || choice.tag);
	const first = query.data?.pages[0];
	return (
		<>
			<Growth hostID={host.id} filter={filter} />
			<Card flush label="Snapshots">
				<div className={rows.bar}>
					<Filter
						label="Part of a path"
						icon={<IconFilter size={14} aria-hidden />}
						value={choice.path}
						change={(path) => choose({ path })}
						main
					/>
					<Filter
						label="Tag"
						icon={<IconTag size={14} aria-hidden />}
						value={choice.tag}
						change={(tag) => choose({ tag })}
					/>
					<Switch
						size="xs"
						label="All of the repository"
						checked={choice.all === "1"}
						onChange={(e) => choose({ all: e.currentTarget.checked ? "1" : undefined })}
					/>
					<span className={rows.small} style={{ marginLeft: "auto" }} role="status">
						{first && (
							<>
								{counted(first.total, "snapshot")}
								{first.refreshed_at && (
									<>
										{" "}
										as of <Ago at={first.refreshed_at} />
									</>
								)}
							</>
						)}
					</span>
				</div>
				<Shown
					query={query}
					isEmpty={(d) => (d.pages[0]?.snapshots.length ?? 0) === 0}
					empty={
						filtered ? (
							<Empty title="No snapshot is like this">Change the path or the tag above.</Empty>
						) : (
							<Empty
								icon={<IconCamera size={28} stroke={1.5} aria-hidden />}
								title={first?.refreshed_at ? "No snapshots of this machine" : "The repository was not listed yet"}
								action={action}
							>
								{first?.refreshed_at
									? "The repository holds none of it. A backup makes the first."
									: "The list comes with the first backup, or when the snapshots are listed."}
							</Empty>
						)
					}
				>
					{(d) => <List hostID={host.id} snapshots={d.pages.flatMap((p) => p.snapshots)} hosts={choice.all === "1"} />}
				</Shown>
				{query.hasNextPage && (
					<div className={rows.foot}>
						<Older query={query} />
					</div>
				)}
			</Card>
		</>
	);
}

/** A text that goes into the URL when the typing pauses. */
function Filter({
	label,
	icon,
	value,
	change,
	main,
}: {
	label: string;
	icon: ReactNode;
	value: string | undefined;
	change: (value: string | undefined) => void;
	main?: boolean;
}) {
	const [typed, setTyped] = useState(value ?? "");
	const later = useDebouncedCallback((v: string) => change(v === "" ? undefined : v), 300);
	useEffect(() => setTyped(value ?? ""), [value]);
	return (
		<TextInput
			size="xs"
			type="search"
			aria-label={label}
			placeholder={label}
			leftSection={icon}
			spellCheck={false}
			value={typed}
			data-filter={main || undefined}
			onChange={(e) => {
				setTyped(e.currentTarget.value);
				later(e.currentTarget.value);
			}}
		/>
	);
}

function List({ hostID, snapshots, hosts }: { hostID: string; snapshots: readonly Snapshot[]; hosts: boolean }) {
	return (
		<div className={rows.scroll}>
			<table className={rows.rows}>
				<thead>
					<tr>
						<th scope="col">Taken</th>
						<th scope="col">Id</th>
						{hosts && <th scope="col">Host</th>}
						<th scope="col">Paths</th>
						<th scope="col">Tags</th>
						<th scope="col" className={rows.number}>
							Files
						</th>
						<th scope="col" className={rows.number}>
							Holds
						</th>
						<th scope="col" className={rows.number}>
							New
						</th>
					</tr>
				</thead>
				<tbody>
					{snapshots.map((s) => (
						<tr key={s.id}>
							<td style={{ whiteSpace: "nowrap" }} data-line>
								<Link to="/hosts/$hostId/snapshots/$snapshotId" params={{ hostId: hostID, snapshotId: s.id }} data-row>
									<time dateTime={s.time}>{exact(s.time)}</time>
								</Link>
								<span className={rows.small} style={{ marginLeft: 8 }}>
									<Ago at={s.time} />
								</span>
							</td>
							<td className="rm-mono">{s.short_id}</td>
							{hosts && (
								<td>
									<Foreign>{s.hostname}</Foreign>
								</td>
							)}
							<td data-line>
								<Texts all={s.paths} most={3} />
							</td>
							<td>
								{s.tags.length > 0 && (
									<span className={rows.chips}>
										{s.tags.slice(0, 5).map((t) => (
											<span key={t} className={rows.chip}>
												<Foreign>{t}</Foreign>
											</span>
										))}
										{s.tags.length > 5 && <span className={rows.small}>and {s.tags.length - 5} more</span>}
									</span>
								)}
							</td>
							<Figures snapshot={s} />
						</tr>
					))}
				</tbody>
			</table>
		</div>
	);
}

/** 0 means not known where restic stored no summary. */
function Figures({ snapshot: s }: { snapshot: Snapshot }) {
	const known = s.summary !== undefined || s.size_bytes > 0;
	return (
		<>
			<td className={rows.number} data-name="files">
				{known ? count(s.file_count) : "–"}
			</td>
			<td className={rows.number} data-name="holds">
				{known ? bytes(s.size_bytes) : "–"}
			</td>
			<td className={rows.number} data-name="new">
				{known ? bytes(s.data_added) : "–"}
			</td>
		</>
	);
}

function Texts({ all, most }: { all: readonly string[]; most: number }) {
	return (
		<>
			{all.slice(0, most).map((t, i) => (
				<span key={t}>
					{i > 0 && <span className={rows.muted}>, </span>}
					<Foreign>{t.length > 160 ? `${t.slice(0, 160)}…` : t}</Foreign>
				</span>
			))}
			{all.length > most && <span className={rows.small}> and {all.length - most} more</span>}
		</>
	);
}

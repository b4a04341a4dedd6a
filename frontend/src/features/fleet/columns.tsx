import type { ReactNode } from "react";
import type { ActiveJob, Host } from "../../api/types";
import { bytes, count } from "../../lib/bytes";
import { visible } from "../../lib/escape";
import { kindWords } from "../../lib/words";
import { Ago } from "../../ui/Ago";
import { ProtectionBadge } from "../../ui/Badge";
import { Foreign } from "../../ui/Foreign";
import { Progress } from "../../ui/Progress";
import classes from "./Table.module.css";
import type { Sort } from "./view";

export interface Column {
	id: string;
	title: string;
	sort?: Sort;
	/** The least width it is readable at, px, and its share of what is over. */
	width: number;
	grow?: number;
	end?: boolean;
	cell: (host: Host) => ReactNode;
}

const dash = <span className={classes.dash}>–</span>;

/** All columns but the name, in their order. */
export const columns: readonly Column[] = [
	{
		id: "protection",
		title: "State",
		sort: "protection",
		width: 126,
		cell: (h) => <ProtectionBadge protection={h.protection} />,
	},
	{
		id: "last_success",
		title: "Last backup",
		sort: "last_success",
		width: 96,
		cell: (h) => <Ago at={h.last_success_at} light />,
	},
	{ id: "activity", title: "At work", width: 120, grow: 1, cell: (h) => <Activity jobs={h.active_jobs} /> },
	{
		id: "repository",
		title: "Repository",
		width: 122,
		grow: 2,
		cell: (h) => {
			const where = repositoryOf(h);
			return where ? (
				<span className="rm-cut" title={visible(where)}>
					<Foreign mono>{ending(where)}</Foreign>
				</span>
			) : (
				dash
			);
		},
	},
	{
		id: "snapshots",
		title: "Snapshots",
		sort: "snapshots",
		width: 82,
		end: true,
		cell: (h) => <span className="rm-numbers">{count(h.snapshot_count)}</span>,
	},
	{
		id: "size",
		title: "Size",
		sort: "size",
		width: 76,
		end: true,
		cell: (h) => (h.latest_size_bytes > 0 ? <span className="rm-numbers">{bytes(h.latest_size_bytes)}</span> : dash),
	},
	{
		id: "version",
		title: "Agent",
		sort: "version",
		width: 66,
		cell: (h) => (h.agent_version ? <Foreign cut>{h.agent_version}</Foreign> : dash),
	},
	{
		id: "restic",
		title: "restic",
		width: 66,
		cell: (h) => {
			if (h.restic_version) return <Foreign cut>{h.restic_version}</Foreign>;
			return h.agent_version ? <span className={classes.bad}>missing</span> : dash;
		},
	},
	{ id: "last_seen", title: "Last seen", sort: "last_seen", width: 90, cell: (h) => <Ago at={h.last_seen_at} light /> },
	{ id: "labels", title: "Labels", width: 116, grow: 2, cell: (h) => <Labels labels={h.labels} /> },
];

/** The columns of who has chosen none. */
export const usual: readonly string[] = [
	"protection",
	"last_success",
	"activity",
	"repository",
	"snapshots",
	"size",
	"version",
	"restic",
	"labels",
];

// Where there is no room for all, these go, the first of them first.
const dispensable = ["restic", "version", "last_seen", "snapshots", "repository", "labels", "size", "activity"];

export const nameWidth = 170;
// The boxes to choose by, the actions, and the room beside them.
const around = 118;
const gap = 14;

/** Of the chosen columns those that fit into the width; the state and the last backup stay. */
export function fitting(chosen: readonly string[], width: number): Column[] {
	let some = columns.filter((c) => chosen.includes(c.id));
	for (const id of dispensable) {
		if (some.reduce((sum, c) => sum + c.width + gap, nameWidth + around) <= width) break;
		some = some.filter((c) => c.id !== id);
	}
	return some;
}

function repositoryOf(h: Host): string | undefined {
	if (h.repository) return h.repository.url;
	const [first, ...more] = h.reported_repositories;
	if (!first) return undefined;
	return more.length > 0 ? `${first.location} +${more.length}` : first.location;
}

/** What tells repositories apart is their end: of a long one its last two parts. */
export function ending(repository: string): string {
	if (repository.length <= 22) return repository;
	const parts = repository.split("/").filter((p) => p !== "");
	return parts.length > 2 ? `…/${parts.slice(-2).join("/")}` : repository;
}

const rank = { running: 0, accepted: 1, queued: 2 } as const;

/** The job that is to be shown of those that are open. */
export function foremost(jobs: readonly ActiveJob[]): ActiveJob | undefined {
	const place = (j: ActiveJob) => rank[j.state as keyof typeof rank] ?? 3;
	return [...jobs].sort((a, b) => place(a) - place(b))[0];
}

/** What the host is doing, and how far it is. */
export function Activity({ jobs }: { jobs: readonly ActiveJob[] }) {
	const job = foremost(jobs);
	if (!job) return dash;
	const words = kindWords[job.kind];
	const known = job.percent_done > 0 || job.total_bytes > 0;
	const percent = `${Math.floor(job.percent_done * 100)} %`;
	return (
		<a href={`/jobs/${job.id}`} className={classes.activity}>
			<span className={classes.doing}>
				<span className="rm-cut">{job.state === "queued" ? `${words.name} queued` : words.doing}</span>
				<span className="rm-numbers">
					{job.state === "running" && known ? percent : ""}
					{jobs.length > 1 && ` +${jobs.length - 1}`}
				</span>
			</span>
			{job.state !== "queued" && (
				<Progress value={known ? job.percent_done : undefined} label={words.doing} height={4} />
			)}
		</a>
	);
}

function Labels({ labels }: { labels: Host["labels"] }) {
	const all = Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1));
	if (all.length === 0) return dash;
	return (
		<span className={classes.labels} title={all.map(([k, v]) => (v ? `${k}=${v}` : k)).join(", ")}>
			<span className={classes.some}>
				{all.slice(0, 2).map(([k, v]) => (
					<span key={k} className={classes.label}>
						<Foreign>{v ? `${k}=${v}` : k}</Foreign>
					</span>
				))}
			</span>
			{all.length > 2 && <span className={classes.dash}>+{all.length - 2}</span>}
		</span>
	);
}

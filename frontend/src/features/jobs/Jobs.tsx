import { ActionIcon, Button, Select, TextInput, Tooltip } from "@mantine/core";
import { IconHistory, IconSearch, IconX } from "@tabler/icons-react";
import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useWindowVirtualizer } from "@tanstack/react-virtual";
import { memo, useEffect, useLayoutEffect, useMemo, useRef, useState } from "react";
import { apart, type JobFilter, joined, newestJobsQuery, olderJobsQuery } from "../../api/jobs";
import { policiesQuery } from "../../api/policies";
import { isOpen, type Job, type JobKind, type JobState } from "../../api/types";
import { bytes, counted, rate } from "../../lib/bytes";
import { duration } from "../../lib/time";
import { kindWords, stateWords } from "../../lib/words";
import { Ago, useNow } from "../../ui/Ago";
import { Badge, StateBadge } from "../../ui/Badge";
import { Foreign } from "../../ui/Foreign";
import { Card, Page } from "../../ui/Page";
import { Progress } from "../../ui/Progress";
import { Empty, Shown } from "../../ui/States";
import { RowActions } from "./Actions";
import classes from "./Jobs.module.css";
import { ran } from "./timeline";
import { usePace } from "./useReadings";
import { outcome } from "./words";

/** What the page's URL says; the route's search has the same shape. */
export interface Filter {
	q?: string;
	state?: JobState[];
	kind?: JobKind;
	label?: string;
	/** A policy's id. */
	policy?: string;
	from?: string;
	to?: string;
}

const running: JobState[] = ["queued", "accepted", "running"];
const problems: JobState[] = ["succeeded_with_issues", "failed", "lost", "rejected", "expired"];
const quick: { name: string; states: JobState[] | undefined }[] = [
	{ name: "All", states: undefined },
	{ name: "Running", states: running },
	{ name: "Problems", states: problems },
];

const sameStates = (a: readonly JobState[] | undefined, b: readonly JobState[] | undefined) =>
	(a ?? []).length === (b ?? []).length && (a ?? []).every((s) => b?.includes(s));

interface Props {
	filter: Filter;
	change: (to: Filter) => void;
}

/** The jobs of the whole fleet, the newest first. */
export function Jobs({ filter, change }: Props) {
	const query: JobFilter = useMemo(
		() => ({
			search: filter.q,
			state: filter.state,
			kind: filter.kind,
			label: filter.label,
			policy: filter.policy,
			from: filter.from,
			to: filter.to,
		}),
		[filter],
	);
	const newest = useQuery({ ...newestJobsQuery(query), placeholderData: (before) => before });
	const [deep, setDeep] = useState(false);
	// biome-ignore lint/correctness/useExhaustiveDependencies: another filter begins at the top
	useEffect(() => setDeep(false), [query]);
	const older = useInfiniteQuery({ ...olderJobsQuery(query), enabled: deep });
	const pages = older.data?.pages;
	const jobs = useMemo(() => joined(newest.data, pages), [newest.data, pages]);
	const gap = apart(newest.data, pages);
	const { refetch } = older;
	useEffect(() => {
		if (gap) void refetch();
	}, [gap, refetch]);

	const more = Boolean(newest.data?.next_cursor) && (!pages || older.hasNextPage || older.isFetching);
	function loadMore() {
		if (!deep) setDeep(true);
		else if (older.hasNextPage && !older.isFetching) void older.fetchNextPage();
	}
	const narrowed = Object.values(filter).some((v) => v !== undefined);
	return (
		<Page title="Jobs" subtitle="What was ordered, runs and ran on all machines, the newest first">
			<Filters filter={filter} change={change} />
			<Card flush label="Jobs">
				<Shown
					query={newest}
					isEmpty={(d) => d.jobs.length === 0}
					rows={10}
					empty={
						narrowed ? (
							<Empty
								icon={<IconSearch size={26} />}
								title="No job fits"
								action={
									<Button variant="default" onClick={() => change({})}>
										Show all jobs
									</Button>
								}
							>
								No job is of this state, kind, machine and time.
							</Empty>
						) : (
							<Empty
								icon={<IconHistory size={26} />}
								title="No job yet"
								action={
									<Button component={Link} to="/" variant="default">
										To the fleet
									</Button>
								}
							>
								Backups, checks and restores appear here as soon as one is ordered.
							</Empty>
						)
					}
				>
					{() => (
						<List
							jobs={jobs}
							more={more}
							loadMore={loadMore}
							loaded={older.isFetching ? -1 : (pages?.length ?? 0)}
							dimmed={newest.isPlaceholderData}
						/>
					)}
				</Shown>
			</Card>
		</Page>
	);
}

function Filters({ filter, change }: Props) {
	const [name, setName] = useState(filter.q ?? "");
	const [label, setLabel] = useState(filter.label ?? "");
	const latest = useRef({ filter, change });
	useEffect(() => {
		latest.current = { filter, change };
	});
	// What is typed goes into the URL when the typing rests; what the URL says otherwise goes into the fields.
	useEffect(() => setName(filter.q ?? ""), [filter.q]);
	useEffect(() => setLabel(filter.label ?? ""), [filter.label]);
	useEffect(() => {
		const timer = setTimeout(() => {
			const { filter: f, change: c } = latest.current;
			const q = name.trim() || undefined;
			const l = label.trim() || undefined;
			if (q !== f.q || l !== f.label) c({ ...f, q, label: l });
		}, 250);
		return () => clearTimeout(timer);
	}, [name, label]);

	const single = filter.state?.length === 1 ? filter.state[0] : undefined;
	const narrowed = Object.values(filter).some((v) => v !== undefined);
	return (
		<search className={classes.filters}>
			<TextInput
				data-filter
				className={classes.name}
				aria-label="Part of a machine's name"
				placeholder="Machine"
				leftSection={<IconSearch size={15} />}
				value={name}
				spellCheck={false}
				autoComplete="off"
				onChange={(e) => setName(e.currentTarget.value)}
			/>
			{/* biome-ignore lint/a11y/useSemanticElements: a fieldset brings a look of its own */}
			<div role="group" aria-label="State" className={classes.quick}>
				{quick.map((q) => (
					<button
						key={q.name}
						type="button"
						aria-pressed={sameStates(filter.state, q.states)}
						onClick={() => change({ ...filter, state: q.states })}
					>
						{q.name}
					</button>
				))}
			</div>
			<Select
				className={classes.choice}
				aria-label="One state"
				placeholder="Any state"
				clearable
				clearButtonProps={{ "aria-label": "Any state" }}
				data={Object.entries(stateWords).map(([value, w]) => ({ value, label: w.name }))}
				value={single ?? null}
				onChange={(v) => change({ ...filter, state: v ? [v as JobState] : undefined })}
			/>
			<Select
				className={classes.choice}
				aria-label="Kind"
				placeholder="Any kind"
				clearable
				clearButtonProps={{ "aria-label": "Any kind" }}
				data={Object.entries(kindWords).map(([value, w]) => ({ value, label: w.name }))}
				value={filter.kind ?? null}
				onChange={(v) => change({ ...filter, kind: (v as JobKind | null) ?? undefined })}
			/>
			<PolicyChoice filter={filter} change={change} />
			<TextInput
				className={classes.choice}
				aria-label="Label of the machines: key or key=value"
				placeholder="key=value"
				value={label}
				spellCheck={false}
				autoComplete="off"
				onChange={(e) => setLabel(e.currentTarget.value)}
			/>
			<span className={classes.days}>
				<input
					type="date"
					aria-label="Queued on this day or later"
					value={filter.from ?? ""}
					max={filter.to}
					onChange={(e) => change({ ...filter, from: e.currentTarget.value || undefined })}
				/>
				<span aria-hidden>–</span>
				<input
					type="date"
					aria-label="Queued on this day or earlier"
					value={filter.to ?? ""}
					min={filter.from}
					onChange={(e) => change({ ...filter, to: e.currentTarget.value || undefined })}
				/>
			</span>
			{narrowed && (
				<Tooltip label="Clear all filters">
					<ActionIcon size={34} aria-label="Clear all filters" onClick={() => change({})}>
						<IconX size={16} />
					</ActionIcon>
				</Tooltip>
			)}
		</search>
	);
}

/** One of the policies, where there are some. */
function PolicyChoice({ filter, change }: Props) {
	const { data } = useQuery(policiesQuery);
	const policies = data?.policies ?? [];
	if (policies.length === 0 && !filter.policy) return null;
	const gone = filter.policy !== undefined && data !== undefined && !policies.some((p) => p.id === filter.policy);
	return (
		<Select
			className={classes.choice}
			aria-label="Policy"
			placeholder="Any policy"
			clearable
			searchable
			nothingFoundMessage="None is called that"
			clearButtonProps={{ "aria-label": "Any policy" }}
			data={[
				...policies.map((p) => ({ value: p.id, label: p.name })),
				...(gone && filter.policy ? [{ value: filter.policy, label: "One that is gone" }] : []),
			]}
			value={filter.policy ?? null}
			onChange={(v) => change({ ...filter, policy: v ?? undefined })}
		/>
	);
}

interface ListProps {
	jobs: Job[];
	more: boolean;
	loadMore: () => void;
	/** How many pages there are below the newest jobs, also such as brought no further job. */
	loaded: number;
	dimmed: boolean;
}

function List({ jobs, more, loadMore, loaded, dimmed }: ListProps) {
	const box = useRef<HTMLTableSectionElement>(null);
	const [margin, setMargin] = useState(0);
	useLayoutEffect(() => {
		const top = (box.current?.getBoundingClientRect().top ?? 0) + window.scrollY;
		setMargin((m) => (Math.abs(m - top) > 1 ? top : m));
	});
	const rows = useWindowVirtualizer({
		count: jobs.length,
		estimateSize: () => 52,
		overscan: 12,
		scrollMargin: margin,
		getItemKey: (i) => jobs[i]?.id ?? i,
	});
	const items = rows.getVirtualItems();
	const last = items.at(-1)?.index ?? 0;
	const near = more && last >= jobs.length - 20;
	// biome-ignore lint/correctness/useExhaustiveDependencies: each time more rows came and the end is still near
	useEffect(() => {
		if (near) loadMore();
	}, [near, jobs.length, loaded]);
	return (
		<>
			<table aria-label="Jobs" aria-rowcount={more ? -1 : jobs.length + 1} className={classes.table}>
				<thead>
					<tr className={classes.head} aria-rowindex={1}>
						<th scope="col">State</th>
						<th scope="col">Job</th>
						<th scope="col">Machine</th>
						<th scope="col">Queued</th>
						<th scope="col">Took</th>
						<th scope="col">
							<span className="rm-hidden">Actions</span>
						</th>
					</tr>
				</thead>
				<tbody
					ref={box}
					className={classes.rows}
					data-dimmed={dimmed || undefined}
					style={{ height: rows.getTotalSize() }}
				>
					{items.map((item) => {
						const job = jobs[item.index];
						return (
							job && (
								<tr
									key={item.key}
									ref={rows.measureElement}
									data-index={item.index}
									aria-rowindex={item.index + 2}
									className={classes.row}
									style={{ transform: `translateY(${item.start - margin}px)` }}
								>
									<Cells job={job} />
								</tr>
							)
						);
					})}
				</tbody>
			</table>
			{more && (
				<div className={classes.more} role="status">
					Loading older jobs…
				</div>
			)}
		</>
	);
}

const Cells = memo(function Cells({ job }: { job: Job }) {
	return (
		<>
			<td className={classes.state}>
				<StateBadge state={job.state} />
				{job.cancel_requested_at && isOpen(job.state) && <Badge tone="warn">Canceling</Badge>}
			</td>
			<td className={classes.what}>
				<Link to="/jobs/$jobId" params={{ jobId: job.id }} className={classes.kind}>
					{kindWords[job.kind].name}
					<span className="rm-hidden"> of {job.host_name}</span>
				</Link>
				<span className={classes.outcome}>
					{job.state === "running" ? <Running job={job} /> : <Foreign cut>{outcome(job)}</Foreign>}
				</span>
			</td>
			<td className={classes.machine}>
				<Link to="/hosts/$hostId" params={{ hostId: job.host_id }} className="rm-link">
					<Foreign cut>{job.host_name}</Foreign>
				</Link>
			</td>
			<td className={classes.queued}>
				<Ago at={job.queued_at} />
			</td>
			<td className={`${classes.took} rm-numbers`}>
				<Took job={job} />
			</td>
			<td className={classes.actions}>
				<RowActions job={job} />
			</td>
		</>
	);
});

function Took({ job }: { job: Job }) {
	const now = useNow();
	const s = job.state === "queued" || job.state === "accepted" ? undefined : ran(job, now);
	return s === undefined ? <span className={classes.none}>–</span> : duration(s);
}

/** How far a running job is: a bar, percent, bytes and rate in one line. */
function Running({ job }: { job: Job }) {
	const pace = usePace(job);
	const p = job.progress;
	const parts: string[] = [];
	if (pace.part !== undefined) parts.push(`${Math.floor(pace.part * 100)} %`);
	if (p && p.total_bytes > 0) parts.push(`${bytes(p.bytes_done)} of ${bytes(p.total_bytes)}`);
	else if (p && p.files_done > 0) parts.push(`scanning… ${counted(p.files_done, "file")}`);
	if (pace.rate) parts.push(rate(pace.rate));
	return (
		<span className={`${classes.live} rm-numbers`}>
			<span className={classes.gauge}>
				<Progress
					value={pace.part}
					label={`Progress of the ${kindWords[job.kind].name.toLowerCase()} of ${job.host_name}`}
				/>
			</span>
			<span className="rm-cut">{parts.length > 0 ? parts.join(" · ") : `${kindWords[job.kind].doing}…`}</span>
		</span>
	);
}

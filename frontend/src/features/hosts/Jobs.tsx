import { Button, NativeSelect } from "@mantine/core";
import { IconX } from "@tabler/icons-react";
import { useInfiniteQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { historyQuery } from "../../api/history";
import type { Host, Job, JobKind, JobState } from "../../api/types";
import { isOpen } from "../../api/types";
import { bytes } from "../../lib/bytes";
import { duration } from "../../lib/time";
import { kindWords, reasonOf, stateWords } from "../../lib/words";
import { Ago } from "../../ui/Ago";
import { StateBadge } from "../../ui/Badge";
import { Foreign } from "../../ui/Foreign";
import { Older } from "../../ui/Older";
import { Card } from "../../ui/Page";
import rows from "../../ui/Rows.module.css";
import { Empty, Shown } from "../../ui/States";
import { Calendar } from "./Calendar";
import { dayName } from "./weeks";

export interface JobsChoice {
	state?: JobState[];
	kind?: JobKind;
	day?: string;
}

interface Props {
	host: Host;
	choice: JobsChoice;
	choose: (to: Partial<JobsChoice>) => void;
}

/** The states people look for, in groups. */
const groups: Record<string, { name: string; states: JobState[] }> = {
	open: { name: "Not ended", states: ["queued", "accepted", "running"] },
	good: { name: "Succeeded", states: ["succeeded"] },
	issues: { name: "With issues", states: ["succeeded_with_issues"] },
	bad: { name: "Failed", states: ["failed", "lost", "rejected", "expired"] },
	canceled: { name: "Canceled", states: ["canceled"] },
};

/** A host's jobs: by day, and as a list. */
export function Jobs({ host, choice, choose }: Props) {
	const window = choice.day ? windowOf(choice.day) : undefined;
	const query = useInfiniteQuery({
		...historyQuery(host.id, {
			state: choice.state,
			kind: choice.kind,
			after: window?.after,
			before: window?.before,
		}),
		refetchInterval: host.active_jobs.length > 0 ? 4000 : 60_000,
	});
	const chosen = Object.entries(groups).find(([, g]) => g.states.join() === choice.state?.join())?.[0];
	const filtered = Boolean(choice.state || choice.kind || choice.day);
	return (
		<>
			<Calendar hostID={host.id} day={choice.day} choose={(day) => choose({ day })} />
			<Card flush label="Jobs">
				<div className={rows.bar}>
					<NativeSelect
						size="xs"
						aria-label="Kind"
						value={choice.kind ?? ""}
						onChange={(e) => choose({ kind: (e.currentTarget.value || undefined) as JobKind | undefined })}
					>
						<option value="">All kinds</option>
						{Object.entries(kindWords).map(([k, w]) => (
							<option key={k} value={k}>
								{w.name}
							</option>
						))}
					</NativeSelect>
					<NativeSelect
						size="xs"
						aria-label="State"
						value={choice.state ? (chosen ?? "other") : ""}
						onChange={(e) => choose({ state: groups[e.currentTarget.value]?.states })}
					>
						<option value="">All states</option>
						{Object.entries(groups).map(([k, g]) => (
							<option key={k} value={k}>
								{g.name}
							</option>
						))}
						{choice.state && !chosen && (
							<option value="other">{choice.state.map((s) => stateWords[s].name).join(", ")}</option>
						)}
					</NativeSelect>
					{choice.day && (
						<Button
							size="xs"
							variant="default"
							rightSection={<IconX size={13} aria-hidden />}
							onClick={() => choose({ day: undefined })}
						>
							{dayName(choice.day)}
							<span className="rm-hidden">, show all days</span>
						</Button>
					)}
				</div>
				<Shown
					query={query}
					isEmpty={(d) => (d.pages[0]?.jobs.length ?? 0) === 0}
					empty={
						<Empty title={filtered ? "No job is like this" : "No jobs yet"}>
							{filtered ? "Choose other kinds, states or days." : "What is ordered for this machine is listed here."}
						</Empty>
					}
				>
					{(d) => {
						const jobs = d.pages.flatMap((p) => p.jobs);
						return <List jobs={choice.day ? jobs.filter((j) => isOf(j, choice.day ?? "")) : jobs} />;
					}}
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

function List({ jobs }: { jobs: readonly Job[] }) {
	return (
		<div className={rows.scroll}>
			<table className={rows.rows}>
				<thead>
					<tr>
						<th scope="col">Job</th>
						<th scope="col">State</th>
						<th scope="col">Ordered</th>
						<th scope="col" className={rows.number}>
							Took
						</th>
						<th scope="col">Result</th>
						<th scope="col">By</th>
					</tr>
				</thead>
				<tbody>
					{jobs.map((j) => (
						<tr key={j.id}>
							<td style={{ whiteSpace: "nowrap" }}>
								<Link to="/jobs/$jobId" params={{ jobId: j.id }} data-row>
									{kindWords[j.kind].name}
								</Link>
							</td>
							<td>
								<StateBadge state={j.state} />
							</td>
							<td>
								<span className={rows.above}>
									<Ago at={j.queued_at} />
								</span>
							</td>
							<td className={rows.number}>{j.elapsed_seconds ? duration(j.elapsed_seconds) : ""}</td>
							<td data-line className={rows.muted}>
								<Result job={j} />
							</td>
							<td className={`${rows.muted} ${rows.name}`} data-name="by">
								<Foreign cut>{j.created_by}</Foreign>
							</td>
						</tr>
					))}
				</tbody>
			</table>
		</div>
	);
}

/** What a job brought, or why not. */
function Result({ job: j }: { job: Job }) {
	const s = j.summary;
	if (j.error) return <Foreign>{reasonOf(j).slice(0, 200)}</Foreign>;
	if (isOpen(j.state))
		return j.progress && j.progress.percent_done > 0 ? <>{Math.floor(j.progress.percent_done * 100)} %</> : null;
	if (!s) return null;
	switch (j.kind) {
		case "backup":
			return (
				<>
					{s.dry_run ? "dry run: " : ""}
					{bytes(s.data_added ?? 0)} new of {bytes(s.total_bytes_processed ?? 0)}
				</>
			);
		case "restore":
			return <>{bytes(s.bytes_restored ?? 0)} restored</>;
		case "check":
			return s.check_errors ? <>{s.check_errors} errors</> : null;
		case "forget":
			return <>{s.snapshots_removed ?? 0} snapshots removed</>;
		case "unlock":
			return <>{s.locks_removed ?? 0} locks removed</>;
		default:
			return null;
	}
}

/** When the jobs that ended on this day of the reader's zone were ordered: on it, or up to a day and a half before. */
export function windowOf(day: string): { after: string; before: string } {
	const begin = new Date(`${day}T00:00:00`);
	const end = new Date(begin);
	end.setDate(end.getDate() + 1);
	return { after: new Date(begin.getTime() - 36 * 3_600_000).toISOString(), before: end.toISOString() };
}

/** Whether the job ended on the day; one that has not ended belongs to the day it was ordered. */
export function isOf(job: Pick<Job, "queued_at" | "ended_at">, day: string): boolean {
	const begin = new Date(`${day}T00:00:00`);
	const end = new Date(begin);
	end.setDate(end.getDate() + 1);
	const at = Date.parse(job.ended_at ?? job.queued_at);
	return at >= begin.getTime() && at < end.getTime();
}

import { Button } from "@mantine/core";
import { Link } from "@tanstack/react-router";
import { useRef, useState } from "react";
import { useCancelJob } from "../../api/orders";
import type { ActiveJob, Host } from "../../api/types";
import { bytes, rate } from "../../lib/bytes";
import { type Reading, remaining, remember, speed } from "../../lib/progress";
import { duration } from "../../lib/time";
import { kindWords, stateWords } from "../../lib/words";
import { Ago } from "../../ui/Ago";
import { Badge, StateBadge } from "../../ui/Badge";
import { Confirm } from "../../ui/Confirm";
import { Foreign } from "../../ui/Foreign";
import { done } from "../../ui/notify";
import { Progress } from "../../ui/Progress";
import classes from "./Host.module.css";

/** What the machine does now; what it did last when it does nothing. */
export function Now({ host, operator }: { host: Host; operator: boolean }) {
	const rank = { running: 0, accepted: 1, queued: 2 } as Record<string, number>;
	const jobs = [...host.active_jobs].sort((a, b) => (rank[a.state] ?? 3) - (rank[b.state] ?? 3));
	const shown = jobs.slice(0, 3);
	return (
		<div className={classes.tile}>
			<h2>Now</h2>
			{shown.map((j) => (
				<Active key={j.id} job={j} host={host} operator={operator} />
			))}
			{jobs.length > shown.length && (
				<Link
					to="/hosts/$hostId"
					params={{ hostId: host.id }}
					search={{ tab: "jobs", state: ["queued", "accepted", "running"] }}
					className={classes.note}
				>
					and {jobs.length - shown.length} more
				</Link>
			)}
			{jobs.length === 0 && <Idle host={host} />}
		</div>
	);
}

function Idle({ host }: { host: Host }) {
	const last = host.last_backup;
	return (
		<>
			<div className={classes.figure}>Idle</div>
			<div className={classes.note}>
				{last ? (
					<>
						Last backup <StateBadge state={last.state} />{" "}
						<Link to="/jobs/$jobId" params={{ jobId: last.job_id }}>
							<Ago at={last.ended_at} />
						</Link>
					</>
				) : (
					"No backup has run yet."
				)}
			</div>
		</>
	);
}

function Active({ job, host, operator }: { job: ActiveJob; host: Host; operator: boolean }) {
	const perSecond = useSpeed(job);
	const [asks, setAsks] = useState(false);
	const cancel = useCancelJob();
	const words = kindWords[job.kind];
	const runs = job.state === "running";
	const left = remaining(readingOf(job), perSecond);
	const known = job.total_bytes > 0 || job.percent_done > 0;
	return (
		<div className={classes.now}>
			<div className={classes.nowLine}>
				<Link to="/jobs/$jobId" params={{ jobId: job.id }} className={`rm-link ${classes.nowName}`}>
					{runs ? words.doing : words.name}
				</Link>
				{runs ? (
					known && <span className="rm-numbers">{Math.floor(job.percent_done * 100)} %</span>
				) : (
					<Badge tone={stateWords[job.state].tone}>
						{job.state === "queued" && host.status !== "online" ? "Waits for the machine" : stateWords[job.state].name}
					</Badge>
				)}
				{operator && (
					<Button size="compact-xs" variant="default" onClick={() => setAsks(true)}>
						Cancel<span className="rm-hidden"> {words.name}</span>
					</Button>
				)}
			</div>
			{runs && (
				<>
					<Progress value={known ? job.percent_done : undefined} label={words.doing} />
					<div className={classes.nowFigures}>
						{job.total_bytes > 0 ? (
							<span>
								{bytes(job.bytes_done)} of {bytes(job.total_bytes)}
							</span>
						) : (
							<span>{duration(job.elapsed_seconds)}</span>
						)}
						{perSecond !== undefined && <span>{rate(perSecond)}</span>}
						{left !== undefined && <span>{duration(left)} left</span>}
						<span className={classes.nowFile}>{job.current_file && <Foreign cut>{job.current_file}</Foreign>}</span>
					</div>
				</>
			)}
			<Confirm
				opened={asks}
				close={() => setAsks(false)}
				title={`Cancel the ${words.name.toLowerCase()}`}
				action="Cancel it"
				run={async () => {
					await cancel.mutateAsync(job.id);
					done(runs ? "Asked to stop. restic gets up to 90 s to end in order." : "Canceled.");
				}}
			>
				{runs
					? "restic is asked to stop and ends in order. What a backup has stored already is used by the next one."
					: "It has not begun; nothing is lost."}
			</Confirm>
		</div>
	);
}

function readingOf(job: ActiveJob): Reading {
	return {
		at: job.elapsed_seconds * 1000,
		bytesDone: job.bytes_done,
		totalBytes: job.total_bytes,
		elapsedSeconds: job.elapsed_seconds,
	};
}

/** Bytes a second by the job's own clock: how late an answer came does not matter. */
function useSpeed(job: ActiveJob): number | undefined {
	const readings = useRef<Reading[]>([]);
	const next = readingOf(job);
	const last = readings.current.at(-1);
	if (!last || last.elapsedSeconds !== next.elapsedSeconds || last.bytesDone !== next.bytesDone)
		readings.current = remember(readings.current, next);
	return job.state === "running" ? speed(readings.current) : undefined;
}

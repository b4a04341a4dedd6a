import type { Job } from "../../api/types";
import { bytes, count, counted, rate } from "../../lib/bytes";
import { duration } from "../../lib/time";
import { kindWords } from "../../lib/words";
import { useNow } from "../../ui/Ago";
import { Foreign } from "../../ui/Foreign";
import { Card } from "../../ui/Page";
import { Progress } from "../../ui/Progress";
import classes from "./Live.module.css";
import { ran } from "./timeline";
import { usePace } from "./useReadings";

/** How far a running job is: percent, bytes, files, rate, the time left, and what it reads just now. */
export function Live({ job }: { job: Job }) {
	const now = useNow();
	const pace = usePace(job);
	const p = job.progress;
	const elapsed = p?.elapsed_seconds ?? ran(job, now) ?? 0;
	const scanning = p !== undefined && p.total_bytes > 0 === false && job.kind !== "check" && job.kind !== "prune";
	const file = p?.current_files?.[0];
	return (
		<Card label="Progress">
			<div className={classes.head}>
				<span className={classes.percent}>
					{pace.part !== undefined
						? `${Math.floor(pace.part * 100)} %`
						: job.state === "accepted"
							? "Preparing…"
							: scanning
								? "Scanning…"
								: `${kindWords[job.kind].doing}…`}
				</span>
				<span className={classes.left}>{pace.left !== undefined ? `about ${duration(pace.left)} left` : "\u00a0"}</span>
			</div>
			<Progress value={pace.part} label={`Progress of the ${kindWords[job.kind].name.toLowerCase()}`} height={10} />
			<dl className={`${classes.figures} rm-numbers`}>
				<Figure
					label="Read"
					value={
						p ? (p.total_bytes > 0 ? `${bytes(p.bytes_done)} of ${bytes(p.total_bytes)}` : bytes(p.bytes_done)) : "–"
					}
				/>
				<Figure
					label="Files"
					value={
						p ? (p.total_files > 0 ? `${count(p.files_done)} of ${count(p.total_files)}` : count(p.files_done)) : "–"
					}
				/>
				<Figure label="Rate" value={pace.rate ? rate(pace.rate) : "–"} />
				<Figure label="Running for" value={duration(elapsed)} />
				{p !== undefined && p.error_count > 0 && <Figure label="Errors so far" value={count(p.error_count)} bad />}
			</dl>
			<div className={classes.file}>
				{file ? (
					<>
						<Foreign mono cut>
							{file}
						</Foreign>
						{(p?.current_files.length ?? 0) > 1 && (
							<span className={classes.others}>and {counted((p?.current_files.length ?? 1) - 1, "other")}</span>
						)}
					</>
				) : (
					"\u00a0"
				)}
			</div>
		</Card>
	);
}

function Figure({ label, value, bad }: { label: string; value: string; bad?: boolean }) {
	return (
		<div>
			<dt>{label}</dt>
			<dd data-tone={bad ? "bad" : undefined}>{value}</dd>
		</div>
	);
}

import { Alert } from "@mantine/core";
import { IconAlertTriangle, IconHourglass } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import type { ReactNode } from "react";
import { jobQuery } from "../../api/jobs";
import { Problem } from "../../api/problem";
import { type EstimateSpec, isOpen, type Job as JobData } from "../../api/types";
import { adviceFor } from "../../lib/advice";
import { count, counted } from "../../lib/bytes";
import { duration, exact } from "../../lib/time";
import { kindWords, reasonOf, sentence } from "../../lib/words";
import { Ago, useNow } from "../../ui/Ago";
import { Badge, StateBadge } from "../../ui/Badge";
import { Copy } from "../../ui/Copy";
import { EstimateResult } from "../../ui/Estimate";
import { Foreign } from "../../ui/Foreign";
import { Card, Page } from "../../ui/Page";
import { Empty, Failure, Loading } from "../../ui/States";
import { JobButtons } from "./Actions";
import { HookRuns } from "./Hooks";
import { Issues } from "./Issues";
import classes from "./Job.module.css";
import { Live } from "./Live";
import { timeline } from "./timeline";
import { asked, type Fact, failedHooks, figures, issuesOf, leftOut, waitingWords } from "./words";

interface Props {
	id: string;
	/** The log alone, as high as the window. */
	full: boolean;
	/** The job's log, which another feature shows. */
	log: (job: JobData) => ReactNode;
}

/** One job: what it was asked, what became of it, and its log. */
export function Job({ id, full, log }: Props) {
	const query = useQuery(jobQuery(id));
	const job = query.data;
	if (!job) {
		const missing = query.error instanceof Problem && query.error.status === 404;
		return (
			<Page
				title="Job"
				crumbs={
					<Link to="/jobs" className="rm-link">
						Jobs
					</Link>
				}
			>
				<Card flush>
					{missing ? (
						<Empty
							title="There is no such job"
							action={
								<Link className={classes.link} to="/jobs">
									To all jobs
								</Link>
							}
						>
							It may have been of another server, or the link is cut.
						</Empty>
					) : query.error ? (
						<Failure error={query.error} retry={() => void query.refetch()} />
					) : (
						<Loading rows={8} />
					)}
				</Card>
			</Page>
		);
	}
	const kind = kindWords[job.kind].name;
	const open = isOpen(job.state);
	return (
		<div className={full ? classes.full : undefined}>
			<Page
				title={`${kind} of ${job.host_name}`}
				heading={
					<>
						{kind} of <Foreign>{job.host_name}</Foreign>
					</>
				}
				crumbs={
					<>
						<Link to="/jobs" className="rm-link">
							Jobs
						</Link>
						<span aria-hidden>/</span>
						<Link to="/hosts/$hostId" params={{ hostId: job.host_id }} className="rm-link rm-cut">
							<Foreign>{job.host_name}</Foreign>
						</Link>
					</>
				}
				aside={
					<>
						<StateBadge state={job.state} />
						<Flags job={job} />
					</>
				}
				subtitle={!full && <Reason job={job} />}
				actions={<JobButtons job={job} />}
			>
				{query.error && (
					<div role="status" className={classes.stale}>
						As of <Ago at={new Date(query.dataUpdatedAt).toISOString()} />: the server did not answer since.
					</div>
				)}
				{!full && (
					<>
						{job.error && !open && <ErrorBox job={job} />}
						{(job.state === "running" || job.state === "accepted") && <Live job={job} />}
						<div className={classes.columns}>
							<div className={classes.column}>
								{!open && <Figures job={job} />}
								<HookRuns job={job} />
								<Card title="What was asked">
									<Facts facts={asked(job)} />
									<Ordered job={job} />
								</Card>
							</div>
							<Card title="Course">
								<Course job={job} />
							</Card>
						</div>
						{job.estimate && (
							<Card title="What a backup would hold">
								<EstimateResult estimate={job.estimate} spec={job.spec as EstimateSpec} />
							</Card>
						)}
						{((job.issues?.length ?? 0) > 0 || (job.issues_dropped ?? 0) > 0) && (
							<Issues issues={job.issues ?? []} dropped={job.issues_dropped ?? 0} />
						)}
					</>
				)}
				{log(job)}
			</Page>
		</div>
	);
}

function Flags({ job }: { job: JobData }) {
	const open = isOpen(job.state);
	return (
		<>
			{open && job.cancel_requested_at && (
				<Badge tone="warn" title={`Asked ${exact(job.cancel_requested_at)}`}>
					Canceling
				</Badge>
			)}
			{open && job.disconnected_since && (
				<Badge tone="warn" title={`Since ${exact(job.disconnected_since)}`}>
					Disconnected
				</Badge>
			)}
			{open && job.stalled_since && (
				<Badge tone="warn" title={`Since ${exact(job.stalled_since)}`}>
					Stalled
				</Badge>
			)}
			{job.summary?.dry_run && <Badge tone="idle">Dry run</Badge>}
			{!open && !job.log_complete && job.started_at && (
				<Badge tone={job.log_problem ? "warn" : "info"} title={job.log_problem || "Lines are still to come"}>
					{job.log_problem ? "Log incomplete" : "Log still coming"}
				</Badge>
			)}
			{job.late_report && (
				<Badge
					tone="warn"
					title="The machine reported another result after the job had ended here; the first one stands."
				>
					Late report
				</Badge>
			)}
		</>
	);
}

/** The state's reason, or what a waiting job waits for. */
function Reason({ job }: { job: JobData }) {
	const w = job.state === "queued" ? job.waiting : undefined;
	if (!w) {
		if (job.state === "succeeded_with_issues")
			return failedHooks(job).length > 0
				? `There is a snapshot, but ${issuesOf(job)}.`
				: `There is a snapshot, but ${leftOut(job)} and ${(job.issues?.length ?? 2) === 1 ? "is" : "are"} not in it.`;
		if (job.error && !isOpen(job.state)) return null;
		return <Foreign>{reasonOf(job)}</Foreign>;
	}
	const words = waitingWords(w);
	return (
		<span className={classes.waiting}>
			<IconHourglass size={15} aria-hidden />
			<span>
				{words.before}
				{words.names && (
					<>
						{w.host_name && w.reason === "repository_busy" && (
							<>
								<Foreign>{w.host_name}</Foreign>’s{" "}
							</>
						)}
						{w.job_id ? (
							<Link className={classes.link} to="/jobs/$jobId" params={{ jobId: w.job_id }}>
								{words.after.replace(/\.$/, "")}
							</Link>
						) : (
							words.after.replace(/\.$/, "")
						)}
						.
					</>
				)}
				{w.since && <Since at={w.since} />}
			</span>
		</span>
	);
}

function Since({ at }: { at: string }) {
	const now = useNow();
	return <span title={exact(at)}> So far {duration(Math.max(0, Math.floor((now - Date.parse(at)) / 1000)))}.</span>;
}

function ErrorBox({ job }: { job: JobData }) {
	if (!job.error) return null;
	const canceled = job.state === "canceled";
	const step = canceled ? undefined : adviceFor(job.error.code);
	return (
		<Alert
			color={canceled ? "gray" : "red"}
			variant="light"
			icon={<IconAlertTriangle size={18} />}
			title={<Foreign>{sentence(job.error.message)}</Foreign>}
			classNames={{ title: classes.errorTitle }}
		>
			<div className={classes.error}>
				{step && <span>{step}</span>}
				<span className={classes.code}>
					<code className="rm-mono">{job.error.code}</code>
					{job.exit_code !== undefined && ` · exit code ${job.exit_code}`}
				</span>
			</div>
		</Alert>
	);
}

function Figures({ job }: { job: JobData }) {
	const facts = figures(job);
	if (facts.length === 0) return null;
	const snapshot = job.summary?.snapshot_id;
	return (
		<Card
			title="What came out"
			actions={
				snapshot && !job.summary?.dry_run ? (
					<Link
						className={classes.link}
						to="/hosts/$hostId/snapshots/$snapshotId"
						params={{ hostId: job.host_id, snapshotId: snapshot }}
					>
						Snapshot <code className="rm-mono">{snapshot.slice(0, 8)}</code>
					</Link>
				) : undefined
			}
		>
			<dl className={classes.tiles}>
				{facts.map((f) => (
					<div key={f.label} className={f.texts ? classes.wide : undefined}>
						<dt>{f.label}</dt>
						<dd className="rm-numbers" data-tone={f.tone}>
							{f.value}
							{f.texts?.map((t) => (
								<span key={t} className={classes.id}>
									<Foreign mono>{f.ids ? t.slice(0, 12) : t}</Foreign>
									<Copy value={t} what={f.label.toLowerCase()} />
								</span>
							))}
						</dd>
					</div>
				))}
			</dl>
		</Card>
	);
}

const shownTexts = 12;

function Facts({ facts }: { facts: Fact[] }) {
	return (
		<dl className={classes.facts}>
			{facts.map((f) => (
				<div key={f.label}>
					<dt>{f.label}</dt>
					<dd>
						{f.value}
						{f.texts && <Texts texts={f.texts} ids={f.ids} label={f.label} />}
					</dd>
				</div>
			))}
		</dl>
	);
}

function Texts({ texts, ids, label }: { texts: string[]; ids?: boolean; label: string }) {
	const list = (of: string[]) => (
		<ul className={ids ? classes.ids : classes.texts}>
			{of.map((t) => (
				<li key={t}>
					<Foreign mono>{ids ? t.slice(0, 8) : t}</Foreign>
				</li>
			))}
		</ul>
	);
	if (texts.length <= shownTexts) return list(texts);
	return (
		<>
			{list(texts.slice(0, shownTexts))}
			<details className={classes.rest}>
				<summary>
					{counted(texts.length - shownTexts, "more", "more")} <span className="rm-hidden">of {label}</span>
				</summary>
				{list(texts.slice(shownTexts))}
			</details>
		</>
	);
}

function Ordered({ job }: { job: JobData }) {
	return (
		<dl className={classes.facts}>
			{job.policy && (
				<div>
					<dt>Policy</dt>
					<dd>
						{job.policy.name ? (
							<Link className={classes.link} to="/policies/$policyId" params={{ policyId: job.policy.id }}>
								<Foreign>{job.policy.name}</Foreign>
							</Link>
						) : (
							"one that is gone"
						)}
					</dd>
				</div>
			)}
			{job.due_at && (
				<div>
					<dt>Due</dt>
					<dd>
						<time dateTime={job.due_at}>{exact(job.due_at)}</time>
						{job.started_at && late(job.due_at, job.started_at)}
					</dd>
				</div>
			)}
			{job.target && (
				<div>
					<dt>About</dt>
					<dd>
						{job.target.name ? (
							<Link
								className={classes.link}
								to="/repositories/$repositoryId"
								params={{ repositoryId: job.target.setting_id }}
							>
								<Foreign>{job.target.name}</Foreign>
							</Link>
						) : (
							"a repository that is gone"
						)}
						, in place of the machine’s own
					</dd>
				</div>
			)}
			<div>
				<dt>Repository</dt>
				<dd>
					<Foreign>{job.repository.name}</Foreign>
					{job.repository.id && (
						<span className={`${classes.id} ${classes.beside}`}>
							<code className="rm-mono">{job.repository.id.slice(0, 8)}</code>
							<Copy value={job.repository.id} what="the repository's id" />
						</span>
					)}
				</dd>
			</div>
			<div>
				<dt>Ordered by</dt>
				<dd>
					<Foreign>{job.created_by}</Foreign>
					{job.retry_of && (
						<>
							{", again after "}
							<Link className={classes.link} to="/jobs/$jobId" params={{ jobId: job.retry_of }}>
								an earlier job
							</Link>
						</>
					)}
				</dd>
			</div>
			{job.time_limit_seconds > 0 && (
				<div>
					<dt>Time limit</dt>
					<dd>{duration(job.time_limit_seconds)}</dd>
				</div>
			)}
			<div>
				<dt>Job</dt>
				<dd className={classes.id}>
					<code className="rm-mono">{job.id}</code>
					<Copy value={job.id} what="the job's id" />
				</dd>
			</div>
		</dl>
	);
}

/** How long after its due time it began, where that is more than a minute. */
function late(due: string, began: string): string {
	const seconds = (Date.parse(began) - Date.parse(due)) / 1000;
	return seconds > 60 ? `, began ${duration(Math.round(seconds))} later` : "";
}

function Course({ job }: { job: JobData }) {
	return (
		<ol className={classes.course}>
			{timeline(job).map((m) => (
				<li key={m.name} data-tone={m.tone} data-to-come={m.at ? undefined : true} data-now={m.now || undefined}>
					<span className={classes.dot} aria-hidden />
					<span className={classes.moment}>
						<span>{m.name}</span>
						{m.note && <small>{m.note}</small>}
					</span>
					<span className={classes.when}>
						{m.at ? (
							<Ago at={m.at} />
						) : m.name === "Accepted by the machine" && job.state === "queued" ? (
							<>
								expires <Ago at={job.expires_at} />
							</>
						) : null}
					</span>
				</li>
			))}
			{!isOpen(job.state) && job.log_lines !== undefined && (
				<li data-tone={job.log_complete ? "ok" : job.log_problem ? "warn" : "info"}>
					<span className={classes.dot} aria-hidden />
					<span className={classes.moment}>
						<span>{job.log_complete ? "Log complete" : job.log_problem ? "Log incomplete" : "Log still coming"}</span>
						<small className="rm-numbers">
							{job.log_complete
								? counted(job.log_lines, "line")
								: `${count(job.log_received)} of ${counted(job.log_lines, "line")}`}
						</small>
					</span>
				</li>
			)}
		</ol>
	);
}

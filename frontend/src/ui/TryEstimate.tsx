import { Alert, Button, Select } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useRef, useState } from "react";
import { jobQuery } from "../api/jobs";
import { orderKey, useCancelJob, useOrderJob } from "../api/orders";
import { messageOf } from "../api/problem";
import { type BackupSpec, type EstimateSpec, type Host, isOpen, type Job } from "../api/types";
import { bytes, count } from "../lib/bytes";
import { sentence } from "../lib/words";
import { EstimateResult } from "./Estimate";
import classes from "./Estimate.module.css";
import { Foreign } from "./Foreign";
import { Note } from "./Note";
import { Progress } from "./Progress";

/** A machine to try on; reason says why it cannot be tried there. */
export interface TryHost extends Pick<Host, "id" | "name" | "status"> {
	reason?: string;
}

interface Props {
	/** Those to choose from, the first of them chosen; undefined: they are being read. */
	hosts: readonly TryHost[] | undefined;
	/** What to try: what a backup would be asked; undefined: the fields are not right yet. */
	spec: () => BackupSpec | undefined;
	/** Leaves something more out. */
	exclude: (pattern: string) => void;
	excludes: readonly string[];
}

/** Says what the settings would take from a machine's own folders, before a backup does. */
export function TryEstimate({ hosts, spec, exclude, excludes }: Props) {
	const [picked, setPicked] = useState<string>();
	const [asked, setAsked] = useState<EstimateSpec>();
	const [wrong, setWrong] = useState(false);
	const [jobID, setJobID] = useState<string>();
	const host = hosts?.find((h) => h.id === picked) ?? hosts?.find((h) => h.reason === undefined) ?? hosts?.[0];
	const order = useOrderJob(host?.id ?? "");
	const key = useRef(orderKey());
	const job = useQuery({ ...jobQuery(jobID ?? ""), enabled: jobID !== undefined }).data;
	const open = order.isPending || (jobID !== undefined && (job === undefined || isOpen(job.state)));

	function go() {
		const s = spec();
		setWrong(s === undefined);
		if (!s || !host || open) return;
		const body: EstimateSpec = { paths: s.paths ?? [] };
		if (s.excludes) body.excludes = s.excludes;
		if (s.exclude_caches) body.exclude_caches = true;
		if (s.one_file_system) body.one_file_system = true;
		if (s.exclude_larger_than) body.exclude_larger_than = s.exclude_larger_than;
		setAsked(body);
		setJobID(undefined);
		key.current = orderKey();
		order.mutate(
			{ key: key.current, body: { kind: "estimate", spec: body, ttl_seconds: 600 } },
			{ onSuccess: ({ job: made }) => setJobID(made.id) },
		);
	}
	if (hosts?.length === 0) return null;
	return (
		<section className={classes.try} aria-label="Try on a machine">
			<div className={classes.ask}>
				<Select
					label="Try on a machine"
					description="Reads names and sizes there, no contents, and changes nothing"
					searchable
					allowDeselect={false}
					disabled={!hosts || open}
					data={(hosts ?? []).map((h) => ({
						value: h.id,
						label: h.status === "online" ? h.name : `${h.name} (offline)`,
					}))}
					value={host?.id ?? null}
					onChange={(id) => setPicked(id ?? undefined)}
				/>
				<Button
					variant="default"
					onClick={go}
					loading={order.isPending}
					disabled={!host || open || host.reason !== undefined}
				>
					{job?.estimate ? "Try again" : "Try"}
				</Button>
			</div>
			{host?.reason && <p className={classes.about}>{host.reason}</p>}
			{wrong && (
				<p className={classes.about} role="alert">
					The paths and the other fields above have to be right first.
				</p>
			)}
			{order.error && (
				<Alert color="red" role="alert">
					{sentence(messageOf(order.error))}
				</Alert>
			)}
			{jobID && <Going job={job} open={open} />}
			{job?.estimate && asked && !open && (
				<EstimateResult estimate={job.estimate} spec={asked} exclude={exclude} excludes={excludes} />
			)}
		</section>
	);
}

/** How far it is, or why it came to nothing. */
function Going({ job, open }: { job: Job | undefined; open: boolean }) {
	const cancel = useCancelJob();
	if (open)
		return (
			<div className={classes.going}>
				<Progress value={undefined} label="Reading the machine's folders" />
				<span role="status">
					{job?.state === "running"
						? `${count(job.progress?.files_done ?? 0)} files, ${bytes(job.progress?.bytes_done ?? 0)} so far`
						: "Waits until the machine fetches it"}
				</span>
				{job?.progress?.current_files?.[0] && <Foreign>{job.progress.current_files[0]}</Foreign>}
				{job && (
					<Button
						size="compact-xs"
						variant="default"
						style={{ justifySelf: "start" }}
						loading={cancel.isPending}
						onClick={() => cancel.mutate(job.id)}
					>
						Stop
					</Button>
				)}
			</div>
		);
	if (!job || job.state === "succeeded") return null;
	const unread = job.issues ?? [];
	if (job.state === "succeeded_with_issues")
		return (
			<Note tone="warn" role="status">
				<span>
					{count(unread.length + (job.issues_dropped ?? 0))} could not be read there, and would be missing from the
					backup:{" "}
					{unread.slice(0, 3).map((i, n) => (
						<span key={i.path}>
							{n > 0 && ", "}
							<Foreign>{i.path}</Foreign>
						</span>
					))}
					{unread.length > 3 && " …"}
				</span>
			</Note>
		);
	return (
		<Note tone={job.state === "canceled" ? "info" : "bad"} role="status">
			{job.state === "canceled" ? "Stopped." : sentence(job.error?.message ?? "It came to nothing; see the job.")}
		</Note>
	);
}

import type { Job } from "../../api/types";
import { duration } from "../../lib/time";
import { stateWords, type Tone } from "../../lib/words";

/** A moment in a job's life. */
export interface Moment {
	name: string;
	/** None: it has not come yet. */
	at?: string;
	tone: Tone;
	/** What the time before it was spent with. */
	note?: string;
	now?: boolean;
}

const seconds = (from: string, to: string) => (new Date(to).getTime() - new Date(from).getTime()) / 1000;
const took = (from: string, to: string) => duration(Math.max(0, seconds(from, to)));
const instant = (from: string, to: string) => seconds(from, to) < 0.5;

/** The moments of a job in their order, with what the times between them were. */
export function timeline(job: Job): Moment[] {
	const open = job.state === "queued" || job.state === "accepted" || job.state === "running";
	const moments: Moment[] = [{ name: "Queued", at: job.queued_at, tone: "idle", now: job.state === "queued" }];
	if (job.accepted_at)
		moments.push({
			name: "Accepted by the machine",
			at: job.accepted_at,
			tone: "info",
			note: instant(job.queued_at, job.accepted_at) ? "at once" : `waited ${took(job.queued_at, job.accepted_at)}`,
			now: job.state === "accepted",
		});
	else if (job.state === "queued") moments.push({ name: "Accepted by the machine", tone: "idle" });
	if (job.started_at)
		moments.push({
			name: "restic started",
			at: job.started_at,
			tone: "info",
			note:
				job.accepted_at && !instant(job.accepted_at, job.started_at)
					? `prepared for ${took(job.accepted_at, job.started_at)}`
					: undefined,
			now: job.state === "running",
		});
	else if (open) moments.push({ name: "restic starts", tone: "idle" });
	if (job.disconnected_since && open)
		moments.push({ name: "Connection lost", at: job.disconnected_since, tone: "warn" });
	if (job.stalled_since && open) moments.push({ name: "Stalled", at: job.stalled_since, tone: "warn" });
	if (job.cancel_requested_at) moments.push({ name: "Asked to stop", at: job.cancel_requested_at, tone: "warn" });
	moments.sort((a, b) => (a.at ? Date.parse(a.at) : Number.MAX_VALUE) - (b.at ? Date.parse(b.at) : Number.MAX_VALUE));
	if (job.ended_at) {
		const w = stateWords[job.state];
		moments.push({ name: w.name, at: job.ended_at, tone: w.tone, note: endNote(job) });
	} else moments.push({ name: "Ended", tone: "idle" });
	return moments;
}

function endNote(job: Job): string | undefined {
	if (!job.ended_at) return undefined;
	if (!job.started_at) return `${took(job.queued_at, job.ended_at)} after it was queued`;
	const ran = job.elapsed_seconds ?? seconds(job.started_at, job.ended_at);
	// The end is when the server learned of it: a machine that was away tells it later.
	const late = job.agent_ended_at ? seconds(job.agent_ended_at, job.ended_at) : 0;
	return late > 30 ? `ran ${duration(ran)}; told ${duration(late)} after it ended` : `ran ${duration(ran)}`;
}

/** Seconds that a job ran, or runs by now; undefined before its start. */
export function ran(job: Job, now: number): number | undefined {
	if (!job.started_at) return undefined;
	if (job.elapsed_seconds !== undefined) return job.elapsed_seconds;
	const end = job.ended_at ? Date.parse(job.ended_at) : now;
	return Math.max(0, (end - Date.parse(job.started_at)) / 1000);
}

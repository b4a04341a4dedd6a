import { Problem } from "../../api/problem";
import type { Host, Job } from "../../api/types";
import { isOpen } from "../../api/types";
import { adviceFor } from "../../lib/advice";
import { counted } from "../../lib/bytes";
import { sentence, type Tone } from "../../lib/words";

/** Where a test of a repository stands, in words. */
export interface Verdict {
	tone: Tone;
	title: string;
	text: string;
	/** restic's or the agent's words. */
	foreign?: string;
	busy: boolean;
	/** There is none at this place: it can be made. */
	offerInit: boolean;
}

type Known = Pick<Host, "name" | "status" | "snapshot_count">;

/** What is known of the test (a `snapshots` job) or of the `init` that follows it. */
export function verdict(job: Job | undefined, host: Known, error?: unknown): Verdict {
	if (error)
		return {
			tone: "bad",
			title: "The test could not be ordered",
			text: error instanceof Problem || error instanceof Error ? error.message : String(error),
			busy: false,
			offerInit: false,
		};
	if (!job) return { tone: "info", title: "Ordering the test", text: "One moment.", busy: true, offerInit: false };
	if (isOpen(job.state)) return open(job, host);
	const init = job.kind === "init";
	if (job.state === "succeeded" || job.state === "succeeded_with_issues")
		return {
			tone: "ok",
			title: init ? "The repository is there" : "It works",
			text: init
				? "It was made, and this machine can read it. Back up now to put the first snapshot into it."
				: `${host.name} reached the repository, its password opened it, and it holds ${counted(host.snapshot_count, "snapshot")} of this machine.`,
			busy: false,
			offerInit: false,
		};
	if (job.state === "canceled")
		return { tone: "idle", title: "Canceled", text: "Nothing was learned.", busy: false, offerInit: false };
	const code = job.error?.code;
	return {
		tone: code === "repository_missing" ? "warn" : "bad",
		title: titles[code ?? ""] ?? (init ? "The repository was not made" : "The repository cannot be used"),
		text:
			code === "repository_missing"
				? "Correct the place, or make a new, empty repository there."
				: sentence(adviceFor(code) ?? "The job's log has the reason"),
		foreign: job.error?.message,
		busy: false,
		offerInit: code === "repository_missing" && !init,
	};
}

function open(job: Job, host: Known): Verdict {
	const doing = job.kind === "init" ? "make the repository" : "list what the repository holds";
	const waits =
		job.waiting?.reason === "host_offline" || host.status === "offline" || host.status === "never_seen"
			? `${host.name} is not online. The test runs as soon as it is back; this page may be left.`
			: job.waiting?.reason === "repository_busy" || job.waiting?.reason === "host_busy"
				? "Another job is before it."
				: "The machine fetches it with its next call.";
	return {
		tone: "info",
		title: job.state === "queued" ? "Waiting for the machine" : "At work",
		text: job.state === "queued" ? waits : `restic is asked to ${doing}.`,
		busy: true,
		offerInit: false,
	};
}

const titles: Record<string, string | undefined> = {
	repository_missing: "There is no repository at this place",
	wrong_password: "The password does not open the repository",
	repository_unreachable: "The repository could not be reached",
	repository_locked: "The repository is locked",
	repository_damaged: "The repository is damaged",
	repository_exists: "There is a repository already",
	restic_missing: "There is no restic on the machine",
	no_repository: "No repository is set",
	guard: "The machine's owner does not allow it",
	guard_broken: "The machine's guard is broken",
	permission_denied: "The storage refused the machine",
	no_space: "There is no space left",
	expired: "The machine did not come in time",
};

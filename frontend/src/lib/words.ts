import type { Host, Job, JobKind, JobState } from "../api/types";

/** The words for what people see, in one place. */
export type Tone = "ok" | "warn" | "bad" | "info" | "idle";

export const kindWords: Record<JobKind, { name: string; doing: string; about: string }> = {
	backup: { name: "Backup", doing: "Backing up", about: "Stores chosen folders in the repository." },
	restore: {
		name: "Restore",
		doing: "Restoring",
		about: "Writes files of a snapshot into a new folder on the machine.",
	},
	check: { name: "Check", doing: "Checking", about: "Verifies that the repository is whole." },
	prune: { name: "Prune", doing: "Pruning", about: "Frees the space of what no snapshot needs any more." },
	forget: { name: "Forget", doing: "Forgetting", about: "Removes snapshots; the space comes back with a prune." },
	init: { name: "Initialize", doing: "Initializing", about: "Makes the repository where there is none." },
	snapshots: { name: "List snapshots", doing: "Listing", about: "Asks the repository which snapshots it holds." },
	rotate_key: {
		name: "Change password",
		doing: "Changing the password",
		about: "A step of giving the repository another password.",
	},
	unlock: { name: "Unlock", doing: "Unlocking", about: "Removes locks that a dead restic left behind." },
	estimate: {
		name: "Estimate",
		doing: "Estimating",
		about: "Says what a backup would hold, read from the machine's own folders.",
	},
};

export const stateWords: Record<JobState, { name: string; tone: Tone; about: string }> = {
	queued: { name: "Queued", tone: "idle", about: "Waits until the machine fetches it." },
	accepted: { name: "Accepted", tone: "info", about: "The machine has it and prepares the start." },
	running: { name: "Running", tone: "info", about: "restic is at work." },
	succeeded: { name: "Succeeded", tone: "ok", about: "restic ended without an error." },
	succeeded_with_issues: {
		name: "With issues",
		tone: "warn",
		about: "There is a snapshot, but some files could not be read, or a script of the machine failed.",
	},
	failed: { name: "Failed", tone: "bad", about: "It did not do what was asked." },
	canceled: { name: "Canceled", tone: "idle", about: "Somebody stopped it." },
	lost: { name: "Lost", tone: "bad", about: "Nothing was heard of the machine for so long that the job is given up." },
	rejected: { name: "Rejected", tone: "bad", about: "The machine refused it before restic began." },
	expired: { name: "Expired", tone: "bad", about: "The machine did not fetch it in time." },
};

export type Protection = "protected" | "at_risk" | "failing" | "never_backed_up" | "revoked";

export const protectionWords: Record<Protection, { name: string; tone: Tone; about: string }> = {
	protected: { name: "Protected", tone: "ok", about: "The last backup succeeded, and recently." },
	at_risk: { name: "At risk", tone: "warn", about: "The last good backup is old, or had issues." },
	failing: { name: "Failing", tone: "bad", about: "The last backup did not succeed." },
	never_backed_up: { name: "Never backed up", tone: "idle", about: "No backup of this machine ever succeeded." },
	revoked: { name: "Revoked", tone: "idle", about: "This machine may not speak to the server any more." },
};

export const statusWords: Record<Host["status"], { name: string; tone: Tone }> = {
	online: { name: "Online", tone: "ok" },
	offline: { name: "Offline", tone: "warn" },
	never_seen: { name: "Not seen yet", tone: "idle" },
	revoked: { name: "Revoked", tone: "idle" },
};

export type Outcome = "run" | "coalesced" | "missed" | "skipped";

/** What became of a due time of a policy; each has exactly one outcome. */
export const outcomeWords: Record<Outcome, { name: string; tone: Tone; about: string }> = {
	run: { name: "Ran", tone: "ok", about: "A job of its own was made; the job says how it ended." },
	coalesced: {
		name: "Joined",
		tone: "info",
		about: "A backup of the policy that had not begun yet stood for it: one does for both.",
	},
	missed: {
		name: "Missed",
		tone: "bad",
		about: "Nothing ran: the machine or its agent was off, or the repository could not be opened without the server.",
	},
	skipped: {
		name: "Skipped",
		tone: "warn",
		about: "Nothing ran by the policy's own rules: it was too late after the due time.",
	},
};

/** Why a job is where it is, in one sentence. */
export function reasonOf(job: Job, cancelAsked = Boolean(job.cancel_requested_at)): string {
	if (job.error?.message) return sentence(job.error.message);
	if (cancelAsked && (job.state === "running" || job.state === "accepted"))
		return "Asked to stop; restic gets up to 90 s to end in order.";
	if (job.disconnected_since)
		return "The machine does not answer. restic goes on there, and its result arrives when it is back.";
	if (job.stalled_since) return "restic has neither read nor written for a while.";
	return stateWords[job.state].about;
}

/** Begins with a capital letter and ends with a full stop. */
export function sentence(text: string): string {
	const t = text.trim();
	if (t === "") return t;
	const first = t[0] ?? "";
	// A name such as restic keeps its small letter.
	const begin = t.startsWith("restic") ? t : first.toUpperCase() + t.slice(1);
	return /[.!?…]$/.test(begin) ? begin : `${begin}.`;
}

import type { Job } from "../../api/types";
import { bytes, count, counted } from "../../lib/bytes";
import { duration } from "../../lib/time";
import { kindWords, sentence } from "../../lib/words";

type Summary = NonNullable<Job["summary"]>;
export type HookRun = NonNullable<Summary["hooks"]>[number];

/** One thing that was asked, or came out. Texts from outside are apart, so that they are shown as such. */
export interface Fact {
	label: string;
	/** Our own words. */
	value?: string;
	/** Paths, patterns, tags, ids: to the letter. */
	texts?: string[];
	/** The texts are ids that are best shown short. */
	ids?: boolean;
	tone?: "warn" | "bad";
}

/** What a job was asked, in words. */
export function asked(job: Pick<Job, "kind" | "spec">): Fact[] {
	// Which of the specs it is says the kind; their fields do not clash.
	const s = job.spec as Record<string, unknown>;
	const facts: Fact[] = [];
	const texts = (label: string, of: unknown, ids?: boolean) => {
		if (Array.isArray(of) && of.length > 0) facts.push({ label, texts: of.map(String), ids });
	};
	const flag = (label: string, of: unknown, value: string) => {
		if (of) facts.push({ label, value });
	};
	switch (job.kind) {
		case "backup":
			texts("Folders", s.paths);
			if (s.stdin_hook) texts("What the script writes", [s.stdin_hook]);
			if (s.stdin_name) texts("File in the snapshot", [s.stdin_name]);
			texts("Scripts before", s.hooks_before);
			texts("Scripts after", s.hooks_after);
			flag("When one before fails", s.hook_failure === "continue", "The backup is made all the same");
			texts("Left out", s.excludes);
			flag("Caches", s.exclude_caches, "Folders with a CACHEDIR.TAG are left out");
			flag("File systems", s.one_file_system, "Stays on the file system of each folder");
			if (Number(s.exclude_larger_than) > 0)
				facts.push({ label: "Large files", value: `Those above ${bytes(Number(s.exclude_larger_than))} are left out` });
			texts("Tags", s.tags);
			if (Number(s.upload_limit_kib) > 0)
				facts.push({ label: "Upload", value: `At most ${bytes(Number(s.upload_limit_kib) * 1024)}/s` });
			if (Number(s.download_limit_kib) > 0)
				facts.push({ label: "Download", value: `At most ${bytes(Number(s.download_limit_kib) * 1024)}/s` });
			flag("Nice", s.cpu_nice, String(s.cpu_nice));
			flag("Disks", s.io_class, s.io_class === "idle" ? "Only when nobody else reads or writes" : "After normal work");
			break;
		case "estimate":
			texts("Folders", s.paths);
			texts("Left out", s.excludes);
			flag("Caches", s.exclude_caches, "Folders with a CACHEDIR.TAG are left out");
			flag("File systems", s.one_file_system, "Stays on the file system of each folder");
			if (Number(s.exclude_larger_than) > 0)
				facts.push({ label: "Large files", value: `Those above ${bytes(Number(s.exclude_larger_than))} are left out` });
			break;
		case "restore":
			texts("Snapshot", [s.snapshot_id], true);
			if (Array.isArray(s.paths) && s.paths.length > 0) texts("Paths", s.paths);
			else facts.push({ label: "Paths", value: "Everything in the snapshot" });
			if (s.target) texts("New folder", [s.target]);
			else facts.push({ label: "New folder", value: "Named after the job, in the machine's restore folder" });
			flag("Verified", s.verify, "What was written is read again and compared");
			break;
		case "check":
			facts.push({
				label: "Data",
				value: s.read_data
					? "All stored data is read and verified"
					: s.read_data_subset
						? subset(String(s.read_data_subset))
						: "The structure alone; stored data is not read",
			});
			break;
		case "prune":
			facts.push({
				label: "Unused space",
				value:
					s.max_unused_percent === undefined || s.max_unused_percent === null
						? "At most 5 % may stay (restic's default)"
						: `At most ${count(Number(s.max_unused_percent))} % may stay`,
			});
			break;
		case "forget":
			texts("Snapshots", s.snapshot_ids, true);
			break;
		default:
			facts.push({ label: "What", value: kindWords[job.kind].about });
	}
	flag("Dry run", s.dry_run, "Nothing is written; it only says what would be");
	return facts;
}

function subset(text: string): string {
	const part = /^(\d+)\/(\d+)$/.exec(text);
	return part
		? `Part ${part[1]} of ${part[2]} of the stored data is read and verified`
		: `${text.replace("%", " %")} of the stored data, chosen at random, is read and verified`;
}

/** The figures of how a job came out, the most telling first. */
export function figures(job: Pick<Job, "kind" | "summary" | "exit_code" | "elapsed_seconds">): Fact[] {
	const s: Summary = job.summary ?? {};
	const facts: Fact[] = [];
	const size = (label: string, n: number | undefined) => n !== undefined && facts.push({ label, value: bytes(n) });
	const number = (label: string, n: number | undefined) => n !== undefined && facts.push({ label, value: count(n) });
	if (job.summary && hasFigures(job.summary)) {
		const would = s.dry_run ? " (would be)" : "";
		switch (job.kind) {
			case "backup":
				size(`New data${would}`, s.data_added ?? 0);
				if (s.data_added_packed) size("Stored, compressed", s.data_added_packed);
				size("Size of the backup", s.total_bytes_processed ?? 0);
				number("Files", s.total_files_processed ?? 0);
				number("New files", s.files_new ?? 0);
				number("Changed files", s.files_changed ?? 0);
				number("Unchanged files", s.files_unmodified ?? 0);
				number(
					"Folders new, changed",
					s.dirs_new || s.dirs_changed ? (s.dirs_new ?? 0) + (s.dirs_changed ?? 0) : undefined,
				);
				break;
			case "restore":
				number("Files restored", s.files_restored ?? 0);
				size("Restored", s.bytes_restored ?? 0);
				if (s.files_skipped) number("Files skipped", s.files_skipped);
				if (s.bytes_skipped) size("Skipped", s.bytes_skipped);
				if (s.restored_to) facts.push({ label: "Restored to", texts: [s.restored_to] });
				break;
			case "estimate":
				size("It would hold", s.total_bytes_processed ?? 0);
				number("Files", s.total_files_processed ?? 0);
				break;
			case "forget":
				number(`Snapshots removed${would}`, s.snapshots_removed ?? 0);
				break;
			case "unlock":
				number("Locks removed", s.locks_removed ?? 0);
				break;
			case "check":
				facts.push({
					label: "Errors found",
					value: count(s.check_errors ?? 0),
					tone: s.check_errors ? "bad" : undefined,
				});
				break;
			case "init":
				if (s.repository_id) facts.push({ label: "Repository", texts: [s.repository_id], ids: true });
				break;
		}
		if (s.restic_seconds) facts.push({ label: "restic's own time", value: duration(s.restic_seconds) });
	}
	// Where there is nothing but an error, the exit code stands with it.
	if (job.exit_code && job.summary) facts.push({ label: "Exit code", value: String(job.exit_code) });
	return facts;
}

/** Whether restic said anything: a job that ended before it has its scripts alone. */
function hasFigures(s: Summary): boolean {
	return Object.keys(s).some((k) => k !== "hooks") || !s.hooks;
}

/** What a job did, or does, in one phrase: "1.2 GiB new of 340 GiB, 12,044 files". */
export function outcome(job: Job): string {
	if (job.error?.message && job.state !== "canceled") return sentence(job.error.message);
	const s = job.summary;
	const dry = s?.dry_run ? "Dry run: " : "";
	if (s) {
		switch (job.kind) {
			case "backup": {
				const left = job.state === "succeeded_with_issues" ? `; ${issuesOf(job)}` : "";
				return `${dry}${bytes(s.data_added ?? 0)} new of ${bytes(s.total_bytes_processed ?? 0)}, ${counted(s.total_files_processed ?? 0, "file")}${left}`;
			}
			case "restore":
				return `${counted(s.files_restored ?? 0, "file")}, ${bytes(s.bytes_restored ?? 0)} restored`;
			case "forget":
				return `${dry}${counted(s.snapshots_removed ?? 0, "snapshot")} removed`;
			case "unlock":
				return s.locks_removed ? `${counted(s.locks_removed, "lock")} removed` : "No stale lock was there";
			case "check":
				return s.check_errors ? `${counted(s.check_errors, "error")} found` : "No error found";
		}
	}
	switch (job.state) {
		case "succeeded":
			return (
				{ check: "No error found", init: "The repository was made", prune: "Unused data was removed" }[
					job.kind as string
				] ?? "Done"
			);
		case "canceled":
			return job.started_at ? "Stopped before its end" : "Canceled before it began";
		case "running":
		case "accepted":
		case "queued":
			return orderedPhrase(job);
	}
	return "";
}

/** The scripts of the machine that failed in a job. */
export function failedHooks(job: Pick<Job, "summary">): HookRun[] {
	return (job.summary?.hooks ?? []).filter((h) => h.failure);
}

/** What came out other than it should in a job that succeeded with issues: paths that could not be read, scripts that failed. */
export function issuesOf(job: Pick<Job, "summary" | "issues" | "issues_dropped">): string {
	const failed = failedHooks(job).length;
	const scripts = failed > 0 ? `${counted(failed, "script")} of the machine failed` : "";
	const none = job.issues !== undefined ? job.issues.length + (job.issues_dropped ?? 0) === 0 : failed > 0;
	if (scripts && none && !job.issues_dropped) return scripts;
	return scripts ? `${leftOut(job)}, ${scripts}` : leftOut(job);
}

/** How many paths could not be read, as far as the job says: a list of jobs has the number of those beyond the first ones. */
export function leftOut(job: Pick<Job, "issues" | "issues_dropped">): string {
	const dropped = job.issues_dropped ?? 0;
	if (job.issues) return `${counted(job.issues.length + dropped, "path")} could not be read`;
	return dropped > 0 ? `more than ${counted(dropped, "path")} could not be read` : "some files could not be read";
}

/** What a job that has not ended was asked, in one phrase. */
export function orderedPhrase(job: Pick<Job, "kind" | "spec">): string {
	const s = job.spec as { paths?: string[]; stdin_hook?: string; snapshot_id?: string; snapshot_ids?: string[] };
	switch (job.kind) {
		case "backup":
			return s.stdin_hook ? `what ${s.stdin_hook} writes` : folders(s.paths ?? []);
		case "restore":
			return `from snapshot ${(s.snapshot_id ?? "").slice(0, 8)}`;
		case "forget":
			return counted(s.snapshot_ids?.length ?? 0, "snapshot");
		default:
			return kindWords[job.kind].about.replace(/\.$/, "");
	}
}

function folders(paths: readonly string[]): string {
	const [first, ...rest] = paths;
	return first === undefined ? "" : rest.length > 0 ? `${first} and ${count(rest.length)} more` : first;
}

/** Why a job waits, in words around the job or machine that it waits for. */
export function waitingWords(w: NonNullable<Job["waiting"]>): { before: string; after: string; names: boolean } {
	const kind = w.kind ? kindWords[w.kind].name.toLowerCase() : "job";
	switch (w.reason) {
		case "host_offline":
			return { before: "Waits until the machine is online again.", after: "", names: false };
		case "clone_alarm":
			return {
				before: "Waits: two machines use this machine's identity. Clear the alarm on its page.",
				after: "",
				names: false,
			};
		case "host_busy":
			return { before: "Waits for another job of this machine, its ", after: `${kind}.`, names: true };
		case "repository_busy":
			return { before: "Waits for ", after: `${kind} on the same repository.`, names: true };
		case "turn":
			return { before: "Waits for its turn behind other jobs of this machine.", after: "", names: false };
		case "delivery":
			return { before: "Nothing is in its way: the machine fetches it with its next call.", after: "", names: false };
	}
}

import type { Host } from "../../api/types";
import { adviceFor } from "../../lib/advice";
import { ago, duration } from "../../lib/time";
import { sentence, type Tone } from "../../lib/words";

/** Something about a machine that somebody should know or mend. */
export interface Finding {
	id:
		| "guard_broken"
		| "restic_missing"
		| "restic_too_old"
		| "failing"
		| "no_repository"
		| "never_backed_up"
		| "issues"
		| "overdue"
		| "listing_failed"
		| "clock_skew"
		| "offline"
		| "never_seen";
	tone: Tone;
	title: string;
	/** What it means and what to do. */
	text: string;
	/** The words of the machine. */
	foreign?: string;
	/** To be pasted on the machine. */
	command?: string;
	jobID?: string;
}

const hour = 3_600_000;

/** Everything about the machine that is not as it should be, the worst first. A clone alarm and a revocation stand apart. */
export function findings(h: Host, now: number): Finding[] {
	if (h.status === "revoked") return [];
	const found: Finding[] = [];
	if (h.status === "never_seen")
		found.push({
			id: "never_seen",
			tone: "info",
			title: "The agent has not spoken yet",
			text: "It was enrolled; what the machine is, and what it allows, is known with its first call. Orders wait for it.",
			command: "systemctl enable --now restic-manager-agent",
		});
	if (h.guard.broken)
		found.push({
			id: "guard_broken",
			tone: "bad",
			title: "The guard is broken: this machine refuses everything",
			text: "Mend /etc/restic-manager/guard.yaml on the machine, its owner or its mode. It holds from the next order on, without a restart.",
			foreign: h.guard.broken,
		});
	if (h.status !== "never_seen") found.push(...restic(h));
	found.push(...backups(h, now));
	if (h.listing_error)
		found.push({
			id: "listing_failed",
			tone: "warn",
			title: "The list of snapshots could not be renewed",
			text: "Backups go on. What is shown is older; test the repository to see whether it can be read now.",
			foreign: h.listing_error,
		});
	const skew = Math.abs(h.clock_skew_seconds);
	if (skew > 60)
		found.push({
			id: "clock_skew",
			tone: skew > 300 ? "bad" : "warn",
			title: `The clock is ${duration(skew)} ${h.clock_skew_seconds > 0 ? "ahead" : "behind"}`,
			text:
				skew > 300
					? "Times shown here are corrected. Snapshots carry the wrong time, and unlock, forget and prune are refused: restic tells old locks by the clock."
					: "Times shown here are corrected, but snapshots carry the machine's own. Above 5 min unlock, forget and prune are refused.",
			command: "timedatectl set-ntp true",
		});
	if (h.status === "offline" && h.last_seen_at && now - Date.parse(h.last_seen_at) > hour)
		found.push({
			id: "offline",
			tone: "warn",
			title: "The machine does not answer",
			text: `Nothing was heard of it since ${ago(h.last_seen_at, now)}. Orders wait a day for it. See that it runs and reaches the server:`,
			command: "restic-manager-agent status",
		});
	const order: Record<Tone, number> = { bad: 0, warn: 1, info: 2, idle: 3, ok: 4 };
	return found.sort((a, b) => order[a.tone] - order[b.tone]);
}

function restic(h: Host): Finding[] {
	if (h.restic_version === "")
		return [
			{
				id: "restic_missing",
				tone: "bad",
				title: "There is no restic on this machine",
				text: "Every order is refused until it is installed, 0.14.0 or newer. The agent finds it by itself, or where restic_path in agent.yaml says.",
				command: installRestic(h.facts.os_version),
			},
		];
	if (!atLeast(h.restic_version, [0, 14]))
		return [
			{
				id: "restic_too_old",
				tone: "bad",
				title: `restic ${h.restic_version} is too old`,
				text: "Every order is refused until 0.14.0 or newer is installed.",
				command: installRestic(h.facts.os_version),
			},
		];
	return [];
}

function backups(h: Host, now: number): Finding[] {
	const last = h.last_backup;
	switch (h.protection) {
		case "failing":
			// The alarm alone makes it so, and stands above.
			if (!last || h.clone_alarm) return [];
			return [
				{
					id: "failing",
					tone: "bad",
					title: `The last backup ${last.state === "lost" ? "was lost" : last.state === "expired" ? "expired" : last.state === "rejected" ? "was refused" : "failed"}`,
					text: sentence(adviceFor(last.error_code) ?? "Its log has the reason"),
					jobID: last.job_id,
				},
			];
		case "never_backed_up":
			if (last && !["succeeded", "succeeded_with_issues"].includes(last.state))
				return [
					{
						id: "failing",
						tone: "bad",
						title: "The first backup did not succeed",
						text: sentence(adviceFor(last.error_code) ?? "Its log has the reason"),
						jobID: last.job_id,
					},
				];
			if (!hasRepository(h) && h.status !== "never_seen")
				return [
					{
						id: "no_repository",
						tone: "warn",
						title: "No repository",
						text: "Backups need a place to go: set a repository here, or name one in agent.yaml on the machine.",
					},
				];
			return [
				{
					id: "never_backed_up",
					tone: "warn",
					title: "Never backed up",
					text: "Order the first backup: Back up now.",
				},
			];
		case "at_risk":
			if (last?.state === "succeeded_with_issues")
				return [
					{
						id: "issues",
						tone: "warn",
						title: "The last backup had issues",
						text: "There is a snapshot, but some files could not be read, or a script of the machine failed. The job names them.",
						jobID: last.job_id,
					},
				];
			return [
				{
					id: "overdue",
					tone: "warn",
					title: "The last good backup is old",
					text: `It ended ${h.last_success_at ? ago(h.last_success_at, now) : "long ago"}. Back up now.`,
				},
			];
		default:
			return [];
	}
}

/** Whether the machine knows where its backups go. */
export function hasRepository(h: Pick<Host, "repository" | "reported_repositories">): boolean {
	return h.repository !== undefined || h.reported_repositories.length > 0;
}

/** Whether a version is this one or newer; a version that cannot be read is not held against anybody. */
export function atLeast(version: string, least: readonly number[]): boolean {
	const m = /^(\d+)\.(\d+)(?:\.(\d+))?/.exec(version);
	if (!m) return true;
	const parts = [m[1], m[2], m[3] ?? "0"].map(Number);
	for (let i = 0; i < parts.length; i++) {
		const d = (parts[i] ?? 0) - (least[i] ?? 0);
		if (d !== 0) return d > 0;
	}
	return true;
}

/** How restic is installed there. */
export function installRestic(osVersion: string): string {
	const os = osVersion.toLowerCase();
	if (/fedora|red hat|centos|rocky|alma|oracle linux/.test(os)) return "dnf install restic";
	if (/alpine/.test(os)) return "apk add restic";
	if (/arch|manjaro/.test(os)) return "pacman -S restic";
	if (/suse/.test(os)) return "zypper install restic";
	return "apt-get install restic";
}

import type { Host, JobKind, Role } from "../api/types";
import { duration } from "./time";
import { kindWords } from "./words";

/** What the answer depends on. */
export type Subject = Pick<
	Host,
	"status" | "guard" | "kinds" | "clone_alarm" | "clock_skew_seconds" | "agent_version" | "name"
>;

/** Kinds that restic decides by the local clock: it tells a stale lock by its age. */
const byClock: readonly JobKind[] = ["unlock", "forget", "prune"];
/** Above this the agent refuses them. */
const mostSkewSeconds = 300;

/**
 * Why this kind of job cannot be ordered now, in a sentence that says what to do; undefined when it can. The agent
 * decides in the end: this only spares an order that it would refuse.
 */
export function whyNot(host: Subject, kind: JobKind, role: Role | undefined): string | undefined {
	if (role === "viewer") return "Your account only reads. Ask an operator.";
	if (host.status === "revoked") return "This machine is revoked. Enroll it again to give it work.";
	if (host.clone_alarm) return "Two machines speak with this identity. Settle that first.";
	// Before the first hello nothing is known of the machine; an order waits for it.
	if (host.status === "never_seen" && host.guard.kinds.length === 0 && !host.guard.broken) return undefined;
	if (host.guard.broken !== undefined && host.guard.broken !== "")
		return "The machine's guard is broken and refuses everything. Mend guard.yaml there.";
	if (host.kinds.length > 0 && !host.kinds.includes(kind))
		return `The agent there (${host.agent_version || "unknown version"}) does not know this kind. Update it.`;
	if (!host.guard.kinds.includes(kind)) return `Not allowed there: ${refusal(kind)}`;
	if (byClock.includes(kind) && Math.abs(host.clock_skew_seconds) > mostSkewSeconds)
		return `The machine's clock is off by ${duration(Math.abs(host.clock_skew_seconds))}, and restic tells old locks by it. Set the clock (timedatectl set-ntp true).`;
	return undefined;
}

/** What has to happen before the machine allows the kind: the keys that the agent's guard names when it refuses. */
export function refusal(kind: JobKind): string {
	switch (kind) {
		case "forget":
		case "prune":
			return `its owner has to set maintenance.${kind}: true in guard.yaml on the machine.`;
		case "rotate_key":
			return "its owner has to set maintenance.keys: true in guard.yaml on the machine.";
		case "restore":
			return "its owner has to set restore.mode: staging in guard.yaml on the machine.";
		case "unlock":
			return "its owner has to set maintenance.unlock: own-dead-locks-only in guard.yaml on the machine.";
		default:
			return `its owner has to name ${kind} under kinds in guard.yaml on the machine.`;
	}
}

/** Whether the machine's owner allows the kind at all, whatever else stands in its way; undefined before it is known. */
export function guardAllows(host: Pick<Host, "guard" | "status">, kind: JobKind): boolean | undefined {
	if (host.guard.broken) return false;
	if (host.guard.kinds.length === 0 && host.guard.summary === "") return undefined;
	return host.guard.kinds.includes(kind);
}

/** The kinds in the order in which they are offered. */
export const kindsShown = Object.keys(kindWords) as JobKind[];

import { exact } from "../../lib/time";

/** One particular of a change, as people read it. */
export interface Particular {
	name: string;
	/** What it was, where the trail tells both. */
	from?: string;
	value: string;
}

const time = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/;

function text(value: unknown): string {
	if (value === null || value === undefined || value === "") return "none";
	if (typeof value === "boolean") return value ? "yes" : "no";
	if (typeof value === "string") return time.test(value) ? exact(value) : value;
	if (Array.isArray(value)) return value.length === 0 ? "none" : value.map(text).join(", ");
	if (typeof value === "object") {
		const entries = Object.entries(value);
		return entries.length === 0
			? "none"
			: entries
					.map(([k, v]) => (v === "" ? k : `${k}=${typeof v === "object" ? JSON.stringify(v) : String(v)}`))
					.join(", ");
	}
	return String(value);
}

function isChange(value: unknown): value is { from: unknown; to: unknown } {
	return (
		typeof value === "object" &&
		value !== null &&
		Object.keys(value).length === 2 &&
		Object.hasOwn(value, "from") &&
		Object.hasOwn(value, "to")
	);
}

/** The detail of an entry as names and values: {role: {from, to}} becomes one row that tells both. */
export function particulars(detail: Readonly<Record<string, unknown>>): Particular[] {
	return Object.entries(detail).map(([key, value]) => {
		const name = key.replaceAll("_", " ");
		return isChange(value) ? { name, from: text(value.from), value: text(value.to) } : { name, value: text(value) };
	});
}

/** What was done, in words; an action that is not known here stands for itself. */
const words: Record<string, string> = {
	"enrollment_token.create": "Made an enrollment token",
	"enrollment_token.delete": "Voided an enrollment token",
	"host.clear_clone_alarm": "Cleared a clone alarm",
	"host.clone_alarm": "Raised a clone alarm",
	"host.delete": "Deleted a machine",
	"host.enroll": "Enrolled",
	"host.revoke": "Revoked a machine",
	"host.update": "Changed a machine",
	"job.cancel": "Asked a job to stop",
	"job.create": "Ordered a job",
	"operator.create": "Made an operator",
	"operator.delete": "Deleted an operator",
	"operator.update": "Changed an operator",
	"password.change": "Changed their password",
	"repository.delete": "Removed a repository",
	"repository.put": "Named a repository",
	"session.create": "Signed in",
	"session.end": "Signed out",
	"session.revoke": "Ended a session",
};

export const actions = Object.keys(words);

export function actionWords(action: string): string {
	return words[action] ?? action;
}

/** noun:id → its parts. */
export function targetOf(target: string): { noun: string; id: string } | undefined {
	const at = target.indexOf(":");
	return at > 0 ? { noun: target.slice(0, at), id: target.slice(at + 1) } : undefined;
}

/** What an entry is about, by name where its detail has one. */
export function subject(entry: { target: string; detail: Readonly<Record<string, unknown>> }): string {
	for (const key of ["name", "username", "host_name"]) {
		const v = entry.detail[key];
		if (typeof v === "string" && v !== "")
			return key === "host_name" && entry.detail.kind ? `${entry.detail.kind} on ${v}` : v;
	}
	const t = targetOf(entry.target);
	return t ? `${t.noun.replaceAll("_", " ")} ${t.id.slice(0, 8)}` : entry.target;
}

/** Days of the URL as times: from the first moment of one to the end of the other, in the reader's zone. */
export function bounds(from: string | undefined, to: string | undefined): { after?: string; before?: string } {
	const at = (day: string, plus: number) => {
		const [y = 0, m = 1, d = 1] = day.split("-").map(Number);
		const t = new Date(y, m - 1, d + plus);
		return Number.isNaN(t.getTime()) ? undefined : t.toISOString();
	};
	return { ...(from && { after: at(from, 0) }), ...(to && { before: at(to, 1) }) };
}

/** A program that signed in, in the fewest words: "Firefox on Linux"; what is not known stands for itself. */
export function programOf(agent: string): string {
	const browser = [
		[/Edg\//, "Edge"],
		[/OPR\//, "Opera"],
		[/Firefox\//, "Firefox"],
		[/(HeadlessChrome|Chrome|Chromium|CriOS)\//, "Chrome"],
		[/Safari\//, "Safari"],
		[/^curl\//, "curl"],
	].find(([pattern]) => (pattern as RegExp).test(agent))?.[1];
	if (!browser) return agent === "" ? "Unnamed program" : agent;
	const system = [
		[/Android/, "Android"],
		[/iPhone|iPad/, "iOS"],
		[/Windows/, "Windows"],
		[/Mac OS X|Macintosh/, "macOS"],
		[/CrOS/, "ChromeOS"],
		[/Linux|X11/, "Linux"],
	].find(([pattern]) => (pattern as RegExp).test(agent))?.[1];
	return system ? `${browser} on ${system}` : String(browser);
}

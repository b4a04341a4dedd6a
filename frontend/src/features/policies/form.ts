import type { Keep, Policy, PolicyDraft, PolicySpec } from "../../api/policies";
import { type BackupForm, backupFields, formOf as backupFormOf, specOf } from "../../lib/backupForm";
import { parseLabels } from "../../lib/labels";
import { aboutDumps, type HooksForm, hookFields, hooksFormOf, hooksOf } from "./hooks";
import { type WindowForm, windowError, windowForms, windowsOf } from "./windowForm";

/** The numbers of what is kept, as they are typed. */
export const keepNumbers = ["last", "hourly", "daily", "weekly", "monthly", "yearly", "within_days"] as const;
export type KeepNumber = (typeof keepNumbers)[number];

/** The editor's fields as they are typed. */
export interface PolicyForm {
	name: string;
	enabled: boolean;
	all: boolean;
	/** key=value or key; a machine has to have all of them. */
	labels: string[];
	ids: string[];
	/** A repository's id; "": each machine's own agent.yaml. */
	repository: string;
	backup: BackupForm;
	hooks: HooksForm;
	cron: string;
	zone: string;
	/** Seconds. */
	spread: number;
	/** Seconds after the due time; 0: until the next one is due. */
	late: number;
	catchUp: boolean;
	/** Seconds; 0: the server's own. */
	timeLimit: number;
	keep: Record<KeepNumber, string>;
	keepTags: string;
	windows: WindowForm[];
	skipOnBattery: boolean;
	skipOnMetered: boolean;
}

export type PolicyErrors = Partial<Record<string, string>>;

/** The form of a policy; without one: of a new one. */
export function formOf(p: PolicyDraft | undefined, zone: string): PolicyForm {
	const s = p?.spec;
	return {
		name: p?.name ?? "",
		enabled: p?.enabled ?? true,
		all: s?.hosts.all ?? false,
		labels: Object.entries(s?.hosts.labels ?? {})
			.map(([k, v]) => (v === "" ? k : `${k}=${v}`))
			.sort(),
		ids: s?.hosts.ids ?? [],
		repository: s?.repository_id ?? "",
		backup: backupFormOf(s?.backup),
		hooks: hooksFormOf(s?.backup),
		cron: s?.schedule.cron ?? "0 2 * * *",
		zone: s?.schedule.zone || zone,
		spread: s ? (s.schedule.spread_seconds ?? 0) : 3600,
		late: s?.schedule.late_seconds ?? 0,
		catchUp: !s?.schedule.no_catch_up,
		timeLimit: s?.time_limit_seconds ?? 0,
		keep: keepForm(s?.keep),
		keepTags: (s?.keep?.tags ?? []).join(", "),
		windows: windowForms(s?.schedule.windows),
		skipOnBattery: s?.schedule.skip_on_battery === true,
		skipOnMetered: s?.schedule.skip_on_metered === true,
	};
}

function keepForm(keep: Keep | undefined): Record<KeepNumber, string> {
	return Object.fromEntries(keepNumbers.map((n) => [n, keep?.[n] ? String(keep[n]) : ""])) as Record<
		KeepNumber,
		string
	>;
}

/** Which field of the form a field of the body is. */
export const policyFields: Record<string, string> = {
	...backupFields,
	...hookFields,
	name: "name",
	hosts: "hosts",
	labels: "labels",
	ids: "ids",
	repository_id: "repository",
	repository: "repository",
	cron: "cron",
	zone: "zone",
	spread_seconds: "spread",
	late_seconds: "late",
	time_limit_seconds: "timeLimit",
	keep: "keep",
	windows: "windows",
	...Object.fromEntries(keepNumbers.map((n) => [n, n])),
};

/** What is kept of the form, or what is wrong; undefined: everything. */
export function keepOf(f: Pick<PolicyForm, "keep" | "keepTags">): { keep?: Keep } | { errors: PolicyErrors } {
	const errors: PolicyErrors = {};
	const keep: Keep = {};
	for (const n of keepNumbers) {
		const text = f.keep[n].trim();
		if (text === "" || text === "0") continue;
		if (!/^\d{1,5}$/.test(text)) errors[n] = "A whole number";
		else keep[n] = Number(text);
	}
	const tags = [...new Set(f.keepTags.split(/[,\s]+/).filter((t) => t !== ""))];
	if (tags.length > 0) keep.tags = tags;
	if (Object.keys(errors).length > 0) return { errors };
	return Object.keys(keep).length > 0 ? { keep } : {};
}

/** What is sent, or what is wrong with which field. */
export function draftOf(f: PolicyForm): { draft: PolicyDraft } | { errors: PolicyErrors } {
	const errors: PolicyErrors = {};
	if (f.name.trim() === "") errors.name = "Give it a name";
	const labels = parseLabels(f.labels.join(","));
	if ("error" in labels) errors.labels = labels.error;
	if (!f.all && f.labels.length === 0 && f.ids.length === 0) errors.hosts = "Choose machines: all, by label or by name";
	// What is about folders is neither sent with a dump nor looked at.
	const backup = specOf(f.hooks.dump ? { ...f.backup, paths: "/", largerThan: "" } : f.backup);
	const hooks = hooksOf(f.hooks);
	if ("errors" in hooks) Object.assign(errors, hooks.errors);
	if ("errors" in backup) Object.assign(errors, backup.errors);
	if (f.cron.trim() === "") errors.cron = "Say when";
	for (const w of f.windows) {
		const wrong = windowError(w);
		if (wrong) errors[`window${w.key}`] = wrong;
	}
	const keep = keepOf(f);
	if ("errors" in keep) Object.assign(errors, keep.errors);
	if (
		"errors" in hooks ||
		"error" in labels ||
		"errors" in backup ||
		"errors" in keep ||
		Object.keys(errors).length > 0
	)
		return { errors };

	const spec: PolicySpec = {
		hosts: f.all
			? { all: true }
			: {
					...(f.ids.length > 0 && { ids: [...f.ids].sort() }),
					...(f.labels.length > 0 && { labels: labels.labels }),
				},
		backup: { ...(f.hooks.dump ? aboutDumps(backup.spec) : backup.spec), ...hooks.spec },
		schedule: {
			cron: f.cron.trim().replace(/\s+/g, " "),
			zone: f.zone,
			...(f.spread > 0 && { spread_seconds: f.spread }),
			...(f.late > 0 && { late_seconds: f.late }),
			...(!f.catchUp && { no_catch_up: true }),
			...(f.windows.length > 0 && { windows: windowsOf(f.windows) }),
			...(f.skipOnBattery && { skip_on_battery: true }),
			...(f.skipOnMetered && { skip_on_metered: true }),
		},
		...(f.repository !== "" && { repository_id: f.repository }),
		...(f.timeLimit > 0 && { time_limit_seconds: f.timeLimit }),
		...(keep.keep && { keep: keep.keep }),
	};
	return { draft: { name: f.name.trim(), enabled: f.enabled, spec } };
}

/** What is kept, in a phrase: "7 daily, 4 weekly, 12 monthly"; "everything". */
export function keepWords(keep: Keep | undefined): string {
	const parts: string[] = [];
	if (keep?.last) parts.push(`the last ${keep.last}`);
	for (const n of ["hourly", "daily", "weekly", "monthly", "yearly"] as const)
		if (keep?.[n]) parts.push(`${keep[n]} ${n}`);
	if (keep?.within_days) parts.push(`all of ${keep.within_days === 1 ? "the last day" : `${keep.within_days} days`}`);
	if (keep?.tags?.length) parts.push(`those tagged ${keep.tags.join(", ")}`);
	return parts.length > 0 ? parts.join(", ") : "everything";
}

/** Whom it is for, in a phrase: "all machines", "env=prod", "3 machines by name". */
export function whoWords(hosts: PolicySpec["hosts"]): string {
	if (hosts.all) return "all machines";
	const labels = Object.entries(hosts.labels ?? {})
		.map(([k, v]) => (v === "" ? k : `${k}=${v}`))
		.sort();
	const ids = hosts.ids?.length ?? 0;
	const parts = [...(labels.length > 0 ? [labels.join(" and ")] : []), ...(ids > 0 ? [`${ids} by name`] : [])];
	return parts.length > 0 ? parts.join(", and ") : "none";
}

/** Whether the policy as it is now differs from what an editor began with. */
export function movedOn(now: Pick<Policy, "version">, base: number | undefined): boolean {
	return base !== undefined && now.version !== base;
}

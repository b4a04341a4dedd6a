import type { CreateRepository, Maintenance, Repository, UpdateRepository } from "../../api/repositories";
import { type Backend, backendOrder, partsOf, placeURL } from "../../lib/place";

/** One of the three works of maintenance. */
export type Work = "forget" | "prune" | "check";
export const works = ["forget", "prune", "check"] as const satisfies Work[];

/** The form's fields as they are typed. */
export interface RepositoryForm {
	name: string;
	backend: Backend;
	parts: Record<string, string>;
	/** The location is written as restic reads it, in url. */
	raw: boolean;
	url: string;
	/** A new password is made by the server, none is changed of a repository that is there. */
	password: "keep" | "generate" | "own";
	ownPassword: string;
	appendOnly: boolean;
	/** It is made by itself where there is none yet. */
	autoInit: boolean;
	/** Whether the credentials are set anew: what was set cannot be shown. */
	setEnv: boolean;
	env: Record<string, string>;
	/** Maintenance has credentials of its own. */
	second: boolean;
	setSecond: boolean;
	secondEnv: Record<string, string>;
	runner: string;
	maintained: boolean;
	zone: string;
	crons: Record<Work, { on: boolean; cron: string }>;
	checkParts: string;
	maxUnused: string;
}

export type RepositoryErrors = Partial<Record<string, string>>;

const defaults: Record<Work, string> = { forget: "30 4 * * *", prune: "0 5 * * 0", check: "0 6 * * 6" };

/** The form of a repository; without one: of a new one, with what is nearly always right. */
export function formOf(r: Repository | undefined, zone: string): RepositoryForm {
	const backend: Backend = r ? (backendOrder.find((b) => b === r.backend) ?? "rest") : "rest";
	const parts = r && partsOf(r.url, backend);
	const m = r?.maintenance;
	const work = (w: Work) => ({ on: m ? Boolean(m[w]) : true, cron: m?.[w] || defaults[w] });
	return {
		name: r?.name ?? "",
		backend,
		parts: { ...parts },
		raw: r !== undefined && parts === undefined,
		url: r?.url ?? "",
		password: r ? "keep" : "generate",
		ownPassword: "",
		appendOnly: r?.append_only ?? false,
		autoInit: r?.auto_init ?? true,
		setEnv: r === undefined,
		env: {},
		second: (r?.maintenance_env_keys.length ?? 0) > 0,
		setSecond: (r?.maintenance_env_keys.length ?? 0) === 0,
		secondEnv: {},
		runner: r?.runner?.id ?? "",
		maintained: m?.enabled ?? false,
		zone: m?.zone || zone,
		crons: { forget: work("forget"), prune: work("prune"), check: work("check") },
		checkParts: String(m?.check_parts || 10),
		maxUnused: m?.max_unused_percent === undefined ? "" : String(m.max_unused_percent),
	};
}

/** Which field of the form a field of the body is. */
export const repositoryFields: Record<string, string> = {
	name: "name",
	url: "url",
	repository: "url",
	password: "ownPassword",
	append_only: "appendOnly",
	auto_init: "autoInit",
	env: "env",
	maintenance_env: "secondEnv",
	runner_id: "runner",
	zone: "zone",
	forget: "forget",
	prune: "prune",
	check: "check",
	check_parts: "checkParts",
	max_unused_percent: "maxUnused",
};

/** The location as the form has it; undefined while parts of it are missing. */
export function urlOf(f: RepositoryForm): string | undefined {
	if (f.raw) return f.url.trim() || undefined;
	const made = placeURL(f.backend, f.parts);
	return "url" in made ? made.url : undefined;
}

/** What is sent of a new repository, or what is wrong with which field. */
export function newBodyOf(f: RepositoryForm): { body: CreateRepository } | { errors: RepositoryErrors } {
	const made = bodyOf(f, undefined);
	if ("errors" in made) return made;
	const { name = "", url = "", runner_id, ...rest } = made.body;
	return { body: { name, url, ...(runner_id && { runner_id }), ...rest } };
}

/** What is sent of a repository that is there: what changes, and nothing else. */
export function bodyOf(
	f: RepositoryForm,
	was: Repository | undefined,
): { body: UpdateRepository } | { errors: RepositoryErrors } {
	const errors: RepositoryErrors = {};
	if (f.name.trim() === "") errors.name = "Give it a name";
	let url = f.url.trim();
	if (f.raw) {
		if (url === "") errors.url = "Give the place as restic reads it";
	} else {
		const made = placeURL(f.backend, f.parts);
		if ("errors" in made) Object.assign(errors, made.errors);
		else url = made.url;
	}
	if (f.password === "own" && f.ownPassword === "") errors.ownPassword = "Give the password, or have one made";
	const maintenance = maintenanceOf(f, errors);
	if (f.appendOnly && f.second && f.setSecond && Object.keys(filled(f.secondEnv)).length === 0)
		errors.secondEnv = "Give them, or switch the second set off";
	if (Object.keys(errors).length > 0) return { errors };

	const body: UpdateRepository = {};
	if (f.name.trim() !== was?.name) body.name = f.name.trim();
	if (url !== was?.url) body.url = url;
	if (f.password === "own") body.password = f.ownPassword;
	if (f.appendOnly !== (was?.append_only ?? false)) body.append_only = f.appendOnly;
	if (f.autoInit !== (was?.auto_init ?? true)) body.auto_init = f.autoInit;
	if (f.setEnv && (was ? true : Object.keys(filled(f.env)).length > 0)) body.env = filled(f.env);
	const hadSecond = (was?.maintenance_env_keys.length ?? 0) > 0;
	if (f.second && f.setSecond) {
		if (Object.keys(filled(f.secondEnv)).length > 0) body.maintenance_env = filled(f.secondEnv);
	} else if (!f.second && hadSecond) body.maintenance_env = {};
	if (f.runner !== (was?.runner?.id ?? "")) body.runner_id = f.runner;
	if (!was || !same(maintenance, was.maintenance)) body.maintenance = maintenance;
	return { body };
}

function maintenanceOf(f: RepositoryForm, errors: RepositoryErrors): Maintenance {
	const m: Maintenance = { enabled: f.maintained, zone: f.zone };
	for (const w of works) {
		if (!f.crons[w].on) continue;
		m[w] = f.crons[w].cron.trim();
		if (f.maintained && m[w] === "") errors[w] = "Say when, or switch it off";
	}
	const parts = f.checkParts.trim();
	if (!/^\d+$/.test(parts) || Number(parts) < 1 || Number(parts) > 256) errors.checkParts = "A number from 1 to 256";
	else m.check_parts = Number(parts);
	const unused = f.maxUnused.trim();
	if (unused !== "" && !(/^\d+$/.test(unused) && Number(unused) <= 100))
		errors.maxUnused = "A whole number of percent, at most 100";
	else if (unused !== "") m.max_unused_percent = Number(unused);
	if (f.maintained && f.runner === "" && works.some((w) => f.crons[w].on))
		errors.runner = "Choose the machine that does it, or switch maintenance off";
	return m;
}

function same(a: Maintenance, b: Maintenance): boolean {
	const keys = ["enabled", "zone", "forget", "prune", "check", "check_parts", "max_unused_percent"] as const;
	// What is not set may be left out of an answer.
	const set = (v: string | number | boolean | undefined) => (v === "" || v === false ? undefined : v);
	return keys.every((k) => set(a[k]) === set(b[k]));
}

/** Those that have a value. */
export function filled(env: Readonly<Record<string, string>>): Record<string, string> {
	return Object.fromEntries(Object.entries(env).filter(([, v]) => v !== ""));
}

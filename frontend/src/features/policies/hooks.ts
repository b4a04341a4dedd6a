import type { BackupSpec, Host } from "../../api/types";

/** The hooks of a policy as they are typed. */
export interface HooksForm {
	/** What a script writes is backed up, in place of folders. */
	dump: boolean;
	stdinHook: string;
	stdinName: string;
	before: string[];
	after: string[];
	/** The backup is made all the same when a script before it fails. */
	goOn: boolean;
	/** Seconds; 0: the server's own. */
	limit: number;
}

/** Which field of the form a field of the spec is. */
export const hookFields = {
	hooks_before: "before",
	hooks_after: "after",
	hook_failure: "goOn",
	hook_time_limit_seconds: "hookLimit",
	stdin_hook: "stdinHook",
	stdin_name: "stdinName",
};

/** The hooks of what a policy backs up. */
export function hooksFormOf(s: BackupSpec | undefined): HooksForm {
	return {
		dump: Boolean(s?.stdin_hook),
		stdinHook: s?.stdin_hook ?? "",
		stdinName: s?.stdin_name ?? "",
		before: s?.hooks_before ?? [],
		after: s?.hooks_after ?? [],
		goOn: s?.hook_failure === "continue",
		limit: s?.hook_time_limit_seconds ?? 0,
	};
}

/** Whether a text may be the name of a hook: of a file, never a path. */
export const isHookName = (s: string): boolean => /^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$/.test(s);

const isFileName = (s: string): boolean => /^[A-Za-z0-9._@:+][A-Za-z0-9._@:+-]{0,127}$/.test(s) && !/^\.+$/.test(s);

const badName = (names: readonly string[]): string | undefined => {
	const bad = names.find((n) => !isHookName(n));
	if (bad !== undefined) return `"${bad}" is not the name of a script: letters, digits, . _ - and no path`;
	return names.length > 8 ? "8 at most" : undefined;
};

/** What is sent of the hooks, or what is wrong with which field. */
export function hooksOf(f: HooksForm): { spec: Partial<BackupSpec> } | { errors: Record<string, string> } {
	const errors: Record<string, string> = {};
	const put = (field: string, error: string | undefined) => {
		if (error !== undefined) errors[field] = error;
	};
	put("before", badName(f.before));
	put("after", badName(f.after));
	const hook = f.stdinHook.trim();
	const name = f.stdinName.trim();
	if (f.dump) {
		put("stdinHook", hook === "" ? "Name the script" : badName([hook]));
		if (!isFileName(name)) put("stdinName", "Give a file's name, such as database.sql");
	}
	if (Object.keys(errors).length > 0) return { errors };
	return {
		spec: {
			...(f.before.length > 0 && { hooks_before: f.before }),
			...(f.after.length > 0 && { hooks_after: f.after }),
			...(f.goOn && f.before.length > 0 && { hook_failure: "continue" as const }),
			...(f.limit > 0 && { hook_time_limit_seconds: f.limit }),
			...(f.dump && { stdin_hook: hook, stdin_name: name }),
		},
	};
}

/** What of a backup of folders is sent with a dump: what is about folders is not. */
export function aboutDumps(s: BackupSpec): BackupSpec {
	const { paths, excludes, exclude_caches, exclude_larger_than, one_file_system, ...rest } = s;
	return rest;
}

/** The names that the machines which a policy is for offer, and of how many machines each is. */
export function offeredBy(
	hosts: readonly Pick<Host, "id" | "hooks" | "labels">[],
	who: { all: boolean; labels: readonly string[]; ids: readonly string[] },
): Map<string, number> {
	const names = new Map<string, number>();
	for (const h of hosts) {
		const labelled =
			who.labels.length > 0 &&
			who.labels.every((l) => {
				const at = l.indexOf("=");
				return at < 0 ? h.labels[l] === "" : h.labels[l.slice(0, at)] === l.slice(at + 1);
			});
		if (!who.all && !labelled && !who.ids.includes(h.id)) continue;
		for (const name of h.hooks) names.set(name, (names.get(name) ?? 0) + 1);
	}
	return new Map([...names].sort(([a], [b]) => a.localeCompare(b)));
}

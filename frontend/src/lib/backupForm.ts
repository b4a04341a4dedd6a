import type { BackupSpec } from "../api/types";
import { cleanPath, linesOf, pathError } from "./lines";
import { exactSize, parseSize } from "./size";

/** The fields of a backup as they are typed. */
export interface BackupForm {
	paths: string;
	excludes: string;
	excludeCaches: boolean;
	oneFileSystem: boolean;
	largerThan: string;
	tags: string;
	uploadLimit: string;
	dryRun: boolean;
	downloadLimit: string;
	nice: string;
	ioClass: NonNullable<BackupSpec["io_class"]> | "";
}

export type BackupField = keyof BackupForm;

/** Which field of the form a field of the spec is. */
export const backupFields: Record<string, BackupField> = {
	paths: "paths",
	excludes: "excludes",
	tags: "tags",
	exclude_larger_than: "largerThan",
	upload_limit_kib: "uploadLimit",
	exclude_caches: "excludeCaches",
	one_file_system: "oneFileSystem",
	dry_run: "dryRun",
	download_limit_kib: "downloadLimit",
	cpu_nice: "nice",
	io_class: "ioClass",
};

/** The form of what a backup was asked; without one: an empty form with what is nearly always right. A dry run is not repeated. */
export function formOf(spec: BackupSpec | null | undefined): BackupForm {
	return {
		paths: (spec?.paths ?? []).join("\n"),
		excludes: (spec?.excludes ?? []).join("\n"),
		excludeCaches: spec ? spec.exclude_caches === true : true,
		oneFileSystem: spec?.one_file_system === true,
		largerThan: spec?.exclude_larger_than ? exactSize(spec.exclude_larger_than) : "",
		tags: (spec?.tags ?? []).join(", "),
		uploadLimit: spec?.upload_limit_kib ? String(spec.upload_limit_kib) : "",
		dryRun: false,
		downloadLimit: spec?.download_limit_kib ? String(spec.download_limit_kib) : "",
		nice: spec?.cpu_nice ? String(spec.cpu_nice) : "",
		ioClass: spec?.io_class ?? "",
	};
}

/** A whole number as it is typed; empty is 0; undefined: it is none. */
function wholeNumber(text: string): number | undefined {
	const t = text.trim();
	return t === "" ? 0 : /^\d{1,10}$/.test(t) ? Number(t) : undefined;
}

/** The order, or what is wrong with which field. What is off or empty is left out of it. */
export function specOf(f: BackupForm): { spec: BackupSpec } | { errors: Partial<Record<BackupField, string>> } {
	const errors: Partial<Record<BackupField, string>> = {};
	const paths = linesOf(f.paths).map(cleanPath);
	if (paths.length === 0) errors.paths = "Give at least one absolute path";
	else errors.paths = pathError(paths);
	const largerThan = f.largerThan.trim() === "" ? 0 : parseSize(f.largerThan);
	if (largerThan === undefined) errors.largerThan = "Give a size such as 500 MiB or 2 GiB";
	const upload = f.uploadLimit.trim() === "" ? 0 : /^\d+$/.test(f.uploadLimit.trim()) ? Number(f.uploadLimit) : -1;
	if (upload < 0) errors.uploadLimit = "Give a whole number of KiB a second";
	const download = wholeNumber(f.downloadLimit);
	if (download === undefined) errors.downloadLimit = "Give a whole number of KiB a second";
	const nice = wholeNumber(f.nice);
	if (nice === undefined || nice > 19) errors.nice = "Give a whole number from 1 to 19";
	for (const [k, v] of Object.entries(errors)) if (v === undefined) delete errors[k as BackupField];
	if (Object.keys(errors).length > 0) return { errors };

	const spec: BackupSpec = { paths };
	const excludes = linesOf(f.excludes);
	const tags = [...new Set(f.tags.split(/[,\s]+/).filter((t) => t !== ""))];
	if (excludes.length > 0) spec.excludes = excludes;
	if (tags.length > 0) spec.tags = tags;
	if (f.excludeCaches) spec.exclude_caches = true;
	if (f.oneFileSystem) spec.one_file_system = true;
	if (largerThan) spec.exclude_larger_than = largerThan;
	if (upload) spec.upload_limit_kib = upload;
	if (download) spec.download_limit_kib = download;
	if (nice) spec.cpu_nice = nice;
	if (f.ioClass !== "") spec.io_class = f.ioClass;
	if (f.dryRun) spec.dry_run = true;
	return { spec };
}

/** The form with one pattern more. */
export function withExclude(f: BackupForm, pattern: string): BackupForm {
	const lines = linesOf(f.excludes);
	return lines.includes(pattern) ? f : { ...f, excludes: [...lines, pattern].join("\n") };
}

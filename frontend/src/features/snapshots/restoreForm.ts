import type { RestoreSpec } from "../../api/types";
import { cleanPath, linesOf, pathError } from "../../lib/lines";

/** The dialog's fields as they are typed. */
export interface RestoreForm {
	chosen: boolean;
	paths: string;
	target: string;
	verify: boolean;
}

export type RestoreField = "paths" | "target";

export const restoreFields: Record<string, RestoreField> = { paths: "paths", target: "target" };

/** The order, or what is wrong with which field. */
export function restoreSpecOf(
	f: RestoreForm,
	snapshotID: string,
): { spec: RestoreSpec } | { errors: Partial<Record<RestoreField, string>> } {
	const errors: Partial<Record<RestoreField, string>> = {};
	const paths = linesOf(f.paths).map(cleanPath);
	if (f.chosen) {
		const pattern = paths.find((p) => /[*?[\]\\]/.test(p));
		const wrong =
			paths.length === 0
				? "Give at least one path, or restore all"
				: (pathError(paths) ??
					(pattern && "The characters * ? [ ] \\ are patterns to restic; restore the folder above it"));
		if (wrong) errors.paths = wrong;
	}
	const target = f.target.trim();
	if (target !== "" && !/^[A-Za-z0-9._@:+][A-Za-z0-9._@:+-]{0,127}$/.test(target))
		errors.target = "Use 1 to 128 of the characters A-Z a-z 0-9 . _ @ : + -, not beginning with -";
	else if (/^\.+$/.test(target)) errors.target = "Give the name of a new folder, not dots";
	if (Object.keys(errors).length > 0) return { errors };
	const spec: RestoreSpec = { snapshot_id: snapshotID };
	if (f.chosen) spec.paths = paths;
	if (target !== "") spec.target = target;
	if (f.verify) spec.verify = true;
	return { spec };
}

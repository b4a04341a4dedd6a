import { Checkbox, Textarea, TextInput } from "@mantine/core";
import type { ReactNode } from "react";
import type { BackupField, BackupForm } from "../lib/backupForm";
import classes from "./BackupFields.module.css";
import { PatternHelp } from "./PatternHelp";

interface Props {
	form: BackupForm;
	set: <F extends BackupField>(field: F, value: BackupForm[F]) => void;
	error: (field: BackupField) => string | undefined;
	/** Below the field of the paths. */
	paths: string;
	/** After the paths. */
	note?: ReactNode;
	/** Has the first field take the focus. */
	focus?: boolean;
	/** After all that says what is left out: what tries it. */
	trial?: ReactNode;
	/** With the switch of a dry run. */
	dryRun?: boolean;
	/** The limits are elsewhere. */
	limitsElsewhere?: boolean;
}

/** What is backed up, as fields: for one order, and for a policy. */
export function BackupFields({ form, set, error, paths, note, focus, trial, dryRun, limitsElsewhere }: Props) {
	return (
		<>
			<Textarea
				className={classes.list}
				label="Paths"
				description={paths}
				required
				rows={4}
				data-autofocus={focus || undefined}
				spellCheck={false}
				autoCapitalize="none"
				value={form.paths}
				error={error("paths")}
				onChange={(e) => set("paths", e.currentTarget.value)}
			/>
			{note}
			<Textarea
				className={classes.list}
				label="Leave out"
				description="restic's patterns, one a line: *.tmp, /home/*/.cache, node_modules. * stands for part of a name, ** for any folders."
				rows={3}
				spellCheck={false}
				autoCapitalize="none"
				value={form.excludes}
				error={error("excludes")}
				onChange={(e) => set("excludes", e.currentTarget.value)}
			/>
			<PatternHelp />
			<div className={classes.options}>
				<Checkbox
					label="Leave out caches"
					description="Folders with a CACHEDIR.TAG: programs mark so what they can make again."
					checked={form.excludeCaches}
					onChange={(e) => set("excludeCaches", e.currentTarget.checked)}
				/>
				<Checkbox
					label="Stay on one file system"
					description="Does not go into other disks, network shares and containers that are mounted below the paths."
					checked={form.oneFileSystem}
					onChange={(e) => set("oneFileSystem", e.currentTarget.checked)}
				/>
				<TextInput
					label="Leave out files larger than"
					description="500 MiB, 2 GiB; empty: none is too large"
					value={form.largerThan}
					error={error("largerThan")}
					onChange={(e) => set("largerThan", e.currentTarget.value)}
				/>
				{!limitsElsewhere && (
					<TextInput
						label="Upload limit"
						description="KiB a second; empty: as fast as it goes"
						inputMode="numeric"
						value={form.uploadLimit}
						error={error("uploadLimit")}
						onChange={(e) => set("uploadLimit", e.currentTarget.value)}
					/>
				)}
				<TextInput
					label="Tags"
					description="Words on the snapshot to find it by: daily, before-upgrade"
					spellCheck={false}
					value={form.tags}
					error={error("tags")}
					onChange={(e) => set("tags", e.currentTarget.value)}
				/>
				{dryRun && (
					<Checkbox
						label="Dry run"
						description="Only says what would be stored: makes no snapshot, and does not count as a backup."
						checked={form.dryRun}
						onChange={(e) => set("dryRun", e.currentTarget.checked)}
					/>
				)}
			</div>
			{trial}
		</>
	);
}

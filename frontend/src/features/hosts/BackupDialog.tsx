import { Alert, Checkbox, Modal, Skeleton, Stack, Textarea, TextInput } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { lastBackupQuery } from "../../api/history";
import type { Host } from "../../api/types";
import { fieldErrors } from "../../lib/fields";
import { Foreign } from "../../ui/Foreign";
import { FormEnd, WaitsNote } from "../../ui/FormEnd";
import { Ordered, useOrdering } from "../../ui/Order";
import { type BackupField, type BackupForm, backupFields, formOf, specOf } from "./backupForm";
import classes from "./Host.module.css";

interface Props {
	host: Host;
	opened: boolean;
	close: () => void;
}

/** Orders a backup; begins with what the last one was asked. */
export function BackupDialog({ host, opened, close }: Props) {
	return (
		<Modal opened={opened} onClose={close} title={`Back up ${host.name}`} size={640}>
			<Inside host={host} close={close} />
		</Modal>
	);
}

function Inside({ host, close }: Omit<Props, "opened">) {
	const last = useQuery(lastBackupQuery(host.id));
	if (last.isPending)
		return (
			<Stack role="status" aria-label="Loading what the last backup was asked">
				<Skeleton height={110} />
				<Skeleton height={80} />
				<Skeleton height={60} />
			</Stack>
		);
	return <Form host={host} close={close} begin={formOf(last.data)} repeated={Boolean(last.data)} />;
}

function Form({ host, close, begin, repeated }: Omit<Props, "opened"> & { begin: BackupForm; repeated: boolean }) {
	const [form, setForm] = useState(begin);
	const [own, setOwn] = useState<Partial<Record<BackupField, string>>>({});
	const order = useOrdering(host.id);
	if (order.data) return <Ordered job={order.data.job} waited={order.data.waited} close={close} />;
	const refused = fieldErrors<BackupField>(order.error, backupFields);
	const error = (f: BackupField) => own[f] ?? refused.fields[f];
	const set = <F extends BackupField>(f: F, value: BackupForm[F]) => setForm((now) => ({ ...now, [f]: value }));

	function submit() {
		const made = specOf(form);
		if ("errors" in made) {
			setOwn(made.errors);
			return;
		}
		setOwn({});
		order.send({ kind: "backup", spec: made.spec });
	}
	return (
		<form
			onSubmit={(e) => {
				e.preventDefault();
				submit();
			}}
		>
			<Stack gap="md">
				<WaitsNote status={host.status} />
				{host.status !== "never_seen" && host.restic_version === "" && (
					<Alert color="yellow" variant="light">
						There is no restic on the machine yet: it refuses the job until there is.
					</Alert>
				)}
				<Textarea
					className={classes.list}
					label="Paths"
					description={
						repeated ? "Absolute, one a line. As the last backup was asked." : "Absolute, one a line: /etc, /home, /srv"
					}
					required
					rows={4}
					data-autofocus
					spellCheck={false}
					autoCapitalize="none"
					value={form.paths}
					error={error("paths")}
					onChange={(e) => set("paths", e.currentTarget.value)}
				/>
				{host.guard.summary.includes("; backups of ") && (
					<div className={classes.note}>
						The guard of the machine <Foreign>{host.guard.summary}</Foreign>.
					</div>
				)}
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
					<TextInput
						label="Upload limit"
						description="KiB a second; empty: as fast as it goes"
						inputMode="numeric"
						value={form.uploadLimit}
						error={error("uploadLimit")}
						onChange={(e) => set("uploadLimit", e.currentTarget.value)}
					/>
					<TextInput
						label="Tags"
						description="Words on the snapshot to find it by: daily, before-upgrade"
						spellCheck={false}
						value={form.tags}
						error={error("tags")}
						onChange={(e) => set("tags", e.currentTarget.value)}
					/>
					<Checkbox
						label="Dry run"
						description="Only says what would be stored: makes no snapshot, and does not count as a backup."
						checked={form.dryRun}
						onChange={(e) => set("dryRun", e.currentTarget.checked)}
					/>
				</div>
				<FormEnd
					wrong={refused.rest}
					close={close}
					action={form.dryRun ? "Try it" : "Back up now"}
					busy={order.isPending}
				/>
			</Stack>
		</form>
	);
}

import { Alert, Modal, Skeleton, Stack } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { meQuery } from "../../api/auth";
import { lastBackupQuery } from "../../api/history";
import type { BackupSpec, Host } from "../../api/types";
import { whyNot } from "../../lib/allowed";
import { type BackupField, type BackupForm, backupFields, formOf, specOf, withExclude } from "../../lib/backupForm";
import { fieldErrors } from "../../lib/fields";
import { linesOf } from "../../lib/lines";
import { BackupFields } from "../../ui/BackupFields";
import { Foreign } from "../../ui/Foreign";
import { FormEnd, WaitsNote } from "../../ui/FormEnd";
import { Ordered, useOrdering } from "../../ui/Order";
import { TryEstimate } from "../../ui/TryEstimate";
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
	return (
		<Form
			host={host}
			close={close}
			begin={formOf(last.data)}
			repeated={Boolean(last.data)}
			scripts={hasScripts(last.data)}
		/>
	);
}

const hasScripts = (s: BackupSpec | null | undefined) =>
	Boolean(s?.stdin_hook || s?.hooks_before?.length || s?.hooks_after?.length);

type FormProps = Omit<Props, "opened"> & { begin: BackupForm; repeated: boolean; scripts: boolean };

function Form({ host, close, begin, repeated, scripts }: FormProps) {
	const [form, setForm] = useState(begin);
	const [own, setOwn] = useState<Partial<Record<BackupField, string>>>({});
	const order = useOrdering(host.id);
	const { data: me } = useQuery(meQuery);
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
				{scripts && (
					<Alert color="yellow" variant="light">
						The last backup ran scripts of the machine. This one runs none: to repeat it, run its policy, or retry its
						job.
					</Alert>
				)}
				<BackupFields
					form={form}
					set={set}
					error={error}
					focus
					dryRun
					trial={
						<TryEstimate
							hosts={[{ ...host, reason: whyNot(host, "estimate", me?.role) }]}
							spec={() => {
								const made = specOf(form);
								setOwn("errors" in made ? made.errors : {});
								return "spec" in made ? made.spec : undefined;
							}}
							exclude={(pattern) => setForm((now) => withExclude(now, pattern))}
							excludes={linesOf(form.excludes)}
						/>
					}
					paths={
						repeated ? "Absolute, one a line. As the last backup was asked." : "Absolute, one a line: /etc, /home, /srv"
					}
					note={
						host.guard.summary.includes("; backups of ") && (
							<div className={classes.note}>
								The guard of the machine <Foreign>{host.guard.summary}</Foreign>.
							</div>
						)
					}
				/>
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

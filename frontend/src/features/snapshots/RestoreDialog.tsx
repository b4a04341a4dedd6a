import { Checkbox, Modal, Radio, Stack, Text, Textarea, TextInput } from "@mantine/core";
import { useState } from "react";
import type { Host, Snapshot } from "../../api/types";
import { bytes } from "../../lib/bytes";
import { fieldErrors } from "../../lib/fields";
import { Foreign } from "../../ui/Foreign";
import { FormEnd, WaitsNote } from "../../ui/FormEnd";
import { useOrdering } from "../../ui/Order";
import { type RestoreField, type RestoreForm, restoreFields, restoreSpecOf } from "./restoreForm";
import classes from "./Snapshots.module.css";

interface Props {
	host: Host;
	snapshot: Snapshot;
	opened: boolean;
	close: () => void;
	/** Leads to the job. */
	follow: (jobID: string) => void;
}

/** Orders a restore into a new folder of the machine. */
export function RestoreDialog(props: Props) {
	return (
		<Modal opened={props.opened} onClose={props.close} title={`Restore ${props.snapshot.short_id}`} size={600}>
			<Form {...props} />
		</Modal>
	);
}

function Form({ host, snapshot, close, follow }: Props) {
	const [form, setForm] = useState<RestoreForm>({ chosen: false, paths: "", target: "", verify: true });
	const [own, setOwn] = useState<Partial<Record<RestoreField, string>>>({});
	const order = useOrdering(host.id);
	const refused = fieldErrors<RestoreField>(order.error, restoreFields);
	const set = (to: Partial<RestoreForm>) => setForm((now) => ({ ...now, ...to }));
	const root = host.facts.restore_root;
	return (
		<form
			onSubmit={(e) => {
				e.preventDefault();
				const made = restoreSpecOf(form, snapshot.id);
				if ("errors" in made) {
					setOwn(made.errors);
					return;
				}
				setOwn({});
				order.send({ kind: "restore", spec: made.spec }, (job) => follow(job.id));
			}}
		>
			<Stack gap="md">
				<Text size="sm">
					The files are written on <Foreign>{host.name}</Foreign> into a new folder
					{root ? (
						<>
							{" "}
							below <Foreign mono>{root}</Foreign>
						</>
					) : (
						" below its restore root"
					)}
					, under their whole paths. Nothing that exists is overwritten: move things into place yourself, and delete the
					folder when you are done.
				</Text>
				<Radio.Group
					label="What"
					value={form.chosen ? "chosen" : "all"}
					onChange={(v) => set({ chosen: v === "chosen" })}
				>
					<Stack gap="xs" mt={6}>
						<Radio
							value="all"
							data-autofocus={!form.chosen || undefined}
							label="All of the snapshot"
							description={
								snapshot.size_bytes > 0
									? `${bytes(snapshot.size_bytes)}: see that there is room for it.`
									: "See that there is room for it."
							}
						/>
						<Radio value="chosen" label="Chosen paths" description="Files and folders as they stand in the snapshot." />
					</Stack>
				</Radio.Group>
				{form.chosen && (
					<Textarea
						className={classes.mono}
						label="Paths"
						description={
							<>
								Absolute, one a line. The snapshot holds{" "}
								<Foreign>{snapshot.paths.slice(0, 5).join(", ").slice(0, 300)}</Foreign>
							</>
						}
						rows={4}
						required
						spellCheck={false}
						autoCapitalize="none"
						value={form.paths}
						error={own.paths ?? refused.fields.paths}
						onChange={(e) => set({ paths: e.currentTarget.value })}
					/>
				)}
				<TextInput
					label="Name of the new folder"
					description="Empty: the job's id. A folder that exists is refused."
					spellCheck={false}
					value={form.target}
					error={own.target ?? refused.fields.target}
					onChange={(e) => set({ target: e.currentTarget.value })}
				/>
				<Checkbox
					label="Verify"
					description="restic reads back what it wrote and compares it. Takes about as long again."
					checked={form.verify}
					onChange={(e) => set({ verify: e.currentTarget.checked })}
				/>
				<WaitsNote status={host.status} />
				<FormEnd wrong={refused.rest} close={close} action="Restore" busy={order.isPending} />
			</Stack>
		</form>
	);
}

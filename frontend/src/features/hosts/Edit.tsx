import { Alert, Button, Group, Modal, Stack, Textarea, TextInput } from "@mantine/core";
import { useState } from "react";
import { useDeleteHost, useRevokeHost, useUpdateHost } from "../../api/hosts";
import type { Host } from "../../api/types";
import { fieldErrors } from "../../lib/fields";
import { labelsText, parseLabels } from "../../lib/labels";
import { Confirm } from "../../ui/Confirm";
import { done } from "../../ui/notify";
import classes from "./Host.module.css";

/** Name and labels. */
export function EditForm({ host, close }: { host: Host; close?: () => void }) {
	const update = useUpdateHost(host.id);
	const [name, setName] = useState(host.name);
	const [labels, setLabels] = useState(() => labelsText(host.labels).replaceAll(", ", "\n"));
	const [wrong, setWrong] = useState<string>();
	const refused = fieldErrors(update.error, { name: "name", labels: "labels" });
	return (
		<form
			onSubmit={(e) => {
				e.preventDefault();
				const parsed = parseLabels(labels);
				if ("error" in parsed) {
					setWrong(parsed.error);
					return;
				}
				setWrong(undefined);
				update.mutate(
					{ name: name.trim(), labels: parsed.labels },
					{
						onSuccess: () => {
							done("Name and labels are kept.");
							close?.();
						},
					},
				);
			}}
		>
			<Stack gap="md">
				<TextInput
					label="Name"
					description="As it is shown here. The hostname on its snapshots stays the machine's own."
					required
					data-autofocus
					spellCheck={false}
					value={name}
					error={refused.fields.name}
					onChange={(e) => setName(e.currentTarget.value)}
				/>
				<Textarea
					className={classes.list}
					label="Labels"
					description="One a line: env=prod, site=vienna, or a word alone. The fleet is filtered and grouped by them."
					rows={4}
					spellCheck={false}
					autoCapitalize="none"
					value={labels}
					error={wrong ?? refused.fields.labels}
					onChange={(e) => setLabels(e.currentTarget.value)}
				/>
				{refused.rest && (
					<Alert color="red" role="alert">
						{refused.rest}
					</Alert>
				)}
				<Group justify="flex-end">
					{close && (
						<Button variant="default" onClick={close}>
							Close
						</Button>
					)}
					<Button type="submit" loading={update.isPending} disabled={name.trim() === ""}>
						Keep
					</Button>
				</Group>
			</Stack>
		</form>
	);
}

interface DialogProps {
	host: Host;
	opened: boolean;
	close: () => void;
}

export function EditDialog({ host, opened, close }: DialogProps) {
	return (
		<Modal opened={opened} onClose={close} title={`Name and labels of ${host.name}`}>
			<EditForm host={host} close={close} />
		</Modal>
	);
}

export function RevokeDialog({ host, opened, close }: DialogProps) {
	const revoke = useRevokeHost(host.id);
	return (
		<Confirm
			opened={opened}
			close={close}
			title={`Revoke ${host.name}`}
			action="Revoke it"
			typed={host.name}
			danger
			run={async () => {
				await revoke.mutateAsync();
				done("Revoked: the machine may not speak to the server any more.");
			}}
		>
			The machine's credential is void at once: it gets no more jobs, and those that are open are lost. Its repository,
			its jobs and logs stay. It cannot be undone; the machine can be enrolled anew.
		</Confirm>
	);
}

export function DeleteDialog({ host, opened, close, gone }: DialogProps & { gone: () => void }) {
	const remove = useDeleteHost(host.id);
	return (
		<Confirm
			opened={opened}
			close={close}
			title={`Delete ${host.name}`}
			action="Delete it"
			typed={host.name}
			danger
			run={async () => {
				await remove.mutateAsync();
				done(`${host.name} is deleted.`);
				gone();
			}}
		>
			The machine is revoked, and deleted from the server with all its jobs and logs. What it backed up stays in its
			repository and can be read with restic. It cannot be undone.
		</Confirm>
	);
}

import { Button, Group, Modal, Stack, Text } from "@mantine/core";
import { type ReactNode, useEffect, useState } from "react";
import { accountFault } from "../../api/auth";
import { messageOf } from "../../api/problem";
import { type Repository, useKit, useReveal } from "../../api/repositories";
import { makePassword, passwordHint } from "../../lib/password";
import { Command, Copy } from "../../ui/Copy";
import { Foreign } from "../../ui/Foreign";
import { FormEnd } from "../../ui/FormEnd";
import { Note } from "../../ui/Note";
import { done } from "../../ui/notify";
import { SecretInput } from "../../ui/SecretInput";
import classes from "./Repositories.module.css";

interface Props {
	repository: Repository;
	opened: boolean;
	close: () => void;
}

/** Shows the secrets to who gives their own password once more; gone after a minute. */
export function RevealDialog({ repository, opened, close }: Props) {
	return (
		<Modal opened={opened} onClose={close} title={`The secrets of ${repository.name}`} size={560}>
			<Reveal repository={repository} close={close} />
		</Modal>
	);
}

const shownForSeconds = 60;

function Reveal({ repository, close }: Omit<Props, "opened">) {
	const reveal = useReveal(repository.id);
	const [password, setPassword] = useState("");
	const secrets = reveal.data;
	useEffect(() => {
		if (!secrets) return;
		const timer = setTimeout(close, shownForSeconds * 1000);
		return () => clearTimeout(timer);
	}, [secrets, close]);
	if (secrets)
		return (
			<Stack gap="md">
				<Note tone="info">The dialog closes by itself after a minute. That you looked is in the audit log.</Note>
				<Secret name="Password of the repository">{secrets.password}</Secret>
				{Object.entries(secrets.env).map(([k, v]) => (
					<Secret key={k} name={k}>
						{v}
					</Secret>
				))}
				{Object.entries(secrets.maintenance_env).map(([k, v]) => (
					<Secret key={k} name={`${k}, of maintenance`}>
						{v}
					</Secret>
				))}
				<Group justify="flex-end">
					<Button data-autofocus onClick={close}>
						Close
					</Button>
				</Group>
			</Stack>
		);
	const fault = accountFault(reveal.error);
	return (
		<form
			onSubmit={(e) => {
				e.preventDefault();
				if (password !== "" && !reveal.isPending) reveal.mutate(password, { onSettled: () => setPassword("") });
			}}
		>
			<Stack gap="md">
				<Text size="sm">
					Who has them can read all that is backed up here. To have them at hand in an emergency, make a recovery kit
					instead.
				</Text>
				<OwnPassword value={password} set={setPassword} error={fault?.message} />
				<FormEnd
					wrong={reveal.error && !fault ? messageOf(reveal.error) : undefined}
					close={close}
					action="Show them"
					busy={reveal.isPending}
					disabled={password === ""}
				/>
			</Stack>
		</form>
	);
}

function Secret({ name, children }: { name: ReactNode; children: string }) {
	return (
		<div className={classes.secret}>
			<span>{name}</span>
			<Command what="it">{children}</Command>
		</div>
	);
}

function OwnPassword({ value, set, error }: { value: string; set: (v: string) => void; error?: string }) {
	return (
		<SecretInput
			label="Your own password"
			description="The one you sign in with"
			required
			data-autofocus
			autoComplete="current-password"
			value={value}
			error={error}
			onChange={(e) => set(e.currentTarget.value)}
		/>
	);
}

/** Makes the recovery kit: all that is needed to restore without this server, locked by a passphrase. */
export function KitDialog({ repository, opened, close }: Props) {
	return (
		<Modal opened={opened} onClose={close} title={`Recovery kit of ${repository.name}`} size={580}>
			<Kit repository={repository} close={close} />
		</Modal>
	);
}

function Kit({ repository, close }: Omit<Props, "opened">) {
	const kit = useKit(repository.id);
	const [passphrase, setPassphrase] = useState("");
	const [password, setPassword] = useState("");
	const fault = accountFault(kit.error);
	const ready = [...passphrase].length >= 12 && password !== "";
	if (kit.data)
		return (
			<Stack gap="md">
				<Text size="sm">
					<b>{kit.data.name}</b> is in your downloads. Keep it where this server is not, print it if you like, and keep
					the passphrase apart from it. With <code className="rm-mono">age</code> alone it is opened so:
				</Text>
				<Command>{`age --decrypt ${kit.data.name}`}</Command>
				<Group justify="flex-end">
					<Button data-autofocus onClick={close}>
						It is in a safe place
					</Button>
				</Group>
			</Stack>
		);
	return (
		<form
			onSubmit={(e) => {
				e.preventDefault();
				if (!ready || kit.isPending) return;
				kit.mutate(
					{ passphrase, current_password: password },
					{
						onSuccess: ({ file, name }) => {
							download(file, name);
							setPassphrase("");
							done("The recovery kit is made.");
						},
						onSettled: () => setPassword(""),
					},
				);
			}}
		>
			<Stack gap="md">
				<Text size="sm">
					One encrypted file with the places, the passwords and the commands to restore, in plain words: what somebody
					needs who has lost this server. Make a new one whenever the secrets change.
				</Text>
				<div>
					<SecretInput
						label="Passphrase of the kit"
						description={passwordHint(passphrase)}
						required
						data-autofocus
						shows="Show the passphrase"
						autoComplete="new-password"
						value={passphrase}
						onChange={(e) => setPassphrase(e.currentTarget.value)}
					/>
					<Group gap={8} mt={6}>
						<Button size="compact-xs" variant="default" onClick={() => setPassphrase(makePassword())}>
							Make one
						</Button>
						{passphrase !== "" && (
							<>
								<span className={classes.about}>Write it down before you go on</span>
								<Copy value={passphrase} what="the passphrase" />
							</>
						)}
					</Group>
				</div>
				<SecretInput
					label="Your own password"
					description="The one you sign in with"
					required
					autoComplete="current-password"
					value={password}
					error={fault?.message}
					onChange={(e) => setPassword(e.currentTarget.value)}
				/>
				<FormEnd
					wrong={kit.error && !fault ? messageOf(kit.error) : undefined}
					close={close}
					action="Make and download it"
					busy={kit.isPending}
					disabled={!ready}
				/>
				<Text size="xs" c="dimmed">
					Of <Foreign>{repository.url}</Foreign>
				</Text>
			</Stack>
		</form>
	);
}

/** Has the browser keep a file that the page holds. */
function download(file: Blob, name: string) {
	const url = URL.createObjectURL(file);
	const link = document.createElement("a");
	link.href = url;
	link.download = name;
	document.body.append(link);
	link.click();
	link.remove();
	// Some browsers read it only after the click.
	setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

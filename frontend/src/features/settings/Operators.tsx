import { Button, Group, Menu, Modal, NativeSelect, Stack, Text, TextInput } from "@mantine/core";
import { IconDots, IconPlus } from "@tabler/icons-react";
import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { accountFault, meQuery } from "../../api/auth";
import { messageOf } from "../../api/problem";
import { operatorsQuery, useCreateOperator, useDeleteOperator, useUpdateOperator } from "../../api/settings";
import type { OperatorAccount, Role } from "../../api/types";
import { makePassword } from "../../lib/password";
import { Ago } from "../../ui/Ago";
import { Badge } from "../../ui/Badge";
import { Confirm } from "../../ui/Confirm";
import { Command } from "../../ui/Copy";
import { Foreign } from "../../ui/Foreign";
import { Note } from "../../ui/Note";
import { done, failed } from "../../ui/notify";
import { Older } from "../../ui/Older";
import { Card } from "../../ui/Page";
import { Shown } from "../../ui/States";
import { roleWords } from "./roles";
import classes from "./Settings.module.css";

const roles = (["viewer", "operator", "administrator"] as const).map((value) => ({
	value,
	label: roleWords[value].name,
}));

type Asked = { what: "reset" | "disable" | "delete"; who: OperatorAccount };

/** The accounts, for administrators. */
export function Operators() {
	const { data: me } = useQuery(meQuery);
	const operators = useInfiniteQuery(operatorsQuery);
	const update = useUpdateOperator();
	const remove = useDeleteOperator();
	const [adding, setAdding] = useState(false);
	const [asked, setAsked] = useState<Asked>();
	const [shown, setShown] = useState<{ username: string; password: string; made: boolean }>();
	const close = () => setAsked(undefined);

	const change = (o: OperatorAccount, patch: { role?: Role; disabled?: boolean }, said: string) =>
		update.mutate(
			{ id: o.id, ...patch },
			{ onSuccess: () => done(said), onError: (e) => failed(`${o.username} was not changed`, e) },
		);

	return (
		<Card
			flush
			title="Operators"
			actions={
				<Button size="compact-sm" leftSection={<IconPlus size={14} />} onClick={() => setAdding(true)}>
					Add an operator
				</Button>
			}
		>
			<Shown query={operators} rows={4}>
				{({ pages }) => (
					<ul className={classes.list}>
						{pages
							.flatMap((p) => p.operators)
							.map((o) => (
								<li key={o.id} className={classes.row} data-off={o.disabled || undefined}>
									<span className={classes.avatar} aria-hidden>
										{o.username.slice(0, 1).toUpperCase()}
									</span>
									<div className={classes.grow}>
										<div className={classes.name}>
											<Foreign>{o.username}</Foreign>
											{o.id === me?.id && <Badge tone="info">You</Badge>}
											{o.disabled && <Badge tone="warn">Disabled</Badge>}
										</div>
										<div className={classes.sub}>
											{o.last_login_at ? (
												<>
													Signed in <Ago at={o.last_login_at} />
												</>
											) : (
												"Never signed in"
											)}{" "}
											· password of <Ago at={o.password_changed_at} /> · made <Ago at={o.created_at} />
										</div>
									</div>
									<NativeSelect
										size="xs"
										aria-label={`Role of ${o.username}`}
										data={roles}
										value={o.role}
										disabled={update.isPending && update.variables?.id === o.id}
										onChange={(e) => {
											const role = e.currentTarget.value as Role;
											change(o, { role }, `${o.username} is ${roleWords[role].name.toLowerCase()} now.`);
										}}
									/>
									<Menu>
										<Menu.Target>
											<Button
												size="compact-sm"
												variant="subtle"
												color="gray"
												px={6}
												aria-label={`More for ${o.username}`}
											>
												<IconDots size={16} />
											</Button>
										</Menu.Target>
										<Menu.Dropdown>
											<Menu.Item onClick={() => setAsked({ what: "reset", who: o })}>New password…</Menu.Item>
											{o.disabled ? (
												<Menu.Item onClick={() => change(o, { disabled: false }, `${o.username} can sign in again.`)}>
													Enable
												</Menu.Item>
											) : (
												<Menu.Item onClick={() => setAsked({ what: "disable", who: o })}>Disable…</Menu.Item>
											)}
											<Menu.Divider />
											<Menu.Item color="red" onClick={() => setAsked({ what: "delete", who: o })}>
												Delete…
											</Menu.Item>
										</Menu.Dropdown>
									</Menu>
								</li>
							))}
						{operators.hasNextPage && (
							<li className={classes.more}>
								<Older query={operators} label="Show more" />
							</li>
						)}
					</ul>
				)}
			</Shown>
			<Add
				opened={adding}
				close={() => setAdding(false)}
				made={(username, password) => {
					setAdding(false);
					setShown({ username, password, made: true });
				}}
			/>
			<Confirm
				opened={asked?.what === "reset"}
				close={close}
				title={`A new password for ${asked?.who.username ?? ""}?`}
				action="Make a new password"
				run={async () => {
					if (!asked) return;
					const password = makePassword();
					await update.mutateAsync({ id: asked.who.id, password });
					setShown({ username: asked.who.username, password, made: false });
				}}
			>
				The old one does not work any more, and all sessions of this operator end
				{asked?.who.id === me?.id && ", this one too"}. The new one is shown once.
			</Confirm>
			<Confirm
				opened={asked?.what === "disable"}
				close={close}
				title={`Disable ${asked?.who.username ?? ""}?`}
				action="Disable"
				danger
				run={async () => {
					if (!asked) return;
					await update.mutateAsync({ id: asked.who.id, disabled: true });
					done(`${asked.who.username} is disabled.`);
				}}
			>
				The sessions of this operator end, and nobody can sign in with this name until it is enabled again. Jobs that
				were ordered go on.
			</Confirm>
			<Confirm
				opened={asked?.what === "delete"}
				close={close}
				title="Delete this operator?"
				action={`Delete ${asked?.who.username ?? ""}`}
				typed={asked?.who.username}
				danger
				run={async () => {
					if (!asked) return;
					await remove.mutateAsync(asked.who.id);
					done(`${asked.who.username} is deleted.`);
				}}
			>
				The account and its sessions go. What it did stays in the audit log, under its name.
			</Confirm>
			<Modal
				opened={shown !== undefined}
				onClose={() => setShown(undefined)}
				closeOnClickOutside={false}
				title={shown?.made ? "The operator is made" : "The new password"}
			>
				{shown && (
					<Stack gap="sm">
						<Text size="sm">
							The password of <b className="rm-foreign">{shown.username}</b>. It is shown now and never again; it can be
							changed under Settings, Account.
						</Text>
						<Command what="the password">{shown.password}</Command>
						<Group justify="flex-end">
							<Button onClick={() => setShown(undefined)}>I have handed it on</Button>
						</Group>
					</Stack>
				)}
			</Modal>
		</Card>
	);
}

function Add({
	opened,
	close,
	made,
}: {
	opened: boolean;
	close: () => void;
	made: (username: string, password: string) => void;
}) {
	const create = useCreateOperator();
	const [username, setUsername] = useState("");
	const [role, setRole] = useState<Role>("operator");
	const fault = accountFault(create.error);
	function leave() {
		create.reset();
		setUsername("");
		setRole("operator");
		close();
	}
	return (
		<Modal opened={opened} onClose={leave} title="Add an operator">
			<form
				onSubmit={(e) => {
					e.preventDefault();
					if (create.isPending) return;
					const password = makePassword();
					const name = username.trim();
					create.mutate(
						{ username: name, role, password },
						{
							onSuccess: () => {
								leave();
								made(name, password);
							},
						},
					);
				}}
			>
				<Stack gap="md">
					<TextInput
						label="User name"
						data-autofocus
						required
						maxLength={64}
						autoComplete="off"
						autoCapitalize="none"
						spellCheck={false}
						error={fault?.field === "username" ? fault.message : undefined}
						value={username}
						onChange={(e) => setUsername(e.currentTarget.value)}
					/>
					<NativeSelect
						label="Role"
						description={roleWords[role].about}
						data={roles}
						value={role}
						onChange={(e) => setRole(e.currentTarget.value as Role)}
					/>
					<Text size="sm" c="dimmed">
						A password is made and shown once, for you to hand on.
					</Text>
					{create.error && fault?.field !== "username" && (
						<Note tone="bad" role="alert">
							{messageOf(create.error)}
						</Note>
					)}
					<Group justify="flex-end">
						<Button variant="default" onClick={leave}>
							Close
						</Button>
						<Button type="submit" loading={create.isPending}>
							Add
						</Button>
					</Group>
				</Stack>
			</form>
		</Modal>
	);
}

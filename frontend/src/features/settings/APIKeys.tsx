import { Button, Checkbox, Group, Modal, NativeSelect, Stack, Text, TextInput } from "@mantine/core";
import { IconKey, IconPlus } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { type APIKey, apiKeysQuery, useDeleteAPIKey, useMakeAPIKey } from "../../api/apikeys";
import { messageOf } from "../../api/problem";
import { Ago, useNow } from "../../ui/Ago";
import { Badge } from "../../ui/Badge";
import { Confirm } from "../../ui/Confirm";
import { Command } from "../../ui/Copy";
import { Foreign } from "../../ui/Foreign";
import { FormEnd } from "../../ui/FormEnd";
import { done } from "../../ui/notify";
import { Card } from "../../ui/Page";
import { Empty, Shown } from "../../ui/States";
import { roleWords } from "./roles";
import classes from "./Settings.module.css";

const day = 24 * 60 * 60;
const lifetimes = [
	{ value: String(30 * day), label: "30 days" },
	{ value: String(90 * day), label: "90 days" },
	{ value: String(365 * day), label: "a year" },
	{ value: "0", label: "no end" },
];

/** What a key can be given, and in what words. */
const scopes = [
	{ value: "fleet:read", label: "Read", about: "everything but secrets; plans and previews" },
	{ value: "jobs:write", label: "Jobs", about: "order backups, restores and the like, and stop them" },
	{ value: "policies:write", label: "Policies", about: "make, change and delete them" },
	{ value: "repositories:write", label: "Repositories", about: "set them up, change and maintain them" },
	{ value: "hosts:write", label: "Machines", about: "add, name, label and remove them" },
] as const;

/** What a key may, where it is not all that its role may. */
function scopeWords(k: APIKey): string | undefined {
	if (k.role === "viewer" || scopes.every((s) => k.scopes.includes(s.value))) return undefined;
	return k.scopes.join(", ");
}

/** The keys that let programs call the API, for administrators. */
export function APIKeys() {
	const list = useQuery(apiKeysQuery);
	const remove = useDeleteAPIKey();
	const now = useNow();
	const [making, setMaking] = useState(false);
	const [asked, setAsked] = useState<APIKey>();
	const [secret, setSecret] = useState<string>();
	return (
		<Card
			flush
			title="API keys"
			actions={
				<Button size="compact-sm" leftSection={<IconPlus size={14} />} onClick={() => setMaking(true)}>
					Make a key
				</Button>
			}
		>
			<Shown
				query={list}
				rows={3}
				isEmpty={(d) => d.api_keys.length === 0}
				empty={
					<Empty icon={<IconKey size={28} />} title="No key was made yet">
						A key lets a script or another system call the API: read the fleet, or order jobs and manage machines.
					</Empty>
				}
			>
				{(d) => (
					<ul className={classes.list}>
						{d.api_keys.map((k) => {
							const over = k.expires_at !== undefined && Date.parse(k.expires_at) <= now;
							return (
								<li key={k.id} className={classes.row} data-off={over || undefined}>
									<div className={classes.grow}>
										<div className={classes.name}>
											<Foreign>{k.name}</Foreign>
											<Badge tone="info" title={scopeWords(k) ?? roleWords[k.role].about}>
												{scopeWords(k) ?? roleWords[k.role].name}
											</Badge>
											{over && <Badge tone="warn">Expired</Badge>}
										</div>
										<div className={classes.sub}>
											{k.last_used_at ? (
												<>
													used <Ago at={k.last_used_at} />
												</>
											) : (
												"never used"
											)}{" "}
											· made <Ago at={k.created_at} /> by <Foreign>{k.created_by}</Foreign> ·{" "}
											{k.expires_at ? (
												<>
													{over ? "expired" : "expires"} <Ago at={k.expires_at} />
												</>
											) : (
												"does not expire"
											)}
										</div>
									</div>
									<Button
										size="compact-sm"
										variant="subtle"
										color="gray"
										aria-label={`Delete the key ${k.name}`}
										onClick={() => setAsked(k)}
									>
										Delete…
									</Button>
								</li>
							);
						})}
					</ul>
				)}
			</Shown>
			<Make
				opened={making}
				close={() => setMaking(false)}
				made={(s) => {
					setMaking(false);
					setSecret(s);
				}}
			/>
			<Modal
				opened={secret !== undefined}
				onClose={() => setSecret(undefined)}
				closeOnClickOutside={false}
				title="The key is made"
			>
				<Stack gap="sm">
					<Text size="sm">It is shown now and never again: only its hash is kept.</Text>
					<Command what="the key">{secret ?? ""}</Command>
					<Text size="sm">Try it:</Text>
					<Command>{`curl -H 'Authorization: Bearer ${secret ?? ""}' ${window.location.origin}/api/fleet`}</Command>
					<Group justify="flex-end">
						<Button onClick={() => setSecret(undefined)}>I have put it where it belongs</Button>
					</Group>
				</Stack>
			</Modal>
			<Confirm
				opened={asked !== undefined}
				close={() => setAsked(undefined)}
				title={`Delete the key ${asked?.name ?? ""}?`}
				action="Delete the key"
				danger
				run={async () => {
					if (!asked) return;
					await remove.mutateAsync(asked.id);
					done("The key is void.");
				}}
			>
				Whatever uses it is refused from the next second on. What it did stays in the audit log, under its name.
			</Confirm>
		</Card>
	);
}

function Make({ opened, close, made }: { opened: boolean; close: () => void; made: (secret: string) => void }) {
	const make = useMakeAPIKey();
	const [name, setName] = useState("");
	const [role, setRole] = useState<APIKey["role"] | "chosen">("viewer");
	const [chosen, setChosen] = useState<string[]>(["fleet:read"]);
	const [lasts, setLasts] = useState(lifetimes[1]?.value ?? "0");
	function leave() {
		make.reset();
		setName("");
		setRole("viewer");
		setChosen(["fleet:read"]);
		close();
	}
	return (
		<Modal opened={opened} onClose={leave} title="Make an API key">
			<form
				onSubmit={(e) => {
					e.preventDefault();
					if (make.isPending) return;
					make.mutate(
						{
							name: name.trim(),
							...(role === "chosen" ? { scopes: chosen } : { role }),
							expires_in_seconds: Number(lasts) || undefined,
						},
						{
							onSuccess: (k) => {
								leave();
								made(k.secret);
							},
						},
					);
				}}
			>
				<Stack gap="md">
					<TextInput
						label="Name"
						description="Where it is used: it stands in the audit log"
						data-autofocus
						required
						maxLength={128}
						autoComplete="off"
						value={name}
						onChange={(e) => setName(e.currentTarget.value)}
					/>
					<NativeSelect
						label="Role"
						description={role === "chosen" ? "May do what is chosen below, and nothing else." : roleWords[role].about}
						data={[
							...(["viewer", "operator"] as const).map((value) => ({ value, label: roleWords[value].name })),
							{ value: "chosen", label: "Only what I choose" },
						]}
						value={role}
						onChange={(e) => setRole(e.currentTarget.value as APIKey["role"] | "chosen")}
					/>
					{role === "chosen" && (
						<Checkbox.Group
							label="What it may do"
							value={chosen}
							onChange={setChosen}
							error={chosen.length === 0 ? "Choose one or more" : undefined}
						>
							<Stack gap={8} mt={6}>
								{scopes.map((s) => (
									<Checkbox key={s.value} value={s.value} label={s.label} description={`${s.value}: ${s.about}`} />
								))}
							</Stack>
						</Checkbox.Group>
					)}
					<NativeSelect
						label="Good for"
						data={lifetimes}
						value={lasts}
						onChange={(e) => setLasts(e.currentTarget.value)}
					/>
					<FormEnd
						wrong={make.error ? messageOf(make.error) : undefined}
						close={leave}
						action="Make the key"
						busy={make.isPending}
						disabled={name.trim() === "" || (role === "chosen" && chosen.length === 0)}
					/>
				</Stack>
			</form>
		</Modal>
	);
}

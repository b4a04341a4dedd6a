import { Button, Group, SegmentedControl, Stack, Text, useMantineColorScheme } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { accountFault, meQuery, useChangePassword } from "../../api/auth";
import { messageOf, Problem } from "../../api/problem";
import { makePassword, passwordHint } from "../../lib/password";
import { Copy } from "../../ui/Copy";
import { timeLeft, useSecondsLeft } from "../../ui/countdown";
import { Foreign } from "../../ui/Foreign";
import { Note } from "../../ui/Note";
import { done } from "../../ui/notify";
import { Card } from "../../ui/Page";
import { SecretInput } from "../../ui/SecretInput";
import { roleWords } from "./roles";
import classes from "./Settings.module.css";

export function Account() {
	const { data: me } = useQuery(meQuery);
	return (
		<>
			<Card title="You">
				<dl className={classes.facts}>
					<div>
						<dt>User name</dt>
						<dd>{me && <Foreign>{me.username}</Foreign>}</dd>
					</div>
					<div>
						<dt>Role</dt>
						<dd>
							{me && (
								<>
									{roleWords[me.role].name}
									<small>{roleWords[me.role].about}</small>
								</>
							)}
						</dd>
					</div>
				</dl>
			</Card>
			<Card title="Password">
				<PasswordForm username={me?.username ?? ""} />
			</Card>
		</>
	);
}

export function PasswordForm({ username }: { username: string }) {
	const change = useChangePassword();
	const [current, setCurrent] = useState("");
	const [next, setNext] = useState("");
	const [again, setAgain] = useState("");
	const [visible, setVisible] = useState(false);
	const [until, setUntil] = useState<number>();
	const wait = useSecondsLeft(until);
	const differ = again !== "" && again !== next;
	const fault = accountFault(change.error);
	return (
		<form
			onSubmit={(e) => {
				e.preventDefault();
				if (change.isPending || again !== next || wait > 0) return;
				change.mutate(
					{ current, new: next },
					{
						onSuccess: () => {
							setCurrent("");
							setNext("");
							setAgain("");
							setVisible(false);
							done("The password is changed. Your other sessions have ended.");
						},
						onError: (error) => {
							if (error instanceof Problem && error.retryAfter) setUntil(Date.now() + error.retryAfter * 1000);
						},
					},
				);
			}}
		>
			<Stack gap="md" maw={420}>
				{/* For password managers: whose password this is. */}
				<input type="text" name="username" autoComplete="username" value={username} readOnly hidden />
				<SecretInput
					label="Current password"
					autoComplete="current-password"
					required
					error={fault?.field === "current" ? fault.message : undefined}
					shows="Show the current password"
					value={current}
					onChange={(e) => setCurrent(e.currentTarget.value)}
				/>
				<SecretInput
					label="New password"
					description={passwordHint(next)}
					autoComplete="new-password"
					required
					minLength={12}
					error={fault?.field === "password" ? fault.message : undefined}
					shows="Show the new password"
					visible={visible}
					onVisibilityChange={setVisible}
					value={next}
					onChange={(e) => setNext(e.currentTarget.value)}
				/>
				<SecretInput
					label="The new password again"
					autoComplete="new-password"
					required
					error={differ ? "The two are not the same" : undefined}
					shows="Show the repeated password"
					value={again}
					onChange={(e) => setAgain(e.currentTarget.value)}
				/>
				{change.error && !fault && (
					<Note tone={wait > 0 ? "warn" : "bad"} role="alert">
						{until !== undefined ? (
							wait > 0 ? (
								<>Too many attempts. The next one counts in {timeLeft(wait)}.</>
							) : (
								"You can try again now."
							)
						) : (
							messageOf(change.error)
						)}
					</Note>
				)}
				<Group gap="xs">
					<Button type="submit" loading={change.isPending} disabled={differ || wait > 0}>
						Change the password
					</Button>
					<Button
						variant="default"
						onClick={() => {
							const made = makePassword();
							setNext(made);
							setAgain(made);
							setVisible(true);
						}}
					>
						Generate one
					</Button>
					{visible && next !== "" && <Copy value={next} what="the new password" size={34} />}
				</Group>
				<Text size="xs" c="dimmed">
					Your other sessions end with the change; this one goes on.
				</Text>
			</Stack>
		</form>
	);
}

export function Appearance() {
	const { colorScheme, setColorScheme } = useMantineColorScheme();
	return (
		<Card title="Colours">
			<Stack gap="xs" align="flex-start">
				<SegmentedControl
					aria-label="Colours"
					value={colorScheme}
					onChange={(v) => setColorScheme(v as "light" | "dark" | "auto")}
					data={[
						{ value: "light", label: "Light" },
						{ value: "dark", label: "Dark" },
						{ value: "auto", label: "As the system" },
					]}
				/>
				<Text size="sm" c="dimmed">
					Kept in this browser. Motion is reduced where the system asks for it.
				</Text>
			</Stack>
		</Card>
	);
}

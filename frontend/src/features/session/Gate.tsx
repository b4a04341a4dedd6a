import { Alert, Button, Loader, Modal, Stack, Text, TextInput } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { type ReactNode, useEffect, useRef, useState } from "react";
import { accountFault, meQuery, useSetUp, useSignIn } from "../../api/auth";
import { session } from "../../api/link";
import { messageOf, Problem, Unreachable } from "../../api/problem";
import { passwordHint } from "../../lib/password";
import { useSignal } from "../../lib/signal";
import { timeLeft, useSecondsLeft } from "../../ui/countdown";
import { useTitle } from "../../ui/Page";
import { SecretInput } from "../../ui/SecretInput";
import { Logo } from "../shell/Logo";
import classes from "./Gate.module.css";

/**
 * Shows the page to who is signed in, else the sign-in or the set-up, under the same URL. A session that ends later is
 * asked for again above the page, which keeps what was typed into it.
 */
export function Gate({ children }: { children: ReactNode }) {
	const state = useSignal(session);
	const me = useQuery({
		...meQuery,
		// A server that is away is asked again; an answer is an answer.
		retry: (_, error) => error instanceof Unreachable,
		retryDelay: 3000,
	});
	switch (state) {
		case "signed_in":
		case "expired":
			return (
				<>
					{children}
					{state === "expired" && <Ended name={me.data?.username} />}
				</>
			);
		case "setup":
			return (
				<Front title="Set up restic-manager">
					<SetUpForm />
				</Front>
			);
		case "signed_out":
			return (
				<Front title="Sign in">
					<SignInForm />
				</Front>
			);
		case "unknown":
			return (
				<Front title="restic-manager">
					{me.failureReason ? (
						<Alert color="red" role="alert">
							{messageOf(me.failureReason)}
							{me.isError && (
								<Button mt="sm" size="xs" variant="default" onClick={() => void me.refetch()}>
									Try again
								</Button>
							)}
						</Alert>
					) : (
						<Loader aria-label="Loading" mx="auto" size="sm" />
					)}
				</Front>
			);
	}
}

function Ended({ name }: { name?: string }) {
	return (
		<Modal
			opened
			onClose={() => {}}
			withCloseButton={false}
			closeOnEscape={false}
			closeOnClickOutside={false}
			title="Your session has ended"
		>
			<Text size="sm" c="dimmed" mb="md">
				Sign in again to go on. What you typed on the page is still there.
			</Text>
			<SignInForm name={name} />
			<Button
				mt="xs"
				fullWidth
				variant="subtle"
				color="gray"
				onClick={() => {
					// The page of who was here goes with them.
					location.reload();
				}}
			>
				Leave this page instead
			</Button>
		</Modal>
	);
}

function Front({ title, children }: { title: string; children: ReactNode }) {
	useTitle(title);
	return (
		<main className={classes.front}>
			<div className={classes.box}>
				<div className={classes.brand}>
					<Logo size={40} />
					<h1>{title}</h1>
				</div>
				{children}
			</div>
		</main>
	);
}

/** Until when the server wants no further try (ms), by its last answer. */
function useWait(error: unknown): number {
	const [until, setUntil] = useState<number>();
	useEffect(() => {
		const seconds = error instanceof Problem ? error.retryAfter : undefined;
		setUntil(seconds ? Date.now() + seconds * 1000 : undefined);
	}, [error]);
	return useSecondsLeft(until);
}

/** Why it did not work; of a pause how long it still is. */
function Fault({ error, wait }: { error: unknown; wait: number }) {
	if (!error) return null;
	if (!(error instanceof Problem && error.retryAfter && error.status === 429))
		return (
			<Alert color="red" role="alert">
				{messageOf(error)}
			</Alert>
		);
	return (
		<Alert color={wait > 0 ? "yellow" : "gray"} role="alert" className={classes.wait}>
			{wait > 0 ? (
				<>
					Too many attempts. The next one counts in {/* Told once, not at every second. */}
					<b className="rm-numbers" role="timer" aria-live="off">
						{timeLeft(wait)}
					</b>
					.
				</>
			) : (
				"You can try again now."
			)}
		</Alert>
	);
}

function SignInForm({ name }: { name?: string }) {
	const signIn = useSignIn();
	const [username, setUsername] = useState(name ?? "");
	const [password, setPassword] = useState("");
	const wait = useWait(signIn.error);
	const passwordField = useRef<HTMLInputElement>(null);
	return (
		<form
			onSubmit={(e) => {
				e.preventDefault();
				if (signIn.isPending || wait > 0) return;
				signIn.mutate(
					{ username: username.trim(), password },
					{
						onError: (error) => {
							// A wrong password is typed anew; one that was not looked at is kept.
							if (!(error instanceof Problem && error.status === 401)) return;
							setPassword("");
							passwordField.current?.focus();
						},
					},
				);
			}}
		>
			<Stack gap="md">
				<TextInput
					label="User name"
					name="username"
					autoComplete="username"
					autoCapitalize="none"
					spellCheck={false}
					required
					data-autofocus={!name || undefined}
					autoFocus={!name}
					value={username}
					onChange={(e) => setUsername(e.currentTarget.value)}
				/>
				<SecretInput
					ref={passwordField}
					label="Password"
					name="password"
					autoComplete="current-password"
					required
					data-autofocus={name ? true : undefined}
					value={password}
					onChange={(e) => setPassword(e.currentTarget.value)}
				/>
				<Fault error={signIn.error} wait={wait} />
				<Button type="submit" fullWidth loading={signIn.isPending} disabled={wait > 0}>
					Sign in
				</Button>
				{!name && (
					<details className={classes.help}>
						<summary>Password lost?</summary>
						Another administrator gives you a new one under Settings, Operators. Or on the server itself:
						<code>restic-manager user reset-password NAME</code>
					</details>
				)}
			</Stack>
		</form>
	);
}

const least = 12;

function SetUpForm() {
	const setUp = useSetUp();
	const [code, setCode] = useState("");
	const [username, setUsername] = useState("admin");
	const [password, setPassword] = useState("");
	const [again, setAgain] = useState("");
	const wait = useWait(setUp.error);
	const differ = again !== "" && again !== password;
	const fault = accountFault(setUp.error);
	const at = (name: string) => (fault?.field === name ? fault.message : undefined);
	const done = setUp.error instanceof Problem && setUp.error.code === "setup_done";
	return (
		<form
			onSubmit={(e) => {
				e.preventDefault();
				if (!setUp.isPending && wait === 0 && again === password)
					setUp.mutate({ code: code.trim(), username: username.trim(), password });
			}}
		>
			<Stack gap="md">
				<Text size="sm" c="dimmed" component="div">
					The server printed a set-up code when it started. It makes the first administrator, once, within 15 minutes; a
					restart prints a new one.
					<details className={classes.help}>
						<summary>Where is the code?</summary>
						With systemd
						<code>journalctl -u restic-manager</code>
						with Docker
						<code>docker compose logs server</code>
						else in the terminal where the server runs.
					</details>
				</Text>
				<TextInput
					label="Set-up code"
					placeholder="XXXX-XXXX-XXXX-XXXX"
					required
					autoFocus
					autoComplete="one-time-code"
					autoCapitalize="characters"
					spellCheck={false}
					classNames={{ input: classes.code }}
					error={at("code")}
					value={code}
					onChange={(e) => setCode(e.currentTarget.value)}
				/>
				<TextInput
					label="User name"
					name="username"
					autoComplete="username"
					autoCapitalize="none"
					spellCheck={false}
					required
					error={at("username")}
					value={username}
					onChange={(e) => setUsername(e.currentTarget.value)}
				/>
				<SecretInput
					label="Password"
					description={passwordHint(password)}
					name="new-password"
					autoComplete="new-password"
					required
					minLength={least}
					error={at("password")}
					value={password}
					onChange={(e) => setPassword(e.currentTarget.value)}
				/>
				<SecretInput
					label="The password again"
					autoComplete="new-password"
					required
					error={differ ? "The two are not the same" : undefined}
					shows="Show the repeated password"
					value={again}
					onChange={(e) => setAgain(e.currentTarget.value)}
				/>
				{!fault && <Fault error={setUp.error} wait={wait} />}
				{done ? (
					<Button fullWidth onClick={() => session.set("signed_out")}>
						To the sign-in
					</Button>
				) : (
					<Button type="submit" fullWidth loading={setUp.isPending} disabled={differ || wait > 0}>
						Make the administrator
					</Button>
				)}
			</Stack>
		</form>
	);
}

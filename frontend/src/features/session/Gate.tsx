import { Alert, Button, Loader, Modal, PasswordInput, Stack, Text, TextInput } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { type ReactNode, useState } from "react";
import { meQuery, useSetUp, useSignIn } from "../../api/auth";
import { session } from "../../api/link";
import { messageOf, Problem, Unreachable } from "../../api/problem";
import { useSignal } from "../../lib/signal";
import { useTitle } from "../../ui/Page";
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
			return children;
		case "expired":
			return (
				<>
					{children}
					<Modal opened onClose={() => {}} withCloseButton={false} title="Your session has ended">
						<Text size="sm" c="dimmed" mb="md">
							Sign in again to go on. What you typed on the page is still there.
						</Text>
						<SignInForm name={me.data?.username} />
					</Modal>
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

function SignInForm({ name }: { name?: string }) {
	const signIn = useSignIn();
	const [username, setUsername] = useState(name ?? "");
	const [password, setPassword] = useState("");
	return (
		<form
			onSubmit={(e) => {
				e.preventDefault();
				if (!signIn.isPending) signIn.mutate({ username, password }, { onError: () => setPassword("") });
			}}
		>
			<Stack gap="md">
				<TextInput
					label="User name"
					name="username"
					autoComplete="username"
					required
					data-autofocus={!name || undefined}
					autoFocus={!name}
					value={username}
					onChange={(e) => setUsername(e.currentTarget.value)}
				/>
				<PasswordInput
					label="Password"
					name="password"
					autoComplete="current-password"
					required
					data-autofocus={name ? true : undefined}
					visibilityToggleButtonProps={{ "aria-label": "Show the password" }}
					value={password}
					onChange={(e) => setPassword(e.currentTarget.value)}
				/>
				{signIn.error && (
					<Alert color="red" role="alert">
						{messageOf(signIn.error)}
					</Alert>
				)}
				<Button type="submit" fullWidth loading={signIn.isPending}>
					Sign in
				</Button>
			</Stack>
		</form>
	);
}

function SetUpForm() {
	const setUp = useSetUp();
	const [code, setCode] = useState("");
	const [username, setUsername] = useState("admin");
	const [password, setPassword] = useState("");
	const [again, setAgain] = useState("");
	const differ = again !== "" && again !== password;
	const field = (name: string) => (setUp.error instanceof Problem ? setUp.error.fields[name] : undefined);
	return (
		<form
			onSubmit={(e) => {
				e.preventDefault();
				if (!setUp.isPending && again === password) setUp.mutate({ code: code.trim(), username, password });
			}}
		>
			<Stack gap="md">
				<Text size="sm" c="dimmed">
					The server printed a set-up code when it started (<code>journalctl -u restic-manager</code>,{" "}
					<code>docker compose logs server</code>, or its terminal). It makes the first administrator, once, within 15
					minutes; a restart prints a new one.
				</Text>
				<TextInput
					label="Set-up code"
					placeholder="XXXX-XXXX-XXXX-XXXX"
					required
					autoFocus
					autoComplete="off"
					spellCheck={false}
					classNames={{ input: classes.code }}
					error={field("code")}
					value={code}
					onChange={(e) => setCode(e.currentTarget.value)}
				/>
				<TextInput
					label="User name"
					autoComplete="username"
					required
					error={field("username")}
					value={username}
					onChange={(e) => setUsername(e.currentTarget.value)}
				/>
				<PasswordInput
					label="Password"
					description="12 characters or more; a few words in a row are easy to keep"
					autoComplete="new-password"
					required
					minLength={12}
					error={field("password")}
					visibilityToggleButtonProps={{ "aria-label": "Show the password" }}
					value={password}
					onChange={(e) => setPassword(e.currentTarget.value)}
				/>
				<PasswordInput
					label="The password again"
					autoComplete="new-password"
					required
					error={differ ? "The two are not the same" : undefined}
					visibilityToggleButtonProps={{ "aria-label": "Show the repeated password" }}
					value={again}
					onChange={(e) => setAgain(e.currentTarget.value)}
				/>
				{setUp.error && (
					<Alert color="red" role="alert">
						{messageOf(setUp.error)}
					</Alert>
				)}
				<Button type="submit" fullWidth loading={setUp.isPending} disabled={differ}>
					Make the administrator
				</Button>
			</Stack>
		</form>
	);
}

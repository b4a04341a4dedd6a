import { Alert, Button, Group, Modal, Stack, Text, TextInput } from "@mantine/core";
import { type ReactNode, useState } from "react";
import { messageOf } from "../api/problem";

interface Props {
	opened: boolean;
	close: () => void;
	title: string;
	children: ReactNode;
	/** What is done, as the button says it: "Revoke web-1". */
	action: string;
	/** To be typed before the button works: for what cannot be undone. */
	typed?: string;
	danger?: boolean;
	run: () => Promise<unknown>;
}

/** Asks before something happens; stays open and says why when it does not. */
export function Confirm({ opened, close, title, children, action, typed, danger, run }: Props) {
	const [text, setText] = useState("");
	const [busy, setBusy] = useState(false);
	const [error, setError] = useState<unknown>();
	const ready = typed === undefined || text.trim() === typed;

	function leave() {
		setText("");
		setError(undefined);
		close();
	}
	async function go() {
		setBusy(true);
		setError(undefined);
		try {
			await run();
			leave();
		} catch (e) {
			setError(e);
		} finally {
			setBusy(false);
		}
	}
	return (
		<Modal opened={opened} onClose={leave} title={title}>
			<form
				onSubmit={(e) => {
					e.preventDefault();
					if (ready && !busy) void go();
				}}
			>
				<Stack gap="md">
					<Text size="sm" component="div">
						{children}
					</Text>
					{typed !== undefined && (
						<TextInput
							data-autofocus
							label={
								<>
									Type <b className="rm-foreign">{typed}</b> to confirm
								</>
							}
							value={text}
							onChange={(e) => setText(e.currentTarget.value)}
							autoComplete="off"
							spellCheck={false}
						/>
					)}
					{error !== undefined && (
						<Alert color="red" role="alert">
							{messageOf(error)}
						</Alert>
					)}
					<Group justify="flex-end">
						<Button variant="default" onClick={leave}>
							Keep as it is
						</Button>
						<Button type="submit" color={danger ? "red" : undefined} loading={busy} disabled={!ready}>
							{action}
						</Button>
					</Group>
				</Stack>
			</form>
		</Modal>
	);
}

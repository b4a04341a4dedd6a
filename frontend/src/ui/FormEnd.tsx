import { Alert, Button, Group } from "@mantine/core";

interface Props {
	/** Why it was not done, beside what stands at its fields. */
	wrong: string | undefined;
	close: () => void;
	/** As the button says it. */
	action: string;
	busy: boolean;
	disabled?: boolean;
}

/** What ends the form of a dialog: what went wrong, the way out, and the action. */
export function FormEnd({ wrong, close, action, busy, disabled }: Props) {
	return (
		<>
			{wrong && (
				<Alert color="red" role="alert">
					{wrong}
				</Alert>
			)}
			<Group justify="flex-end">
				<Button variant="default" onClick={close}>
					Close
				</Button>
				<Button type="submit" loading={busy} disabled={disabled}>
					{action}
				</Button>
			</Group>
		</>
	);
}

/** Says that an order has to wait, where the machine is away. */
export function WaitsNote({ status }: { status: string }) {
	if (status === "online") return null;
	return (
		<Alert color="yellow" variant="light">
			The machine is not online. The job waits for it, a day at most.
		</Alert>
	);
}

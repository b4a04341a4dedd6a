import { notifications } from "@mantine/notifications";
import { messageOf } from "../api/problem";

/** Says that something was done. */
export function done(message: string) {
	notifications.show({ message, color: "teal", autoClose: 5000, closeButtonProps: { "aria-label": "Dismiss" } });
}

/** Says why something was not done; it stays until it is read. */
export function failed(what: string, error: unknown) {
	notifications.show({
		title: what,
		message: messageOf(error),
		color: "red",
		autoClose: false,
		closeButtonProps: { "aria-label": "Dismiss" },
	});
}

import type { NotificationData } from "@mantine/notifications";
import { messageOf } from "../api/problem";

function show(data: NotificationData) {
	void import("@mantine/notifications").then(({ notifications }) =>
		notifications.show({ ...data, closeButtonProps: { "aria-label": "Dismiss" } }),
	);
}

/** Says that something was done. */
export function done(message: string) {
	show({ message, color: "teal", autoClose: 5000 });
}

/** Says why something was not done; it stays until it is read. */
export function failed(what: string, error: unknown) {
	show({ title: what, message: messageOf(error), color: "red", autoClose: false });
}

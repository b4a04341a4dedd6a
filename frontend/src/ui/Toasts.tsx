import { Notifications } from "@mantine/notifications";

/** Where notify.ts shows what was done, and what was not. */
export default function Toasts() {
	return <Notifications position="bottom-right" limit={4} />;
}

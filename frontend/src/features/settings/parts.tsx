import type { ReactNode } from "react";
import type { Role } from "../../api/types";
import classes from "./Settings.module.css";

export const roleWords: Record<Role, { name: string; about: string }> = {
	viewer: { name: "Viewer", about: "Sees everything, changes nothing." },
	operator: { name: "Operator", about: "Adds machines, orders and stops jobs, names repositories." },
	administrator: { name: "Administrator", about: "All that, and operators and the audit log." },
};

/** One thing to know, in the colour of how it stands. */
export function Note({
	tone,
	role,
	children,
}: {
	tone: "ok" | "warn" | "bad" | "info";
	role?: "alert" | "status";
	children: ReactNode;
}) {
	return (
		<div className={classes.note} data-tone={tone} role={role}>
			{children}
		</div>
	);
}

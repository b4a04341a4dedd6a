import type { ReactNode } from "react";
import classes from "./Note.module.css";

interface Props {
	tone: "ok" | "warn" | "bad" | "info";
	role?: "alert" | "status";
	children: ReactNode;
}

/** One thing to know, in the colour of how it stands. */
export function Note({ tone, role, children }: Props) {
	return (
		<div className={classes.note} data-tone={tone} role={role}>
			{children}
		</div>
	);
}

import type { ReactNode } from "react";
import type { JobState } from "../api/types";
import { type Protection, protectionWords, stateWords, type Tone } from "../lib/words";
import classes from "./Badge.module.css";

interface Props {
	tone: Tone;
	children: ReactNode;
	title?: string;
	/** A ring that moves: something is at work. */
	busy?: boolean;
}

/** A state in one word, with a mark: never told by colour alone. */
export function Badge({ tone, children, title, busy }: Props) {
	return (
		<span className={classes.badge} data-tone={tone} title={title}>
			<span className={classes.mark} data-busy={busy || undefined} aria-hidden />
			{children}
		</span>
	);
}

export function StateBadge({ state }: { state: JobState }) {
	const w = stateWords[state];
	return (
		<Badge tone={w.tone} title={w.about} busy={state === "running" || state === "accepted"}>
			{w.name}
		</Badge>
	);
}

export function ProtectionBadge({ protection }: { protection: Protection }) {
	const w = protectionWords[protection];
	return (
		<Badge tone={w.tone} title={w.about}>
			{w.name}
		</Badge>
	);
}

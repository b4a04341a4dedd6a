import { Tooltip } from "@mantine/core";
import { useSyncExternalStore } from "react";
import { ago, exact } from "../lib/time";

// One clock for all relative times of the page.
let now = Date.now();
const listeners = new Set<() => void>();
let timer: ReturnType<typeof setInterval> | undefined;

function subscribe(l: () => void): () => void {
	listeners.add(l);
	if (timer === undefined) {
		now = Date.now();
		timer = setInterval(() => {
			now = Date.now();
			for (const each of [...listeners]) each();
		}, 5000);
	}
	return () => {
		listeners.delete(l);
		if (listeners.size === 0) {
			clearInterval(timer);
			timer = undefined;
		}
	};
}

/** The time now, to 5 s. */
export function useNow(): number {
	return useSyncExternalStore(
		subscribe,
		() => now,
		() => now,
	);
}

interface Props {
	at: string | undefined | null;
	never?: string;
	/** Without a tooltip of our own: for rows of long lists, which come and go while one scrolls. */
	light?: boolean;
}

/** How long ago, with the exact time on hover and focus. Nothing: the text for never. */
export function Ago({ at, never = "never", light }: Props) {
	const t = useNow();
	if (!at) return <span style={{ color: "var(--rm-muted)" }}>{never}</span>;
	const time = (
		<time dateTime={at} className="rm-numbers" style={{ whiteSpace: "nowrap" }} title={light ? exact(at) : undefined}>
			{ago(at, Math.max(t, Date.now() - 5000))}
		</time>
	);
	return light ? time : <Tooltip label={exact(at)}>{time}</Tooltip>;
}

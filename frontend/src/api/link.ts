import { signal } from "../lib/signal";

/** Whether the server answers: undefined while it does, else since when not (ms). */
export const awaySince = signal<number | undefined>(undefined);

/** The session: unknown before the first answer; expired is a page that had one and keeps what was typed. */
export type Session = "unknown" | "signed_in" | "signed_out" | "expired" | "setup";
export const session = signal<Session>("unknown");

/** The server's version as it was when the page was loaded, and as it is in the newest answer. */
export const serverVersion = signal<{ loaded: string; now: string } | undefined>(undefined);

export function noteVersion(version: string | null) {
	if (!version) return;
	const known = serverVersion.get();
	if (!known) serverVersion.set({ loaded: version, now: version });
	else if (known.now !== version) serverVersion.set({ ...known, now: version });
}

export function noteAnswer() {
	awaySince.set(undefined);
}

export function noteSilence(now = Date.now()) {
	if (awaySince.get() === undefined) awaySince.set(now);
}

/** An answer says that nobody is signed in. What was open before is kept behind the sign-in. */
export function noteUnauthorized() {
	const s = session.get();
	session.set(s === "signed_in" || s === "expired" ? "expired" : "signed_out");
}

import type { EnrollmentToken } from "../api/types";
import type { Tone } from "./words";

export const tokenStates = ["waiting", "used", "expired"] as const;
export type TokenState = (typeof tokenStates)[number];

export const tokenWords: Record<TokenState, { name: string; tone: Tone; about: string }> = {
	waiting: { name: "Waiting", tone: "info", about: "Good for one machine until it expires." },
	used: { name: "Used", tone: "ok", about: "A machine enrolled with it; it enrolls no other." },
	expired: { name: "Expired", tone: "idle", about: "Nobody used it in time." },
};

/** What a token is good for now. */
export function tokenState(token: Pick<EnrollmentToken, "used_at" | "expires_at">, now: number): TokenState {
	if (token.used_at) return "used";
	return new Date(token.expires_at).getTime() <= now ? "expired" : "waiting";
}

import { oneOf, text } from "../lib/search";
import { type TokenState, tokenStates } from "../lib/tokens";

export interface SettingsSearch {
	/** Filters of the audit trail. */
	action?: string;
	actor?: string;
	target?: string;
	/** Days: 2026-11-27. */
	from?: string;
	to?: string;
	/** Filter of the enrollment tokens. */
	state?: TokenState;
}

const day = (v: unknown) => (typeof v === "string" && /^\d{4}-\d\d-\d\d$/.test(v) ? v : undefined);

export function settingsSearch(s: Record<string, unknown>): SettingsSearch {
	return {
		action: text(s.action, 128),
		actor: text(s.actor, 128),
		target: text(s.target, 128),
		from: day(s.from),
		to: day(s.to),
		state: oneOf(s.state, tokenStates),
	};
}

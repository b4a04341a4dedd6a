import { text } from "../lib/search";

export interface SettingsSearch {
	/** Filters of the audit trail. */
	action?: string;
	actor?: string;
	target?: string;
}

export function settingsSearch(s: Record<string, unknown>): SettingsSearch {
	return { action: text(s.action), actor: text(s.actor), target: text(s.target) };
}

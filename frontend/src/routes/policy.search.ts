import { oneOf } from "../lib/search";

const outcomes = ["run", "coalesced", "missed", "skipped"] as const;

export const policyTabs = ["machines", "due", "versions"] as const;

export interface PolicySearch {
	tab?: (typeof policyTabs)[number];
	/** Of the due times. */
	outcome?: (typeof outcomes)[number];
}

export function policySearch(s: Record<string, unknown>): PolicySearch {
	return { tab: oneOf(s.tab, policyTabs), outcome: oneOf(s.outcome, outcomes) };
}

export interface NewPolicySearch {
	/** Name of a draft that was read from another program's configuration. */
	imported?: string;
}

export function newPolicySearch(s: Record<string, unknown>): NewPolicySearch {
	return { imported: typeof s.imported === "string" ? s.imported : undefined };
}

import { oneOf } from "../lib/search";

export interface JobSearch {
	/** The log alone, as high as the window. */
	log?: "full";
}

export function jobSearch(s: Record<string, unknown>): JobSearch {
	return { log: oneOf(s.log, ["full"]) };
}

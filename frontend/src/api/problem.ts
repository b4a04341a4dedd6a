import type { components } from "./schema";

type ProblemBody = components["schemas"]["Problem"];

/** What the server answered in place of what was asked (RFC 9457). The message says what to do. */
export class Problem extends Error {
	readonly status: number;
	readonly code: string;
	readonly requestID: string | undefined;
	/** What is wrong with single fields, by their place in the body: "spec.paths" → message. */
	readonly fields: Readonly<Record<string, string>>;
	/** Seconds to wait before the next try, where the server named them. */
	readonly retryAfter: number | undefined;

	constructor(status: number, body: Partial<ProblemBody> | undefined, retryAfter?: number) {
		super(body?.detail || body?.title || `The server answered ${status}.`);
		this.name = "Problem";
		this.status = status;
		this.code = body?.code ?? `http_${status}`;
		this.requestID = body?.request_id;
		this.fields = Object.fromEntries((body?.errors ?? []).map((e) => [e.location.replace(/^body\.?/, ""), e.message]));
		this.retryAfter = retryAfter;
	}
}

/** The server could not be reached, or something between answered in its place. */
export class Unreachable extends Error {
	constructor() {
		super(
			"The server does not answer. Check that it runs and that this device is online; the page tries again by itself.",
		);
		this.name = "Unreachable";
	}
}

/** One sentence for people, with what to do. */
export function messageOf(error: unknown): string {
	if (error instanceof Problem) {
		const fields = Object.entries(error.fields);
		const text = fields.length > 0 ? fields.map(([f, m]) => (f ? `${f}: ${m}` : m)).join("; ") : error.message;
		return error.status >= 500 && error.requestID ? `${text} (${error.requestID})` : text;
	}
	return error instanceof Error ? error.message : String(error);
}

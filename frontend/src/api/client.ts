import createClient, { type Middleware } from "openapi-fetch";
import { noteAnswer, noteSilence, noteUnauthorized, noteVersion, session } from "./link";
import { Problem, Unreachable } from "./problem";
import type { paths } from "./schema";

// Answers by URL with their ETags: the server forbids caches to keep them (they hold names and paths), so the page keeps
// them itself, and asks "has it changed?" instead of for all again.
const kept = new Map<string, { tag: string; body: string }>();
const keepAtMost = 200;
// Characters: fifty pages of ten thousand hosts are about twelve million.
const keepInAll = 16_000_000;
let keptSize = 0;

function drop(url: string) {
	keptSize -= kept.get(url)?.body.length ?? 0;
	kept.delete(url);
}

function keep(url: string, tag: string, body: string) {
	drop(url);
	kept.set(url, { tag, body });
	keptSize += body.length;
	for (const oldest of kept.keys()) {
		if (kept.size <= keepAtMost && keptSize <= keepInAll) break;
		drop(oldest);
	}
}

/** Forgets all answers: another person signs in. */
export function forgetAnswers() {
	kept.clear();
	keptSize = 0;
}

const etags: Middleware = {
	onRequest({ request }) {
		const known = request.method === "GET" ? kept.get(request.url) : undefined;
		if (known) request.headers.set("If-None-Match", known.tag);
		return request;
	},
	async onResponse({ request, response }) {
		noteVersion(response.headers.get("Restic-Manager-Version"));
		if (response.status === 304) {
			const known = kept.get(request.url);
			if (known) return new Response(known.body, { status: 200, headers: { "Content-Type": "application/json" } });
		}
		const tag = response.headers.get("ETag");
		if (request.method === "GET" && response.ok && tag) keep(request.url, tag, await response.clone().text());
		return response;
	},
};

async function reach(request: Request): Promise<Response> {
	let response: Response;
	try {
		response = await fetch(request);
	} catch (error) {
		if (request.signal.aborted) throw error;
		noteSilence();
		throw new Unreachable();
	}
	// 502 and 504 are a proxy's words for a server that is away.
	if (response.status === 502 || response.status === 504) {
		noteSilence();
		throw new Unreachable();
	}
	noteAnswer();
	return response;
}

export const client = createClient<paths>({
	baseUrl: location.origin,
	fetch: reach,
	// Lists in a query are one value with commas: ?state=failed,lost.
	querySerializer: { array: { style: "form", explode: false } },
});
client.use(etags);

interface Answer<T> {
	data?: T;
	error?: unknown;
	response: Response;
}

/** The answer's body, or throws a Problem; tells the page when the session is over. */
export async function got<T>(call: Promise<Answer<T>>): Promise<NonNullable<T>> {
	const { data, error, response } = await call;
	if (response.ok) return data as NonNullable<T>;
	const body = typeof error === "object" && error !== null ? error : undefined;
	const problem = new Problem(response.status, body, Number(response.headers.get("Retry-After")) || undefined);
	if (problem.code === "setup_required") session.set("setup");
	else if (response.status === 401 && !response.url.endsWith("/api/auth/login")) noteUnauthorized();
	throw problem;
}

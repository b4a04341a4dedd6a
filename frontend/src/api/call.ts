import { client, got } from "./client";

interface Call {
	params?: { path?: Record<string, string>; query?: Record<string, unknown> };
	body?: unknown;
	signal?: AbortSignal;
	parseAs?: "blob";
}
type Answer<T> = Promise<{ data?: T; error?: unknown; response: Response }>;
type Raw = Record<"GET" | "POST" | "PUT" | "PATCH" | "DELETE", (path: string, call: Call) => Answer<unknown>>;

/** Calls a route that the contract does not describe yet. */
export function call<T>(method: keyof Raw, path: string, init: Call = {}): Promise<T> {
	return got((client as unknown as Raw)[method](path, init) as Answer<T>) as Promise<T>;
}

import { MantineProvider } from "@mantine/core";
import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import {
	createMemoryHistory,
	createRootRoute,
	createRoute,
	createRouter,
	RouterProvider,
} from "@tanstack/react-router";
import { render } from "@testing-library/react";
import type { ReactNode } from "react";
import { vi } from "vitest";

export interface Call {
	method: string;
	path: string;
	query: URLSearchParams;
	body: unknown;
}

/** Answers what the page asks, and gives the list of all it has asked. A status of 200 where none is given. */
export function serve(answer: (call: Call) => { status?: number; body?: unknown }): Call[] {
	const calls: Call[] = [];
	// jsdom has none; the router calls it.
	vi.stubGlobal("scrollTo", () => {});
	vi.stubGlobal(
		"fetch",
		vi.fn(async (request: Request) => {
			const text = await request.text();
			const url = new URL(request.url);
			const call = {
				method: request.method,
				path: url.pathname,
				query: url.searchParams,
				body: text === "" ? undefined : JSON.parse(text),
			};
			calls.push(call);
			const { status = 200, body } = answer(call);
			const type = status < 400 ? "application/json" : "application/problem+json";
			return new Response(status === 204 ? null : JSON.stringify(body ?? {}), {
				status,
				headers: { "Content-Type": type },
			});
		}),
	);
	return calls;
}

/** What the server says in place of what was asked. */
export function problem(status: number, code: string, detail: string) {
	return { status, body: { title: "Problem", status, code, detail } };
}

const places = [
	"/jobs",
	"/jobs/$jobId",
	"/hosts/$hostId",
	"/policies",
	"/policies/import",
	"/policies/new",
	"/policies/$policyId",
	"/repositories",
	"/repositories/new",
	"/repositories/$repositoryId",
];

/** Shows a part of a page, with the places that its links may lead to. */
export function show(children: ReactNode) {
	const root = createRootRoute({ component: () => children });
	const tree = root.addChildren(places.map((path) => createRoute({ getParentRoute: () => root, path })));
	const router = createRouter({ routeTree: tree, history: createMemoryHistory() });
	const queries = new QueryClient({ defaultOptions: { queries: { retry: false } } });
	return render(
		<MantineProvider env="test">
			<QueryClientProvider client={queries}>
				{/* biome-ignore lint/suspicious/noExplicitAny: the router of the test has its own routes */}
				<RouterProvider router={router as any} />
			</QueryClientProvider>
		</MantineProvider>,
	);
}

import { MantineProvider } from "@mantine/core";
import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { render, screen, waitFor } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { APIKeys } from "./APIKeys";

// A busy machine takes its time over a page of fields.
vi.setConfig({ testTimeout: 30_000 });

let sent: { method: string; path: string; body?: unknown }[];
let listed: unknown[];
let made: () => Response;

beforeEach(() => {
	sent = [];
	listed = [];
	vi.stubGlobal("fetch", async (request: Request) => {
		const path = new URL(request.url).pathname;
		if (request.method === "GET") return Response.json({ api_keys: listed });
		sent.push({
			method: request.method,
			path,
			body: request.method === "POST" ? await request.json() : undefined,
		});
		return request.method === "POST" ? made() : new Response(null, { status: 204 });
	});
});
afterEach(() => vi.unstubAllGlobals());

const key = (over: object) => ({
	id: "01a20bc7-bcb3-7d18-9728-79f284f77099",
	name: "nightly report",
	role: "viewer",
	scopes: ["fleet:read"],
	created_at: "2026-01-01T00:00:00Z",
	created_by: "ann",
	...over,
});

function open() {
	const user = userEvent.setup({ delay: null, pointerEventsCheck: 0 });
	render(
		<MantineProvider env="test">
			<QueryClientProvider client={new QueryClient({ defaultOptions: { queries: { retry: false } } })}>
				<APIKeys />
			</QueryClientProvider>
		</MantineProvider>,
	);
	return user;
}

test("a key is made with its role and its end, and its secret is shown once", async () => {
	made = () => Response.json({ ...key({ role: "operator" }), secret: "rmk_abc" }, { status: 201 });
	const user = open();
	await screen.findByText("No key was made yet");
	await user.click(screen.getByRole("button", { name: "Make a key" }));
	expect(screen.getByRole("button", { name: "Make the key" })).toBeDisabled();
	await user.type(screen.getByLabelText(/^Name/), " nightly report ");
	await user.selectOptions(screen.getByLabelText(/^Role/), "operator");
	await user.click(screen.getByRole("button", { name: "Make the key" }));
	expect(await screen.findByText("rmk_abc")).toBeVisible();
	expect(sent[0]).toEqual({
		method: "POST",
		path: "/api/api-keys",
		body: { name: "nightly report", role: "operator", expires_in_seconds: 90 * 86_400 },
	});
	await user.click(screen.getByRole("button", { name: "I have put it where it belongs" }));
	await waitFor(() => expect(screen.queryByText("rmk_abc")).toBeNull());
});

test("a key may be given chosen scopes alone, and says which it has", async () => {
	listed = [
		key({ role: "operator", scopes: ["fleet:read", "policies:write"] }),
		key({
			id: "01a20bc7-bcb3-7d18-9728-79f284f77098",
			name: "all",
			role: "operator",
			scopes: ["fleet:read", "jobs:write", "policies:write", "repositories:write", "hosts:write"],
		}),
	];
	made = () => Response.json({ ...key({}), secret: "rmk_abc" }, { status: 201 });
	const user = open();
	expect(await screen.findByText("fleet:read, policies:write")).toBeVisible();
	expect(screen.getByText("Operator")).toBeVisible();
	await user.click(screen.getByRole("button", { name: "Make a key" }));
	await user.type(screen.getByLabelText(/^Name/), "ci");
	await user.selectOptions(screen.getByLabelText(/^Role/), "chosen");
	await user.click(screen.getByRole("checkbox", { name: "Read" }));
	expect(screen.getByRole("button", { name: "Make the key" })).toBeDisabled();
	await user.click(screen.getByRole("checkbox", { name: "Jobs" }));
	await user.click(screen.getByRole("button", { name: "Make the key" }));
	await waitFor(() =>
		expect(sent).toEqual([
			{
				method: "POST",
				path: "/api/api-keys",
				body: { name: "ci", scopes: ["jobs:write"], expires_in_seconds: 90 * 86_400 },
			},
		]),
	);
});

test("what the server refuses is said, and what was typed stays", async () => {
	made = () =>
		Response.json({ title: "Conflict", status: 409, code: "too_many_keys", detail: "Delete one." }, { status: 409 });
	const user = open();
	await user.click(screen.getByRole("button", { name: "Make a key" }));
	await user.type(screen.getByLabelText(/^Name/), "k");
	await user.click(screen.getByRole("button", { name: "Make the key" }));
	expect(await screen.findByRole("alert")).toHaveTextContent("Delete one.");
	expect(screen.getByLabelText(/^Name/)).toHaveValue("k");
});

test("an expired key says so, and a key is deleted after a question", async () => {
	listed = [key({ expires_at: "2026-02-01T00:00:00Z", last_used_at: "2026-01-02T00:00:00Z" })];
	const user = open();
	expect(await screen.findByText("Expired")).toBeVisible();
	await user.click(screen.getByRole("button", { name: "Delete the key nightly report" }));
	expect(sent).toEqual([]);
	await user.click(screen.getByRole("button", { name: "Delete the key" }));
	await waitFor(() =>
		expect(sent).toEqual([
			{ method: "DELETE", path: "/api/api-keys/01a20bc7-bcb3-7d18-9728-79f284f77099", body: undefined },
		]),
	);
});

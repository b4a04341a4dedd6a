import { MantineProvider } from "@mantine/core";
import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { act, render, screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { meQuery } from "../../api/auth";
import { session } from "../../api/link";
import { Gate } from "./Gate";

type Answer = { status: number; body?: unknown; headers?: Record<string, string> };
const me = { id: "1", username: "ann", role: "administrator", session_id: "s" };
const ok = (body: unknown): Answer => ({ status: 200, body });
const problem = (
	status: number,
	code: string,
	detail: string,
	more?: { headers?: Record<string, string> },
): Answer => ({
	status,
	body: { title: "Problem", status, code, detail },
	...more,
});

// A busy machine takes its time over a page of fields.
vi.setConfig({ testTimeout: 30_000 });

let answers: Record<string, Answer | undefined>;
let sent: { route: string; body: unknown }[];

beforeEach(() => {
	answers = {};
	sent = [];
	session.set("unknown");
	vi.stubGlobal("fetch", async (request: Request) => {
		const route = `${request.method} ${new URL(request.url).pathname}`;
		const text = await request.text();
		sent.push({ route, body: text ? JSON.parse(text) : undefined });
		const a = answers[route] ?? problem(404, "not_found", `no answer for ${route}`);
		return new Response(a.status === 204 ? null : JSON.stringify(a.body), {
			status: a.status,
			headers: { "Content-Type": a.status < 400 ? "application/json" : "application/problem+json", ...a.headers },
		});
	});
});
afterEach(() => {
	vi.useRealTimers();
	vi.unstubAllGlobals();
});

function show(page = <p>the page</p>) {
	const queries = new QueryClient({ defaultOptions: { queries: { retry: false } } });
	render(
		<MantineProvider env="test">
			<QueryClientProvider client={queries}>
				<Gate>{page}</Gate>
			</QueryClientProvider>
		</MantineProvider>,
	);
	return queries;
}

const unauthorized = problem(401, "unauthorized", "You are not signed in, or the session has ended. Sign in again.");

test("a wrong password is told and typed anew; the right one opens the page", async () => {
	answers["GET /api/auth/me"] = unauthorized;
	answers["POST /api/auth/login"] = problem(401, "bad_credentials", "The user name or the password is wrong.");
	const user = userEvent.setup({ delay: null, pointerEventsCheck: 0 });
	show();
	await user.type(await screen.findByLabelText(/User name/), "ann");
	await user.type(screen.getByLabelText(/^Password/), "wrong{Enter}");
	expect(await screen.findByRole("alert")).toHaveTextContent("The user name or the password is wrong.");
	expect(screen.getByLabelText(/^Password/)).toHaveValue("");
	expect(screen.getByLabelText(/User name/)).toHaveValue("ann");

	answers["POST /api/auth/login"] = { status: 204 };
	answers["GET /api/auth/me"] = ok(me);
	await user.type(screen.getByLabelText(/^Password/), "right{Enter}");
	expect(await screen.findByText("the page")).toBeVisible();
});

test("after too many attempts the wait is counted down, and the password kept", async () => {
	answers["GET /api/auth/me"] = unauthorized;
	answers["POST /api/auth/login"] = problem(429, "rate_limited", "Too many attempts. Wait 15 s and try again.", {
		headers: { "Retry-After": "15" },
	});
	vi.useFakeTimers({ shouldAdvanceTime: true });
	const user = userEvent.setup({ delay: null, pointerEventsCheck: 0 });
	show();
	await user.type(await screen.findByLabelText(/User name/), "ann");
	await user.type(screen.getByLabelText(/^Password/), "some password{Enter}");
	expect(await screen.findByRole("timer")).toHaveTextContent("0:15");
	const button = screen.getByRole("button", { name: "Sign in" });
	expect(button).toBeDisabled();
	await act(() => vi.advanceTimersByTimeAsync(9000));
	expect(screen.getByRole("timer")).toHaveTextContent(/^0:0[56]$/);
	await act(() => vi.advanceTimersByTimeAsync(7000));
	expect(screen.getByRole("alert")).toHaveTextContent("You can try again now.");
	expect(button).toBeEnabled();
	expect(screen.getByLabelText(/^Password/)).toHaveValue("some password");
});

test("the set-up names what is wrong at its field, then makes the first administrator", async () => {
	answers["GET /api/auth/me"] = problem(503, "setup_required", "The server is not set up yet.");
	const user = userEvent.setup({ delay: null, pointerEventsCheck: 0 });
	show();
	await user.type(await screen.findByLabelText(/Set-up code/), "aaaa-bbbb-cccc-dddd");
	await user.type(screen.getByLabelText(/^Password/), "passwordpassword");
	expect(screen.getByLabelText(/User name/)).toHaveValue("admin");
	await user.type(screen.getByLabelText(/password again/), "passwordpasswort");
	expect(screen.getByText("The two are not the same")).toBeVisible();
	expect(screen.getByRole("button", { name: "Make the administrator" })).toBeDisabled();
	await user.type(screen.getByLabelText(/password again/), "{Backspace}d");

	answers["POST /api/setup"] = problem(403, "bad_setup_code", "The set-up code is wrong or older than 15 minutes.");
	await user.click(screen.getByRole("button", { name: "Make the administrator" }));
	await waitFor(() => expect(screen.getByLabelText(/Set-up code/)).toBeInvalid());
	expect(screen.getByLabelText(/Set-up code/)).toHaveAccessibleDescription(/wrong or older than 15 minutes/);

	answers["POST /api/setup"] = problem(422, "invalid", "That password is among the first that guessers try.");
	await user.click(screen.getByRole("button", { name: "Make the administrator" }));
	await waitFor(() => expect(screen.getByLabelText(/^Password/)).toBeInvalid());
	expect(screen.getByLabelText(/Set-up code/)).toBeValid();

	answers["POST /api/setup"] = { status: 204 };
	answers["GET /api/auth/me"] = ok(me);
	await user.click(screen.getByRole("button", { name: "Make the administrator" }));
	expect(await screen.findByText("the page")).toBeVisible();
	expect(sent.filter((s) => s.route === "POST /api/setup").at(-1)?.body).toEqual({
		code: "aaaa-bbbb-cccc-dddd",
		username: "admin",
		password: "passwordpassword",
	});
});

test("where somebody else was faster the set-up leads to the sign-in", async () => {
	answers["GET /api/auth/me"] = problem(503, "setup_required", "The server is not set up yet.");
	answers["POST /api/setup"] = problem(409, "setup_done", "The server is set up already. Sign in.");
	const user = userEvent.setup({ delay: null, pointerEventsCheck: 0 });
	show();
	await user.type(await screen.findByLabelText(/Set-up code/), "code");
	await user.type(screen.getByLabelText(/^Password/), "four unusual words");
	await user.type(screen.getByLabelText(/password again/), "four unusual words{Enter}");
	await user.click(await screen.findByRole("button", { name: "To the sign-in" }));
	expect(screen.getByRole("heading", { name: "Sign in" })).toBeVisible();
});

test("a session that ends is asked for above the page, which keeps what was typed", async () => {
	answers["GET /api/auth/me"] = ok(me);
	const user = userEvent.setup({ delay: null, pointerEventsCheck: 0 });
	const queries = show(<input aria-label="paths" />);
	const field = await screen.findByLabelText("paths");
	await user.type(field, "/srv/data");

	answers["GET /api/auth/me"] = unauthorized;
	await act(() => queries.invalidateQueries({ queryKey: meQuery.queryKey }));
	const modal = await screen.findByRole("dialog");
	expect(within(modal).getByLabelText(/User name/)).toHaveValue("ann");
	await user.keyboard("{Escape}");
	expect(screen.getByRole("dialog")).toBeVisible();

	answers["POST /api/auth/login"] = { status: 204 };
	answers["GET /api/auth/me"] = ok(me);
	await user.type(within(modal).getByLabelText(/^Password/), "right{Enter}");
	await waitFor(() => expect(screen.queryByRole("dialog")).toBeNull());
	expect(screen.getByLabelText("paths")).toBe(field);
	expect(field).toHaveValue("/srv/data");
});

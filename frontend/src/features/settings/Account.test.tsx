import { MantineProvider } from "@mantine/core";
import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { render, screen, waitFor } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { PasswordForm } from "./Account";

// A busy machine takes its time over a page of fields.
vi.setConfig({ testTimeout: 30_000 });

let answer: () => Response;
let sent: unknown[];

beforeEach(() => {
	sent = [];
	vi.stubGlobal("fetch", async (request: Request) => {
		sent.push(await request.json());
		return answer();
	});
});
afterEach(() => vi.unstubAllGlobals());

const problem = (status: number, code: string, detail: string, headers?: HeadersInit) => () =>
	Response.json({ title: "Problem", status, code, detail }, { status, headers });

async function fill(current: string, next: string, again: string) {
	const user = userEvent.setup({ delay: null, pointerEventsCheck: 0 });
	render(
		<MantineProvider env="test">
			<QueryClientProvider client={new QueryClient()}>
				<PasswordForm username="ann" />
			</QueryClientProvider>
		</MantineProvider>,
	);
	await user.type(screen.getByLabelText(/^Current password/), current);
	await user.type(screen.getByLabelText(/^New password/), next);
	await user.type(screen.getByLabelText(/new password again/), again);
	return user;
}
const button = () => screen.getByRole("button", { name: "Change the password" });

test("two that differ are not sent, and the missing characters are counted", async () => {
	const user = await fill("old", "short one", "short two");
	expect(screen.getByText("3 more characters")).toBeVisible();
	expect(screen.getByText("The two are not the same")).toBeVisible();
	expect(button()).toBeDisabled();
	await user.click(button());
	expect(sent).toEqual([]);
});

test("the server's word stands at the field it is about", async () => {
	answer = problem(422, "wrong_password", "The current password is wrong.");
	const user = await fill("old", "four unusual words", "four unusual words");
	await user.click(button());
	await waitFor(() => expect(screen.getByLabelText(/^Current password/)).toBeInvalid());
	expect(screen.getByLabelText(/^Current password/)).toHaveAccessibleDescription("The current password is wrong.");
	answer = problem(422, "invalid", "That password is among the first that guessers try.");
	await user.click(button());
	await waitFor(() => expect(screen.getByLabelText(/^New password/)).toBeInvalid());
	expect(screen.getByLabelText(/^Current password/)).toBeValid();
});

test("a pause is told, and the button waits for it", async () => {
	answer = problem(429, "rate_limited", "Too many attempts. Wait 30 s and try again.", { "Retry-After": "30" });
	const user = await fill("old", "four unusual words", "four unusual words");
	await user.click(button());
	expect(await screen.findByRole("alert")).toHaveTextContent(/Too many attempts\. The next one counts in 0:(30|29)\./);
	expect(button()).toBeDisabled();
});

test("a generated one fills both fields; what was typed goes once it is changed", async () => {
	answer = () => new Response(null, { status: 204 });
	const user = await fill("old", "x", "y");
	await user.click(screen.getByRole("button", { name: "Generate one" }));
	await user.click(button());
	await waitFor(() => expect(screen.getByLabelText(/^New password/)).toHaveValue(""));
	expect(sent).toEqual([{ current: "old", new: expect.stringMatching(/^(\w{6}-){3}\w{6}$/) }]);
	expect(screen.getByLabelText(/^Current password/)).toHaveValue("");
});

import { screen, waitFor } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { expect, test, vi } from "vitest";
import { type Call, problem, serve, show } from "../../test-rig";
import { ImportPage } from "./Import";

vi.setConfig({ testTimeout: 30_000 });

const imported = {
	repositories: [
		{ name: "base", url: "/srv/backup", env_keys: [], maintenance: {}, id: "r1" },
		{ name: "cloud", url: "s3:https://s3.example/b", env_keys: ["AWS_ACCESS_KEY_ID"], maintenance: {} },
	],
	policies: [
		{
			name: "documents",
			enabled: true,
			repository_name: "base",
			spec: {
				hosts: {},
				repository_id: "r1",
				backup: { paths: ["/home"] },
				schedule: { cron: "30 2 * * *", zone: "Europe/Berlin" },
				keep: { daily: 7 },
			},
		},
		{
			name: "Mail",
			enabled: false,
			spec: { hosts: {}, backup: { paths: ["/var/mail"] }, schedule: { cron: "@daily", zone: "UTC" } },
		},
	],
	left_out: [{ where: "documents.backup.run-before", why: "a command of the machine is not an order of the server" }],
};

function world(role: string, answer: (call: Call) => { status?: number; body?: unknown }) {
	return serve((call) => {
		if (call.path === "/api/auth/me") return { body: { id: "o1", username: "kim", role, session_id: "s" } };
		if (call.path === "/api/policies/import") return answer(call);
		if (call.path === "/api/policies") return { body: { policies: [{ id: "p1", name: "mail" }] } };
		return problem(404, "not_found", `nothing at ${call.path}`);
	});
}

async function choose(text: string) {
	await screen.findByRole("button", { name: "Read it" });
	const input = document.querySelector<HTMLInputElement>("input[type=file]");
	if (!input) throw new Error("there is no place for a file");
	await userEvent.upload(input, new File([text], "profiles.yaml"));
}

test("a file is sent as it is, and its drafts are offered with what was left out", async () => {
	const calls = world("operator", () => ({ body: imported }));
	show(<ImportPage />);
	await choose("a: ü\n");
	await userEvent.click(screen.getByRole("button", { name: "Read it" }));
	expect(await screen.findByRole("link", { name: "Open the draft documents" })).toHaveAttribute(
		"href",
		"/policies/new?imported=documents",
	);
	const body = calls.find((c) => c.path === "/api/policies/import")?.body as {
		kind: string;
		name: string;
		file: string;
	};
	expect(body).toMatchObject({ kind: "resticprofile", name: "profiles.yaml" });
	expect(new TextDecoder().decode(Uint8Array.from(atob(body.file), (c) => c.charCodeAt(0)))).toBe("a: ü\n");
	expect(screen.getByText("documents.backup.run-before")).toBeVisible();
	expect(screen.getByText("Is here already")).toBeVisible();
	expect(screen.getByRole("link", { name: "Set up the repository cloud" })).toBeVisible();
	expect(await screen.findByText("A policy of this name is here")).toBeVisible();
	expect(screen.queryByRole("link", { name: "Open the draft Mail" })).toBeNull();
	expect(screen.getByText("Switched off")).toBeVisible();
	await userEvent.click(screen.getByRole("button", { name: "Read another file" }));
	expect(await screen.findByRole("button", { name: "Read it" })).toBeDisabled();
});

test("what the server refuses is said, and the file stays chosen", async () => {
	world("operator", () => problem(422, "invalid", "text: the file cannot be read: line 3"));
	show(<ImportPage />);
	await choose("nonsense");
	await userEvent.click(screen.getByRole("button", { name: "Read it" }));
	expect(await screen.findByRole("alert")).toHaveTextContent("line 3");
	expect(screen.getByRole("button", { name: "Read it" })).toBeEnabled();
});

test("a file that is too large is not sent", async () => {
	const calls = world("operator", () => ({ body: imported }));
	show(<ImportPage />);
	await choose("x".repeat(512 * 1024 + 1));
	expect(await screen.findByText("It is larger than 512 KiB")).toBeVisible();
	expect(screen.getByRole("button", { name: "Read it" })).toBeDisabled();
	await waitFor(() => expect(calls.some((c) => c.path === "/api/policies/import")).toBe(false));
});

test("who may not make policies is told so", async () => {
	world("viewer", () => ({ body: imported }));
	show(<ImportPage />);
	expect(await screen.findByText("Operators set policies up")).toBeVisible();
});

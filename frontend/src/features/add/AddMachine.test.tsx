import { MantineProvider } from "@mantine/core";
import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import {
	createMemoryHistory,
	createRootRoute,
	createRoute,
	createRouter,
	Link,
	Outlet,
	RouterProvider,
} from "@tanstack/react-router";
import { act, render, screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { theme } from "../../ui/theme";
import { AddMachine } from "./AddMachine";

const token = {
	id: "01a20bc8-30f2-7d0b-852c-af7b15720839",
	name: "web1",
	labels: { env: "prod" },
	created_at: "2020-01-01T00:00:00Z",
	created_by: "ann",
	expires_at: "2020-01-01T01:00:00Z",
};
const install = {
	server_url: "https://backup.example",
	script_url: "https://backup.example/install.sh",
	certificate: "public",
	command: "curl -fsSL https://backup.example/install.sh | sh -s --",
	wget_command: "wget -qO- https://backup.example/install.sh | sh -s --",
	platforms: [
		{
			os: "linux",
			arch: "arm64",
			size_bytes: 9000000,
			sha256: "cd".repeat(32),
			url: "https://backup.example/download/agent/linux-arm64",
		},
	],
};
const host = {
	id: "h1",
	name: "web1",
	labels: {},
	status: "online",
	created_at: "2026-01-01T00:00:00Z",
	facts: {
		hostname: "web1.local",
		os: "linux",
		os_version: "Debian 12",
		arch: "amd64",
		cpus: 2,
		memory_bytes: 1 << 30,
	},
	guard: { summary: "allows backup", kinds: [] },
	kinds: [],
	hooks: [],
	reported_repositories: [],
	agent_version: "1.0.0",
	restic_version: "0.18.0",
	active_jobs: [],
};

// A busy machine takes its time over a page of fields.
vi.setConfig({ testTimeout: 30_000 });

let answers: Record<string, unknown>;
let sent: { route: string; body: unknown }[];

beforeEach(() => {
	sent = [];
	answers = {
		"POST /api/enrollment-tokens": { ...token, token: "rme_secret" },
		[`GET /api/enrollment-tokens/${token.id}`]: token,
		"GET /api/install": install,
	};
	vi.stubGlobal("scrollTo", () => {});
	vi.stubGlobal("fetch", async (request: Request) => {
		const route = `${request.method} ${new URL(request.url).pathname}`;
		const text = await request.text();
		sent.push({ route, body: text ? JSON.parse(text) : undefined });
		if (request.method === "DELETE") return new Response(null, { status: 204 });
		const body = answers[route];
		return body === undefined
			? Response.json({ title: "Not found", status: 404, code: "not_found" }, { status: 404 })
			: Response.json(body);
	});
});
afterEach(() => {
	vi.useRealTimers();
	vi.unstubAllGlobals();
});

function show() {
	const root = createRootRoute({
		component: () => (
			<>
				<Link to="/jobs">Elsewhere</Link>
				<Outlet />
			</>
		),
	});
	const router = createRouter({
		routeTree: root.addChildren([
			createRoute({ getParentRoute: () => root, path: "/add", component: AddMachine }),
			createRoute({ getParentRoute: () => root, path: "/jobs", component: () => <p>another page</p> }),
		]),
		history: createMemoryHistory({ initialEntries: ["/add"] }),
	});
	const queries = new QueryClient({ defaultOptions: { queries: { retry: false } } });
	render(
		<MantineProvider theme={theme} env="test">
			<QueryClientProvider client={queries}>
				<RouterProvider router={router} />
			</QueryClientProvider>
		</MantineProvider>,
	);
	return { router, queries };
}

async function makeCommand(user: ReturnType<typeof userEvent.setup>) {
	await user.type(await screen.findByLabelText("Name"), "web1");
	await user.type(screen.getByLabelText("Labels"), "env=prod{Enter}");
	return await screen.findByText(/--token rme_secret/);
}

test("the command carries what is chosen, and its token is in no URL", async () => {
	const user = userEvent.setup({ delay: null, pointerEventsCheck: 0 });
	const { router } = show();
	const command = await makeCommand(user);
	expect(sent.find((s) => s.route === "POST /api/enrollment-tokens")?.body).toEqual({
		name: "web1",
		labels: { env: "prod" },
	});
	expect(command).toHaveTextContent(`${install.command} --token rme_secret --install-restic`);
	await user.click(screen.getByLabelText("This machine may also remove old snapshots"));
	await user.click(screen.getByLabelText("Use sudo"));
	await user.click(screen.getByLabelText("Install restic where it is missing"));
	expect(command).toHaveTextContent("| sudo sh -s -- --token rme_secret --allow maintenance");
	expect(command).not.toHaveTextContent("--install-restic");
	await user.click(screen.getByRole("tab", { name: "By hand" }));
	expect(await screen.findByText(/sha256sum -c/)).toHaveTextContent("cd".repeat(32));
	expect(router.state.location.href).toBe("/add");
});

test("a command expires by its own length, whatever this device's clock says, and a new one takes its place", async () => {
	answers["POST /api/enrollment-tokens"] = { ...token, expires_at: "2020-01-01T00:01:00Z", token: "rme_secret" };
	vi.useFakeTimers({ shouldAdvanceTime: true });
	const user = userEvent.setup({ delay: null, pointerEventsCheck: 0 });
	show();
	await makeCommand(user);
	expect(screen.getByRole("timer")).toHaveTextContent(/^(1:00|0:5\d)$/);
	await act(() => vi.advanceTimersByTimeAsync(61_000));
	expect(screen.getByText("The command has expired; nobody used it.")).toBeVisible();
	expect(screen.queryByText(/rme_secret/)).toBeNull();
	answers["POST /api/enrollment-tokens"] = { ...token, id: "t2", token: "rme_other" };
	answers["GET /api/enrollment-tokens/t2"] = { ...token, id: "t2" };
	await user.click(screen.getByRole("button", { name: "Make a new one" }));
	expect(await screen.findByText(/--token rme_other/)).toBeVisible();
	expect(sent.some((s) => s.route.startsWith("DELETE"))).toBe(false);
});

test("the page turns green when the machine is there, and asks for its repository", async () => {
	const user = userEvent.setup({ delay: null, pointerEventsCheck: 0 });
	const { queries } = show();
	await makeCommand(user);
	expect(screen.getByText(/Waiting for the machine/)).toBeVisible();
	answers["GET /api/hosts/h1"] = { ...host, status: "never_seen" };
	answers[`GET /api/enrollment-tokens/${token.id}`] = { ...token, used_at: "2026-01-01T00:00:00Z", host_id: "h1" };
	await act(() => queries.invalidateQueries());
	expect(await screen.findByText(/has enrolled/)).toBeVisible();
	expect(screen.queryByText(/rme_secret/)).toBeNull();
	answers["GET /api/hosts/h1"] = host;
	await act(() => queries.invalidateQueries());
	expect(await screen.findByText("is there.", { exact: false })).toBeVisible();
	expect(screen.getByText("Debian 12, amd64")).toBeVisible();

	const save = screen.getByRole("button", { name: "Save the repository" });
	await user.type(screen.getByLabelText(/^Repository/), "rest:https://storage.example/web1");
	await user.click(screen.getByRole("button", { name: "Generate" }));
	expect(save).toBeDisabled();
	await user.click(screen.getByLabelText("I have it in a safe place"));
	answers["PUT /api/hosts/h1/repository"] = {};
	answers["GET /api/hosts/h1"] = {
		...host,
		repository: { url: "rest:https://storage.example/web1", env_keys: [], updated_at: "" },
	};
	await user.click(save);
	expect(await screen.findByRole("button", { name: "Start the first backup" })).toBeEnabled();
	const put = sent.find((s) => s.route === "PUT /api/hosts/h1/repository")?.body as { password: string };
	expect(put.password.replaceAll("-", "")).toHaveLength(24);
});

test("who leaves an unused command can stay, or make it void", async () => {
	const user = userEvent.setup({ delay: null, pointerEventsCheck: 0 });
	show();
	await makeCommand(user);
	await user.click(screen.getByText("Elsewhere"));
	let asked = await screen.findByRole("dialog");
	await user.click(within(asked).getByRole("button", { name: "Stay here" }));
	await waitFor(() => expect(screen.queryByRole("dialog")).toBeNull());
	expect(screen.getByText(/rme_secret/)).toBeVisible();
	await user.click(screen.getByText("Elsewhere"));
	asked = await screen.findByRole("dialog");
	await user.click(within(asked).getByRole("button", { name: "Make it void" }));
	expect(await screen.findByText("another page")).toBeVisible();
	expect(sent.map((s) => s.route)).toContain(`DELETE /api/enrollment-tokens/${token.id}`);
});

import { MantineProvider } from "@mantine/core";
import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import {
	createMemoryHistory,
	createRootRoute,
	createRoute,
	createRouter,
	RouterProvider,
} from "@tanstack/react-router";
import { render, screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { beforeAll, beforeEach, expect, it, vi } from "vitest";
import type { Overview } from "../../api/fleet";
import { host } from "../../api/host.fixture";
import type { Host } from "../../api/types";
import { Fleet } from "./Fleet";
import type { View } from "./view";

const overview: Overview = {
	unprotected_count: 0,
	at: "2026-11-27T03:00:00Z",
	hosts: {
		total: 3,
		protected: 2,
		at_risk: 0,
		failing: 1,
		never_backed_up: 0,
		revoked: 0,
		online: 3,
		offline: 0,
		never_seen: 0,
		clone_alarms: 0,
	},
	jobs: { queued: 0, running: 1 },
	attention: [
		{ host_id: "id-db", host_name: "db", reason: "failing", job_id: "j1", message: "the disk is full" },
		{ host_id: "id-web", host_name: "web", reason: "overdue" },
	],
	attention_total: 2,
	labels: [{ key: "env", values: [{ value: "prod", hosts: 3 }] }],
	versions: [{ version: "1.0.0", hosts: 3 }],
	server_version: "1.0.0",
};

interface Served {
	role?: "viewer" | "operator";
	overview?: Overview;
	hosts?: Host[];
	/** Answers of other calls, by method and path. */
	answers?: Record<string, () => Response>;
}

let asked: string[] = [];

function serve({ role = "operator", overview: o = overview, hosts = [], answers = {} }: Served) {
	asked = [];
	vi.stubGlobal(
		"fetch",
		vi.fn(async (request: Request) => {
			const { pathname } = new URL(request.url);
			const call = `${request.method} ${pathname}`;
			asked.push(call);
			const answer = answers[call];
			if (answer) return answer();
			if (call === "GET /api/auth/me") return Response.json({ id: "me", username: "ada", role, session_id: "s" });
			if (call === "GET /api/fleet") return Response.json(o);
			if (call === "GET /api/hosts") return Response.json({ hosts, total: hosts.length });
			const one = hosts.find((h) => call === `GET /api/hosts/${h.id}`);
			if (one) return Response.json(one);
			return Response.json({ title: "no", detail: `nothing answers ${call}` }, { status: 404 });
		}),
	);
}

function show(view: View = {}) {
	const setView = vi.fn();
	const root = createRootRoute();
	const at = (path: string, component?: () => React.ReactNode) =>
		createRoute({ getParentRoute: () => root, path, component });
	const router = createRouter({
		routeTree: root.addChildren([
			at("/", () => <Fleet view={view} setView={setView} />),
			at("/hosts/$hostId", () => "the host's page"),
			at("/jobs"),
			at("/jobs/$jobId"),
			at("/add"),
		]),
		history: createMemoryHistory({ initialEntries: ["/"] }),
	});
	render(
		<MantineProvider env="test">
			<QueryClientProvider client={new QueryClient({ defaultOptions: { queries: { retry: false } } })}>
				{/* The router of the test has fewer pages than the product's. */}
				<RouterProvider router={router as never} />
			</QueryClientProvider>
		</MantineProvider>,
	);
	return { setView, router };
}

// Loaded when it is needed; here before, so that no test waits for the transformation of its code.
beforeAll(async () => {
	await import("./Bulk");
});

beforeEach(() => {
	localStorage.clear();
	vi.spyOn(window, "scrollTo").mockImplementation(() => {});
});

const hosts = [
	host("web", { labels: { env: "prod" } }),
	host("db", { protection: "failing", labels: { env: "prod" } }),
	host("mail"),
];

it("answers first, says what needs somebody, and filters by a click on a count", async () => {
	serve({ hosts });
	const { setView } = show();
	expect(await screen.findByRole("heading", { level: 1 })).toHaveTextContent("Fleet");
	await waitFor(() => expect(screen.getByRole("heading", { level: 1 })).toHaveTextContent("2 of 3 machines need you"));
	const attention = screen.getByRole("region", { name: "What needs attention" });
	expect(attention).toHaveTextContent("db was not backed up: the last try did not succeed. The disk is full.");
	expect(within(attention).getByRole("link", { name: "See what happened" })).toHaveAttribute("href", "/jobs/j1");
	await userEvent.click(screen.getByRole("button", { name: /1 ?Failing/ }));
	expect(setView).toHaveBeenCalledWith({ protection: ["failing"] });
});

it("shows the machines, sorts by a header, and goes to one by a click", async () => {
	serve({ hosts });
	const { setView, router } = show({ sort: "last_success", order: "desc" });
	const table = await screen.findByRole("table", { name: "Machines" });
	expect(within(table).getAllByRole("row")).toHaveLength(4);
	expect(within(table).getByRole("columnheader", { name: "Last backup" })).toHaveAttribute("aria-sort", "descending");
	expect(within(table).getByRole("columnheader", { name: "Name" })).not.toHaveAttribute("aria-sort");
	await userEvent.click(within(table).getByRole("button", { name: "Size" }));
	expect(setView).toHaveBeenCalledWith({ sort: "size", order: "desc" });
	await userEvent.click(within(table).getByRole("link", { name: "mail" }));
	expect(await screen.findByText("the host's page")).toBeInTheDocument();
	expect(router.state.location.pathname).toBe("/hosts/id-mail");
});

it("offers a viewer nothing that would be refused", async () => {
	serve({ role: "viewer", hosts });
	show();
	await screen.findByRole("table");
	await screen.findByText("2 of 3 machines need you");
	expect(screen.queryByRole("checkbox")).toBeNull();
	expect(screen.queryByRole("button", { name: /back up/i })).toBeNull();
	expect(screen.queryByRole("link", { name: "Add a machine" })).toBeNull();
	const attention = screen.getByRole("region", { name: "What needs attention" });
	expect(within(attention).getByRole("link", { name: "Open the machine" })).toBeInTheDocument();
});

it("invites to add the first machine, and offers to clear filters that match none", async () => {
	const none = { ...overview.hosts, total: 0, protected: 0, failing: 0, online: 0 };
	serve({ overview: { ...overview, hosts: none, attention: [], attention_total: 0 } });
	show();
	expect(await screen.findByRole("link", { name: "Add the first machine" })).toHaveAttribute("href", "/add");
	expect(screen.queryByRole("table")).toBeNull();
});

it("offers to clear the filters where none matches", async () => {
	serve({ hosts: [] });
	const { setView } = show({ q: "zebra" });
	await userEvent.click(await screen.findByRole("button", { name: "Clear the filters" }));
	expect(setView).toHaveBeenCalledWith(expect.objectContaining({ q: undefined, protection: undefined }));
});

it("says why the list could not be loaded, and tries again", async () => {
	let fails = true;
	serve({
		answers: {
			"GET /api/hosts": () =>
				fails
					? Response.json({ title: "x", detail: "the database is away" }, { status: 400 })
					: Response.json({ hosts, total: 3 }),
		},
	});
	show();
	expect(await screen.findByRole("alert")).toHaveTextContent("the database is away");
	fails = false;
	await userEvent.click(screen.getByRole("button", { name: "Try again" }));
	expect(await screen.findByRole("table")).toBeInTheDocument();
});

it("shows a name that would act on the screen to the letter", async () => {
	serve({ hosts: [host("evil\u202egnp.exe<script>alert(1)</script>")] });
	show();
	const table = await screen.findByRole("table");
	expect(within(table).getByRole("link", { name: /evil/ })).toHaveTextContent(
		"evil\\u202egnp.exe<script>alert(1)</script>",
	);
	expect(document.querySelector("script")).toBeNull();
});

it("backs up the chosen as last time, leaves out who has nothing to repeat, and names who was refused", async () => {
	const some = [host("web"), host("db"), host("new", { last_backup: undefined }), host("busy")];
	serve({
		hosts: some,
		answers: {
			"POST /api/jobs/job-web/retry": () => Response.json({ id: "n" }, { status: 201 }),
			"POST /api/jobs/job-db/retry": () =>
				Response.json({ title: "Conflict", detail: "this machine has a clone alarm" }, { status: 409 }),
			"GET /api/hosts/id-busy": () =>
				Response.json(
					host("busy", {
						active_jobs: [
							{
								id: "a",
								kind: "backup",
								state: "running",
								percent_done: 0,
								bytes_done: 0,
								total_bytes: 0,
								elapsed_seconds: 0,
							},
						],
					}),
				),
		},
	});
	show();
	const user = userEvent.setup();
	await user.click(await screen.findByRole("checkbox", { name: "Choose web" }));
	await user.keyboard("{Shift>}");
	await user.click(screen.getByRole("checkbox", { name: "Choose busy" }));
	await user.keyboard("{/Shift}");
	const bar = screen.getByRole("region", { name: "Chosen machines" });
	expect(bar).toHaveTextContent("4 chosen");
	await user.click(within(bar).getByRole("button", { name: "Back up now" }));
	const dialog = await screen.findByRole("dialog", { name: "Back up now" });
	expect(dialog).toHaveTextContent("1 machine of these has no earlier backup");
	await user.click(await within(dialog).findByRole("button", { name: "Back up 4 machines" }));
	const failures = await within(dialog).findByRole("list", { name: "Machines it was not done for" });
	expect(failures).toHaveTextContent("db: this machine has a clone alarm");
	expect(within(failures).getAllByRole("listitem")).toHaveLength(1);
	expect(dialog).toHaveTextContent("1 machine done");
	expect(dialog).toHaveTextContent("no earlier backup to repeat");
	expect(dialog).toHaveTextContent("a backup is queued or at work already");
	expect(asked.filter((c) => c.startsWith("POST")).sort()).toEqual([
		"POST /api/jobs/job-db/retry",
		"POST /api/jobs/job-web/retry",
	]);
	// Who failed stays chosen, for another try.
	await user.click(within(dialog).getByRole("button", { name: "Close" }));
	expect(await screen.findByText("chosen", { exact: false, selector: "[role=status]" })).toHaveTextContent("1 chosen");
});

it("revokes only after its words were typed", async () => {
	serve({
		hosts: [host("web"), host("db")],
		answers: {
			"POST /api/hosts/id-web/revoke": () => Response.json(host("web")),
			"POST /api/hosts/id-db/revoke": () => Response.json(host("db")),
		},
	});
	show();
	const user = userEvent.setup();
	await user.click(await screen.findByRole("checkbox", { name: /Choose all 2/ }));
	await user.click(screen.getByRole("button", { name: "Revoke" }));
	const dialog = await screen.findByRole("dialog", { name: "Revoke machines" });
	const button = await within(dialog).findByRole("button", { name: "Revoke 2 machines" });
	expect(button).toBeDisabled();
	await user.type(within(dialog).getByRole("textbox"), "revoke 2 machines");
	await user.click(button);
	await waitFor(() => expect(dialog).toHaveTextContent("2 machines done"));
	expect(asked).toContain("POST /api/hosts/id-web/revoke");
	expect(asked).toContain("POST /api/hosts/id-db/revoke");
});

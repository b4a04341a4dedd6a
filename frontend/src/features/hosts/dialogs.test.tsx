import { MantineProvider } from "@mantine/core";
import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import {
	createMemoryHistory,
	createRootRoute,
	createRoute,
	createRouter,
	RouterProvider,
} from "@tanstack/react-router";
import { render, screen, waitFor } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import type { ReactNode } from "react";
import { beforeEach, describe, expect, it, vi } from "vitest";
import type { Job } from "../../api/types";
import { BarredButton } from "../../ui/Barred";
import { BackupDialog } from "./BackupDialog";
import { Grid } from "./Calendar";
import { Repository } from "./Repository";
import { testHost } from "./testHost";
import { weeks } from "./weeks";

const operator = "operator";
const viewer = "viewer";

interface Call {
	method: string;
	path: string;
	key: string | null;
	body: unknown;
}

let calls: Call[];
let answers: (call: Call) => { status: number; body: unknown };

beforeEach(() => {
	calls = [];
	// jsdom has none; the router calls it.
	vi.stubGlobal("scrollTo", () => {});
	vi.stubGlobal(
		"fetch",
		vi.fn(async (request: Request) => {
			const text = await request.text();
			const call = {
				method: request.method,
				path: new URL(request.url).pathname,
				key: request.headers.get("Idempotency-Key"),
				body: text === "" ? undefined : JSON.parse(text),
			};
			calls.push(call);
			const { status, body } = answers(call);
			const type = status < 400 ? "application/json" : "application/problem+json";
			return new Response(JSON.stringify(body), { status, headers: { "Content-Type": type } });
		}),
	);
});

async function show(children: ReactNode) {
	const root = createRootRoute({ component: () => children });
	const tree = root.addChildren([createRoute({ getParentRoute: () => root, path: "/jobs/$jobId" })]);
	const router = createRouter({ routeTree: tree, history: createMemoryHistory() });
	const queries = new QueryClient({ defaultOptions: { queries: { retry: false } } });
	render(
		<MantineProvider env="test">
			<QueryClientProvider client={queries}>
				{/* biome-ignore lint/suspicious/noExplicitAny: the router of the test has its own routes */}
				<RouterProvider router={router as any} />
			</QueryClientProvider>
		</MantineProvider>,
	);
}

function job(changes: Partial<Job>): Job {
	return {
		id: "01a21b1f-5f47-74f9-8ea6-63f68d7eed6d",
		host_id: testHost().id,
		host_name: "web-1",
		kind: "backup",
		state: "queued",
		spec: { paths: ["/etc"] },
		created_by: "admin",
		queued_at: "2026-11-27T03:00:00Z",
		expires_at: "2026-11-28T03:00:00Z",
		late_report: false,
		log_complete: false,
		log_received: 0,
		repository: { name: "local" },
		time_limit_seconds: 86400,
		...changes,
	};
}

const orders = () => calls.filter((c) => c.method === "POST");

describe("Back up now", () => {
	const last = { paths: ["/etc", "/srv"], excludes: ["*.tmp"], upload_limit_kib: 100 };

	it("begins with what the last backup was asked, and orders it", async () => {
		answers = (c) =>
			c.method === "GET" ? { status: 200, body: { jobs: [job({ spec: last })] } } : { status: 201, body: job({}) };
		await show(<BackupDialog host={testHost()} opened close={() => {}} />);
		expect(await screen.findByLabelText(/^Paths/)).toHaveValue("/etc\n/srv");
		await userEvent.click(screen.getByRole("button", { name: "Back up now" }));
		expect(await screen.findByText("Backup is ordered")).toBeVisible();
		expect(orders().map((c) => c.body)).toEqual([{ kind: "backup", spec: last }]);
		expect(screen.getByRole("link", { name: "Follow the job" })).toHaveAttribute("href", `/jobs/${job({}).id}`);
	});

	it("says at the field what is wrong, before anything is sent", async () => {
		answers = () => ({ status: 200, body: { jobs: [] } });
		await show(<BackupDialog host={testHost()} opened close={() => {}} />);
		await userEvent.type(await screen.findByLabelText(/^Paths/), "etc");
		await userEvent.click(screen.getByRole("button", { name: "Back up now" }));
		expect(screen.getByLabelText(/^Paths/)).toHaveAccessibleDescription(/not absolute/);
		expect(orders()).toEqual([]);
	});

	it("puts the server's words at their field, and sends the same key again", async () => {
		let refuse = true;
		answers = (c) => {
			if (c.method === "GET") return { status: 200, body: { jobs: [job({ spec: last })] } };
			if (!refuse) return { status: 200, body: job({}) };
			refuse = false;
			return {
				status: 422,
				body: { title: "Unprocessable Entity", status: 422, code: "invalid", detail: 'excludes: "[" is not a pattern' },
			};
		};
		await show(<BackupDialog host={testHost()} opened close={() => {}} />);
		await userEvent.click(await screen.findByRole("button", { name: "Back up now" }));
		await waitFor(() => expect(screen.getByLabelText("Leave out")).toHaveAccessibleDescription(/is not a pattern/));
		await userEvent.click(screen.getByRole("button", { name: "Back up now" }));
		// 200 in place of 201: it waits in the queue already.
		expect(await screen.findByText("Backup is ordered already")).toBeVisible();
		const [a, b] = orders();
		expect(a?.key).toMatch(/^[0-9a-f]{32}$/);
		expect(b?.key).toBe(a?.key);
	});

	it("takes another key when the first order had arrived after all", async () => {
		let n = 0;
		answers = (c) => {
			if (c.method === "GET") return { status: 200, body: { jobs: [job({ spec: last })] } };
			if (n++ > 0) return { status: 201, body: job({}) };
			return { status: 409, body: { title: "Conflict", status: 409, code: "idempotency_key_reused", detail: "taken" } };
		};
		await show(<BackupDialog host={testHost()} opened close={() => {}} />);
		await userEvent.click(await screen.findByRole("button", { name: "Back up now" }));
		expect(await screen.findByRole("alert")).toHaveTextContent("taken");
		await userEvent.click(screen.getByRole("button", { name: "Back up now" }));
		await screen.findByText("Backup is ordered");
		expect(orders()[1]?.key).not.toBe(orders()[0]?.key);
	});
});

describe("the test of the repository", () => {
	it("offers to make one where there is none, and follows that", async () => {
		const missing = { code: "repository_missing", message: "unable to open config file" };
		answers = (c) => {
			const kind = (c.body as { kind?: Job["kind"] } | undefined)?.kind;
			if (c.method === "POST")
				return { status: 201, body: job({ id: kind === "init" ? "init-1" : "test-1", kind: kind ?? "init" }) };
			return c.path.endsWith("init-1")
				? { status: 200, body: job({ id: "init-1", kind: "init", state: "succeeded" }) }
				: { status: 200, body: job({ id: "test-1", kind: "snapshots", state: "failed", error: missing }) };
		};
		await show(<Repository host={testHost()} role={operator} />);
		await userEvent.click(await screen.findByRole("button", { name: "Test from this machine" }));
		expect(await screen.findByText("There is no repository at this place", undefined, { timeout: 4000 })).toBeVisible();
		expect(screen.getByText("unable to open config file")).toBeVisible();
		await userEvent.click(screen.getByRole("button", { name: "Initialize it here" }));
		expect(await screen.findByText("The repository is there", undefined, { timeout: 4000 })).toBeVisible();
		expect(orders().map((c) => (c.body as { kind: string }).kind)).toEqual(["snapshots", "init"]);
		expect(document.activeElement).not.toBe(document.body);
	});

	it("is not for who only reads, and says so", async () => {
		answers = () => ({ status: 500, body: {} });
		await show(<Repository host={testHost()} role={viewer} />);
		const button = await screen.findByRole("button", { name: "Test from this machine" });
		expect(button).toHaveAccessibleDescription(/only reads/);
		await userEvent.click(button);
		expect(calls).toEqual([]);
	});
});

describe("what is barred", () => {
	it("can be reached by keys and does nothing", async () => {
		const run = vi.fn();
		render(
			<MantineProvider env="test">
				<BarredButton reason="The guard is broken." onClick={run}>
					Back up now
				</BarredButton>
			</MantineProvider>,
		);
		await userEvent.tab();
		const button = screen.getByRole("button", { name: "Back up now" });
		expect(button).toHaveFocus();
		expect(button).toHaveAttribute("aria-disabled", "true");
		expect(button).toHaveAccessibleDescription("The guard is broken.");
		await userEvent.keyboard("{Enter}");
		expect(run).not.toHaveBeenCalled();
	});
});

describe("the calendar", () => {
	const given = [{ date: "2026-11-19", succeeded: 1, succeeded_with_issues: 0, failed: 0, canceled: 0 }];
	const columns = weeks(given, 28, "2026-11-27");
	const shown = (choose: (d: string | undefined) => void, day?: string) =>
		render(
			<MantineProvider env="test">
				<Grid columns={columns} day={day} choose={choose} />
			</MantineProvider>,
		);

	it("is one stop of the Tab key, walked by the arrows", async () => {
		const choose = vi.fn();
		shown(choose);
		await userEvent.tab();
		expect(screen.getByRole("button", { name: "Fri, 27 Nov 2026: no backup ended" })).toHaveFocus();
		await userEvent.keyboard("{ArrowLeft}{ArrowUp}");
		expect(screen.getByRole("button", { name: "Thu, 19 Nov 2026: 1 succeeded" })).toHaveFocus();
		await userEvent.keyboard("{Enter}");
		expect(choose).toHaveBeenCalledWith("2026-11-19");
		await userEvent.tab();
		expect(document.body).toHaveFocus();
	});

	it("lets go of a day that is chosen again", async () => {
		const choose = vi.fn();
		shown(choose, "2026-11-19");
		const day = screen.getByRole("button", { name: "Thu, 19 Nov 2026: 1 succeeded" });
		expect(day).toHaveAttribute("aria-pressed", "true");
		await userEvent.click(day);
		expect(choose).toHaveBeenCalledWith(undefined);
	});
});

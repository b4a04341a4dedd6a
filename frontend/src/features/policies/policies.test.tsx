import { screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { expect, it, vi } from "vitest";
import type { Plan, Policy } from "../../api/policies";
import { type Call, problem, serve, show } from "../../test-rig";
import { Editor } from "./Editor";
import { RunDialog } from "./PolicyPage";
import { testPlan, testPolicy } from "./testPolicy";

const preview = { text: "at 02:00", next: ["2026-11-28T01:00:00Z"], every_seconds: 86400 };

/** A server with one policy. */
function world(now: { policy: Policy; plan?: Plan; save?: (call: Call) => ReturnType<typeof problem> | undefined }) {
	return serve((call) => {
		const at = `${call.method} ${call.path}`;
		if (at === "POST /api/schedules/preview") return { body: preview };
		if (at === "POST /api/policies/plan") return { body: now.plan ?? testPlan() };
		if (at === "GET /api/repositories") return { body: { repositories: [] } };
		if (at.endsWith("/versions"))
			return {
				body: {
					versions: [
						{
							...now.policy,
							at: "2026-11-27T11:00:00Z",
							by: "kim",
							changes: [{ field: "schedule.cron", before: "0 2 * * *", after: "0 5 * * *" }],
						},
					],
				},
			};
		if (at.startsWith("PUT /api/policies/")) {
			const refused = now.save?.(call);
			if (refused) return refused;
			return { body: { ...now.policy, version: now.policy.version + 1 } };
		}
		if (at === "POST /api/policies") return { status: 201, body: now.policy };
		if (at === `GET /api/policies/${now.policy.id}`) return { body: now.policy };
		if (at === "GET /api/fleet") return { body: { hosts: {}, labels: [], versions: [], attention: [], jobs: {} } };
		if (at === "GET /api/hosts") return { body: { hosts: [], total: 0 } };
		return problem(404, "not_found", `nothing at ${at}`);
	});
}

const puts = (calls: Call[]) => calls.filter((c) => c.method === "PUT").map((c) => c.body as Policy);

it("saves nothing before the plan was seen and said yes to", async () => {
	const policy = testPolicy();
	const plan = testPlan({
		hosts: {
			added: [{ id: "h1", name: "web-1" }],
			added_count: 1,
			removed: [{ id: "h2", name: "db-1" }],
			removed_count: 1,
			kept: 5,
			problems: [{ host: { id: "h1", name: "web-1" }, problem: "its agent is too old" }],
			problem_count: 1,
		},
		changes: [{ field: "backup.paths", before: "/etc\n/srv", after: "/etc" }],
		next_runs: [{ host: { id: "h1", name: "web-1" }, at: "2026-11-28T01:10:00Z" }],
		warnings: ["two machines have no repository"],
	});
	const calls = world({ policy, plan });
	const saved = vi.fn();
	show(<Editor policy={policy} saved={saved} leave={null} />);
	const paths = await screen.findByLabelText(/^Paths/);
	await userEvent.clear(paths);
	await userEvent.type(paths, "/etc");
	await userEvent.click(screen.getByRole("button", { name: "Show the plan…" }));
	const dialog = await screen.findByRole("dialog");
	expect(await within(dialog).findByText("db-1")).toBeVisible();
	expect(within(dialog).getByText("Its agent is too old.")).toBeVisible();
	expect(within(dialog).getByText("Two machines have no repository.")).toBeVisible();
	expect(within(dialog).getByText("Paths")).toBeVisible();
	expect(dialog).toHaveTextContent("6machines in all");
	expect(puts(calls)).toEqual([]);
	await userEvent.click(within(dialog).getByRole("button", { name: "Save" }));
	await waitFor(() => expect(saved).toHaveBeenCalled());
	expect(puts(calls)).toMatchObject([{ version: 3, name: "Servers", spec: { backup: { paths: ["/etc"] } } }]);
});

it("does not save what changes nothing", async () => {
	const policy = testPolicy();
	const calls = world({ policy });
	show(<Editor policy={policy} saved={() => {}} leave={null} />);
	await userEvent.click(await screen.findByRole("button", { name: "Show the plan…" }));
	expect(await screen.findByText(/Nothing is other than what is saved/)).toBeVisible();
	expect(screen.getByRole("button", { name: "Save" })).toBeDisabled();
	expect(puts(calls)).toEqual([]);
});

it("shows what another person saved meanwhile, keeps what was typed, and saves over it only when asked", async () => {
	const policy = testPolicy();
	const now = { policy, plan: testPlan({ changes: [{ field: "name", before: "Servers", after: "Mine" }] }) };
	const calls = world({
		...now,
		policy: testPolicy({ version: 4 }),
		save: (call) =>
			(call.body as Policy).version === 4
				? undefined
				: problem(409, "policy_changed", "the policy is at version 4 by now"),
	});
	const saved = vi.fn();
	show(<Editor policy={policy} saved={saved} leave={null} />);
	const name = await screen.findByLabelText("Name");
	await userEvent.clear(name);
	await userEvent.type(name, "Mine");
	await userEvent.click(screen.getByRole("button", { name: "Show the plan…" }));
	await userEvent.click(await screen.findByRole("button", { name: "Save" }));
	expect(await screen.findByText(/saved version 4 while you edited/)).toHaveTextContent("kim");
	expect(await screen.findByText("0 5 * * *")).toBeVisible();
	expect(saved).not.toHaveBeenCalled();
	expect(name).toHaveValue("Mine");
	await userEvent.click(await screen.findByRole("button", { name: "Save over it" }));
	await waitFor(() => expect(saved).toHaveBeenCalled());
	expect(puts(calls).map((p) => [p.version, p.name])).toEqual([
		[3, "Mine"],
		[4, "Mine"],
	]);
});

it("takes theirs when that is chosen", async () => {
	const policy = testPolicy();
	const theirs = testPolicy({ version: 4, name: "Theirs" });
	world({
		policy: theirs,
		plan: testPlan({ changes: [{ field: "name", before: "Servers", after: "Mine" }] }),
		save: () => problem(409, "policy_changed", "the policy is at version 4 by now"),
	});
	show(<Editor policy={policy} saved={() => {}} leave={null} />);
	await userEvent.click(await screen.findByRole("button", { name: "Show the plan…" }));
	await userEvent.click(await screen.findByRole("button", { name: "Save" }));
	await userEvent.click(await screen.findByRole("button", { name: "Take theirs" }));
	expect(screen.queryByRole("dialog")).toBeNull();
	expect(screen.getByLabelText("Name")).toHaveValue("Theirs");
});

it("puts what the server refuses at its field", async () => {
	const policy = testPolicy();
	serve((call) =>
		call.path === "/api/policies/plan"
			? problem(422, "invalid", 'backup.excludes: "[" is not a pattern')
			: call.path === "/api/schedules/preview"
				? { body: preview }
				: { body: { repositories: [], hosts: [], labels: [] } },
	);
	show(<Editor policy={policy} saved={() => {}} leave={null} />);
	await userEvent.click(await screen.findByRole("button", { name: "Show the plan…" }));
	await waitFor(() => expect(screen.getByLabelText("Leave out")).toHaveAccessibleDescription(/is not a pattern/));
	expect(screen.queryByRole("dialog")).toBeNull();
});

it("begins with a starting point, keeps a name that was typed, and says what is missing", async () => {
	const calls = world({ policy: testPolicy() });
	show(<Editor saved={() => {}} leave={null} />);
	await userEvent.click(await screen.findByRole("button", { name: /^Laptop/ }));
	expect(screen.getByLabelText("Name")).toHaveValue("Laptops");
	await userEvent.click(screen.getByRole("button", { name: /^Server/ }));
	expect(screen.getByLabelText("Name")).toHaveValue("Servers");
	await userEvent.click(screen.getByRole("button", { name: "Show the plan…" }));
	expect(await screen.findByText("Choose machines: all, by label or by name")).toBeVisible();
	expect(screen.queryByRole("dialog")).toBeNull();
	expect(calls.some((c) => c.method === "PUT" || c.path === "/api/policies")).toBe(false);
});

it("runs the policy on chosen machines alone", async () => {
	const policy = testPolicy();
	const hosts = [
		{ id: "h1", name: "web-1", why: "label env=prod", problem: "" },
		{ id: "h2", name: "web-2", why: "label env=prod", problem: "no repository" },
	];
	const calls = serve((call) =>
		call.path.endsWith("/run")
			? { body: { jobs: [{ host_id: "h1", job_id: "j1", created: true }] } }
			: { body: { hosts, total: 2 } },
	);
	show(<RunDialog policy={policy} opened close={() => {}} />);
	await userEvent.click(await screen.findByRole("checkbox", { name: "All 2 machines" }));
	expect(screen.getByRole("checkbox", { name: /web-2/ })).toBeDisabled();
	await userEvent.click(screen.getByRole("checkbox", { name: /web-1/ }));
	await userEvent.click(screen.getByRole("button", { name: "Back up 1 machine" }));
	expect(await screen.findByText("1 backup is ordered.")).toBeVisible();
	expect(calls.find((c) => c.path.endsWith("/run"))?.body).toEqual({ host_ids: ["h1"] });
	expect(screen.getByRole("link", { name: "Follow the job" })).toHaveAttribute("href", "/jobs/j1");
});

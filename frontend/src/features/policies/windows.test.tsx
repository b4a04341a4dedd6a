import { screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { expect, it } from "vitest";
import type { PolicyDraft } from "../../api/policies";
import { type Call, problem, serve, show } from "../../test-rig";
import { Editor } from "./Editor";
import { testPlan, testPolicy } from "./testPolicy";

function world(next: string[] = ["2026-11-28T01:00:00Z"]) {
	return serve((call) => {
		if (call.path === "/api/schedules/preview") return { body: { text: "at 02:00", next } };
		if (call.path === "/api/policies/plan") return { body: testPlan() };
		if (call.path.endsWith("/versions")) return { body: { versions: [] } };
		return { body: { repositories: [], hosts: [], labels: [] } };
	});
}

const planned = (calls: Call[]) => calls.findLast((c) => c.path === "/api/policies/plan")?.body as PolicyDraft;

it("adds a window, changes it, and sends it with the conditions", async () => {
	const calls = world();
	show(<Editor policy={testPolicy()} saved={() => {}} leave={null} />);
	await userEvent.click(await screen.findByRole("button", { name: "Add a window" }));
	const one = screen.getByRole("group", { name: "Window 1" });
	expect(within(one).getByRole("button", { name: "Mon" })).toHaveAttribute("aria-pressed", "true");
	await userEvent.click(within(one).getByRole("button", { name: "Sun" }));
	await userEvent.click(within(one).getByRole("checkbox", { name: "Stop what still runs at its end" }));
	await userEvent.click(screen.getByRole("switch", { name: /^Not on battery/ }));
	await userEvent.type(screen.getByRole("textbox", { name: "Nice" }), "12");
	await userEvent.selectOptions(screen.getByRole("combobox", { name: "Disks" }), "idle");
	await userEvent.click(screen.getByRole("button", { name: "Show the plan…" }));
	await screen.findByRole("dialog");
	const spec = planned(calls).spec;
	expect(spec.schedule).toMatchObject({
		windows: [{ days: ["mon", "tue", "wed", "thu", "fri", "sat"], from: "22:00", to: "06:00", stop_at_end: true }],
		skip_on_battery: true,
	});
	expect(spec.backup).toMatchObject({ cpu_nice: 12, io_class: "idle" });
	await waitFor(() =>
		expect(calls.findLast((c) => c.path === "/api/schedules/preview")?.body).toMatchObject({
			windows: spec.schedule.windows,
		}),
	);
});

it("says when no time lies in a window, and forgets a window that is removed", async () => {
	const calls = world([]);
	const policy = testPolicy();
	policy.spec.schedule.windows = [{ from: "03:00", to: "04:00" }];
	show(<Editor policy={policy} saved={() => {}} leave={null} />);
	expect(await screen.findByText(/^It never begins/)).toBeVisible();
	await userEvent.click(screen.getByRole("button", { name: "Remove window 1" }));
	expect(screen.getByRole("button", { name: "Add a window" })).toHaveFocus();
	expect(screen.queryByRole("group", { name: "Window 1" })).toBeNull();
	await userEvent.click(screen.getByRole("button", { name: "Show the plan…" }));
	await screen.findByRole("dialog");
	expect(planned(calls).spec.schedule.windows).toBeUndefined();
});

it("says at the window what is wrong with it", async () => {
	world();
	const policy = testPolicy();
	policy.spec.schedule.windows = [{ from: "03:00", to: "03:00" }];
	show(<Editor policy={policy} saved={() => {}} leave={null} />);
	await userEvent.click(await screen.findByRole("button", { name: "Show the plan…" }));
	expect(screen.getByRole("group", { name: "Window 1" })).toHaveAccessibleDescription(/Both times are the same/);
	expect(screen.queryByRole("dialog")).toBeNull();
});

it("shows what the server refuses of windows", async () => {
	serve((call) =>
		call.path === "/api/policies/plan"
			? problem(422, "invalid", "schedule.windows: at most 20")
			: { body: { repositories: [], hosts: [], labels: [], text: "x", next: [] } },
	);
	show(<Editor policy={testPolicy()} saved={() => {}} leave={null} />);
	await userEvent.click(await screen.findByRole("button", { name: "Show the plan…" }));
	await waitFor(() => expect(screen.queryByRole("dialog")).toBeNull());
	expect(screen.getByText("at most 20")).toBeVisible();
});

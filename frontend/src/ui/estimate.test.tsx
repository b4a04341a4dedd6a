import { screen, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { useState } from "react";
import { expect, it } from "vitest";
import type { Estimate } from "../api/types";
import { formOf, specOf, withExclude } from "../lib/backupForm";
import { problem, serve, show } from "../test-rig";
import { BackupFields } from "./BackupFields";
import { EstimateResult } from "./Estimate";
import { TryEstimate, type TryHost } from "./TryEstimate";

const none = { matches: 0, files: 0, bytes: 0 };

const estimate: Estimate = {
	files: 12,
	folders: 3,
	others: 0,
	bytes: 3 * 1024 ** 3,
	excluded: { matches: 2, files: 5, bytes: 2048 },
	patterns: [{ matches: 2, files: 5, bytes: 2048, samples: ["/srv/a.tmp"] }, { ...none }, { ...none, covered: true }],
	caches: none,
	file_systems: { matches: 1, files: 0, bytes: 0, partial: true },
	too_large: none,
	largest: [
		{ path: "/srv", files: 12, bytes: 3 * 1024 ** 3, exclude: "/srv" },
		{ path: "/srv/odd\u202ename", files: 1, bytes: 1024 },
	],
	largest_excluded: [
		{ path: "/srv/a.tmp", files: 1, bytes: 2048, by: "pattern", pattern: 0 },
		{ path: "/srv/mnt", files: 0, bytes: 0, by: "file_system", partial: true },
	],
	samples: ["/srv/x"],
};

const spec = { paths: ["/srv"], excludes: ["*.tmp", "*.bak", "b/c"], one_file_system: true };

it("shows by line what each pattern takes out, and which match nothing", async () => {
	await show(<EstimateResult estimate={estimate} spec={spec} />);
	expect((await screen.findAllByText("3 GiB"))[0]).toBeVisible();
	const row = (name: RegExp) => screen.getByRole("row", { name });
	expect(within(row(/Line 1 \*\.tmp/)).getByText("2 things")).toBeVisible();
	expect(within(row(/Line 2 \*\.bak/)).getByText("nothing")).toBeVisible();
	expect(within(row(/Line 3 b\/c/)).getByText("only what others take out")).toBeVisible();
	expect(screen.getByText("One pattern matches nothing here.")).toBeVisible();
	expect(screen.getByText("by *.tmp")).toBeVisible();
	expect(screen.getByText("not looked into")).toBeVisible();
	expect(screen.queryByRole("button")).toBeNull();
});

function Rig({ hosts, excludes = "*.tmp\n*.bak\nb/c" }: { hosts: TryHost[]; excludes?: string }) {
	const [form, setForm] = useState({ ...formOf(undefined), paths: "/srv", excludes });
	return (
		<BackupFields
			form={form}
			set={(f, value) => setForm((now) => ({ ...now, [f]: value }))}
			error={() => undefined}
			paths="Absolute"
			trial={
				<TryEstimate
					hosts={hosts}
					spec={() => {
						const made = specOf(form);
						return "spec" in made ? made.spec : undefined;
					}}
					exclude={(p) => setForm((now) => withExclude(now, p))}
					excludes={form.excludes.split("\n")}
				/>
			}
		/>
	);
}

const hosts: TryHost[] = [
	{ id: "h0", name: "old", status: "online", reason: "The agent there (1) does not know this kind. Update it." },
	{ id: "h1", name: "web", status: "online" },
];

const made = { id: "j1", host_id: "h1", kind: "estimate", state: "queued", spec };

it("asks the first machine that can, shows its progress, and leaves more out", async () => {
	let state = "running";
	const calls = serve((c) => {
		if (c.method === "POST" && c.path === "/api/hosts/h1/jobs") return { status: 201, body: made };
		if (c.path === "/api/jobs/j1/cancel") return { status: 202, body: { ...made, state: "canceled" } };
		if (c.path === "/api/jobs/j1")
			return state === "running"
				? {
						body: { ...made, state, progress: { files_done: 1234, bytes_done: 2048, current_files: ["/srv/deep"] } },
					}
				: { body: { ...made, state, estimate } };
		return {};
	});
	await show(<Rig hosts={hosts} />);
	await userEvent.click(await screen.findByRole("button", { name: "Try" }));
	expect(await screen.findByText("1,234 files, 2 KiB so far", undefined, { timeout: 4000 })).toBeVisible();
	expect(screen.getByText("/srv/deep")).toBeVisible();
	expect(screen.getByRole("button", { name: "Stop" })).toBeVisible();
	state = "succeeded";
	const exclude = await screen.findByRole("button", { name: "Exclude /srv" }, { timeout: 6000 });
	await userEvent.click(exclude);
	expect(screen.getByLabelText("Leave out")).toHaveValue("*.tmp\n*.bak\nb/c\n/srv");
	expect(screen.getByRole("button", { name: "Exclude /srv" })).toBeDisabled();
	// A path that no pattern can name has no button.
	expect(screen.getAllByRole("button", { name: /^Exclude/ })).toHaveLength(1);
	const sent = calls.find((c) => c.method === "POST")?.body;
	expect(sent).toEqual({
		kind: "estimate",
		ttl_seconds: 600,
		spec: { paths: ["/srv"], excludes: ["*.tmp", "*.bak", "b/c"], exclude_caches: true },
	});
});

it("says why it cannot be tried, and what the server refuses", async () => {
	serve((c) =>
		c.method === "POST" ? problem(409, "kind_unsupported", "the agent on this host cannot say it; upgrade it") : {},
	);
	await show(<Rig hosts={[hosts[0] as TryHost]} />);
	expect(await screen.findByText(/does not know this kind. Update it/)).toBeVisible();
	expect(screen.getByRole("button", { name: "Try" })).toBeDisabled();
});

it("tells a refusal of the machine", async () => {
	serve((c) => {
		if (c.method === "POST") return { status: 201, body: made };
		return {
			body: { ...made, state: "rejected", error: { code: "guard", message: "the guard of this host refuses" } },
		};
	});
	await show(<Rig hosts={[hosts[1] as TryHost]} />);
	await userEvent.click(await screen.findByRole("button", { name: "Try" }));
	expect(await screen.findByText(/guard of this host refuses/, undefined, { timeout: 4000 })).toBeVisible();
});

it("explains patterns beside the field", async () => {
	serve(() => ({}));
	await show(<Rig hosts={[]} />);
	await userEvent.click(await screen.findByText("How patterns work"));
	expect(screen.getByText("node_modules")).toBeVisible();
	expect(screen.queryByRole("button", { name: "Try" })).toBeNull();
});

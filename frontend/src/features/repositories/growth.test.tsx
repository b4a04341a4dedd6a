import { screen, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { expect, it } from "vitest";
import { serve, show } from "../../test-rig";
import { Growth, growthWords } from "./Growth";
import { line } from "./GrowthChart";
import { History } from "./History";
import { RotateDialog, RotationNote } from "./Rotation";
import { testRepository } from "./testRepository";

const days = [
	{ day: "2026-11-01", snapshot_count: 3, size_bytes: 1024 },
	{ day: "2026-11-11", snapshot_count: 5, size_bytes: 2048, stored_bytes: 512 },
	{ day: "2026-11-21", snapshot_count: 4, size_bytes: 4096, stored_bytes: 1024 },
];

it("draws days where they lie in time, and leaves out what is not known", () => {
	expect(line(days, (d) => d.size_bytes, 4096)).toEqual([
		[0, 112.5],
		[450, 75],
		[900, 0],
	]);
	expect(line(days, (d) => d.stored_bytes, 4096).map(([x]) => x)).toEqual([450, 900]);
});

it("says in words and in a table what the chart shows", async () => {
	const calls = serve(() => ({ body: { days } }));
	show(<Growth id="r1" title="Size" />);
	expect(await screen.findByText(/4 snapshots; the newest hold 4 KiB, 1 KiB in the storage/)).toBeVisible();
	expect(growthWords(days)).toContain("3 KiB more than on 2026-11-01, and 1 more snapshots");
	await userEvent.click(screen.getByRole("button", { name: "Show the figures" }));
	const table = screen.getByRole("region", { name: "Size as a table" });
	expect(within(table).getAllByRole("row")).toHaveLength(4);
	await userEvent.selectOptions(screen.getByLabelText("Size: how far back"), "365");
	expect(calls.at(-1)?.path).toBe("/api/repositories/r1/growth");
});

it("shows the work on that repository alone", async () => {
	const calls = serve(() => ({ body: { jobs: [] } }));
	show(<History repository={testRepository()} />);
	expect(await screen.findByText("No prune yet")).toBeVisible();
	await userEvent.click(screen.getByText("Checks"));
	expect(await screen.findByText("No check yet")).toBeVisible();
	expect(calls.map((c) => [c.path, c.query.get("repository"), c.query.get("kind")])).toEqual(
		["prune", "check"].map((kind) => ["/api/jobs", testRepository().id, kind]),
	);
});

it("tells what keeps a change of the password, and goes on when asked", async () => {
	const r = testRepository({
		per_host: false,
		rotation: {
			state: "switched",
			why: "waits for jobs that began with the old password",
			created_by: "admin",
			started_at: "2026-11-27T04:30:00Z",
		},
	});
	const calls = serve((call) => (call.path === "/api/hosts" ? { body: { hosts: [], total: 0 } } : { body: r }));
	show(
		<>
			<RotationNote repository={r} operator goOn={() => {}} />
			<RotateDialog repository={r} opened close={() => {}} />
		</>,
	);
	expect(await screen.findByText(/Waits for jobs that began with the old password/)).toBeInTheDocument();
	await userEvent.click(await screen.findByRole("button", { name: "Go on" }));
	expect(calls.filter((c) => c.method === "POST").map((c) => c.path)).toEqual([`/api/repositories/${r.id}/rotate`]);
});

it("offers nothing to who only reads", () => {
	const r = testRepository({
		rotation: { state: "adding", why: "x", created_by: "admin", started_at: "2026-11-27T04:30:00Z" },
	});
	serve(() => ({ body: r }));
	show(<RotationNote repository={r} operator={false} goOn={() => {}} />);
	expect(screen.queryByRole("button", { name: "Give up…" })).toBeNull();
});

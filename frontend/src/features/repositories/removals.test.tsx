import { screen, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { expect, it } from "vitest";
import type { Removal } from "../../api/retention";
import { serve, show } from "../../test-rig";
import { Contents, dueNext } from "./Contents";
import { Removals } from "./Removals";
import { testRepository } from "./testRepository";

const removal: Removal = {
	id: "r1",
	repository_id: "abc",
	made_at: "2026-11-27T04:30:00Z",
	snapshot_ids: ["aaaaaaaa11", "bbbbbbbb22"],
	id_count: 2,
	total: 9,
	state: "waiting",
	why: "more than a tenth would go",
};
const content = { repository_id: "abc", snapshot_count: 9, checked_parts: 3, parts: 10 };

it("removes nothing before the number of it was typed", async () => {
	const calls = serve((call) => (call.method === "GET" ? { body: { removals: [removal] } } : { body: removal }));
	show(<Removals repository={testRepository({ contents: [content] })} operator />);
	expect(await screen.findByText("2 of 9 snapshots")).toBeVisible();
	expect(screen.getByText("More than a tenth would go.")).toBeVisible();
	await userEvent.click(screen.getByRole("button", { name: "Remove them…" }));
	const dialog = await screen.findByRole("dialog");
	expect(within(dialog).getByText("aaaaaaaa")).toBeVisible();
	const yes = within(dialog).getByRole("button", { name: "Remove them" });
	expect(yes).toBeDisabled();
	await userEvent.type(within(dialog).getByRole("textbox"), "3");
	expect(yes).toBeDisabled();
	await userEvent.clear(within(dialog).getByRole("textbox"));
	await userEvent.type(within(dialog).getByRole("textbox"), "2");
	expect(calls.some((c) => c.method === "POST")).toBe(false);
	await userEvent.click(yes);
	expect(calls.filter((c) => c.method === "POST").map((c) => c.path)).toEqual(["/api/removals/r1/approve"]);
});

it("asks nothing of who only reads", async () => {
	serve(() => ({ body: { removals: [removal] } }));
	show(<Removals repository={testRepository()} operator={false} />);
	expect(await screen.findByText("Waits for you")).toBeVisible();
	expect(screen.queryByRole("button", { name: "Remove them…" })).toBeNull();
});

it("says why it is frozen and what can be done, and does it for that repository alone", async () => {
	const calls = serve((call) => (call.path.endsWith("/adopt") ? { body: { adopted: 4 } } : { status: 204 }));
	const frozen = {
		...content,
		repository_id: "xyz",
		frozen: "unknown snapshots are there",
		frozen_at: "2026-11-27T04:30:00Z",
	};
	show(<Contents repository={testRepository({ contents: [content, frozen] })} operator />);
	expect(await screen.findByText("Unknown snapshots are there.")).toBeVisible();
	await userEvent.click(screen.getByRole("button", { name: "Adopt…" }));
	await userEvent.click(await screen.findByRole("button", { name: "Adopt them" }));
	await userEvent.click(await screen.findByRole("button", { name: "Go on without them…" }));
	await userEvent.click(await screen.findByRole("button", { name: "I have looked: go on" }));
	expect(calls.filter((c) => c.method === "POST").map((c) => [c.path.split("/").at(-1), c.body])).toEqual([
		["adopt", { repository_id: "xyz" }],
		["unfreeze", { repository_id: "xyz" }],
	]);
});

it("names the work that is due first", () => {
	expect(
		dueNext({ ...content, next_forget_at: "2026-11-28T04:30:00Z", next_check_at: "2026-11-27T18:00:00Z" })?.name,
	).toBe("Verify");
	expect(dueNext(content)).toBeUndefined();
});

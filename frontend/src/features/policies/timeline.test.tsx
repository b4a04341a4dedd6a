import { screen, waitFor } from "@testing-library/react";
import { expect, it } from "vitest";
import type { Judged } from "../../api/retention";
import { serve, show } from "../../test-rig";
import { placeOf, RetentionTry } from "./Timeline";

it("has the newest at the right and the oldest at the left, with more room for the young", () => {
	const day = 86_400_000;
	const now = 400 * day;
	expect(placeOf(now, 0, now)).toBe(100);
	expect(placeOf(0, 0, now)).toBe(0);
	expect(placeOf(now - 100 * day, 0, now)).toBe(50);
	// A clock that is ahead does not leave the line.
	expect(placeOf(now + day, 0, now)).toBe(100);
	expect(placeOf(now, now, now)).toBe(100);
});

const judged = (id: string, keep: boolean, more: Partial<Judged> = {}): Judged => ({
	id,
	short_id: id,
	time: "2026-11-20T02:00:00Z",
	keep,
	reasons: keep ? ["daily"] : [],
	...more,
});

it("tries the rule as it is typed on a machine, by a call that removes nothing", async () => {
	const calls = serve((call) => {
		if (call.path.endsWith("/hosts") && call.path.startsWith("/api/policies"))
			return { body: { hosts: [{ id: "h1", name: "web-1", why: "", problem: "" }], total: 1 } };
		if (call.path === "/api/retention/preview")
			return {
				body: {
					snapshots: [judged("a", true), judged("b", false), judged("c", true, { anomaly: "nobody made it" })],
					keep: 2,
					remove: 1,
					anomalous: 1,
					frozen: "an unknown snapshot is there",
				},
			};
		if (call.path === "/api/hosts/h1") return { body: { id: "h1", name: "web-1", active_jobs: [] } };
		return { body: { hosts: [], total: 0 } };
	});
	show(<RetentionTry keep={{ daily: 7 }} policy={{ id: "p1" }} />);
	expect(await screen.findByText("An unknown snapshot is there.")).toBeVisible();
	expect(screen.getByRole("status")).toHaveTextContent("2stay1go1do not count, and stay");
	expect(screen.getByRole("img")).toHaveAccessibleName(/^2 of 3 snapshots stay/);
	await waitFor(() =>
		expect(calls.filter((c) => c.method === "POST").map((c) => [c.path, c.body])).toEqual([
			["/api/retention/preview", { host_id: "h1", policy_id: "p1", keep: { daily: 7 } }],
		]),
	);
});

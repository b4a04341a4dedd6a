import { QueryClient } from "@tanstack/react-query";
import { expect, it } from "vitest";
import { makeRouter } from "../router";
import { type FleetSearch, fleetSearch } from "./fleet.search";

const router = makeRouter(new QueryClient());

function through(search: FleetSearch): { url: string; back: FleetSearch } {
	const { searchStr } = router.buildLocation({ to: "/", search });
	return { url: searchStr, back: fleetSearch(router.options.parseSearch(searchStr)) };
}

it("keeps every filter of the fleet through the URL", () => {
	const search: FleetSearch = {
		q: "web & db #1",
		protection: ["at_risk", "failing"],
		status: ["offline"],
		label: "env=prod",
		version: "1.4.2",
		policy: "none",
		older: 48,
		sort: "size",
		order: "desc",
		group: "site",
	};
	expect(through(search).back).toEqual(search);
});

it("keeps texts that look like numbers, and leaves out what is not set", () => {
	expect(through({ q: "007", label: "rack=12" }).back).toMatchObject({ q: "007", label: "rack=12" });
	expect(through({}).url).toBe("");
	expect(through({ q: undefined, group: "env" }).url).toBe("?group=env");
});

it("shows something whatever a URL says", () => {
	expect(
		fleetSearch({ protection: "nonsense,failing", status: "x", older: "-1", sort: "evil", order: "up", q: " " }),
	).toEqual({ protection: ["failing"] });
});

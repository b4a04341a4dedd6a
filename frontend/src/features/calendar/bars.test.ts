import { expect, it } from "vitest";
import { dayWords, hoursAhead, pastDays, totalOf } from "./bars";

const day = { date: "2026-11-26", succeeded: 12, issues: 0, failed: 1, missed: 2, skipped: 0 };

it("shows each of the last days once, also those without anything", () => {
	const days = pastDays([day], 3, "2026-11-27");
	expect(days.map((d) => d.date)).toEqual(["2026-11-25", "2026-11-26", "2026-11-27"]);
	expect(days.map(totalOf)).toEqual([0, 15, 0]);
});

it("crosses the end of a month and the day on which the clocks change", () =>
	expect(pastDays([], 4, "2026-03-30").map((d) => d.date)).toEqual([
		"2026-03-27",
		"2026-03-28",
		"2026-03-29",
		"2026-03-30",
	]));

it("counts what is due by the hour, from the present one on", () => {
	const now = Date.parse("2026-11-27T14:40:00Z");
	const due = [
		{ at: "2026-11-27T14:00:00Z", count: 2 },
		{ at: "2026-11-27T16:00:00Z", count: 3 },
		{ at: "2026-11-27T13:00:00Z", count: 9 },
	];
	expect(hoursAhead(due, 3, now).map((h) => h.count)).toEqual([2, 0, 3]);
});

it("says a day in words", () => {
	expect(dayWords(day)).toBe("Thu 26 Nov: 12 succeeded, 2 missed, 1 failed");
	expect(dayWords({ ...day, succeeded: 0, failed: 0, missed: 0 })).toBe("Thu 26 Nov: nothing");
});

import { describe, expect, it } from "vitest";
import { changed, cronOf, ordinal, parseTime, type Rhythm, rhythmOf, shortWords } from "./cron";

describe("the builder reads what it writes", () => {
	const rhythms: [string, Rhythm][] = [
		["5 * * * *", { every: "hour", step: 1, minute: 5 }],
		["0 */6 * * *", { every: "hour", step: 6, minute: 0 }],
		["30 22 * * *", { every: "day", hour: 22, minute: 30 }],
		["0 2 * * 1-5", { every: "week", days: [1, 2, 3, 4, 5], hour: 2, minute: 0 }],
		["0 2 * * 0,6", { every: "week", days: [0, 6], hour: 2, minute: 0 }],
		["15 3 1 * *", { every: "month", day: 1, hour: 3, minute: 15 }],
		["0 2 1-7 * 1", { every: "cron", cron: "0 2 1-7 * 1" }],
	];
	it.each(rhythms)("%s", (cron, rhythm) => {
		expect(rhythmOf(cron)).toEqual(rhythm);
		expect(cronOf(rhythm)).toBe(cron);
	});
});

describe("what the builder cannot show", () => {
	// 5 does not divide 24: the last distance of a day is another one.
	it.each([
		"0 */5 * * *",
		"*/10 * * * *",
		"0 2 * 6 *",
		"@daily",
		"0 2 1 * 1",
		"60 2 * * *",
		"0 2 * * 7",
		"nonsense",
		"",
	])("%s stays as it is", (cron) => expect(rhythmOf(cron)).toEqual({ every: "cron", cron }));
});

it("reads names of days and ranges", () => {
	expect(rhythmOf("0 2 * * mon-wed,Sat")).toEqual({ every: "week", days: [1, 2, 3, 6], hour: 2, minute: 0 });
	expect(rhythmOf("0 2 * * 5-1").every).toBe("cron");
});

it("keeps the time of day when another rhythm is chosen", () => {
	const daily: Rhythm = { every: "day", hour: 22, minute: 30 };
	expect(cronOf(changed(daily, "week"))).toBe("30 22 * * 0");
	expect(cronOf(changed(daily, "month"))).toBe("30 22 1 * *");
	expect(changed(daily, "cron")).toEqual({ every: "cron", cron: "30 22 * * *" });
});

it("takes a time of day alone", () => {
	expect(parseTime("7:05")).toEqual({ hour: 7, minute: 5 });
	expect(parseTime("24:00")).toBeUndefined();
	expect(parseTime("7")).toBeUndefined();
});

it.each([
	["0 2 * * *", "daily at 02:00"],
	["0 2 * * 1-5", "Mon–Fri at 02:00"],
	["0 2 * * 0,6", "weekends at 02:00"],
	["5 * * * *", "hourly at :05"],
	["0 */4 * * *", "every 4 hours"],
	["0 3 22 * *", "monthly on the 22nd at 03:00"],
	["0 2 1-7 * 1", "0 2 1-7 * 1"],
])("%s is %s in a list", (cron, want) => expect(shortWords(cron)).toBe(want));

it("says the 11th", () => expect([1, 2, 3, 4, 11, 12, 21].map(ordinal).join()).toBe("1st,2nd,3rd,4th,11th,12th,21st"));

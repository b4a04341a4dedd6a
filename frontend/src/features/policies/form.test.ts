import { describe, expect, it } from "vitest";
import { draftOf, formOf, keepOf, keepWords, type PolicyForm, whoWords } from "./form";
import { presets } from "./presets";
import { testPolicy } from "./testPolicy";
import { anotherWindow, conditionWords, windowWords } from "./windowForm";

const fresh = (changes: Partial<PolicyForm> = {}): PolicyForm => {
	const f = formOf(undefined, "Europe/Vienna");
	return { ...f, name: "Servers", all: true, backup: { ...f.backup, paths: "/etc" }, ...changes };
};
const specOf = (f: PolicyForm) => {
	const made = draftOf(f);
	if ("errors" in made) throw new Error(JSON.stringify(made.errors));
	return made.draft.spec;
};

describe("the editor", () => {
	it("sends a policy back as it was read", () => {
		const { name, enabled, spec } = testPolicy();
		expect(draftOf(formOf({ name, enabled, spec }, "UTC"))).toEqual({ draft: { name, enabled, spec } });
	});

	it("sends windows, conditions and limits back as they were read", () => {
		const { name, enabled, spec } = testPolicy();
		const bound = {
			...spec,
			backup: { ...spec.backup, download_limit_kib: 100, cpu_nice: 12, io_class: "low" },
			schedule: {
				...spec.schedule,
				windows: [
					{ days: ["mon" as const, "fri" as const], from: "22:00", to: "06:00", stop_at_end: true },
					{ from: "12:00", to: "24:00" },
				],
				skip_on_battery: true,
				skip_on_metered: true,
			},
		};
		expect(draftOf(formOf({ name, enabled, spec: bound }, "UTC"))).toEqual({ draft: { name, enabled, spec: bound } });
	});

	it("says which window is wrong, and takes a whole day", () => {
		const w = anotherWindow([]);
		const two = [w, { ...anotherWindow([w]), from: "06:00", to: "06:00" }];
		expect(draftOf(fresh({ windows: two }))).toEqual({
			errors: { window1: "Both times are the same; for the whole day give 00:00 to 00:00" },
		});
		expect(draftOf(fresh({ windows: [{ ...w, from: "" }] }))).toEqual({
			errors: { window0: "Give both times, as in 22:00" },
		});
		const day = { ...w, days: ["sun" as const, "sat" as const], from: "00:00", to: "00:00" };
		expect(specOf(fresh({ windows: [day] })).schedule.windows).toEqual([
			{ days: ["sat", "sun"], from: "00:00", to: "24:00" },
		]);
	});

	it("refuses limits that are none", () => {
		const f = fresh();
		expect(draftOf({ ...f, backup: { ...f.backup, nice: "20", downloadLimit: "fast" } })).toEqual({
			errors: { nice: "Give a whole number from 1 to 19", downloadLimit: "Give a whole number of KiB a second" },
		});
	});

	it("leaves out what is not set, and keeps everything when no number is given", () => {
		expect(specOf(fresh({ spread: 0 }))).toEqual({
			hosts: { all: true },
			backup: { paths: ["/etc"], exclude_caches: true },
			schedule: { cron: "0 2 * * *", zone: "Europe/Vienna" },
		});
	});

	it("says which fields are wrong", () => {
		const f = fresh({ name: "", all: false, cron: " ", labels: [] });
		expect(draftOf({ ...f, backup: { ...f.backup, paths: "etc" }, keep: { ...f.keep, daily: "a week" } })).toEqual({
			errors: {
				name: "Give it a name",
				hosts: "Choose machines: all, by label or by name",
				paths: '"etc" is not absolute; begin it with /',
				cron: "Say when",
				daily: "A whole number",
			},
		});
		expect(draftOf(fresh({ all: false, labels: ["env=prod", "env=dev"] }))).toEqual({
			errors: { labels: '"env" is given twice' },
		});
	});

	it("asks for all machines or for some, never for both", () => {
		expect(specOf(fresh({ labels: ["env=prod"], ids: ["b"] })).hosts).toEqual({ all: true });
		expect(specOf(fresh({ all: false, labels: ["env=prod", "db"], ids: ["b", "a"] })).hosts).toEqual({
			ids: ["a", "b"],
			labels: { env: "prod", db: "" },
		});
	});

	it("takes a 0 for nothing, so that a form without a number removes nothing", () => {
		const f = fresh();
		expect(keepOf({ keep: { ...f.keep, daily: "0" }, keepTags: "" })).toEqual({});
		expect(keepOf({ keep: { ...f.keep, daily: "7" }, keepTags: "legal, legal" })).toEqual({
			keep: { daily: 7, tags: ["legal"] },
		});
	});
});

describe("each starting point", () => {
	it.each(presets.map((p) => [p.name, p] as const))("%s can be saved once machines are chosen", (_, p) => {
		const begun = { ...formOf(undefined, "UTC"), all: true };
		expect(draftOf(p.apply(begun))).toHaveProperty("draft");
		// A name that was typed and the machines stay.
		expect(p.apply({ ...begun, name: "mine", labels: ["a"] })).toMatchObject({
			name: "mine",
			all: true,
			labels: ["a"],
		});
	});
});

it("says what is kept and for whom", () => {
	expect(keepWords({ daily: 7, weekly: 4, last: 3 })).toBe("the last 3, 7 daily, 4 weekly");
	expect(keepWords(undefined)).toBe("everything");
	expect(keepWords({ within_days: 30, tags: ["legal"] })).toBe("all of 30 days, those tagged legal");
	expect(whoWords({ all: true })).toBe("all machines");
	expect(whoWords({ labels: { env: "prod", db: "" }, ids: ["a", "b"] })).toBe("db and env=prod, and 2 by name");
	expect(whoWords({})).toBe("none");
});

it("says a window and conditions in words", () => {
	expect(windowWords({ from: "22:00", to: "06:00" })).toBe("every day 22:00–06:00 of the next day");
	expect(windowWords({ days: ["mon", "tue", "wed"], from: "01:00", to: "24:00", stop_at_end: true })).toBe(
		"Mon to Wed 01:00–midnight, stopped at its end",
	);
	expect(windowWords({ days: ["sun", "wed"], from: "01:00", to: "02:30" })).toBe("Wed, Sun 01:00–02:30");
	expect(conditionWords({ cron: "", zone: "", skip_on_battery: true, skip_on_metered: true })).toBe(
		"on battery, nor on a metered connection",
	);
	expect(conditionWords({ cron: "", zone: "" })).toBeUndefined();
});

it("takes laptops as they are: not on battery, not on a hotspot", () => {
	const laptop = presets.find((p) => p.id === "laptop");
	const server = presets.find((p) => p.id === "server");
	const chosen = laptop?.apply(fresh());
	expect(chosen).toMatchObject({ skipOnBattery: true, skipOnMetered: true });
	expect(chosen && server?.apply(chosen)).toMatchObject({ skipOnBattery: false, skipOnMetered: false });
});

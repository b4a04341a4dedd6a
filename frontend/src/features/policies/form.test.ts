import { describe, expect, it } from "vitest";
import { draftOf, formOf, keepOf, keepWords, type PolicyForm, whoWords } from "./form";
import { presets } from "./presets";
import { testPolicy } from "./testPolicy";

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

import { describe, expect, it } from "vitest";
import { draftOf, formOf, type PolicyForm } from "./form";
import { hooksFormOf, offeredBy } from "./hooks";
import { testPolicy } from "./testPolicy";

const begun = (changes: Partial<PolicyForm["hooks"]> = {}): PolicyForm => {
	const f = formOf(undefined, "UTC");
	return {
		...f,
		name: "Databases",
		all: true,
		backup: { ...f.backup, paths: "/etc", tags: "db" },
		hooks: { ...f.hooks, ...changes },
	};
};
const backupOf = (f: PolicyForm) => {
	const made = draftOf(f);
	if ("errors" in made) throw new Error(JSON.stringify(made.errors));
	return made.draft.spec.backup;
};

describe("hooks of a policy", () => {
	it("go back as they were read", () => {
		const { name, enabled, spec } = testPolicy();
		for (const backup of [
			{
				paths: ["/srv"],
				hooks_before: ["stop-app", "freeze"],
				hooks_after: ["start-app"],
				hook_failure: "continue" as const,
				hook_time_limit_seconds: 90,
			},
			{ stdin_hook: "pg_dump", stdin_name: "all.sql", tags: ["db"], upload_limit_kib: 5, hooks_after: ["x"] },
		]) {
			const draft = { name, enabled, spec: { ...spec, backup } };
			expect(draftOf(formOf(draft, "UTC"))).toEqual({ draft });
		}
	});

	it("leave out what is about folders when a script writes the backup", () => {
		const f = begun({ dump: true, stdinHook: " pg_dump ", stdinName: "all.sql" });
		expect(backupOf({ ...f, backup: { ...f.backup, paths: "", excludes: "*.tmp", largerThan: "big" } })).toEqual({
			tags: ["db"],
			stdin_hook: "pg_dump",
			stdin_name: "all.sql",
		});
		// And the other way: the dump's fields are kept in the form, not sent.
		expect(backupOf(begun({ stdinHook: "pg_dump", stdinName: "all.sql" }))).toEqual({
			paths: ["/etc"],
			exclude_caches: true,
			tags: ["db"],
		});
	});

	it("say nothing of failures where there is no script before", () => {
		expect(backupOf(begun({ goOn: true, after: ["x"] }))).not.toHaveProperty("hook_failure");
		expect(backupOf(begun({ goOn: true, before: ["x"] }))).toHaveProperty("hook_failure", "continue");
	});

	it("are names of files, never paths", () => {
		for (const bad of ["../x", "/bin/sh", "a/b", ".hidden", "-x", "a b", ""])
			expect(draftOf(begun({ before: [bad], after: [bad] }))).toMatchObject({
				errors: {
					before: expect.stringContaining("is not the name"),
					after: expect.stringContaining("is not the name"),
				},
			});
		expect(draftOf(begun({ dump: true }))).toMatchObject({
			errors: { stdinHook: "Name the script", stdinName: expect.stringContaining("file's name") },
		});
		expect(draftOf(begun({ dump: true, stdinHook: "d", stdinName: ".." }))).toHaveProperty("errors.stdinName");
	});

	it("begin empty", () => {
		expect(hooksFormOf(undefined)).toEqual({
			dump: false,
			stdinHook: "",
			stdinName: "",
			before: [],
			after: [],
			goOn: false,
			limit: 0,
		});
	});
});

describe("the scripts that are offered", () => {
	const hosts: Parameters<typeof offeredBy>[0] = [
		{ id: "1", labels: { env: "prod", db: "" }, hooks: ["pg_dump", "thaw"] },
		{ id: "2", labels: { env: "prod" }, hooks: ["thaw"] },
		{ id: "3", labels: {}, hooks: ["other"] },
	];
	const of = (who: Partial<Parameters<typeof offeredBy>[1]>) => [
		...offeredBy(hosts, { all: false, labels: [], ids: [], ...who }),
	];
	it("are those of the machines that the policy is for", () => {
		expect(of({ all: true })).toEqual([
			["other", 1],
			["pg_dump", 1],
			["thaw", 2],
		]);
		expect(of({ labels: ["env=prod"] })).toEqual([
			["pg_dump", 1],
			["thaw", 2],
		]);
		expect(of({ labels: ["env=prod", "db"] })).toEqual([
			["pg_dump", 1],
			["thaw", 1],
		]);
		expect(of({ labels: ["env=dev"], ids: ["3"] })).toEqual([["other", 1]]);
		expect(of({})).toEqual([]);
	});
});

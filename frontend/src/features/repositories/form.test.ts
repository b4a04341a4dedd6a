import { describe, expect, it } from "vitest";
import { bodyOf, formOf, newBodyOf, type RepositoryForm, urlOf } from "./form";
import { testRepository } from "./testRepository";
import { needsOf } from "./words";

const fresh = (changes: Partial<RepositoryForm>): RepositoryForm => ({
	...formOf(undefined, "Europe/Vienna"),
	name: "store",
	parts: { address: "https://b.example", path: "x" },
	...changes,
});

describe("a new repository", () => {
	it("asks for no password: the server makes one", () => {
		const made = newBodyOf(fresh({}));
		expect(made).toEqual({
			body: {
				name: "store",
				url: "rest:https://b.example/x/",
				maintenance: {
					enabled: false,
					zone: "Europe/Vienna",
					forget: "30 4 * * *",
					prune: "0 5 * * 0",
					check: "0 6 * * 6",
					check_parts: 10,
				},
			},
		});
	});

	it("sends the credentials that were given, not the empty ones", () => {
		const made = newBodyOf(fresh({ env: { RESTIC_REST_USERNAME: "u", RESTIC_REST_PASSWORD: "" }, appendOnly: true }));
		expect(made).toMatchObject({ body: { env: { RESTIC_REST_USERNAME: "u" }, append_only: true } });
	});

	it("says what is wrong at its field", () => {
		const made = newBodyOf(
			fresh({ name: " ", parts: {}, password: "own", checkParts: "300", maxUnused: "5 %", maintained: true }),
		);
		expect(made).toEqual({
			errors: {
				name: "Give it a name",
				address: "Give an address",
				ownPassword: "Give the password, or have one made",
				checkParts: "A number from 1 to 256",
				maxUnused: "A whole number of percent, at most 100",
				runner: "Choose the machine that does it, or switch maintenance off",
			},
		});
	});
});

describe("a repository that is there", () => {
	it("sends nothing that did not change", () => {
		const r = testRepository();
		expect(bodyOf(formOf(r, "UTC"), r)).toEqual({ body: {} });
	});

	it("never shows a place by fields that would change it", () => {
		const r = testRepository({ url: "sftp:u@h:relative/path", backend: "sftp" });
		const form = formOf(r, "UTC");
		expect(form.raw).toBe(true);
		expect(urlOf(form)).toBe("sftp:u@h:relative/path");
	});

	it("replaces credentials only when they are set anew", () => {
		const r = testRepository({ env_keys: ["RESTIC_REST_USERNAME"] });
		const form = { ...formOf(r, "UTC"), env: { RESTIC_REST_USERNAME: "typed, then kept as it was" } };
		expect(bodyOf(form, r)).toEqual({ body: {} });
		expect(bodyOf({ ...form, setEnv: true }, r)).toMatchObject({ body: { env: form.env } });
		// Set anew without any: they are taken away.
		expect(bodyOf({ ...form, setEnv: true, env: {} }, r)).toEqual({ body: { env: {} } });
	});

	it("takes the second set of credentials away when it is switched off", () => {
		const r = testRepository({ maintenance_env_keys: ["RESTIC_REST_USERNAME"] });
		const form = formOf(r, "UTC");
		expect(form.second).toBe(true);
		expect(bodyOf(form, r)).toEqual({ body: {} });
		expect(bodyOf({ ...form, second: false }, r)).toEqual({ body: { maintenance_env: {} } });
	});

	it("clears the runner by an empty id", () => {
		const r = testRepository({ runner: { id: "h1", name: "web-1" } });
		expect(bodyOf({ ...formOf(r, "UTC"), runner: "" }, r)).toEqual({ body: { runner_id: "" } });
	});
});

describe("what a repository needs", () => {
	const now = Date.parse("2026-11-27T12:00:00Z");
	it("is a kit, and somebody to look at what is gone, frozen, or waits", () => {
		const r = testRepository({ kit_stale: true, frozen_count: 1, missing_count: 2, waiting_removals: 1 });
		expect(needsOf(r, now).map((n) => n.id)).toEqual(["missing", "frozen", "removals", "kit"]);
		expect(needsOf(testRepository(), now)).toEqual([]);
	});
	it("is a check, when all of it was last verified half a year ago", () => {
		const maintenance = { enabled: true, zone: "UTC", check: "0 6 * * 6" };
		const ids = (at?: string) => needsOf(testRepository({ oldest_verified_at: at, maintenance }), now).map((n) => n.id);
		expect(ids("2026-03-01T00:00:00Z")).toEqual(["check"]);
		expect(ids("2026-11-01T00:00:00Z")).toEqual([]);
		expect(ids()).toEqual([]);
	});
});

describe("a repository that is made by itself", () => {
	it("is so unless it is said otherwise", () => {
		expect(formOf(undefined, "UTC").autoInit).toBe(true);
		const r = testRepository({ auto_init: false });
		expect(bodyOf(formOf(r, "UTC"), r)).toEqual({ body: {} });
		expect(bodyOf({ ...formOf(r, "UTC"), autoInit: true }, r)).toEqual({ body: { auto_init: true } });
	});
});

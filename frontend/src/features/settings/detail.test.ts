import { expect, test } from "vitest";
import { actionWords, bounds, particulars, programOf, subject } from "./detail";

test("a change tells both sides in one row", () => {
	expect(particulars({ role: { from: "viewer", to: "operator" }, disabled: true, password: "changed" })).toEqual([
		{ name: "role", from: "viewer", value: "operator" },
		{ name: "disabled", value: "yes" },
		{ name: "password", value: "changed" },
	]);
});

test("lists, labels, times and nothing are readable", () => {
	const rows = particulars({
		env_keys: ["A", "B"],
		labels: { env: "prod", db: "" },
		expires_at: "2026-11-27T03:12:45.123Z",
		name: "",
		tags: [],
		odd: { a: { b: 1 } },
		count: 3,
	});
	expect(rows.map((r) => r.value)).toEqual([
		"A, B",
		"env=prod, db",
		expect.stringMatching(/27 Nov 2026/),
		"none",
		"none",
		'a={"b":1}',
		"3",
	]);
	expect(rows[0]?.name).toBe("env keys");
});

test("an object that has more than from and to is no change", () => {
	expect(particulars({ x: { from: "a", to: "b", why: "c" } })[0]).toEqual({ name: "x", value: "from=a, to=b, why=c" });
});

test("an entry is about a name where it has one, else about the target", () => {
	expect(subject({ target: "host:01a2", detail: { name: "web1" } })).toBe("web1");
	expect(subject({ target: "job:01a2", detail: { host: "7", host_name: "web1", kind: "backup" } })).toBe(
		"backup on web1",
	);
	expect(subject({ target: "enrollment_token:01a20bc8-30f2", detail: { name: "" } })).toBe("enrollment token 01a20bc8");
	expect(subject({ target: "", detail: {} })).toBe("");
});

test("an action that is not known stands for itself", () => {
	expect(actionWords("host.revoke")).toBe("Revoked a machine");
	expect(actionWords("vault.open")).toBe("vault.open");
});

test("a day reaches from its first moment to its last", () => {
	const { after, before } = bounds("2026-11-27", "2026-11-27");
	expect(new Date(before ?? 0).getTime() - new Date(after ?? 0).getTime()).toBe(24 * 3600 * 1000);
	expect(new Date(after ?? 0).getHours()).toBe(0);
	expect(bounds(undefined, undefined)).toEqual({});
});

test("programs are named as people know them", () => {
	expect(programOf("Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0")).toBe("Firefox on Linux");
	expect(
		programOf(
			"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126 Safari/537.36 Edg/126",
		),
	).toBe("Edge on Windows");
	expect(programOf("curl/8.5.0")).toBe("curl");
	expect(programOf("my-script")).toBe("my-script");
	expect(programOf("")).toBe("Unnamed program");
});

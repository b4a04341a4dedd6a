import { describe, expect, it } from "vitest";
import type { Host } from "../api/types";
import { guardAllows, type Subject, whyNot } from "./allowed";
import { fieldErrors } from "./fields";
import { cleanPath, linesOf, pathError } from "./lines";
import { isSecretEnv, schemeOf, usualEnv } from "./repository";
import { quoted } from "./shell";
import { exactSize, parseSize } from "./size";

const all: Host["kinds"] = ["backup", "restore", "check", "prune", "forget", "init", "snapshots", "unlock"];
const host: Subject = {
	name: "web-1",
	status: "online",
	guard: { summary: "allows backup", kinds: ["backup", "restore", "check", "init", "snapshots", "unlock"] },
	kinds: all,
	clock_skew_seconds: 0,
	agent_version: "1.0.0",
};

describe("what can be ordered", () => {
	it("is all that the guard allows", () => expect(whyNot(host, "backup", "operator")).toBeUndefined());
	it.each([
		["prune", "maintenance.prune: true"],
		["forget", "maintenance.forget: true"],
	] as const)("%s names the key of guard.yaml", (kind, key) => expect(whyNot(host, kind, "operator")).toContain(key));
	it("names the key for each other kind", () => {
		const none = { ...host, guard: { summary: "allows nothing", kinds: [] } };
		expect(whyNot(none, "restore", "operator")).toContain("restore.mode: staging");
		expect(whyNot(none, "unlock", "operator")).toContain("maintenance.unlock");
		expect(whyNot(none, "check", "operator")).toContain("name check under kinds");
	});
	it("is nothing for who only reads, before anything else", () =>
		expect(whyNot({ ...host, status: "revoked" }, "backup", "viewer")).toContain("only reads"));
	it("is nothing on a revoked machine, with a clone alarm, with a broken guard", () => {
		expect(whyNot({ ...host, status: "revoked" }, "backup", "operator")).toContain("revoked");
		expect(whyNot({ ...host, clone_alarm: { at: "", message: "" } }, "backup", "operator")).toContain("Two machines");
		const broken = { ...host, guard: { summary: "broken", broken: "line 3", kinds: [] } };
		expect(whyNot(broken, "backup", "operator")).toContain("broken");
		expect(guardAllows(broken, "backup")).toBe(false);
	});
	it("is everything before the first call: the order waits", () => {
		const fresh: Subject = { ...host, status: "never_seen", guard: { summary: "", kinds: [] }, kinds: [] };
		expect(whyNot(fresh, "prune", "operator")).toBeUndefined();
		expect(guardAllows(fresh, "prune")).toBeUndefined();
	});
	it("does not hold back an offline machine's work", () =>
		expect(whyNot({ ...host, status: "offline" }, "backup", "operator")).toBeUndefined());
	it("asks for a newer agent", () =>
		expect(whyNot({ ...host, kinds: ["backup"] }, "check", "operator")).toContain("1.0.0"));
	it("keeps what goes by the clock from a clock that is wrong, and only that", () => {
		for (const skew of [301, -301]) {
			expect(whyNot({ ...host, clock_skew_seconds: skew }, "unlock", "operator")).toContain("clock");
			expect(whyNot({ ...host, clock_skew_seconds: skew }, "backup", "operator")).toBeUndefined();
		}
		expect(whyNot({ ...host, clock_skew_seconds: 299 }, "unlock", "operator")).toBeUndefined();
	});
});

describe("sizes as people type them", () => {
	it.each([
		["500 MiB", 500 * 1024 ** 2],
		["1.5g", 1.5 * 1024 ** 3],
		["1,5 GB", 1.5 * 1024 ** 3],
		["4096", 4096],
		["10 B", 10],
		["0", 0],
	])("%s", (t, n) => expect(parseSize(t)).toBe(n));
	it.each(["", "lots", "-1", "5 XiB", "1e9", "99999999 PiB"])("%s is none", (t) =>
		expect(parseSize(t)).toBeUndefined(),
	);
	it.each([0, 1, 1023, 1024, 1536, 3 * 1024 ** 3, 1234567])("%d is read back", (n) =>
		expect(parseSize(exactSize(n))).toBe(n),
	);
});

describe("paths, one a line", () => {
	it("leaves out what is empty, and the slash at the end", () =>
		expect(linesOf(" /etc/ \n\n/\n/srv//www").map(cleanPath)).toEqual(["/etc", "/", "/srv/www"]));
	it.each([
		[["etc"], "not absolute"],
		[["/etc/../root"], ". or .."],
		[["/etc", "/etc"], "twice"],
	])("%j is wrong", (paths, why) => expect(pathError(paths)).toContain(why));
	it("takes names that only look like dots", () => expect(pathError(["/srv/..data", "/srv/a.b"])).toBeUndefined());
});

describe("errors at their fields", () => {
	class Refusal extends Error {
		constructor(
			message: string,
			readonly fields: Record<string, string> = {},
			readonly status = 422,
		) {
			super(message);
		}
	}
	const names = { paths: "paths", upload_limit_kib: "upload" } as const;
	it("go by the place in the body", () =>
		expect(fieldErrors(new Refusal("x", { "spec.paths[0]": "is empty" }), names)).toEqual({
			fields: { paths: "is empty" },
		}));
	it("go by the word they begin with", () =>
		expect(fieldErrors(new Refusal('paths: "etc" is not absolute; begin it with /'), names).fields.paths).toBe(
			'"etc" is not absolute; begin it with /',
		));
	it("go by the place that a sentence begins with", () =>
		expect(fieldErrors(new Refusal("spec.paths: there are none"), names).fields.paths).toBe("there are none"));
	it("are told below when they belong to none", () => {
		expect(fieldErrors(new Refusal("kind: none of them"), names)).toEqual({ fields: {}, rest: "kind: none of them" });
		expect(fieldErrors(new Refusal("x", { ttl_seconds: "too long" }), names).rest).toBe("ttl_seconds: too long");
		expect(fieldErrors(new Error("away"), names).rest).toBe("away");
	});
	it("are none without an error", () => expect(fieldErrors(null, names)).toEqual({ fields: {} }));
	it("does not take a server's failure for a field's", () =>
		expect(fieldErrors(new Refusal("paths: oops", {}, 500), names).fields).toEqual({}));
});

describe("places of repositories", () => {
	it.each([
		["/mnt/backup", "local"],
		["rest:https://x/y", "rest"],
		["s3:https://x/y", "s3"],
		["sftp:a@b:/c", "sftp"],
		["rclone:x:y", "rclone"],
		["ftp:x:y", ""],
		["nonsense", ""],
	])("%s is %s", (url, scheme) => expect(schemeOf(url)).toBe(scheme));
	it("asks for what the scheme needs", () => {
		expect(usualEnv("s3")).toContain("AWS_SECRET_ACCESS_KEY");
		expect(usualEnv("local")).toEqual([]);
	});
	it("hides secrets and shows names", () => {
		expect(["AWS_SECRET_ACCESS_KEY", "RESTIC_REST_PASSWORD", "AZURE_ACCOUNT_SAS"].every(isSecretEnv)).toBe(true);
		expect(["AWS_DEFAULT_REGION", "RESTIC_REST_USERNAME"].some(isSecretEnv)).toBe(false);
	});
});

describe("words for a shell", () => {
	it.each([
		["rest:https://x:8000/a", "rest:https://x:8000/a"],
		["/srv/my repo", "'/srv/my repo'"],
		["it's; rm -rf /", "'it'\\''s; rm -rf /'"],
		["$(id)", "'$(id)'"],
		["", "''"],
	])("%s", (word, want) => expect(quoted(word)).toBe(want));
});

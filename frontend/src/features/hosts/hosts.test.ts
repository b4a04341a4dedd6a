import { describe, expect, it } from "vitest";
import { Unreachable } from "../../api/problem";
import type { Job } from "../../api/types";
import { type BackupForm, formOf, specOf } from "../../lib/backupForm";
import { beyondKinds } from "./Cards";
import { atLeast, findings, installRestic } from "./findings";
import { isOf, windowOf } from "./Jobs";
import { orderOf } from "./OrderDialog";
import { verdict } from "./repositoryTest";
import { testHost } from "./testHost";
import { dayWords, monthNames, spanWords, step, today, toneOf, weeks } from "./weeks";

const now = Date.parse("2026-11-27T12:00:00Z");

describe("the order of a backup", () => {
	const empty = formOf(null);
	const made = (f: Partial<BackupForm>) => specOf({ ...empty, ...f });
	it("leaves out what is off", () =>
		expect(made({ paths: "/etc\n\n /srv/ ", excludeCaches: false })).toEqual({ spec: { paths: ["/etc", "/srv"] } }));
	it("takes each option with its unit", () =>
		expect(
			made({
				paths: "/",
				excludes: "*.tmp\n /home/*/.cache ",
				excludeCaches: true,
				oneFileSystem: true,
				largerThan: "2 GiB",
				tags: "daily, before-upgrade daily",
				uploadLimit: "512",
				dryRun: true,
			}),
		).toEqual({
			spec: {
				paths: ["/"],
				excludes: ["*.tmp", "/home/*/.cache"],
				tags: ["daily", "before-upgrade"],
				exclude_caches: true,
				one_file_system: true,
				exclude_larger_than: 2 * 1024 ** 3,
				upload_limit_kib: 512,
				dry_run: true,
			},
		}));
	it.each([
		[{ paths: " \n" }, "paths"],
		[{ paths: "etc" }, "paths"],
		[{ paths: "/etc", largerThan: "big" }, "largerThan"],
		[{ paths: "/etc", uploadLimit: "-3" }, "uploadLimit"],
		[{ paths: "/etc", uploadLimit: "1.5" }, "uploadLimit"],
	] as [Partial<BackupForm>, string][])("%j is wrong at its field", (f, field) =>
		expect(Object.keys((made(f) as { errors: object }).errors)).toEqual([field]),
	);
	it("begins with what the last one was asked, but for a dry run", () => {
		const spec = {
			paths: ["/etc", "/srv"],
			excludes: ["*.tmp"],
			tags: ["daily"],
			exclude_larger_than: 500 * 1024 ** 2,
			upload_limit_kib: 100,
		};
		expect(specOf(formOf({ ...spec, dry_run: true }))).toEqual({ spec });
	});
	it("leaves caches out only where the last one did", () => {
		expect(formOf({ paths: ["/"] }).excludeCaches).toBe(false);
		expect(empty.excludeCaches).toBe(true);
	});
});

describe("small orders", () => {
	const none = { read: "structure", unused: "", dryRun: false };
	it("ask for no more than was chosen", () => {
		expect(orderOf("check", none)).toEqual({ kind: "check" });
		expect(orderOf("check", { ...none, read: "5%" })).toEqual({ kind: "check", spec: { read_data_subset: "5%" } });
		expect(orderOf("check", { ...none, read: "all" })).toEqual({ kind: "check", spec: { read_data: true } });
		expect(orderOf("prune", none)).toEqual({ kind: "prune", spec: {} });
		expect(orderOf("prune", { ...none, unused: "0", dryRun: true })).toEqual({
			kind: "prune",
			spec: { max_unused_percent: 0, dry_run: true },
		});
		expect(orderOf("unlock", none)).toEqual({ kind: "unlock" });
	});
});

describe("the calendar", () => {
	const day = (date: string, succeeded = 0, succeeded_with_issues = 0, failed = 0, canceled = 0) => ({
		date,
		succeeded,
		succeeded_with_issues,
		failed,
		canceled,
	});
	// 2026-11-27 is a Friday.
	const columns = weeks([day("2026-11-27", 1), day("2026-11-16", 0, 0, 2)], 14, "2026-11-27");
	it("has weeks that begin on Monday, with places left empty at both ends", () => {
		expect(columns.map((w) => w.map((d) => d?.date.slice(5) ?? ""))).toEqual([
			["", "", "", "", "", "11-14", "11-15"],
			["11-16", "11-17", "11-18", "11-19", "11-20", "11-21", "11-22"],
			["11-23", "11-24", "11-25", "11-26", "11-27", "", ""],
		]);
	});
	it("counts each day, and nothing where none ended", () => {
		expect(columns[2]?.[4]).toMatchObject({ succeeded: 1, failed: 0 });
		expect(columns[1]?.[0]).toMatchObject({ failed: 2 });
		expect(columns[1]?.[1]).toMatchObject({ succeeded: 0, failed: 0 });
	});
	it("holds across a change of the clock and a year", () => {
		const year = weeks([], 366, "2027-01-02").flat().filter(Boolean);
		expect(year).toHaveLength(366);
		expect(new Set(year.map((d) => d?.date)).size).toBe(366);
		expect(year[0]?.date).toBe("2026-01-02");
	});
	it("tells days apart", () => {
		const d = { date: "", succeeded: 0, issues: 0, failed: 0, canceled: 0 };
		expect(toneOf(d)).toBe("none");
		expect(toneOf({ ...d, succeeded: 2 })).toBe("ok");
		expect(toneOf({ ...d, succeeded: 2, issues: 1 })).toBe("warn");
		expect(toneOf({ ...d, failed: 1 })).toBe("bad");
		expect(toneOf({ ...d, failed: 1, succeeded: 1 })).toBe("mixed");
		expect(toneOf({ ...d, canceled: 1 })).toBe("idle");
		expect(dayWords({ ...d, failed: 1, succeeded: 2 })).toBe("2 succeeded, 1 failed");
		expect(dayWords(d)).toBe("no backup ended");
	});
	it("is walked by the arrows, within its span", () => {
		const go = (from: string, key: string) => step(from, key, "2026-11-14", "2026-11-27");
		expect(go("2026-11-20", "ArrowLeft")).toBe("2026-11-20");
		expect(go("2026-11-21", "ArrowLeft")).toBe("2026-11-14");
		expect(go("2026-11-20", "ArrowRight")).toBe("2026-11-27");
		expect(go("2026-11-27", "ArrowDown")).toBe("2026-11-27");
		expect(go("2026-11-20", "ArrowUp")).toBe("2026-11-19");
		expect(go("2026-11-20", "Home")).toBe("2026-11-14");
		expect(go("2026-11-20", "End")).toBe("2026-11-27");
		expect(go("2026-11-20", "x")).toBeUndefined();
	});
	it("names a month once, and none too close to another", () => {
		const names = monthNames(weeks([], 90, "2026-11-27"));
		expect(names.filter(Boolean)).toEqual(["Aug", "Oct", "Nov"]);
	});
	it("says all in a sentence", () =>
		expect(spanWords(columns)).toBe("1 of 14 days with a good backup; 1 succeeded, 0 with issues, 2 failed"));
	it("knows the day of the reader's zone", () => {
		const t = new Date(2026, 10, 27, 0, 30);
		expect(today(t)).toBe("2026-11-27");
	});
	it("shows the jobs that ended on a day, whenever they were ordered", () => {
		const at = (h: number) => new Date(2026, 10, 27, h).toISOString();
		expect(isOf({ queued_at: at(-20), ended_at: at(1) }, "2026-11-27")).toBe(true);
		expect(isOf({ queued_at: at(23), ended_at: at(25) }, "2026-11-27")).toBe(false);
		expect(isOf({ queued_at: at(23) }, "2026-11-27")).toBe(true);
		const w = windowOf("2026-11-27");
		expect(Date.parse(w.after)).toBeLessThan(Date.parse(at(-20)));
		expect(w.before).toBe(at(24));
	});
});

describe("what is not as it should be", () => {
	const ids = (changes: Parameters<typeof testHost>[0]) => findings(testHost(changes), now).map((f) => f.id);
	it("is nothing for a machine as it should be", () => expect(ids({})).toEqual([]));
	it("says how restic comes onto the machine", () => {
		const [f] = findings(testHost({ restic_version: "" }), now);
		expect(f).toMatchObject({ id: "restic_missing", tone: "bad", command: "apt-get install restic" });
		expect(installRestic("Fedora Linux 43")).toBe("dnf install restic");
		expect(installRestic("Alpine Linux v3.22")).toBe("apk add restic");
	});
	it("asks nobody to install restic before the machine has spoken", () =>
		expect(
			ids({ status: "never_seen", restic_version: "", protection: "never_backed_up", last_backup: undefined }),
		).toEqual(["never_backed_up", "never_seen"]));
	it("tells an old restic", () => {
		expect(ids({ restic_version: "0.13.1" })).toEqual(["restic_too_old"]);
		expect(atLeast("0.14.0", [0, 14])).toBe(true);
		expect(atLeast("1.0", [0, 14])).toBe(true);
		expect(atLeast("compiled by hand", [0, 14])).toBe(true);
	});
	it("says what to do about the last backup, and where its job is", () => {
		const [f] = findings(
			testHost({
				protection: "failing",
				last_backup: { job_id: "j2", state: "failed", ended_at: "2026-11-27T03:00:00Z", error_code: "wrong_password" },
			}),
			now,
		);
		expect(f).toMatchObject({ id: "failing", jobID: "j2" });
		expect(f?.text).toContain("password");
	});
	it("does not call a backup failed for a clone alarm", () =>
		expect(ids({ protection: "failing", clone_alarm: { at: "", message: "" } })).toEqual([]));
	it("tells files left out from a backup that is overdue", () => {
		expect(
			ids({ protection: "at_risk", last_backup: { job_id: "j", state: "succeeded_with_issues", ended_at: "" } }),
		).toEqual(["issues"]);
		expect(ids({ protection: "at_risk" })).toEqual(["overdue"]);
	});
	it("asks for a repository before a first backup", () => {
		const fresh = { protection: "never_backed_up", last_backup: undefined } as const;
		expect(ids({ ...fresh, reported_repositories: [] })).toEqual(["no_repository"]);
		expect(ids(fresh)).toEqual(["never_backed_up"]);
	});
	it("explains a clock from a minute on", () => {
		expect(ids({ clock_skew_seconds: 60 })).toEqual([]);
		const [ahead] = findings(testHost({ clock_skew_seconds: 90 }), now);
		expect(ahead).toMatchObject({ tone: "warn", title: "The clock is 1 min 30 s ahead" });
		const [behind] = findings(testHost({ clock_skew_seconds: -3600 }), now);
		expect(behind).toMatchObject({ tone: "bad", title: "The clock is 1 h behind" });
	});
	it("gives the worst first", () =>
		expect(ids({ listing_error: "x", guard: { broken: "line 3", kinds: [], summary: "broken" } })).toEqual([
			"guard_broken",
			"listing_failed",
		]));
	it("is nothing for a revoked machine", () => expect(ids({ status: "revoked", listing_error: "x" })).toEqual([]));
	it("keeps of the guard's summary what the kinds do not say", () => {
		expect(beyondKinds("allows backup, check (no guard.yaml: the defaults)")).toBe("No guard.yaml: the defaults.");
		expect(beyondKinds("allows backup, check; backups of /etc, /home; only the repositories it names")).toBe(
			"Backups of /etc, /home; only the repositories it names.",
		);
		expect(beyondKinds("allows backup")).toBe("As guard.yaml says.");
	});
});

describe("the test of a repository", () => {
	const host = { name: "web-1", status: "online" as const, snapshot_count: 3 };
	const job = (changes: Partial<Job>) => ({ id: "j", kind: "snapshots", state: "queued", ...changes }) as Job;
	it("begins with the order", () => expect(verdict(undefined, host)).toMatchObject({ busy: true, offerInit: false }));
	it("says what it waits for", () => {
		expect(verdict(job({}), host).text).toContain("next call");
		expect(verdict(job({}), { ...host, status: "offline" }).text).toContain("not online");
		expect(verdict(job({ waiting: { reason: "repository_busy" } }), host).text).toContain("before it");
	});
	it("says that it works, and what is there", () =>
		expect(verdict(job({ state: "succeeded" }), host)).toMatchObject({
			tone: "ok",
			busy: false,
			text: "web-1 reached the repository, its password opened it, and it holds 3 snapshots of this machine.",
		}));
	it("offers to make a repository that is not there, once", () => {
		const error = { code: "repository_missing", message: "unable to open config file" };
		expect(verdict(job({ state: "failed", error }), host)).toMatchObject({ tone: "warn", offerInit: true });
		expect(verdict(job({ kind: "init", state: "failed", error }), host).offerInit).toBe(false);
	});
	it("offers nothing of the kind for a wrong password", () =>
		expect(verdict(job({ state: "failed", error: { code: "wrong_password", message: "wrong" } }), host)).toMatchObject({
			tone: "bad",
			title: "The password does not open the repository",
			foreign: "wrong",
			offerInit: false,
		}));
	it("has words for what it does not know", () =>
		expect(verdict(job({ state: "lost" }), host)).toMatchObject({
			tone: "bad",
			title: "The repository cannot be used",
		}));
	it("tells an init from a test", () =>
		expect(verdict(job({ kind: "init", state: "succeeded" }), host).title).toBe("The repository is there"));
	it("says when it could not be ordered", () =>
		expect(verdict(undefined, host, new Unreachable())).toMatchObject({ tone: "bad", busy: false }));
});

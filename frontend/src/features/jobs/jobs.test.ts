import { describe, expect, it } from "vitest";
import { apart, joined, pace, startOfDay } from "../../api/jobs";
import type { Job } from "../../api/types";
import { fitting } from "./Issues";
import { ran, timeline } from "./timeline";
import { asked, figures, outcome, waitingWords } from "./words";

const job = (over: Partial<Job> = {}): Job => ({
	id: "01a21b14-0000-7000-8000-000000000001",
	host_id: "01a21b13-0000-7000-8000-000000000001",
	host_name: "web-1",
	kind: "backup",
	state: "succeeded",
	spec: { paths: ["/srv"] },
	repository: { name: "local" },
	created_by: "admin",
	queued_at: "2026-11-27T03:00:00Z",
	expires_at: "2026-11-28T03:00:00Z",
	time_limit_seconds: 86400,
	late_report: false,
	log_complete: true,
	log_received: 10,
	...over,
});

const words = (j: Partial<Job>) =>
	Object.fromEntries(asked(job(j)).map((f) => [f.label, f.texts ? f.texts.join(" | ") : f.value]));

describe("what was asked", () => {
	it("of a backup", () =>
		expect(
			words({
				spec: {
					paths: ["/srv", "/etc"],
					excludes: ["*.tmp"],
					exclude_caches: true,
					exclude_larger_than: 1 << 30,
					one_file_system: true,
					tags: ["nightly"],
					upload_limit_kib: 2048,
					dry_run: true,
				},
			}),
		).toEqual({
			Folders: "/srv | /etc",
			"Left out": "*.tmp",
			Caches: "Folders with a CACHEDIR.TAG are left out",
			"File systems": "Stays on the file system of each folder",
			"Large files": "Those above 1 GiB are left out",
			Tags: "nightly",
			Upload: "At most 2 MiB/s",
			"Dry run": "Nothing is written; it only says what would be",
		}));
	it("leaves out what was not", () => expect(words({ spec: { paths: ["/srv"] } })).toEqual({ Folders: "/srv" }));
	it("of a restore of all, and of some paths", () => {
		expect(words({ kind: "restore", spec: { snapshot_id: "a".repeat(64) } })).toMatchObject({
			Paths: "Everything in the snapshot",
		});
		expect(
			words({ kind: "restore", spec: { snapshot_id: "a".repeat(64), paths: ["/srv/x"], target: "t", verify: true } }),
		).toMatchObject({ Paths: "/srv/x", "New folder": "t", Verified: expect.any(String) });
	});
	it.each([
		[{}, "The structure alone; stored data is not read"],
		[{ read_data: true }, "All stored data is read and verified"],
		[{ read_data_subset: "2/5" }, "Part 2 of 5 of the stored data is read and verified"],
		[{ read_data_subset: "5%" }, "5 % of the stored data, chosen at random, is read and verified"],
	])("of a check %o", (spec, want) => expect(words({ kind: "check", spec })).toEqual({ Data: want }));
	it("tells no limit of a prune from a limit of 0", () => {
		expect(words({ kind: "prune", spec: {} })["Unused space"]).toContain("default");
		expect(words({ kind: "prune", spec: { max_unused_percent: 0 } })["Unused space"]).toBe("At most 0 % may stay");
	});
});

describe("what a job did, in one phrase", () => {
	it.each<[Partial<Job>, string]>([
		[
			{ summary: { data_added: 1288490189, total_bytes_processed: 365072220160, total_files_processed: 12044 } },
			"1.2 GiB new of 340 GiB, 12,044 files",
		],
		[{ summary: { dry_run: true, data_added: 0, total_files_processed: 1 } }, "Dry run: 0 B new of 0 B, 1 file"],
		[
			{ state: "succeeded_with_issues", summary: { data_added: 1, total_files_processed: 2 }, issues_dropped: 0 },
			"1 B new of 0 B, 2 files; some files could not be read",
		],
		[
			{ state: "failed", error: { code: "wrong_password", message: "the repository's password is wrong" } },
			"The repository's password is wrong.",
		],
		[{ state: "canceled", started_at: "2026-11-27T03:00:01Z" }, "Stopped before its end"],
		[{ state: "canceled" }, "Canceled before it began"],
		[{ state: "queued", spec: { paths: ["/srv", "/etc", "/home"] } }, "/srv and 2 more"],
		[{ kind: "check", summary: { check_errors: 2 }, spec: {} }, "2 errors found"],
		[{ kind: "forget", summary: { snapshots_removed: 1 }, spec: { snapshot_ids: ["a"] } }, "1 snapshot removed"],
	])("%o", (over, want) => expect(outcome(job(over))).toBe(want));
	it("shows an exit code only where it says something", () => {
		expect(figures(job({ exit_code: 0 }))).toEqual([]);
		expect(figures(job({ exit_code: 12 }))).toEqual([]);
		expect(figures(job({ exit_code: 3, summary: {} })).at(-1)).toEqual({ label: "Exit code", value: "3" });
	});
	it("names what a waiting job waits for", () => {
		const w = waitingWords({ reason: "repository_busy", kind: "prune", host_name: "host-7" });
		expect([w.before, w.after, w.names]).toEqual(["Waits for ", "prune on the same repository.", true]);
	});
});

describe("the course of a job", () => {
	const at = (s: number) => new Date(Date.parse("2026-11-27T03:00:00Z") + s * 1000).toISOString();
	it("explains the times between", () => {
		const m = timeline(
			job({
				accepted_at: at(125),
				started_at: at(130),
				ended_at: at(430),
				elapsed_seconds: 300,
				agent_ended_at: at(430),
			}),
		);
		expect(m.map((x) => [x.name, x.note])).toEqual([
			["Queued", undefined],
			["Accepted by the machine", "waited 2 min 5 s"],
			["restic started", "prepared for 5 s"],
			["Succeeded", "ran 5 min"],
		]);
	});
	it("says when the end was told late", () => {
		const m = timeline(
			job({ accepted_at: at(0), started_at: at(1), ended_at: at(3601), elapsed_seconds: 60, agent_ended_at: at(61) }),
		);
		expect(m.at(-1)?.note).toBe("ran 1 min; told 59 min after it ended");
	});
	it("says what is still to come", () => {
		const m = timeline(job({ state: "queued" }));
		expect(m.map((x) => [x.name, x.at !== undefined, x.now ?? false])).toEqual([
			["Queued", true, true],
			["Accepted by the machine", false, false],
			["restic starts", false, false],
			["Ended", false, false],
		]);
	});
	it("has what went on between start and end in its order", () => {
		const m = timeline(
			job({
				state: "running",
				accepted_at: at(1),
				started_at: at(2),
				disconnected_since: at(50),
				cancel_requested_at: at(40),
			}),
		);
		expect(m.map((x) => x.name)).toEqual([
			"Queued",
			"Accepted by the machine",
			"restic started",
			"Asked to stop",
			"Connection lost",
			"Ended",
		]);
	});
	it("never began where it was refused", () => {
		const m = timeline(job({ state: "rejected", accepted_at: at(1), ended_at: at(2) }));
		expect(m.map((x) => x.name)).toEqual(["Queued", "Accepted by the machine", "Rejected"]);
		expect(m.at(-1)?.note).toBe("2 s after it was queued");
	});
	it("counts a running job's time up to now", () => {
		expect(ran(job({ state: "running", started_at: at(0) }), Date.parse(at(90)))).toBe(90);
		expect(ran(job({ state: "queued" }), Date.parse(at(90)))).toBeUndefined();
	});
});

describe("the list of jobs", () => {
	const of = (...ids: string[]) => ids.map((id) => job({ id }));
	it("is the newest ones and what is below, each once", () => {
		const newest = { jobs: of("9", "8", "7"), next_cursor: "x" };
		const older = [{ jobs: of("8", "7", "6"), next_cursor: "y" }, { jobs: of("5", "4") }];
		expect(joined(newest, older).map((j) => j.id)).toEqual(["9", "8", "7", "6", "5", "4"]);
		expect(apart(newest, older)).toBe(false);
	});
	it("has nothing below where the newest are all", () => {
		expect(joined({ jobs: of("9") }, [{ jobs: of("9", "3") }]).map((j) => j.id)).toEqual(["9"]);
	});
	it("knows when so many were made that some between are missing", () => {
		expect(apart({ jobs: of("9", "8"), next_cursor: "x" }, [{ jobs: of("5", "4") }])).toBe(true);
	});
	it("asks for days of the reader's zone, the last one included", () => {
		expect(startOfDay("2026-11-27")).toBe(new Date(2026, 10, 27).toISOString());
		expect(startOfDay("2026-12-31", 1)).toBe(new Date(2027, 0, 1).toISOString());
	});
	it("asks for a job the more often, the more happens", () => {
		expect(pace(job({ state: "running" }))).toBe(1500);
		expect(pace(job({ state: "queued" }))).toBeGreaterThan(1500);
		expect(pace(job({ log_complete: false }))).toBe(5000);
		expect(pace(job())).toBe(60_000);
	});
});

describe("what could not be read", () => {
	const issues = [
		{ path: "/srv/A.key", message: "permission denied" },
		{ path: "/srv/b", message: "input/output error" },
	];
	it("is found by path and message, whatever the case", () => {
		expect(fitting(issues, "a.KEY")).toEqual([issues[0]]);
		expect(fitting(issues, "output")).toEqual([issues[1]]);
		expect(fitting(issues, " ")).toBe(issues);
	});
});

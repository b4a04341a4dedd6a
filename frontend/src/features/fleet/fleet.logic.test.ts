import { describe, expect, it } from "vitest";
import type { Attention, Overview } from "../../api/fleet";
import { host } from "../../api/host.fixture";
import { answerOf, noticeOf, varied } from "./attention";
import { parsePairs, parsePaths } from "./Bulk";
import { forEach, relabeled, Skip } from "./bulk";
import { ending, fitting, foremost, usual } from "./columns";
import { grouped } from "./rows";
import { choose, chosen, clicked, everybody, isChosen, nobody } from "./selection";
import { read } from "./useColumns";
import { chipsOf, filterOf, listingOf, scopeOf, sortedBy, toggled, type View } from "./view";

const now = Date.parse("2026-11-27T03:00:00Z");

describe("the view", () => {
	const view: View = {
		q: " web ",
		protection: ["failing", "at_risk"],
		status: ["offline"],
		label: "env=prod",
		version: "1.4.2",
		older: 48,
		sort: "size",
		order: "desc",
		group: "site",
	};

	it("asks the server for what the URL says", () => {
		expect(listingOf(view)).toEqual({
			search: "web",
			protection: ["failing", "at_risk"],
			status: ["offline"],
			label: "env=prod",
			version: "1.4.2",
			older_than_seconds: 48 * 3600,
			sort: "size",
			order: "desc",
			group: "site",
		});
		expect(listingOf({})).toEqual({});
	});

	it("lets the head speak of all states of what is narrowed by label and version", () => {
		expect(scopeOf(view)).toEqual({ label: "env=prod", version: "1.4.2" });
		expect(filterOf({ label: "env=prod" })).toEqual({ label: "env=prod" });
	});

	it("has a chip for each filter, and each takes itself away alone", () => {
		const chips = chipsOf(view);
		expect(chips.map((c) => c.foreign ?? c.text)).toEqual([
			"Failing",
			"At risk",
			"Offline",
			"env=prod",
			"1.4.2",
			"No success for 2 days",
		]);
		expect(chips[0]?.without).toEqual({ protection: ["at_risk"] });
		expect(chips[2]?.without).toEqual({ status: undefined });
	});

	it("sorts by a header, then the other way round, then by name again", () => {
		expect(sortedBy({}, "last_success")).toEqual({ sort: "last_success", order: undefined });
		expect(sortedBy({ sort: "last_success" }, "last_success")).toEqual({ sort: "last_success", order: "desc" });
		expect(sortedBy({ sort: "last_success", order: "desc" }, "last_success")).toEqual({
			sort: undefined,
			order: undefined,
		});
		expect(sortedBy({}, "size")).toEqual({ sort: "size", order: "desc" });
		expect(sortedBy({}, "name")).toEqual({ sort: undefined, order: "desc" });
	});

	it("leaves an empty list out of the URL", () => {
		expect(toggled(["a"], "a")).toBeUndefined();
		expect(toggled(undefined, "a")).toEqual(["a"]);
		expect(toggled(["a", "b"], "a")).toEqual(["b"]);
	});
});

describe("groups", () => {
	const hosts = [
		host("a", { labels: { env: "dev" } }),
		host("b", { labels: { env: "dev" } }),
		host("c", { labels: { env: "prod" } }),
		host("d"),
	];
	const counts = { total: 9, protected: 8, at_risk: 0, failing: 1, never_backed_up: 0, offline: 0 };

	it("begin where the label's value changes, with the server's counts", () => {
		expect(grouped(hosts, "env", [{ value: "dev", ...counts }])).toEqual([
			{ group: "dev", counts: { value: "dev", ...counts } },
			{ host: 0 },
			{ host: 1 },
			{ group: "prod", counts: undefined },
			{ host: 2 },
			{ group: "", counts: undefined },
			{ host: 3 },
		]);
	});

	it("have one head although the next page goes on with the same value", () => {
		const first = grouped(hosts.slice(0, 1), "env", undefined);
		const both = grouped(hosts.slice(0, 2), "env", undefined);
		expect(first.filter((r) => "group" in r)).toHaveLength(1);
		expect(both.filter((r) => "group" in r)).toHaveLength(1);
		expect(both.slice(0, first.length)).toEqual(first);
	});
});

describe("the selection", () => {
	const rows = ["a", "b", "c", "d", "e"].map((n) => host(n));
	const names = (s: typeof nobody) => rows.filter((r) => isChosen(s, r.id)).map((r) => r.name);

	it("takes with shift all rows from the last click to this one, in either direction", () => {
		const one = clicked(nobody, rows, 3, undefined, false);
		expect(names(one)).toEqual(["d"]);
		expect(names(clicked(one, rows, 1, "id-d", true))).toEqual(["b", "c", "d"]);
	});

	it("takes them out where the last click took one out", () => {
		const all = choose(nobody, rows, true);
		const without = clicked(all, rows, 1, undefined, false);
		expect(names(clicked(without, rows, 3, "id-b", true))).toEqual(["a", "e"]);
	});

	it("changes the row alone where the row of the last click is gone", () => {
		expect(names(clicked(nobody, rows, 2, "id-gone", true))).toEqual(["c"]);
	});

	it("means with all that match also those that are not loaded, but for those taken out", () => {
		const most = clicked(everybody, rows, 0, undefined, false);
		expect(chosen(most, 10_000)).toBe(9_999);
		expect(isChosen(most, "id-a")).toBe(false);
		expect(isChosen(most, "id-never-loaded")).toBe(true);
		expect(chosen(clicked(most, rows, 0, undefined, false), 10_000)).toBe(10_000);
	});
});

describe("work on many", () => {
	it("has no more under way than its limit, and goes through all in order", async () => {
		let running = 0;
		let most = 0;
		const begun: number[] = [];
		const items = Array.from({ length: 40 }, (_, i) => i);
		const outcomes = await forEach(
			items,
			async (i) => {
				begun.push(i);
				most = Math.max(most, ++running);
				await new Promise((resolve) => setImmediate(resolve));
				running--;
			},
			{ limit: 6, signal: new AbortController().signal },
		);
		expect(most).toBe(6);
		expect(begun).toEqual(items);
		expect(outcomes).toHaveLength(40);
	});

	it("goes on after one that fails, and names each that failed or had nothing to do", async () => {
		const seen: number[] = [];
		const outcomes = await forEach(
			["a", "b", "c"],
			async (item) => {
				if (item === "a") throw new Error("no");
				if (item === "b") throw new Skip("done already");
			},
			{ signal: new AbortController().signal, report: (all) => seen.push(all.length) },
		);
		expect(outcomes.find((o) => o.item === "a")).toEqual({ item: "a", state: "failed", error: new Error("no") });
		expect(outcomes.find((o) => o.item === "b")).toEqual({ item: "b", state: "skipped", why: "done already" });
		expect(outcomes.find((o) => o.item === "c")).toEqual({ item: "c", state: "done" });
		expect(seen).toEqual([1, 2, 3]);
	});

	it("begins no more once it is stopped, and waits for what is under way", async () => {
		const stop = new AbortController();
		const outcomes = await forEach(
			[1, 2, 3, 4, 5],
			async (i) => {
				if (i === 2) stop.abort();
				await new Promise((resolve) => setImmediate(resolve));
			},
			{ limit: 2, signal: stop.signal },
		);
		expect(outcomes.map((o) => o.item)).toEqual([1, 2]);
	});

	it("sets and takes away labels, and does nothing where they are so already", () => {
		expect(relabeled({ env: "dev", site: "ams" }, { env: "prod" }, ["site"])).toEqual({ env: "prod" });
		expect(relabeled({ env: "prod" }, { env: "prod" }, ["site"])).toBeUndefined();
	});

	it("takes absolute paths alone, and labels with a value alone", () => {
		expect(parsePaths(" /etc \n\nC:\\Users\n")).toEqual({ paths: ["/etc", "C:\\Users"] });
		expect(parsePaths("etc")).toHaveProperty("error");
		expect(parsePairs("env=prod, team=db")).toEqual({ labels: { env: "prod", team: "db" } });
		expect(parsePairs("env=prod, db")).toHaveProperty("error");
	});
});

describe("what needs attention", () => {
	it("shows one of each kind before a second of any", () => {
		const of = (...reasons: string[]) =>
			reasons.map((reason, i) => ({ host_id: String(i), host_name: String(i), reason }) as Attention);
		const ids = (list: Attention[]) => list.map((a) => a.host_id).join("");
		expect(ids(varied(of("clone_alarm", "clone_alarm", "clone_alarm", "failing", "overdue"), 4))).toBe("0134");
		expect(ids(varied(of("failing", "failing", "failing"), 2))).toBe("01");
		expect(ids(varied(of("failing"), 4))).toBe("0");
	});
	const about = (more: Partial<Attention>): Attention => ({
		host_id: "h",
		host_name: "web-1",
		reason: "failing",
		...more,
	});

	it("says for each reason what is the matter and has a next step", () => {
		for (const reason of [
			"clone_alarm",
			"guard_broken",
			"restic_missing",
			"failing",
			"never_backed_up",
			"overdue",
			"issues",
			"listing_failed",
			"clock_skew",
			"offline",
		] as const) {
			const n = noticeOf(about({ reason }), now);
			expect(n.text, reason).toMatch(/^(is|has|was|cannot) .+[.?]$/);
			expect(n.text, reason).not.toMatch(/undefined|NaN/);
			expect(n.next.label, reason).not.toBe("");
		}
	});

	it("names since when, what was said, and the job to look at", () => {
		const n = noticeOf(about({ since: "2026-11-27T01:00:00Z", message: "the disk is full", job_id: "j" }), now);
		expect(n.text).toBe("was not backed up: the last try, 2 h ago, did not succeed.");
		expect(n.said).toBe("The disk is full.");
		expect(n.next.do).toBe("job");
	});

	it("tells a machine that was never tried from one whose first try failed", () => {
		const since = "2026-11-24T03:00:00Z";
		expect(noticeOf(about({ reason: "never_backed_up", since }), now).text).toBe(
			"has no backup yet; it was added 3 d ago.",
		);
		expect(noticeOf(about({ reason: "never_backed_up", since, job_id: "j" }), now).next.do).toBe("job");
	});

	const overview = (hosts: Partial<Overview["hosts"]>, attention: Attention[] = []): Overview => ({
		unprotected_count: 0,
		at: "2026-11-27T03:00:00Z",
		hosts: {
			total: 0,
			protected: 0,
			at_risk: 0,
			failing: 0,
			never_backed_up: 0,
			revoked: 0,
			online: 0,
			offline: 0,
			never_seen: 0,
			clone_alarms: 0,
			...hosts,
		},
		jobs: { queued: 0, running: 0 },
		attention,
		attention_total: attention.length,
		labels: [],
		versions: [],
		server_version: "1.0.0",
	});

	it("is answered in one sentence", () => {
		expect(answerOf(overview({ total: 212, protected: 212 }))).toEqual({
			text: "All 212 machines are protected",
			tone: "ok",
		});
		expect(answerOf(overview({ total: 1, protected: 1 })).text).toBe("The machine is protected");
		// Revoked machines are no machines to protect.
		expect(answerOf(overview({ total: 5, protected: 3, revoked: 2 })).text).toBe("All 3 machines are protected");
		expect(answerOf(overview({ total: 2, revoked: 2 })).text).toBe("All machines are revoked");
		const three = [about({}), about({ reason: "overdue" }), about({ reason: "issues" })];
		expect(answerOf(overview({ total: 212, protected: 209, failing: 1, at_risk: 2 }, three))).toEqual({
			text: "3 of 212 machines need you",
			tone: "bad",
		});
		expect(answerOf(overview({ total: 212, protected: 211, at_risk: 1 }, [about({ reason: "overdue" })]))).toEqual({
			text: "1 of 212 machines needs you",
			tone: "warn",
		});
		expect(answerOf(overview({ total: 40, protected: 40 }, [about({ reason: "clock_skew" })]))).toEqual({
			text: "All 40 machines are protected; one needs a look",
			tone: "warn",
		});
	});
});

describe("columns", () => {
	it("keep the state and the last backup, whatever the room", () => {
		expect(fitting(usual, 4000).map((c) => c.id)).toEqual(usual);
		expect(fitting(usual, 300).map((c) => c.id)).toEqual(["protection", "last_success"]);
		expect(fitting(["size"], 4000).map((c) => c.id)).toEqual(["size"]);
	});

	it("are the usual ones where what is stored cannot be read", () => {
		expect(read(null)).toBe(usual);
		expect(read("{")).toBe(usual);
		expect(read('["size","gone","protection"]')).toEqual(["protection", "size"]);
		expect(read("[]")).toEqual([]);
	});

	it("show the job at work before those that wait, and the end of a repository", () => {
		const job = (id: string, state: "queued" | "running") => ({
			id,
			kind: "backup" as const,
			state,
			percent_done: 0,
			bytes_done: 0,
			total_bytes: 0,
			elapsed_seconds: 0,
		});
		expect(foremost([job("a", "queued"), job("b", "running")])?.id).toBe("b");
		expect(ending("s3:s3.example.net/backup-ams/web")).toBe("…/backup-ams/web");
		expect(ending("/srv/restic")).toBe("/srv/restic");
	});
});

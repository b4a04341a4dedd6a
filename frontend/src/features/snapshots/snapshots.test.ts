import { describe, expect, it } from "vitest";
import type { Snapshot } from "../../api/types";
import { byteTicks } from "../../lib/ticks";
import { locationOf, restoreCommand } from "./command";
import { trendWords } from "./Growth";
import { restoreSpecOf } from "./restoreForm";
import { secondsOf } from "./SnapshotPage";
import { mostPoints, pointsOf, seriesOf, trendOf } from "./series";

function snapshot(changes: Partial<Snapshot>): Snapshot {
	return {
		id: "a".repeat(64),
		short_id: "aaaaaaaa",
		time: "2026-11-27T03:00:00Z",
		hostname: "web-1",
		paths: ["/srv"],
		tags: [],
		tree: "b".repeat(64),
		size_bytes: 1000,
		file_count: 1,
		data_added: 10,
		...changes,
	};
}

describe("the chart", () => {
	it("compares only what holds the same: the same paths, in any order, of the same machine", () => {
		const all = seriesOf([
			snapshot({ time: "2026-11-20T03:00:00Z", paths: ["/etc", "/srv"] }),
			snapshot({ time: "2026-11-22T03:00:00Z", paths: ["/srv"] }),
			snapshot({ time: "2026-11-21T03:00:00Z", paths: ["/srv", "/etc"] }),
			snapshot({ time: "2026-11-19T03:00:00Z", paths: ["/srv"], hostname: "db-1" }),
		]);
		expect(all.map((s) => [s.hostname, s.paths.join(), s.snapshots.length])).toEqual([
			["web-1", "/srv", 1],
			["web-1", "/etc,/srv", 2],
			["db-1", "/srv", 1],
		]);
	});
	it("has a point for each snapshot where they are few, the oldest first", () =>
		expect(
			pointsOf([
				snapshot({ time: "2026-11-27T03:00:00Z", size_bytes: 2000 }),
				snapshot({ time: "2026-11-26T03:00:00Z" }),
			]),
		).toEqual([
			{ at: Date.parse("2026-11-26T03:00:00Z"), size: 1000, added: 10, snapshots: 1 },
			{ at: Date.parse("2026-11-27T03:00:00Z"), size: 2000, added: 10, snapshots: 1 },
		]));
	it("makes one of a day's snapshots where they are many: the last size, all that was added", () => {
		const many = Array.from({ length: mostPoints + 10 }, (_, i) => {
			const hour = i % 4;
			return snapshot({ time: new Date(2026, 7, 1 + Math.floor(i / 4), 8 + hour).toISOString(), size_bytes: 100 + i });
		});
		const points = pointsOf(many);
		expect(points).toHaveLength(25);
		expect(points[0]).toMatchObject({ size: 103, added: 40, snapshots: 4 });
		expect(points.reduce((n, p) => n + p.snapshots, 0)).toBe(100);
	});
	it("has no size where restic stored none, and keeps the day's known one", () => {
		expect(pointsOf([snapshot({ size_bytes: 0 })])[0]?.size).toBeNull();
		const many = Array.from({ length: mostPoints + 1 }, (_, i) =>
			snapshot({ time: new Date(2026, 10, 27, 0, i).toISOString(), size_bytes: i === 5 ? 77 : 0 }),
		);
		expect(pointsOf(many)).toMatchObject([{ size: 77 }]);
	});
	it("knows an empty snapshot from an unknown one", () =>
		expect(
			pointsOf([
				snapshot({
					size_bytes: 0,
					summary: {
						data_added: 0,
						data_added_packed: 0,
						files_changed: 0,
						files_new: 0,
						files_unmodified: 0,
						total_bytes_processed: 0,
						total_files_processed: 0,
					},
				}),
			])[0]?.size,
		).toBe(0));
	it("is told in words", () => {
		const t = trendOf(
			pointsOf([
				snapshot({ time: "2026-11-26T03:00:00Z", size_bytes: 1024 }),
				snapshot({ time: "2026-11-27T03:00:00Z", size_bytes: 3072, data_added: 2048 }),
			]),
		);
		if (!t) throw new Error("there are sizes");
		expect(trendWords(t)).toContain("2 snapshots from 26 Nov 2026");
		expect(trendWords(t)).toContain("The newest holds 3 KiB, 2 KiB more than at first (1 KiB)");
		expect(trendOf(pointsOf([snapshot({ size_bytes: 0 })]))).toBeUndefined();
	});
	it("has round ticks that hold the largest value", () => {
		expect(byteTicks(0)).toEqual([0]);
		for (const n of [1, 999, 1024, 7.3 * 1024 ** 2, 1.9 * 1024 ** 4]) {
			const ticks = byteTicks(n);
			expect(ticks.at(-1)).toBeGreaterThanOrEqual(n);
			expect(ticks.length).toBeLessThanOrEqual(7);
		}
		expect(byteTicks(7.3 * 1024 ** 2)).toEqual([0, 2, 4, 6, 8].map((m) => m * 1024 ** 2));
	});
});

describe("the order of a restore", () => {
	const id = "a".repeat(64);
	const form = { chosen: false, paths: "", target: "", verify: false };
	it("is all of the snapshot into a folder named by the job", () =>
		expect(restoreSpecOf(form, id)).toEqual({ spec: { snapshot_id: id } }));
	it("forgets paths that were typed before all was chosen", () =>
		expect(restoreSpecOf({ ...form, paths: "nonsense", verify: true }, id)).toEqual({
			spec: { snapshot_id: id, verify: true },
		}));
	it("takes chosen paths and a name", () =>
		expect(restoreSpecOf({ chosen: true, paths: "/etc/nginx/\n/srv", target: " friday ", verify: true }, id)).toEqual({
			spec: { snapshot_id: id, paths: ["/etc/nginx", "/srv"], target: "friday", verify: true },
		}));
	it.each([
		[{ chosen: true, paths: " " }, "paths"],
		[{ chosen: true, paths: "etc" }, "paths"],
		[{ chosen: true, paths: "/etc/*.conf" }, "paths"],
		[{ target: "../up" }, "target"],
		[{ target: "-rf" }, "target"],
		[{ target: ".." }, "target"],
	])("%j is refused at its field", (f, field) =>
		expect(Object.keys((restoreSpecOf({ ...form, ...f }, id) as { errors: object }).errors)).toEqual([field]),
	);
});

describe("restoring without restic-manager", () => {
	const own = [{ name: "local", location: "/srv/my repo" }];
	const s = { id: "a".repeat(64) };
	it("names the place, quoted for a shell", () => {
		expect(restoreCommand({ reported_repositories: own }, s)).toBe(
			`restic -r '/srv/my repo' restore ${s.id} --target /tmp/restored`,
		);
		const held = { url: "rest:https://storage.example/web1", env_keys: [], updated_at: "" };
		expect(locationOf({ repository: held, reported_repositories: own })).toBe(held.url);
	});
	it("takes the one of several that the list is of", () => {
		const two = [...own.map((o) => ({ ...o, id: "1" })), { name: "b", location: "/b", id: "2" }];
		expect(locationOf({ reported_repositories: two, repository_id: "2" })).toBe("/b");
		expect(locationOf({ reported_repositories: two })).toBeUndefined();
	});
	it("does not put what acts on a terminal into a command", () =>
		expect(restoreCommand({ reported_repositories: [{ name: "x", location: "/a\u001b[2J" }] }, s)).toContain(
			"-r REPOSITORY ",
		));
	it("knows how long it took only where restic says so", () => {
		const summary = {
			data_added: 0,
			data_added_packed: 0,
			files_changed: 0,
			files_new: 0,
			files_unmodified: 0,
			total_bytes_processed: 0,
			total_files_processed: 0,
		};
		expect(secondsOf({})).toBeUndefined();
		expect(secondsOf({ summary })).toBeUndefined();
		expect(
			secondsOf({ summary: { ...summary, backup_start: "2026-11-27T03:00:00Z", backup_end: "2026-11-27T03:01:30Z" } }),
		).toBe(90);
	});
});

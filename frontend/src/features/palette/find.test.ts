import { beforeEach, describe, expect, it } from "vitest";
import { addRecent, type Entry, found, idIn, rank, readRecent } from "./find";

const entry = (section: string, text: string, words?: string): Entry => ({
	id: text,
	section,
	text,
	...(words && { words }),
	icon: "page",
	run: () => {},
});

describe("the palette", () => {
	beforeEach(() => sessionStorage.clear());

	it("ranks what begins with the text before what holds it, and leaves out what does not", () => {
		expect(rank("fle", { text: "Fleet" })).toBe(0);
		expect(rank("mach", { text: "Add a machine" })).toBe(1);
		expect(rank("add mach", { text: "Add a machine" })).toBe(1);
		expect(rank("dark", { text: "Night", words: "dark" })).toBe(1);
		expect(rank("chine", { text: "Add a machine" })).toBe(2);
		expect(rank("zebra", { text: "Fleet" })).toBeUndefined();
	});

	it("keeps the sections in their order, and each begins with its best", () => {
		const entries = [entry("Recent", "my job"), entry("Pages", "All jobs"), entry("Pages", "Jobs")];
		expect(found("job", entries).map((e) => e.text)).toEqual(["my job", "Jobs", "All jobs"]);
		expect(found("", entries)).toHaveLength(3);
	});

	it("finds the id of a job in what was pasted", () => {
		const id = "01a21b1e-550e-7ae8-90d4-3a9cc1f680c5";
		expect(idIn(` ${id.toUpperCase()} `)).toBe(id);
		expect(idIn(`https://backup.example/jobs/${id}?x=1`)).toBe(id);
		expect(idIn("01a21b1e")).toBeUndefined();
	});

	it("remembers where one went, the newest first, each once, and apart for each person", () => {
		for (const n of [1, 2, 3, 4, 5, 6, 7]) addRecent("me", { kind: "host", id: `${n}`, text: `web-${n}` });
		addRecent("me", { kind: "host", id: "5", text: "web-5" });
		expect(readRecent("me").map((r) => r.id)).toEqual(["5", "7", "6", "4", "3", "2"]);
		expect(readRecent("other")).toEqual([]);
		sessionStorage.setItem("recent me", '[{"kind":"evil"}]');
		expect(readRecent("me")).toEqual([]);
	});
});

import { describe, expect, it } from "vitest";
import { bytes, count, counted } from "./bytes";
import { acts, visible } from "./escape";
import { labelsText, parseLabels } from "./labels";
import { type Reading, remaining, remember, speed } from "./progress";
import { oneOf, someOf, text, whole } from "./search";
import { ago, duration, short } from "./time";

describe("bytes", () => {
	it.each([
		[0, "0 B"],
		[1023, "1023 B"],
		[1024, "1 KiB"],
		[1536, "1.5 KiB"],
		[1024 * 1024 - 1, "1 MiB"],
		[23.44 * 1024 ** 3, "23.4 GiB"],
		[123.4 * 1024 ** 4, "123 TiB"],
		[-1, "–"],
		[Number.NaN, "–"],
	])("%d is %s", (n, want) => expect(bytes(n)).toBe(want));
	it("sets thousands apart", () => expect(count(1234567)).toBe("1,234,567"));
	it("counts one in the singular", () =>
		expect([counted(1, "file"), counted(2, "file")]).toEqual(["1 file", "2 files"]));
});

describe("times", () => {
	const now = Date.parse("2026-11-27T12:00:00Z");
	it.each([
		["2026-11-27T11:59:58Z", "now"],
		["2026-11-27T11:59:48Z", "12 s ago"],
		["2026-11-27T11:55:00Z", "5 min ago"],
		["2026-11-26T13:00:00Z", "23 h ago"],
		["2026-11-25T13:00:00Z", "47 h ago"],
		["2026-11-25T12:00:00Z", "2 d ago"],
		["2026-10-27T12:00:00Z", "4 wk ago"],
		["2025-11-27T12:00:00Z", "11 mo ago"],
		["2026-11-27T15:00:00Z", "in 3 h"],
		["nonsense", "–"],
	])("%s is %s", (at, want) => expect(ago(at, now)).toBe(want));
	it("never says more time than has passed", () => expect(short(3_599_999)).toBe("59 min"));
	it.each([
		[0.42, "0.4 s"],
		[12, "12 s"],
		[185, "3 min 5 s"],
		[7800, "2 h 10 min"],
		[3600, "1 h"],
		[356400, "4 d 3 h"],
		[59.7, "1 min"],
		[-1, "–"],
	])("%d s is %s", (s, want) => expect(duration(s)).toBe(want));
});

describe("progress", () => {
	const at = (s: number, bytesDone: number): Reading => ({
		at: s * 1000,
		bytesDone,
		totalBytes: 1000,
		elapsedSeconds: s,
	});
	it("takes the speed of the last half minute, not of the whole", () => {
		let r: Reading[] = [];
		for (let s = 0; s <= 60; s++) r = remember(r, at(s, s < 30 ? 0 : (s - 30) * 10));
		expect(speed(r)).toBeCloseTo(10);
	});
	it("has no speed before anything moved", () => expect(speed([at(0, 0)])).toBeUndefined());
	it("begins anew when less is done than before", () => expect(remember([at(1, 500)], at(2, 10))).toEqual([at(2, 10)]));
	it("knows no end while the whole is unknown, or nothing moves", () => {
		expect(remaining({ ...at(1, 10), totalBytes: 0 }, 10)).toBeUndefined();
		expect(remaining(at(1, 10), 0)).toBeUndefined();
		expect(remaining(at(1, 10), undefined)).toBeUndefined();
		expect(remaining(at(1, 500), 10)).toBe(50);
	});
	it("keeps no more readings than it needs", () => {
		let r: Reading[] = [];
		for (let s = 0; s <= 1000; s++) r = remember(r, at(s, s));
		expect(r.length).toBeLessThan(50);
	});
});

describe("hostile text", () => {
	it.each([
		["\u001b[31mred\u0007", "\\e[31mred\\u0007"],
		["a\u202etxt.exe", "a\\u202etxt.exe"],
		["zero\u200bwidth", "zero\\u200bwidth"],
		["line\nbreak\r", "line\\nbreak\\r"],
		["nul\u0000", "nul\\0"],
		["lone \ud800 half", "lone \\ud800 half"],
		["\u0085next", "\\u0085next"],
	])("is shown with its escapes", (given, want) => {
		expect(visible(given)).toBe(want);
		expect(acts(given)).toBe(true);
	});
	it.each(["plain", "tab\tstays", "ümläut 漢字 👩‍💻".replaceAll("\u200d", ""), "<script>alert(1)</script>", "�"])(
		"leaves %s as it is",
		(given) => {
			expect(visible(given)).toBe(given);
			expect(acts(given)).toBe(false);
		},
	);
});

describe("labels", () => {
	it("reads what people type", () =>
		expect(parseLabels("env=prod, db ,\nsite = vienna")).toEqual({ labels: { env: "prod", db: "", site: "vienna" } }));
	it("takes what the server takes", () =>
		expect(parseLabels("mail=ann@x.org, t=a:b+c-d.e_f")).toEqual({
			labels: { mail: "ann@x.org", t: "a:b+c-d.e_f" },
		}));
	it.each(["=x", "-a=b", "a b=c", "a=1, a=2", "a=b=c", "a/b=c", "a=<b>"])("says what is wrong with %s", (t) =>
		expect(parseLabels(t)).toHaveProperty("error"),
	);
	it("writes them by key", () => expect(labelsText({ b: "", a: "1" })).toBe("a=1, b"));
});

describe("what a URL may say", () => {
	it("takes only what can be shown", () => {
		expect(oneOf("x", ["a"])).toBeUndefined();
		expect(someOf("b,x,a", ["a", "b", "c"])).toEqual(["a", "b"]);
		expect(someOf("x", ["a"])).toBeUndefined();
		expect(text("  ")).toBeUndefined();
		expect(text(42)).toBe("42");
		expect([whole("7", 1, 9), whole("70", 1, 9), whole("1.5", 1, 9), whole("", 0, 9)]).toEqual([
			7,
			undefined,
			undefined,
			undefined,
		]);
	});
});

import { expect, test } from "vitest";
import { timeLeft } from "../ui/countdown";
import { makePassword } from "./password";
import { tokenState } from "./tokens";

test("a token is used, else expired from its time on, else waiting", () => {
	const expires_at = "2026-11-27T12:00:00Z";
	const noon = Date.parse(expires_at);
	expect(tokenState({ expires_at }, noon - 1)).toBe("waiting");
	expect(tokenState({ expires_at }, noon)).toBe("expired");
	expect(tokenState({ expires_at, used_at: expires_at }, noon + 1)).toBe("used");
});

test("a made password has random letters in groups", () => {
	const made = new Set(Array.from({ length: 200 }, () => makePassword()));
	expect(made.size).toBe(200);
	for (const p of made) expect(p).toMatch(/^([a-km-zA-HJ-NP-Z2-9]{6}-){3}[a-km-zA-HJ-NP-Z2-9]{6}$/);
});

test("time left is told as a clock does, and in days where it is long", () => {
	expect([0, 59, 60, 3599, 3600, 7325, 172800].map(timeLeft)).toEqual([
		"0:00",
		"0:59",
		"1:00",
		"59:59",
		"1:00:00",
		"2:02:05",
		"2 d 0 h",
	]);
});

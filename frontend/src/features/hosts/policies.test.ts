import { expect, it } from "vitest";
import { keptBy } from "./Policies";

const online = { status: "online" } as const;
const away = { status: "offline" } as const;
const schedule = (known: number, version: number, keeps = true) => ({
	keeps_schedule: keeps,
	schedule_known: known,
	schedule_version: version,
});

it.each([
	["has the newest", schedule(4, 4), online, "ok", /has the newest one/],
	["an older one, online", schedule(3, 4), online, "info", /gets the new one with its next call/],
	["an older one, away", schedule(3, 4), away, "warn", /follows it once it is back/],
	["none yet, away", schedule(0, 4), away, "warn", /does not have the schedule yet/],
	["an agent that keeps none", schedule(0, 4, false), online, "info", /The server keeps its schedule/],
] as const)("says what the machine goes by: %s", (_, d, host, tone, text) => {
	const kept = keptBy(d, host);
	expect(kept.tone).toBe(tone);
	expect(kept.text).toMatch(text);
});

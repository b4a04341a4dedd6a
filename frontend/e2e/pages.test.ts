// Every page over a made-up fleet of 10,000 machines, some of which live: light and dark, desk and phone. Each is looked
// at by axe, must fit its window and say nothing to the console; the pictures lie in frontend/shots.
import { execFileSync, spawn } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { BrowserContext, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { axe, Rig, shots, until } from "./rig";

const rig = new Rig("sqlite");
const figures: string[] = [];
let api: BrowserContext;

interface Listed {
	hosts: { id: string; name: string; active_jobs: { id: string; state: string }[] }[];
	jobs: { id: string; host_id: string; log_received: number }[];
	snapshots: { short_id: string }[];
	policies: { id: string; name: string }[];
	repositories: { id: string; name: string }[];
}

async function ask<K extends keyof Listed>(path: string, key: K): Promise<Listed[K]> {
	const answer = await api.request.get(rig.url + path);
	return ((await answer.json()) as Listed)[key];
}

beforeAll(async () => {
	mkdirSync(shots, { recursive: true });
	const data = join(rig.folder, "server");
	mkdirSync(data, { mode: 0o700 });
	const env = {
		...process.env,
		RESTIC_MANAGER_ADMIN_USER: rig.admin.username,
		RESTIC_MANAGER_ADMIN_PASSWORD: rig.admin.password,
	};
	const demo = join(rig.bin, "demo");
	const database = join(data, "restic-manager.db");
	execFileSync(demo, ["-database", database, "-hosts", "10000", "-jobs", "100000", "-snapshots", "10"], { env });
	await rig.serve();
	rig.adopt(spawn(demo, ["-database", database, "-server", rig.url, "-live", "8"], { env, stdio: "ignore" }));
	({ context: api } = await rig.open());
	await rig.signIn(api);
	await until("policies", async () => (await ask("/api/policies", "policies")).length >= 3);
	await until("jobs that run", async () => (await ask("/api/jobs?state=running", "jobs")).length >= 3);
}, 400_000);

afterAll(async () => {
	writeFileSync(join(shots, "figures.txt"), `${figures.join("\n")}\n`);
	await rig.end();
});

/** What was asked for is there and drawn: no rows to come, nothing of before in its place, no letters to load, nothing on its way in. */
async function settled(page: Page) {
	await page.waitForFunction(
		() => document.querySelector(".mantine-Skeleton-root, .mantine-Loader-root, [data-old]") === null,
	);
	await page.evaluate(async () => {
		await document.fonts.ready;
		const ends = (a: Animation) => Number.isFinite(Number(a.effect?.getComputedTiming().endTime));
		await Promise.allSettled(
			document
				.getAnimations()
				.filter(ends)
				.map((a) => a.finished),
		);
		await new Promise((r) => requestAnimationFrame(() => requestAnimationFrame(r)));
	});
}

/** What is done on a page before it is looked at. */
type Prepare = (page: Page) => Promise<void>;
type View = [name: string, path: () => Promise<string>, prepare?: Prepare];

const plain = (path: string) => async () => path;
const jobOf = (query: string) => async () => `/jobs/${(await ask(`/api/jobs?limit=50&${query}`, "jobs"))[0]?.id}`;
const busyHost = async () => {
	const [job] = await ask("/api/jobs?state=running&kind=backup", "jobs");
	return `/hosts/${job?.host_id}`;
};

const policyOf = async (name: string) =>
	`/policies/${(await ask("/api/policies", "policies")).find((p) => p.name.startsWith(name))?.id}`;
const repositoryOf = async (name: string) =>
	`/repositories/${(await ask("/api/repositories", "repositories")).find((r) => r.name.startsWith(name))?.id}`;
/** One of the machines that the server backs up by a schedule. */
const watchedHost = async () => {
	const [host] = await ask(`/api${await policyOf("Watched")}/hosts`, "hosts");
	return `/hosts/${host?.id}?tab=policies`;
};

/** A key that opens a dialog. */
function opens(key: string): Prepare {
	return async (page) => {
		await page.keyboard.press(key);
		await page.getByRole("dialog").first().waitFor();
	};
}

const views: View[] = [
	["fleet", plain("/")],
	["fleet by label", plain("/?group=env&protection=failing,at_risk")],
	["fleet, nothing found", plain("/?q=no-such-machine")],
	["host", busyHost],
	["host, jobs", async () => `${await busyHost()}?tab=jobs`],
	["host, settings", async () => `${await busyHost()}?tab=settings`],
	[
		"snapshot",
		async () => {
			const host = await busyHost();
			return `${host}/snapshots/${(await ask(`/api${host}/snapshots`, "snapshots"))[0]?.short_id}`;
		},
	],
	["jobs", plain("/jobs")],
	["jobs, problems", plain("/jobs?state=failed,succeeded_with_issues")],
	["job, running", jobOf("state=running&kind=backup")],
	["job, with issues", jobOf("state=succeeded_with_issues")],
	["job, failed", jobOf("state=failed")],
	["policies", plain("/policies")],
	["policy", () => policyOf("Servers")],
	["policy, due times", async () => `${await policyOf("Watched")}?tab=due`],
	["policy, versions", async () => `${await policyOf("Servers")}?tab=versions`],
	["policy, new", plain("/policies/new"), (p) => p.getByRole("button", { name: /^Laptop/ }).click()],
	[
		"policy, plan",
		async () => `${await policyOf("Servers")}/edit`,
		async (p) => {
			await p.getByLabel("When: every").selectOption("week");
			await p.getByRole("button", { name: "Show the plan…" }).click();
			await p.getByRole("dialog").getByText("It runs next").waitFor();
		},
	],
	["repositories", plain("/repositories")],
	["repository", () => repositoryOf("Vault")],
	["repository, new", plain("/repositories/new"), (p) => p.getByRole("radio", { name: "S3" }).click()],
	[
		"repository, kit",
		() => repositoryOf("Vault"),
		async (p) => {
			await p.getByRole("button", { name: "Make it…" }).click();
			await p.getByRole("dialog").getByLabel("Passphrase of the kit").waitFor();
		},
	],
	["calendar", plain("/calendar")],
	["host, policies", watchedHost],
	["fleet, no policy", plain("/?policy=none")],
	["jobs, of a policy", async () => `/jobs?policy=${(await policyOf("Watched")).split("/").at(-1)}`],
	["add a machine", plain("/add"), (p) => p.getByRole("button", { name: "Make the command" }).click()],
	["account", plain("/settings/account")],
	["sessions", plain("/settings/sessions")],
	["operators", plain("/settings/operators")],
	["tokens", plain("/settings/tokens")],
	["API keys", plain("/settings/keys")],
	["audit", plain("/settings/audit")],
	["server", plain("/settings/server")],
	[
		"back up",
		busyHost,
		async (p) => {
			await p.getByRole("button", { name: "Back up now" }).first().click();
			await p.getByRole("dialog").getByLabel("Paths").waitFor();
		},
	],
	["palette", plain("/"), opens("Control+k")],
	["help", plain("/jobs"), opens("?")],
	["not found", plain("/nothing/here")],
];

const windows = [
	["desk", { width: 1440, height: 900 }],
	["phone", { width: 390, height: 844 }],
] as const;

for (const scheme of ["light", "dark"] as const)
	for (const [size, viewport] of windows)
		describe(`${scheme}, ${size}`, () => {
			let page: Page;
			beforeAll(async () => {
				const opened = await rig.open({ viewport, colorScheme: scheme, reducedMotion: "reduce" });
				page = opened.page;
				await page.goto(rig.url);
				await page.getByRole("heading", { name: "Sign in" }).waitFor();
				await page.screenshot({ path: join(shots, `sign in, ${scheme}, ${size}.png`) });
				expect(await axe(page)).toEqual([]);
				await rig.signIn(opened.context);
			});
			afterAll(() => page.context().close());
			it.each(views)("%s", async (name, path, prepare) => {
				await page.goto(rig.url + (await path()));
				// The page's own: the screen that stands while it is asked who is signed in has a heading too, and no keys.
				await page.locator("#main").getByRole("heading", { level: 1 }).first().waitFor();
				await page.getByRole("status", { name: "Loading" }).first().waitFor({ state: "detached" });
				if (prepare) await prepare(page);
				await settled(page);
				await page.screenshot({ path: join(shots, `${name}, ${scheme}, ${size}.png`) });
				expect.soft(await axe(page), name).toEqual([]);
				const wide = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
				expect.soft(wide, `${name} is wider than its window`).toBeLessThanOrEqual(0);
				await page.keyboard.press("Escape");
			});
		});

it("the fleet is usable after a cold load on a slow line", async () => {
	const { page, context } = await rig.open();
	await rig.signIn(context);
	const line = await context.newCDPSession(page);
	await line.send("Network.enable");
	await line.send("Network.emulateNetworkConditions", {
		offline: false,
		latency: 100,
		downloadThroughput: (10 * 1000 * 1000) / 8,
		uploadThroughput: (10 * 1000 * 1000) / 8,
	});
	const begun = Date.now();
	await page.goto(rig.url, { waitUntil: "commit" });
	await page.getByRole("row").nth(3).waitFor();
	figures.push(
		`cold load of the fleet, 10 Mbit/s and 100 ms: ${((Date.now() - begun) / 1000).toFixed(2)} s to the first rows`,
	);
	await context.close();
});

it("10,000 machines scroll", async () => {
	const { page, context } = await rig.open();
	await rig.signIn(context);
	await page.goto(rig.url);
	await page.getByRole("row").nth(3).waitFor();
	const seen = await page.evaluate(async () => {
		const tasks: number[] = [];
		new PerformanceObserver((list) => {
			for (const e of list.getEntries()) tasks.push(e.duration);
		}).observe({ type: "longtask" });
		const frames: number[] = [];
		let last = performance.now();
		const end = last + 6000;
		while (last < end) {
			await new Promise((r) => requestAnimationFrame(r));
			const now = performance.now();
			frames.push(now - last);
			last = now;
			window.scrollBy(0, 180);
		}
		frames.sort((a, b) => a - b);
		const at = (q: number) => frames[Math.floor(frames.length * q)] ?? 0;
		return {
			scrolled: window.scrollY,
			rows: document.querySelectorAll("[role=row]").length,
			tasks,
			p50: at(0.5),
			p99: at(0.99),
		};
	});
	figures.push(
		`scrolling the fleet for 6 s: ${Math.round(seen.scrolled)} px, ${seen.rows} rows in the page, frames p50 ${seen.p50.toFixed(1)} ms p99 ${seen.p99.toFixed(1)} ms, ${seen.tasks.length} tasks over 50 ms (longest ${Math.round(Math.max(0, ...seen.tasks))} ms)`,
	);
	expect(seen.scrolled).toBeGreaterThan(5000);
	expect(seen.rows).toBeLessThan(200);
	await context.close();
});

it("no page complained", () => expect(rig.complaints).toEqual([]));

// What machines and people can put into names, labels, paths, tags, issues, errors and log lines is shown as text: 120
// payloads that would run in a page which trusts one of them, seen on every page that shows such words.
import { chmodSync, copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { BrowserContext, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
import { Rig, shots, until } from "./rig";

const run = "window.pwned=1";
const seeds = [
	`<script>${run}</script>`,
	`<img src=x onerror="${run}">`,
	`<svg onload=${run}>`,
	`<svg><script>${run}</script></svg>`,
	`"><script>${run}</script>`,
	`'><img src=x onerror=${run}>`,
	`" onmouseover="${run}" x="`,
	`' autofocus onfocus='${run}' x='`,
	`javascript:${run}`,
	`data:text/html,<script>${run}</script>`,
	`</title><script>${run}</script>`,
	`</textarea><script>${run}</script>`,
	`</style><script>${run}</script>`,
	`<iframe srcdoc="<script>parent.pwned=1</script>">`,
	`<object data="javascript:${run}">`,
	`<a href="javascript:${run}">x</a>`,
	`<details open ontoggle=${run}>`,
	`<video><source onerror=${run}>`,
	`<math><mtext><img src=x onerror=${run}>`,
	`<form action="javascript:${run}"><button>`,
	`<meta http-equiv=refresh content="0;url=javascript:${run}">`,
	`<base href="https://evil.example/">`,
	`<link rel=stylesheet href="https://evil.example/x.css">`,
	`<style>@import "https://evil.example/x";</style>`,
	`{{constructor.constructor("${run}")()}}`,
	`\${${run}}`,
	`[x](javascript:${run})`,
	`<!--><img src=x onerror=${run}>-->`,
	`<![CDATA[<img src=x onerror=${run}>]]>`,
	`%3Cscript%3E${run}%3C/script%3E`,
];
// Each as it is, in other letters, with what parsers skip, and behind marks that turn the line.
const payloads = seeds
	.flatMap((s) => [
		s,
		s.replace(/script|img|svg|onerror|onload/gi, (w) => w.toUpperCase()),
		s.replace(/\s/g, "/"),
		`\u202e${s}\u202c`,
	])
	.map((p, n) => `${p} ${n}`);

const rig = new Rig("sqlite");
let api: BrowserContext;
let page: Page;
let host: string;
const jobs: string[] = [];

async function call<T>(method: string, path: string, data?: unknown): Promise<T> {
	const answer = await api.request.fetch(rig.url + path, { method, data });
	if (!answer.ok()) throw new Error(`${method} ${path}: ${answer.status()} ${await answer.text()}`);
	return (answer.status() === 204 ? undefined : await answer.json()) as T;
}

beforeAll(async () => {
	expect(payloads).toHaveLength(120);
	await rig.serve();
	({ page, context: api } = await rig.open());
	await rig.signIn(api);
	const restic = join(rig.folder, "scripted/restic");
	mkdirSync(join(rig.folder, "scripted"));
	copyFileSync(join(rig.bin, "failpoint/scripted-restic"), restic);
	chmodSync(restic, 0o755);
	writeFileSync(
		join(rig.folder, "scripted/restic.json"),
		JSON.stringify({
			ledger: join(rig.folder, "ledger"),
			commands: {
				backup: {
					errors: payloads,
					raw: Buffer.from(payloads.map((p) => `${p}\n`).join("")).toString("base64"),
					issues: payloads.map((p) => `/srv/${p}`),
				},
				check: { exit: 1, message: `Fatal: ${payloads[0]} ${payloads[1]}` },
			},
		}),
	);
	const { token } = await call<{ token: string }>("POST", "/api/enrollment-tokens", {
		name: payloads[4],
	});
	await rig.enroll(
		"hostile",
		token,
		`\nrestic_path: ${restic}\nrepo_url: ${join(rig.folder, "repository")}\nrepo_password: secret\n`,
	);
	host = await until("the machine", async () => {
		const { hosts } = await call<{ hosts: { id: string; status: string }[] }>("GET", "/api/hosts");
		return hosts.find((h) => h.status === "online")?.id;
	});
	const order = async (body: unknown) =>
		jobs.push((await call<{ id: string }>("POST", `/api/hosts/${host}/jobs`, body)).id);
	const paths = payloads.slice(0, 60).map((p) => join(rig.folder, "srv", p.replaceAll("/", "\u2044")));
	for (const p of paths) mkdirSync(p, { recursive: true });
	const { id: made } = await call<{ id: string }>("POST", `/api/hosts/${host}/jobs`, { kind: "init" });
	await until(
		"the repository",
		async () => (await call<{ state: string }>("GET", `/api/jobs/${made}`)).state === "succeeded",
	);
	await order({
		kind: "backup",
		spec: {
			paths,
			excludes: payloads.slice(60).map((p) => p.replaceAll("[", "[[]")),
		},
	});
	await order({ kind: "check" });
	await until("both jobs' ends", async () => {
		const ends = await Promise.all(jobs.map((id) => call<{ state: string; error?: object }>("GET", `/api/jobs/${id}`)));
		if (ends[0]?.state === "succeeded_with_issues" && ends[1]?.state === "failed") return true;
		throw new Error(JSON.stringify(ends.map((j) => [j.state, j.error])));
	});
	page.on("dialog", (d) => {
		rig.complaints.push(`a dialog: ${d.message()}`);
		void d.dismiss();
	});
});
afterEach(async ({ task }) => {
	if (task.result?.state === "fail")
		await page.screenshot({ path: join(shots, "failed on hostile texts.png"), fullPage: true });
});
afterAll(() => rig.end());

async function look(path: string, ...words: string[]) {
	await page.goto(rig.url + path);
	await page.getByRole("heading", { level: 1 }).first().waitFor();
	for (const w of words) await page.getByText(w, { exact: false }).first().waitFor();
	// Whatever would run has had its time when the page is drawn twice.
	await page.evaluate(() => new Promise((r) => requestAnimationFrame(() => requestAnimationFrame(r))));
	const found = await page.evaluate(() => ({
		pwned: "pwned" in window,
		foreign: document.querySelectorAll(
			"iframe, object, base, body img[src=x], body meta, [onerror], [onload], [onfocus], [href^='javascript:']",
		).length,
	}));
	expect(found, path).toEqual({ pwned: false, foreign: 0 });
}

it("on the fleet, the machine and its jobs", async () => {
	await look("/", "<img src=x onerror");
	await look(`/hosts/${host}`, "<img src=x onerror");
	await look(`/hosts/${host}?tab=jobs`);
	await look(`/hosts/${host}?tab=settings`);
	await look("/jobs", "<img src=x onerror");
	await look("/settings/audit");
	await look("/settings/tokens", "<img src=x onerror");
	await look(`/?q=${encodeURIComponent(payloads[0] ?? "")}&label=${encodeURIComponent(payloads[1] ?? "")}`);
});

it("on the jobs, with every payload in paths, issues and the log", async () => {
	await look(`/jobs/${jobs[1]}`, "<script>window.pwned=1</script> 0");
	await look(`/jobs/${jobs[0]}`, "/srv/<script>", "/srv/<svg onload");
	const log = (await (await api.request.get(`${rig.url}/api/jobs/${jobs[0]}/log?limit=1000`)).json()) as {
		lines: { n: number; text: string }[];
	};
	expect(log.lines.length).toBeGreaterThanOrEqual(240);
	for (const line of log.lines.filter((_, i) => i % 20 === 0)) {
		await page.goto(`${rig.url}/jobs/${jobs[0]}#L${line.n}`);
		await page
			.getByRole("region", { name: /^Log of/ })
			.getByText(line.text.trim().slice(0, 60))
			.first()
			.waitFor();
		expect(await page.evaluate(() => "pwned" in window)).toBe(false);
	}
});

it("in the palette and in what is copied into forms", async () => {
	await page.goto(rig.url);
	await page.getByRole("heading", { level: 1 }).first().waitFor();
	await page.keyboard.press("Control+k");
	await page.keyboard.type("<img");
	await page.getByRole("dialog").getByText("<img src=x").first().waitFor();
	await page.keyboard.press("Escape");
	await page.goto(`${rig.url}/hosts/${host}`);
	await page.getByRole("button", { name: "Back up now" }).first().click();
	expect(await page.getByRole("dialog").getByLabel("Paths").inputValue()).toContain("/srv/<script>");
	expect(await page.evaluate(() => "pwned" in window)).toBe(false);
});

it("and the policy was never called upon", () => {
	expect(rig.complaints).toEqual([]);
	expect(readFileSync(join(rig.folder, "server.out"), "utf8")).not.toContain("a request panicked");
});

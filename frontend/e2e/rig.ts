// Real parts for browser tests: the built server on SQLite or PostgreSQL, the built agent, a real restic, Debian's
// Chromium. Everything lives in a folder below the system's temporary one, and is gone afterwards.
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import {
	appendFileSync,
	chmodSync,
	existsSync,
	mkdirSync,
	mkdtempSync,
	openSync,
	readFileSync,
	rmSync,
	writeFileSync,
} from "node:fs";
import { createRequire } from "node:module";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { type Browser, type BrowserContext, type BrowserContextOptions, chromium, type Page } from "playwright-core";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "../..");
const bin = process.env.RESTIC_MANAGER_TEST_BIN ?? join(root, "bin");
const require = createRequire(import.meta.url);
export const axeSource = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

/** Where the pictures of a run go. */
export const shots = join(root, "frontend/shots");

/** Both databases where there is a PostgreSQL (tools/postgres with …), which is always so under make. */
export const databases = process.env.RESTIC_MANAGER_TEST_POSTGRES
	? (["sqlite", "postgres"] as const)
	: (["sqlite"] as const);
export type Database = (typeof databases)[number];

export function freePort(): Promise<number> {
	return new Promise((ready, broken) => {
		const probe = createServer();
		probe.once("error", broken);
		probe.listen(0, "127.0.0.1", () => {
			const { port } = probe.address() as { port: number };
			probe.close(() => ready(port));
		});
	});
}

/** Asks again and again until the answer is one; the last error is told when there is none in time. */
export async function until<T>(what: string, check: () => Promise<T | undefined | false>, seconds = 60): Promise<T> {
	const end = Date.now() + seconds * 1000;
	let last: unknown;
	while (Date.now() < end) {
		try {
			const value = await check();
			if (value) return value;
		} catch (e) {
			last = e;
		}
		await new Promise((r) => setTimeout(r, 100));
	}
	throw new Error(`${what}: not within ${seconds} s${last ? `: ${last instanceof Error ? last.message : last}` : ""}`);
}

/** One run of the parts. Call end when it is over, whatever happened. */
export class Rig {
	readonly folder = mkdtempSync(join(tmpdir(), "restic-manager-browser-"));
	readonly admin = { username: "ada", password: "a long enough password" };
	url = "";
	private processes = new Set<ChildProcess>();
	private browser: Browser | undefined;
	private server: ChildProcess | undefined;
	private port = 0;
	private databaseURL = "";
	/** What a page said that it should not have: errors of scripts, reports of the policy. */
	readonly complaints: string[] = [];
	/** Where the built programs are. */
	readonly bin = bin;

	constructor(readonly database: Database) {
		chmodSync(this.folder, 0o755);
	}

	/** Starts the server. Without an administrator it waits for its set-up; the code is returned. */
	async serve(options: { setUp?: boolean; flags?: string[] } = {}): Promise<string | undefined> {
		if (this.port === 0) {
			this.port = await freePort();
			this.url = `http://127.0.0.1:${this.port}`;
			if (this.database === "postgres") this.databaseURL = makeDatabase();
		}
		const env: Record<string, string> = this.databaseURL ? { DATABASE_URL: this.databaseURL } : {};
		if (!options.setUp) {
			env.RESTIC_MANAGER_ADMIN_USER = this.admin.username;
			env.RESTIC_MANAGER_ADMIN_PASSWORD = this.admin.password;
		}
		const out = join(this.folder, "server.out");
		this.server = this.run(
			join(bin, "restic-manager"),
			[
				"serve",
				"--listen",
				`127.0.0.1:${this.port}`,
				"--data-dir",
				join(this.folder, "server"),
				...(options.flags ?? []),
			],
			out,
			env,
		);
		await until("the server's start", async () => (await fetch(`${this.url}/healthz`)).ok);
		if (!options.setUp) return undefined;
		return until(
			"the set-up code",
			async () => /\b[0-9A-Z]{4}(?:-[0-9A-Z]{4}){3}\b/.exec(readFileSync(out, "utf8"))?.[0],
		);
	}

	/** Kills the server as a crash does; serve starts it again on the same address and data. */
	async killServer(): Promise<void> {
		if (this.server) await stop(this.server, "SIGKILL");
	}

	/** Enrolls an agent by hand and starts it. What is given is appended to its agent.yaml. */
	async enroll(name: string, token: string, yaml: string): Promise<Agent> {
		const folder = join(this.folder, name);
		mkdirSync(folder, { recursive: true, mode: 0o700 });
		const config = join(folder, "agent.yaml");
		execFileSync(join(bin, "restic-manager-agent"), ["enroll", "--server", this.url, "--config", config], {
			env: { ...process.env, RESTIC_MANAGER_TOKEN: token },
		});
		appendFileSync(config, yaml);
		return this.agent(name, join(bin, "restic-manager-agent"), config);
	}

	/** Starts an agent that is enrolled already. */
	agent(name: string, program: string, config: string, wrap: string[] = []): Agent {
		const folder = join(this.folder, name);
		mkdirSync(folder, { recursive: true, mode: 0o700 });
		const begin = () =>
			this.run(
				wrap[0] ?? program,
				[
					...wrap.slice(1),
					...(wrap.length > 0 ? [program] : []),
					"run",
					"--config",
					config,
					"--state-dir",
					join(folder, "state"),
				],
				join(folder, "agent.out"),
				{ CACHE_DIRECTORY: join(folder, "cache") },
			);
		let child = begin();
		return {
			folder,
			config,
			kill: () => stop(child, "SIGKILL"),
			stop: () => stop(child, "SIGTERM"),
			start: () => {
				child = begin();
			},
		};
	}

	private run(program: string, args: string[], out: string, env: Record<string, string>): ChildProcess {
		const log = openSync(out, "a", 0o600);
		const child = spawn(program, args, {
			stdio: ["ignore", log, log],
			env: { ...process.env, ...env },
			cwd: this.folder,
		});
		this.processes.add(child);
		child.once("exit", () => this.processes.delete(child));
		return child;
	}

	/** Ends a program of the test's own with the rest. */
	adopt(child: ChildProcess): void {
		this.processes.add(child);
		child.once("exit", () => this.processes.delete(child));
	}

	/** A browser window of its own. */
	async open(options: BrowserContextOptions = {}): Promise<{ page: Page; context: BrowserContext }> {
		this.browser ??= await chromium.launch({
			executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
			args: [
				"--no-sandbox",
				"--disable-gpu",
				"--disable-quic",
				"--no-first-run",
				"--disable-background-networking",
				"--disable-component-update",
				"--disable-sync",
				"--disable-dev-shm-usage",
			],
		});
		const context = await this.browser.newContext({ viewport: { width: 1440, height: 900 }, ...options });
		const page = await context.newPage();
		page.setDefaultTimeout(40_000);
		page.on("pageerror", (e) => this.complaints.push(`${page.url()}: ${e.message}`));
		page.on("console", (m) => {
			// A call that is answered with a problem is told by the browser too: the page shows it, that is no fault of it.
			if (m.type() === "error" && !/Failed to load resource/.test(m.text()))
				this.complaints.push(`${page.url()}: ${m.text()}`);
		});
		return { page, context };
	}

	/** Signs in without a page. */
	async signIn(context: BrowserContext, as = this.admin): Promise<void> {
		const answer = await context.request.post(`${this.url}/api/auth/login`, { data: as });
		if (!answer.ok()) throw new Error(`sign in: ${answer.status()} ${await answer.text()}`);
	}

	async end(): Promise<void> {
		await this.browser?.close();
		for (const child of [...this.processes].reverse()) await stop(child, "SIGTERM");
		if (this.databaseURL) dropDatabase(this.databaseURL);
		rmSync(this.folder, { recursive: true, force: true });
	}

	/** The last words of a program, for a test that fails. */
	words(name: string): string {
		const file = join(this.folder, name);
		return existsSync(file) ? readFileSync(file, "utf8").slice(-4000) : "";
	}
}

export interface Agent {
	folder: string;
	config: string;
	kill: () => Promise<void>;
	stop: () => Promise<void>;
	start: () => void;
}

async function stop(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
	if (child.exitCode !== null || child.signalCode !== null) return;
	const gone = new Promise((r) => child.once("exit", r));
	child.kill(signal);
	const hard = setTimeout(() => child.kill("SIGKILL"), 15_000);
	await gone;
	clearTimeout(hard);
}

function psql(url: string, sql: string): void {
	const program = execFileSync("sh", ["-c", "ls /usr/lib/postgresql/*/bin/psql | tail -n 1"], {
		encoding: "utf8",
	}).trim();
	execFileSync(program, ["-q", "-v", "ON_ERROR_STOP=1", "-d", url, "-c", sql], {
		stdio: ["ignore", "ignore", "inherit"],
	});
}

function makeDatabase(): string {
	const cluster = process.env.RESTIC_MANAGER_TEST_POSTGRES;
	if (!cluster) throw new Error("RESTIC_MANAGER_TEST_POSTGRES names no cluster: run it by make browser");
	const name = `browser_${randomBytes(6).toString("hex")}`;
	psql(cluster, `CREATE DATABASE ${name}`);
	const url = new URL(cluster);
	url.pathname = `/${name}`;
	return url.toString();
}

function dropDatabase(url: string): void {
	psql(process.env.RESTIC_MANAGER_TEST_POSTGRES ?? "", `DROP DATABASE ${new URL(url).pathname.slice(1)} WITH (FORCE)`);
}

/** A folder with files to back up: names with blanks, quotes and letters of many scripts. */
export function makeFiles(folder: string, files: number, size: number): void {
	mkdirSync(folder, { recursive: true });
	for (let i = 0; i < files; i++) writeFileSync(join(folder, `file ${i} 'quoted' äöü.bin`), randomBytes(size));
}

/** What axe finds on the page as it is (WCAG 2.2 AA and best practices), in words; none: []. */
export async function axe(page: Page): Promise<string[]> {
	await page.evaluate(axeSource);
	return page.evaluate(async () => {
		const { axe } = window as unknown as {
			axe: { run: (d: Document, o: object) => Promise<{ violations: Violation[] }> };
		};
		interface Violation {
			id: string;
			nodes: { target: string[]; failureSummary: string }[];
		}
		const found = await axe.run(document, {
			runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
		});
		return found.violations.flatMap((v) => v.nodes.map((n) => `${v.id} at ${n.target.join(" ")}: ${n.failureSummary}`));
	});
}

// The demo behind `make run`: a server on SQLite, this machine's agent, a repository, a real backup.
// Everything lives in .run/ below the checkout; a second run continues where the first one was.
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { appendFileSync, existsSync, mkdirSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const home = join(root, ".run");
const folder = process.env.DEMO_FOLDER ?? join(root, "docs");
const config = join(home, "agent.yaml");
const children = [];
let stopping = false;

const say = (text) => console.log(text);

function fail(text) {
	console.error(`\n${text}`);
	stop(1);
}

/** Stops agent and server with SIGTERM and waits for both. */
async function stop(code) {
	if (stopping) return;
	stopping = true;
	for (const child of [...children].reverse()) {
		if (child.exitCode === null && child.signalCode === null) {
			const gone = new Promise((resolve) => child.once("exit", resolve));
			child.kill("SIGTERM");
			await gone;
		}
	}
	process.exit(code);
}

function start(name, program, args, env = {}) {
	const log = openSync(join(home, `${name}.log`), "a", 0o600);
	// A session of its own: Ctrl-C reaches only this script, which then stops both in order.
	const child = spawn(join(root, "bin", program), args, {
		stdio: ["ignore", log, log],
		env: { ...process.env, ...env },
		detached: true,
	});
	child.once("exit", (code, signal) => {
		if (!stopping) fail(`${name} ended (${signal ?? code}); its words are in ${join(home, `${name}.log`)}`);
	});
	children.push(child);
	return child;
}

function run(program, args, env = {}) {
	return new Promise((resolve, reject) => {
		const child = spawn(join(root, "bin", program), args, {
			stdio: ["ignore", "pipe", "pipe"],
			env: { ...process.env, ...env },
		});
		let out = "";
		let err = "";
		child.stdout.on("data", (d) => (out += d));
		child.stderr.on("data", (d) => (err += d));
		child.once("error", reject);
		child.once("exit", (code) =>
			code === 0 ? resolve(out) : reject(new Error(`${program} ${args[0]}: ${err || out}`)),
		);
	});
}

/** The port of the last run if it is free, else 8080, else any free one. */
async function freePort(wanted) {
	const free = (port) =>
		new Promise((resolve) => {
			const probe = createServer();
			probe.once("error", () => resolve(0));
			probe.listen(port, "127.0.0.1", () => {
				const got = probe.address().port;
				probe.close(() => resolve(got));
			});
		});
	return (await free(wanted)) || (await free(0));
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

mkdirSync(home, { recursive: true, mode: 0o700 });
const stateFile = join(home, "demo.json");
const first = !existsSync(stateFile);
const state = first
	? { port: 8080, user: "admin", password: randomBytes(12).toString("base64url"), repository: join(home, "repository") }
	: JSON.parse(readFileSync(stateFile, "utf8"));
const port = await freePort(state.port);
if (existsSync(config) && port !== state.port) {
	fail(`Port ${state.port}, where this machine's agent looks for the server, is taken. End what listens there, or remove ${home} to begin anew.`);
}
state.port = port;
writeFileSync(stateFile, JSON.stringify(state, null, 2), { mode: 0o600 });
const url = `http://127.0.0.1:${port}`;

process.on("SIGINT", () => {
	say("\nstopping agent and server");
	stop(0);
});
process.on("SIGTERM", () => stop(0));

let cookie = "";
async function api(method, path, body) {
	const answer = await fetch(url + path, {
		method,
		headers: { ...(body ? { "Content-Type": "application/json" } : {}), ...(cookie ? { Cookie: cookie } : {}) },
		body: body ? JSON.stringify(body) : undefined,
	});
	// One cookie; getSetCookie is not in Debian 12's Node.
	const set = answer.headers.get("set-cookie");
	if (set) cookie = set.split(";")[0];
	const text = await answer.text();
	if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
	return text && answer.headers.get("content-type")?.includes("json") ? JSON.parse(text) : text;
}

async function until(what, seconds, check) {
	const end = Date.now() + seconds * 1000;
	for (let last; ; await pause(200)) {
		try {
			const value = await check();
			if (value) return value;
		} catch (e) {
			last = e;
		}
		if (stopping) await new Promise(() => {});
		if (Date.now() > end) throw new Error(`${what} took longer than ${seconds} s${last ? `: ${last.message}` : ""}`);
	}
}

const terminal = ["succeeded", "succeeded_with_issues", "failed", "canceled", "lost", "rejected", "expired"];

async function job(host, order) {
	const { id } = await api("POST", `/api/hosts/${host}/jobs`, order);
	return until(`the ${order.kind} job`, 600, async () => {
		const j = await api("GET", `/api/jobs/${id}`);
		return terminal.includes(j.state) ? j : undefined;
	});
}

/** Bytes in IEC units, three digits. */
function iec(n) {
	const units = ["B", "KiB", "MiB", "GiB", "TiB"];
	let i = 0;
	for (n ??= 0; n >= 1000 && i < units.length - 1; i++) n /= 1024;
	return `${i === 0 ? n : n.toPrecision(3)} ${units[i]}`;
}

try {
	say(`starting the server on ${url}, its SQLite database in ${join(home, "server")}`);
	start("server", "restic-manager", ["serve", "--listen", `127.0.0.1:${port}`, "--data-dir", join(home, "server"), "--public-url", url], {
		RESTIC_MANAGER_ADMIN_USER: state.user,
		RESTIC_MANAGER_ADMIN_PASSWORD: state.password,
	});
	await until("the server's start", 60, async () => (await fetch(`${url}/readyz`)).ok);
	await api("POST", "/api/auth/login", { username: state.user, password: state.password });

	if (!existsSync(config)) {
		say("enrolling this machine's agent");
		const { token } = await api("POST", "/api/enrollment-tokens", { name: "this machine", labels: { demo: "yes" } });
		await run("restic-manager-agent", ["enroll", "--server", url, "--config", config], { RESTIC_MANAGER_TOKEN: token });
		// What a host's owner does by hand: name the repository and its password below what enrollment wrote.
		appendFileSync(config, `\nrepo_url: ${state.repository}\nrepo_password: ${randomBytes(18).toString("base64url")}\n`);
	}
	start("agent", "restic-manager-agent", ["run", "--config", config, "--state-dir", join(home, "agent")], {
		CACHE_DIRECTORY: join(home, "cache"),
	});
	const host = await until("the agent's first word", 60, async () => {
		const { hosts } = await api("GET", "/api/hosts");
		return hosts.find((h) => h.status === "online");
	});
	say(`the agent is online as “${host.name}”`);

	if (!existsSync(join(state.repository, "config"))) {
		say(`making a restic repository in ${state.repository}`);
		const made = await job(host.id, { kind: "init" });
		if (made.state !== "succeeded") throw new Error(`init ended as ${made.state}: ${made.error?.message}`);
	}
	say(`backing up ${folder}`);
	const done = await job(host.id, { kind: "backup", args: [folder] });
	if (!done.state.startsWith("succeeded")) throw new Error(`the backup ended as ${done.state}: ${done.error?.message}`);
	const s = done.summary ?? {};
	say(`  ${done.state}: ${s.total_files_processed ?? 0} files, ${iec(s.total_bytes_processed)} read, ${iec(s.data_added)} new, snapshot ${(s.snapshot_id ?? "").slice(0, 8)}`);
	const { snapshots } = await until("the list of snapshots", 90, async () => {
		const page = await api("GET", `/api/hosts/${host.id}/snapshots`);
		return page.snapshots.some((x) => x.id === s.snapshot_id) ? page : undefined;
	});
	say(`  the repository holds ${snapshots.length} snapshot${snapshots.length === 1 ? "" : "s"}`);
	say(`\n  ${url}\n  sign in as   ${state.user}\n  password     ${state.password}\n`);
	say("Server and agent go on until Ctrl-C; `make run` again continues here, `make clean` forgets it.");
} catch (e) {
	fail(`${e.message}\nThe words of both programs are in ${join(home, "server.log")} and ${join(home, "agent.log")}.`);
}

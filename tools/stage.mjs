// What the scripts behind `make run` and `make demo` have in common: a folder of their own below the checkout, a server,
// programs beside it, and an end in order.
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export const root = dirname(dirname(fileURLToPath(import.meta.url)));

export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export class Stage {
	children = [];
	stopping = false;
	cookie = "";

	/** home is the folder below the checkout, port where the server listens if that is free. */
	constructor(home, port) {
		this.home = join(root, home);
		mkdirSync(this.home, { recursive: true, mode: 0o700 });
		this.stateFile = join(this.home, "demo.json");
		this.state = existsSync(this.stateFile)
			? JSON.parse(readFileSync(this.stateFile, "utf8"))
			: { port, user: "admin", password: randomBytes(12).toString("base64url") };
		process.on("SIGINT", () => {
			this.say("\nstopping");
			this.stop(0);
		});
		process.on("SIGTERM", () => this.stop(0));
	}

	/** Takes the port of the last run if it is free, else any free one; fixed says why it must be that one. */
	async open(fixed) {
		const port = await freePort(this.state.port);
		if (fixed && port !== this.state.port) {
			throw new Error(`Port ${this.state.port}, ${fixed}, is taken. End what listens there, or remove ${this.home} to begin anew.`);
		}
		this.keep({ port });
		this.url = `http://127.0.0.1:${port}`;
	}

	/** Remembers something for the next run. */
	keep(part) {
		Object.assign(this.state, part);
		writeFileSync(this.stateFile, JSON.stringify(this.state, null, 2), { mode: 0o600 });
	}

	say(text) {
		console.log(text);
	}

	fail(text) {
		if (!this.stopping) console.error(`\n${text}`);
		this.stop(1);
	}

	/** Stops the programs with SIGTERM, the last one first, and waits for each. */
	async stop(code) {
		if (this.stopping) return;
		this.stopping = true;
		for (const child of [...this.children].reverse()) {
			if (child.exitCode === null && child.signalCode === null) {
				const gone = new Promise((resolve) => child.once("exit", resolve));
				child.kill("SIGTERM");
				await gone;
			}
		}
		process.exit(code);
	}

	/** Starts a program that is to go on until the end. */
	start(name, program, args, env = {}) {
		const file = join(this.home, `${name}.log`);
		const log = openSync(file, "a", 0o600);
		// A session of its own: Ctrl-C reaches only this script, which then stops all in order.
		const child = spawn(join(root, "bin", program), args, {
			stdio: ["ignore", log, log],
			env: { ...process.env, ...env },
			detached: true,
		});
		child.once("exit", (code, signal) => {
			if (!this.stopping) this.fail(`${name} ended (${signal ?? code}); its words are in ${file}`);
		});
		this.children.push(child);
		return child;
	}

	/** Runs a program to its end and gives its words, or shows them while it runs. */
	run(program, args, env = {}, shown = false) {
		return new Promise((resolve, reject) => {
			const child = spawn(join(root, "bin", program), args, {
				stdio: ["ignore", shown ? "inherit" : "pipe", "pipe"],
				env: { ...process.env, ...env },
				detached: true,
			});
			this.children.push(child);
			let out = "";
			let err = "";
			child.stdout?.on("data", (d) => (out += d));
			child.stderr.on("data", (d) => (err += d));
			child.once("error", reject);
			child.once("exit", (code) =>
				code === 0 ? resolve(out) : reject(new Error(`${program} ${args[0]}: ${err || out}`)),
			);
		});
	}

	/** Starts the server and signs in. */
	async serve(folder, env) {
		this.say(`starting the server on ${this.url}`);
		const address = this.url.slice("http://".length);
		this.start("server", "restic-manager", ["serve", "--listen", address, "--data-dir", folder, "--public-url", this.url], env);
		await this.until("the server's start", 120, async () => (await fetch(`${this.url}/readyz`)).ok);
		await this.api("POST", "/api/auth/login", { username: this.state.user, password: this.state.password });
	}

	async api(method, path, body) {
		const answer = await fetch(this.url + path, {
			method,
			headers: {
				...(body ? { "Content-Type": "application/json" } : {}),
				...(this.cookie ? { Cookie: this.cookie } : {}),
			},
			body: body ? JSON.stringify(body) : undefined,
		});
		// One cookie; getSetCookie is not in Debian 12's Node.
		const set = answer.headers.get("set-cookie");
		if (set) this.cookie = set.split(";")[0];
		const text = await answer.text();
		if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
		return text && answer.headers.get("content-type")?.includes("json") ? JSON.parse(text) : text;
	}

	async until(what, seconds, check) {
		const end = Date.now() + seconds * 1000;
		for (let last; ; await pause(200)) {
			try {
				const value = await check();
				if (value) return value;
			} catch (e) {
				last = e;
			}
			if (this.stopping) await new Promise(() => {});
			if (Date.now() > end) throw new Error(`${what} took longer than ${seconds} s${last ? `: ${last.message}` : ""}`);
		}
	}

	/** Says where to sign in, and how it ends. */
	announce(end) {
		this.say(`\n  ${this.url}\n  sign in as   ${this.state.user}\n  password     ${this.state.password}\n`);
		this.say(end);
	}
}

/** The wanted port if it is free, else any free one. */
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

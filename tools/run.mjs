// The demo behind `make run`: a server on SQLite, this machine's agent, a repository, a real backup.
// Everything lives in .run/ below the checkout; a second run continues where the first one was.
import { randomBytes } from "node:crypto";
import { appendFileSync, existsSync } from "node:fs";
import { join } from "node:path";
import { root, Stage } from "./stage.mjs";

const stage = new Stage(".run", 8080);
const folder = process.env.DEMO_FOLDER ?? join(root, "docs");
const config = join(stage.home, "agent.yaml");

const terminal = ["succeeded", "succeeded_with_issues", "failed", "canceled", "lost", "rejected", "expired"];

async function job(host, order) {
	const { id } = await stage.api("POST", `/api/hosts/${host}/jobs`, order);
	return stage.until(`the ${order.kind} job`, 600, async () => {
		const j = await stage.api("GET", `/api/jobs/${id}`);
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
	await stage.open(existsSync(config) && "where this machine's agent looks for the server");
	if (!stage.state.repository) stage.keep({ repository: join(stage.home, "repository") });
	const { repository, user, password } = stage.state;
	await stage.serve(join(stage.home, "server"), {
		RESTIC_MANAGER_ADMIN_USER: user,
		RESTIC_MANAGER_ADMIN_PASSWORD: password,
	});

	if (!existsSync(config)) {
		stage.say("enrolling this machine's agent");
		const { token } = await stage.api("POST", "/api/enrollment-tokens", { name: "this machine", labels: { demo: "yes" } });
		await stage.run("restic-manager-agent", ["enroll", "--server", stage.url, "--config", config], { RESTIC_MANAGER_TOKEN: token });
		// What a host's owner does by hand: name the repository and its password below what enrollment wrote.
		appendFileSync(config, `\nrepo_url: ${repository}\nrepo_password: ${randomBytes(18).toString("base64url")}\n`);
	}
	stage.start("agent", "restic-manager-agent", ["run", "--config", config, "--state-dir", join(stage.home, "agent")], {
		CACHE_DIRECTORY: join(stage.home, "cache"),
	});
	const host = await stage.until("the agent's first word", 60, async () => {
		const { hosts } = await stage.api("GET", "/api/hosts");
		return hosts.find((h) => h.status === "online");
	});
	stage.say(`the agent is online as “${host.name}”`);

	if (!existsSync(join(repository, "config"))) {
		stage.say(`making a restic repository in ${repository}`);
		const made = await job(host.id, { kind: "init" });
		if (made.state !== "succeeded") throw new Error(`init ended as ${made.state}: ${made.error?.message}`);
	}
	stage.say(`backing up ${folder}`);
	const done = await job(host.id, { kind: "backup", args: [folder] });
	if (!done.state.startsWith("succeeded")) throw new Error(`the backup ended as ${done.state}: ${done.error?.message}`);
	const s = done.summary ?? {};
	stage.say(`  ${done.state}: ${s.total_files_processed ?? 0} files, ${iec(s.total_bytes_processed)} read, ${iec(s.data_added)} new, snapshot ${(s.snapshot_id ?? "").slice(0, 8)}`);
	const { snapshots } = await stage.until("the list of snapshots", 90, async () => {
		const page = await stage.api("GET", `/api/hosts/${host.id}/snapshots`);
		return page.snapshots.some((x) => x.id === s.snapshot_id) ? page : undefined;
	});
	stage.say(`  the repository holds ${snapshots.length} snapshot${snapshots.length === 1 ? "" : "s"}`);
	stage.announce("Server and agent go on until Ctrl-C; `make run` again continues here, `make clean` forgets it.");
} catch (e) {
	stage.fail(`${e.message}\nThe words of both programs are in ${join(stage.home, "server.log")} and ${join(stage.home, "agent.log")}.`);
}

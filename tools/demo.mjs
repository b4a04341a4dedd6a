// The fleet behind `make demo`: a server on SQLite, or on PostgreSQL where DATABASE_URL names an empty database, filled
// with made-up machines, some of which live. A second run continues where the first one was.
import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { Stage } from "./stage.mjs";

const hosts = process.env.HOSTS || "10000";
const jobs = process.env.JOBS || "1000000";
const postgres = process.env.DATABASE_URL;
const stage = new Stage(join(".run", "demo"), 8090);

try {
	await stage.open();
	const { user, password } = stage.state;
	const folder = join(stage.home, "server");
	mkdirSync(folder, { recursive: true, mode: 0o700 });
	const database = postgres || join(folder, "restic-manager.db");
	const secrets = { RESTIC_MANAGER_ADMIN_USER: user, RESTIC_MANAGER_ADMIN_PASSWORD: password };
	if (postgres ? stage.state.filled !== postgres : !existsSync(database)) {
		stage.say(`making up ${hosts} hosts with ${jobs} jobs in ${postgres ? "the PostgreSQL database" : database}`);
		await stage.run("demo", ["-database", database, "-hosts", hosts, "-jobs", jobs], secrets, true);
		stage.keep({ filled: database });
	}
	await stage.serve(folder, { ...secrets, ...(postgres ? { DATABASE_URL: postgres } : {}) });
	stage.start("machines", "demo", ["-database", database, "-server", stage.url, "-live", process.env.LIVE || "8"], secrets);
	stage.announce("Server and machines go on until Ctrl-C; `make demo` again continues here, `make clean` forgets it.");
} catch (e) {
	stage.fail(`${e.message}\nThe words of both programs are in ${stage.home}.`);
}

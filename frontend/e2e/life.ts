// One life of a machine, from the first start of the server to its farewell, as a person lives it in the browser: on both
// databases, with the real agent and a real restic.
import { execFileSync } from "node:child_process";
import { chmodSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import type { Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
import { type Agent, axe, type Database, makeFiles, Rig, shots, until } from "./rig";

const tools = process.env.RESTIC_MANAGER_TEST_TOOLS ?? "";
if (tools === "") throw new Error("RESTIC_MANAGER_TEST_TOOLS names no folder with restic: run it by make browser");
const restic = join(tools, "restic-0.18.0/restic");

export function life(database: Database) {
	const rig = new Rig(database);
	const name = "web-1";
	let page: Page;
	let agent: Agent;
	let source: string;
	let token: string;

	beforeAll(async () => {
		source = join(rig.folder, "data");
		makeFiles(source, 40, 256 * 1024);
		({ page } = await rig.open());
	});
	afterEach(async ({ task }) => {
		if (task.result?.state === "fail")
			await page.screenshot({ path: join(shots, `failed on ${database}.png`), fullPage: true });
	});
	afterAll(async () => {
		await rig.end();
	});
	/** The state of the open job's page, once it is one of these. */
	const state = (...words: string[]) =>
		page
			.locator("header")
			.getByText(new RegExp(`^(${words.join("|")})$`))
			.first()
			.waitFor({ timeout: 90_000 });
	async function openHost() {
		await page.goto(`${rig.url}/`);
		await page.getByRole("link", { name }).first().click();
		await page.getByRole("heading", { level: 1, name }).waitFor();
	}
	async function backUp(
		paths: string,
		more: (dialog: ReturnType<Page["getByRole"]>) => Promise<void> = async () => {},
	) {
		await openHost();
		await page.getByRole("button", { name: "Back up now" }).first().click();
		const dialog = page.getByRole("dialog");
		await dialog.getByLabel("Paths").fill(paths);
		await more(dialog);
		await dialog.getByRole("button", { name: "Back up now" }).click();
		await dialog.getByRole("link", { name: "Follow the job" }).click();
		await page.getByRole("heading", { level: 1, name: `Backup of ${name}` }).waitFor();
	}

	it("is set up by the code of the console", async () => {
		const code = await rig.serve({ setUp: true, flags: ["--offline-after", "4s"] });
		await page.goto(rig.url);
		await page.getByRole("heading", { name: "Set up restic-manager" }).waitFor();
		expect(await axe(page)).toEqual([]);
		await page.getByLabel("Set-up code").fill("AAAA-AAAA-AAAA-AAAA");
		await page.getByLabel("User name").fill(rig.admin.username);
		await page.getByLabel(/^Password/).fill(rig.admin.password);
		await page.getByLabel("The password again").fill(rig.admin.password);
		await page.getByRole("button", { name: "Make the administrator" }).click();
		await page.getByText("wrong or older than 15 minutes").waitFor();
		await page.getByLabel("Set-up code").fill(code ?? "");
		await page.getByRole("button", { name: "Make the administrator" }).click();
		await page.getByRole("navigation", { name: "Main" }).first().waitFor();
	});

	it("has a machine added by one pasted command", async () => {
		await page.goto(`${rig.url}/add`);
		await page.getByRole("textbox", { name: "Name", exact: true }).fill(name);
		await page.getByLabel("Labels").fill("env=prod");
		await page.getByRole("button", { name: "Make the command" }).click();
		const command = (await page.locator("code", { hasText: "install.sh" }).first().textContent()) ?? "";
		token = /rme_[A-Za-z0-9_-]+/.exec(command)?.[0] ?? "";
		expect(token).not.toBe("");
		expect(page.url()).not.toContain(token);
		// The machine: a folder in place of /, with restic on its path.
		const machine = join(rig.folder, "machine");
		const path = [join(tools, "restic-0.18.0"), process.env.PATH].join(delimiter);
		const said = execFileSync("sh", ["-c", `${command} --root ${machine}`], {
			encoding: "utf8",
			env: { ...process.env, PATH: path },
		});
		expect(said).toContain("enrolled");
		// restic without root's right to read everything: on some machines the tests run as root.
		const wrapper = join(rig.folder, "restic");
		const drop = process.getuid?.() === 0 ? "setpriv --bounding-set=-dac_override,-dac_read_search -- " : "";
		writeFileSync(wrapper, `#!/bin/sh\nexec ${drop}${restic} "$@"\n`);
		chmodSync(wrapper, 0o755);
		const config = join(machine, "etc/restic-manager/agent.yaml");
		writeFileSync(config, `${readFileSync(config, "utf8")}\nrestic_path: ${wrapper}\n`);
		agent = rig.agent(name, join(machine, "usr/bin/restic-manager-agent"), config);
		await page
			.getByRole("region", { name: "First backup" })
			.getByRole("textbox", { name: "Repository", exact: true })
			.waitFor();
	});

	it("gets a repository and its first backup, followed live", async () => {
		await page.getByRole("textbox", { name: "Repository", exact: true }).fill(join(rig.folder, "repository"));
		await page.getByRole("button", { name: "Generate" }).click();
		await page.getByLabel("I have it in a safe place").check();
		await page.getByRole("button", { name: "Save the repository" }).click();
		await page.getByRole("button", { name: "Test it" }).click();
		await page.getByText("there is no repository yet").waitFor();
		await page.getByRole("button", { name: "Make it: it is new" }).click();
		await page.getByText("The repository is made").waitFor();
		await page.getByLabel("Folders to back up").fill(source);
		await page.getByRole("button", { name: "Start the first backup" }).click();
		await page.getByRole("link", { name: "Follow it live" }).click();
		await page.getByRole("heading", { level: 1, name: `Backup of ${name}` }).waitFor();
		await state("Succeeded");
		await page.getByText("10 MiB").first().waitFor();
		expect(await axe(page)).toEqual([]);
	});

	it("is protected, and shows its snapshot", async () => {
		await page.goto(rig.url);
		await page.getByText("Protected").first().waitFor();
		await openHost();
		expect(await axe(page)).toEqual([]);
		await page.getByRole("region", { name: "Snapshots" }).getByText(source).first().waitFor();
	});

	it("gives files back into a new folder", async () => {
		await openHost();
		await page.getByRole("region", { name: "Snapshots" }).getByRole("link").first().click();
		await page.getByRole("button", { name: "Restore…" }).click();
		await page.getByRole("dialog").getByRole("button", { name: "Restore", exact: true }).click();
		await page.getByRole("heading", { level: 1, name: `Restore of ${name}` }).waitFor();
		await state("Succeeded");
		const restored = join(agent.folder, "state/restore");
		const folder = join(restored, readdirSync(restored)[0] ?? "", source);
		for (const file of readdirSync(source))
			expect(readFileSync(join(folder, file)).equals(readFileSync(join(source, file)))).toBe(true);
	});

	it("stops a backup when it is told to", async () => {
		const large = join(rig.folder, "large");
		makeFiles(large, 8, 4 << 20);
		await backUp(large, async (d) => {
			await d.getByLabel("Upload limit").fill("2048");
		});
		await state("Running");
		await page.getByRole("progressbar").first().waitFor();
		await page.getByRole("button", { name: "Cancel" }).first().click();
		await page.getByRole("dialog").getByRole("button", { name: "Cancel the backup" }).click();
		await state("Canceled");
	});

	it("tells what a backup could not read", async () => {
		const mixed = join(rig.folder, "mixed");
		mkdirSync(join(mixed, "closed"), { recursive: true });
		writeFileSync(join(mixed, "open.txt"), "x");
		writeFileSync(join(mixed, "closed/secret.txt"), "x");
		chmodSync(join(mixed, "closed"), 0o000);
		await backUp(mixed);
		await state("With issues");
		await page.getByText(join(mixed, "closed")).first().waitFor();
		chmodSync(join(mixed, "closed"), 0o755);
		await page.goto(rig.url);
		await page.getByText("At risk").first().waitFor();
	});

	it("finishes a backup although its agent is killed", async () => {
		const slow = join(rig.folder, "slow");
		makeFiles(slow, 6, 1 << 20);
		await backUp(slow, async (d) => {
			await d.getByLabel("Upload limit").fill("1024");
		});
		await state("Running");
		await agent.kill();
		agent.start();
		await state("Succeeded");
	});

	it("is backed up by a policy, in a repository of the server's list", async () => {
		await page.goto(`${rig.url}/repositories/new`);
		await page.getByLabel(/^Name/).fill("Store");
		await page.getByRole("radio", { name: "A folder" }).click();
		await page.getByLabel(/^Folder/).fill(join(rig.folder, "store/{host}"));
		await page.getByRole("button", { name: "Set it up" }).click();
		await page.getByRole("heading", { level: 1, name: "Store" }).waitFor();
		expect(await axe(page)).toEqual([]);
		await openHost();
		await page.getByRole("button", { name: "Replace…" }).first().click();
		const dialog = page.getByRole("dialog");
		await dialog.getByText("One of the list").click();
		await dialog.getByRole("button", { name: "Use it and test" }).click();
		await page.getByRole("button", { name: "Initialize it here" }).click({ timeout: 60_000 });
		await page.getByText("The repository is there").waitFor({ timeout: 60_000 });
		await page.goto(`${rig.url}/policies/new`);
		await page.getByLabel("Name", { exact: true }).fill("Every minute");
		await page.getByRole("combobox", { name: "Labels" }).fill("env=prod");
		await page.keyboard.press("Enter");
		await page.getByText("1 machine", { exact: true }).waitFor();
		await page.getByLabel("Paths").fill(source);
		await page.getByLabel("Repository").selectOption({ label: "Store" });
		await page.getByLabel("When: every").selectOption("cron");
		await page.getByLabel("When: cron expression").fill("* * * * *");
		await page.getByLabel("Spread over").selectOption("0");
		await page.getByText("Every minute.").waitFor();
		await page.getByRole("button", { name: "Show the plan…" }).click();
		await dialog.getByText("It runs next").waitFor();
		expect(await axe(page)).toEqual([]);
		await dialog.getByRole("button", { name: "Set it up" }).click();
		await page.getByRole("heading", { level: 1, name: "Every minute" }).waitFor();
		await page.getByRole("tab", { name: "Due times" }).click();
		await page.getByRole("link", { name: "its job" }).first().click({ timeout: 150_000 });
		await state("Succeeded");
		await page.getByRole("link", { name: "Every minute" }).waitFor();
		await page.getByText("Ordered by").waitFor();
		// What follows is ordered by hand.
		await page.goto(`${rig.url}/policies`);
		await page.getByLabel("Every minute is switched on").click({ force: true });
		await page.getByText("Every minute is off").waitFor();
	}, 400_000);

	it("is shown offline and back, and the page keeps what it knew while the server is away", async () => {
		await openHost();
		await agent.stop();
		// A server judges nobody in its first three minutes.
		await page.getByText("Offline", { exact: true }).first().waitFor({ timeout: 220_000 });
		await rig.killServer();
		await page.getByRole("alert").getByText("has not answered").waitFor({ timeout: 60_000 });
		await page.getByRole("heading", { level: 1, name }).waitFor();
		await rig.serve({ flags: ["--offline-after", "4s"] });
		await page.getByText("has not answered").waitFor({ state: "detached", timeout: 60_000 });
		agent.start();
		await page.getByText("Online", { exact: true }).first().waitFor();
	}, 400_000);

	it("is revoked by typing its name, and the machine is told so", async () => {
		await openHost();
		await page.getByRole("button", { name: "More to do with this machine" }).click();
		await page.getByRole("menuitem", { name: "Revoke…" }).click();
		const dialog = page.getByRole("dialog");
		expect(await dialog.getByRole("button", { name: "Revoke it" }).isDisabled()).toBe(true);
		await dialog.getByRole("textbox").fill(name);
		await dialog.getByRole("button", { name: "Revoke it" }).click();
		await page.getByText("Revoked").first().waitFor();
		await until("the agent's word that it is refused", async () =>
			/revoked|unauthorized/i.test(readFileSync(join(agent.folder, "agent.out"), "utf8")),
		);
	});

	it("never complained, and told the token to nobody", async () => {
		expect(rig.complaints).toEqual([]);
		expect(rig.words("server.out")).not.toContain(token);
	});
}

import unit from "../../../../packaging/restic-manager-agent.service?raw";

// Its comments are for who packages it.
const service = unit
	.split("\n")
	.filter((line) => !line.startsWith("#"))
	.join("\n")
	.replace(/\n{3,}/g, "\n\n")
	.trim();

/** What GET /api/install tells. */
export interface Installation {
	server_url: string;
	script_url: string;
	command: string;
	wget_command: string;
	platforms: { os: string; arch: string; size_bytes: number; sha256: string; url: string }[] | null;
}

export interface Choices {
	/** The machine may also remove old snapshots. */
	maintenance: boolean;
	installRestic: boolean;
	/** The one who pastes is not root. */
	sudo: boolean;
}

/** One word of a shell's command line. */
export function quote(word: string): string {
	return /^[A-Za-z0-9_@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

const shell = "| sh -s --";

function options(token: string, c: Pick<Choices, "maintenance">): string {
	return ` --token ${quote(token)}${c.maintenance ? " --allow maintenance" : ""}`;
}

/** The one command: fetches the script, runs it as root, enrolls. */
export function pasted(command: string, token: string, c: Choices): string {
	const base = c.sudo ? command.replace(shell, "| sudo sh -s --") : command;
	return `${base}${options(token, c)}${c.installRestic ? " --install-restic" : ""}`;
}

/** Whom the machine is to trust, and over what: the options behind `sh -s --`, which enroll takes too. */
function trust(install: Installation): string {
	const at = install.command.indexOf(shell);
	return at < 0 ? "" : install.command.slice(at + shell.length).trimEnd();
}

/** curl with what it takes to trust this server. */
function fetcher(install: Installation): string {
	const at = install.command.lastIndexOf(install.script_url);
	return at < 0 ? "curl -fsSL" : install.command.slice(0, at).replace(/'?$/, "").trimEnd();
}

/** The script is fetched, read, and then run. */
export function readFirst(install: Installation, token: string, c: Choices): string[] {
	const sudo = c.sudo ? "sudo " : "";
	return [
		`${fetcher(install)} -o install.sh ${quote(install.script_url)}`,
		"less install.sh",
		`${sudo}sh install.sh${trust(install)}${options(token, c)}${c.installRestic ? " --install-restic" : ""}`,
	];
}

export interface Step {
	title: string;
	command: string;
}

/** Every step by itself, without the script. */
export function byHand(
	install: Installation,
	token: string,
	c: Choices,
	platform: { sha256: string; url: string },
): Step[] {
	const sudo = c.sudo ? "sudo " : "";
	const file = "restic-manager-agent";
	return [
		{
			title: "Fetch the agent and compare its sum",
			command: `${fetcher(install)} -o ${file} ${quote(platform.url)}\necho '${platform.sha256}  ${file}' | sha256sum -c`,
		},
		{ title: "Put it in its place", command: `${sudo}install -m 0755 ${file} /usr/bin/${file}` },
		...(c.installRestic
			? [{ title: "Install restic", command: `${sudo}apt-get install -y restic    # or dnf, zypper, apk, pacman` }]
			: []),
		{
			title: "Enroll",
			command: `${sudo}${file} enroll --server ${quote(install.server_url)}${trust(install)}${options(token, c)}`,
		},
		{
			title: "Make the service",
			command: `${sudo}tee /etc/systemd/system/${file}.service >/dev/null <<'UNIT'\n${service}\nUNIT`,
		},
		{ title: "Start it", command: `${sudo}systemctl daemon-reload\n${sudo}systemctl enable --now ${file}` },
	];
}

/** The agent in a container, from a checkout of the source. */
export function docker(install: Installation, token: string, c: Choices, name: string): Step[] {
	const sudo = c.sudo ? "sudo " : "";
	const image = "restic-manager-agent";
	const volumes = [
		"-v restic-manager-config:/etc/restic-manager",
		"-v restic-manager-state:/var/lib/restic-manager-agent",
		"-v restic-manager-cache:/var/cache/restic-manager-agent",
	].join(" \\\n  ");
	return [
		{
			title: "Build the image, in a checkout of the source",
			command: `${sudo}docker build -f packaging/agent.Dockerfile -t ${image} .`,
		},
		{
			title: "Enroll",
			command: `${sudo}docker run --rm --hostname ${quote(name)} \\\n  ${volumes} \\\n  ${image} enroll --server ${quote(install.server_url)}${trust(install)}${options(token, c)}`,
		},
		{
			title: "Run it. What is to be backed up is mounted below /host",
			command: `${sudo}docker run -d --name ${image} --hostname ${quote(name)} --restart unless-stopped --stop-timeout 120 \\\n  -v /etc:/host/etc:ro -v /home:/host/home:ro \\\n  ${volumes} \\\n  ${image} run`,
		},
	];
}

/** "KEY=value" a line → an environment; the error says which line is wrong. */
export function parseEnvironment(text: string): { env: Record<string, string> } | { error: string } {
	const env: Record<string, string> = {};
	for (const [i, line] of text.split("\n").entries()) {
		const entry = line.trim();
		if (entry === "") continue;
		const at = entry.indexOf("=");
		const key = entry.slice(0, at).replace(/^export\s+/, "");
		if (at < 1 || !/^[A-Za-z_][A-Za-z0-9_]*$/.test(key)) return { error: `Line ${i + 1} is not NAME=value` };
		if (key in env) return { error: `${key} is given twice` };
		env[key] = entry.slice(at + 1);
	}
	return { env };
}

/** Absolute paths, one a line; the error says which is wrong. */
export function parsePaths(text: string): { paths: string[] } | { error: string } {
	const paths = text
		.split("\n")
		.map((p) => p.trim())
		.filter((p) => p !== "");
	const wrong = paths.find((p) => !p.startsWith("/"));
	if (wrong !== undefined) return { error: `"${wrong}" does not begin with /` };
	if (paths.length === 0) return { error: "Name a folder at least" };
	return { paths: [...new Set(paths)] };
}

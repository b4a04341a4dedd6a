import { expect, test } from "vitest";
import { byHand, docker, parseEnvironment, parsePaths, pasted, quote, readFirst } from "./command";

const open = {
	server_url: "https://backup.example",
	script_url: "https://backup.example/install.sh",
	command: "curl -fsSL https://backup.example/install.sh | sh -s --",
	wget_command: "wget -qO- https://backup.example/install.sh | sh -s --",
	platforms: [],
};
const pinned = {
	...open,
	command:
		"curl -fsSLk --pinnedpubkey sha256//abc= https://backup.example/install.sh | sh -s -- --cert-pin sha256:1234",
};
const plain = { maintenance: false, installRestic: false, sudo: false };
const agent = { url: "https://backup.example/download/agent/linux-amd64", sha256: "ab".repeat(32) };

test("the command carries the token and what was chosen", () => {
	expect(pasted(open.command, "rme_1", plain)).toBe(
		"curl -fsSL https://backup.example/install.sh | sh -s -- --token rme_1",
	);
	expect(pasted(pinned.command, "rme_1", { maintenance: true, installRestic: true, sudo: true })).toBe(
		"curl -fsSLk --pinnedpubkey sha256//abc= https://backup.example/install.sh | sudo sh -s -- --cert-pin sha256:1234 --token rme_1 --allow maintenance --install-restic",
	);
});

test("a word that a shell would take apart is quoted", () => {
	expect(quote("rme_Ab-9")).toBe("rme_Ab-9");
	expect(quote("a b")).toBe("'a b'");
	expect(quote("$(reboot)'")).toBe("'$(reboot)'\\'''");
	expect(quote("")).toBe("''");
	expect(pasted(open.command, "x; rm -rf /", plain)).toMatch(/--token 'x; rm -rf \/'$/);
});

test("the other ways trust the same certificate and carry the same options", () => {
	const c = { ...plain, maintenance: true };
	expect(readFirst(pinned, "rme_1", c)).toEqual([
		"curl -fsSLk --pinnedpubkey sha256//abc= -o install.sh https://backup.example/install.sh",
		"less install.sh",
		"sh install.sh --cert-pin sha256:1234 --token rme_1 --allow maintenance",
	]);
	const steps = byHand(pinned, "rme_1", c, agent);
	expect(steps[0]?.command).toBe(
		`curl -fsSLk --pinnedpubkey sha256//abc= -o restic-manager-agent ${agent.url}\necho '${agent.sha256}  restic-manager-agent' | sha256sum -c`,
	);
	expect(steps.find((s) => s.title === "Enroll")?.command).toBe(
		"restic-manager-agent enroll --server https://backup.example --cert-pin sha256:1234 --token rme_1 --allow maintenance",
	);
	expect(steps.find((s) => s.title === "Make the service")?.command).toContain(
		"ExecStart=/usr/bin/restic-manager-agent run",
	);
	expect(docker(pinned, "rme_1", c, "web 1").map((s) => s.command)).toEqual([
		expect.stringContaining("packaging/agent.Dockerfile"),
		expect.stringContaining(
			"--hostname 'web 1' \\\n  -v restic-manager-config:/etc/restic-manager \\\n  -v restic-manager-state:/var/lib/restic-manager-agent \\\n  -v restic-manager-cache:/var/cache/restic-manager-agent \\\n  restic-manager-agent enroll --server https://backup.example --cert-pin sha256:1234 --token rme_1 --allow maintenance",
		),
		expect.stringMatching(/restic-manager-agent run$/),
	]);
});

test("a script's URL in quotes does not end up in what fetches the agent", () => {
	const quoted = {
		...open,
		script_url: "https://[::1]:8443/install.sh",
		command: "curl -fsSL 'https://[::1]:8443/install.sh' | sh -s --",
	};
	expect(readFirst(quoted, "rme_1", plain)[0]).toBe("curl -fsSL -o install.sh 'https://[::1]:8443/install.sh'");
});

test("an environment is read line by line", () => {
	expect(parseEnvironment("A=1\n\nexport B_2=x=y \n")).toEqual({ env: { A: "1", B_2: "x=y" } });
	expect(parseEnvironment("A=1\nsecret")).toEqual({ error: "Line 2 is not NAME=value" });
	expect(parseEnvironment("A=1\nA=2")).toEqual({ error: "A is given twice" });
	expect(parseEnvironment("1A=2")).toEqual({ error: "Line 1 is not NAME=value" });
});

test("paths are absolute, each once", () => {
	expect(parsePaths(" /etc \n/home\n\n/etc")).toEqual({ paths: ["/etc", "/home"] });
	expect(parsePaths("/etc\nhome")).toEqual({ error: '"home" does not begin with /' });
	expect(parsePaths("\n")).toEqual({ error: "Name a folder at least" });
});

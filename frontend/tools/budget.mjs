// Fails the build when the fleet page, the first one that people open, loads more JavaScript than a phone on a slow line
// should wait for.
import { readFileSync, rmSync } from "node:fs";
import { gzipSync } from "node:zlib";

const limit = 230 * 1024;
const manifest = JSON.parse(readFileSync("dist/.vite/manifest.json", "utf8"));
const seen = new Set();
function load(name) {
	const entry = manifest[name];
	if (!entry) throw new Error(`the build has no ${name}`);
	if (seen.has(entry.file)) return;
	seen.add(entry.file);
	for (const other of entry.imports ?? []) load(other);
}
load("index.html");
load("src/routes/fleet.tsx");
// What belongs to no page; only the build's own tools read it.
rmSync("dist/.vite", { recursive: true });

const size = (file) => gzipSync(readFileSync(`dist/${file}`), { level: 9 }).length;
const sum = (files) => files.reduce((all, file) => all + size(file), 0);
const kib = (n) => `${(n / 1024).toFixed(1)} KiB`;
const total = sum([...seen]);
const scripts = [...new Set(Object.values(manifest).map((e) => e.file))].filter((f) => f.endsWith(".js"));
console.log(
	`JavaScript of the fleet page: ${kib(total)} gzipped in ${seen.size} files (limit ${kib(limit)}); in all ${kib(sum(scripts))}`,
);
if (total > limit) {
	console.error("too much at first load: load what only some pages need with their routes");
	process.exit(1);
}

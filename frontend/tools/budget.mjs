// Fails the build when the first page loads more JavaScript than a phone on a slow line should wait for.
import { readdirSync, readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";

const limit = 230 * 1024;
const page = readFileSync("dist/index.html", "utf8");
const first = [...page.matchAll(/(?:src|href)="\/([^"]+\.js)"/g)].map((m) => m[1]);
const size = (file) => gzipSync(readFileSync(`dist/${file}`), { level: 9 }).length;
if (first.length === 0) throw new Error("dist/index.html names no script");

// What a script imports at its top is loaded with it.
const seen = new Set();
function load(file) {
	if (seen.has(file)) return;
	seen.add(file);
	const folder = file.slice(0, file.lastIndexOf("/") + 1);
	for (const m of readFileSync(`dist/${file}`, "utf8").matchAll(/(?:^|[;\n}])import[^"'()]*["']\.\/([^"']+\.js)["']/g))
		load(folder + m[1]);
}
for (const file of first) load(file);
// The page that people open, loaded by the router.
const fleet = readdirSync("dist/assets").find((f) => /^fleet-.*\.js$/.test(f));
if (!fleet) throw new Error("there is no script of the fleet page");
load(`assets/${fleet}`);
const total = [...seen].reduce((sum, file) => sum + size(file), 0);
const all = readdirSync("dist/assets")
	.filter((f) => f.endsWith(".js"))
	.reduce((sum, f) => sum + size(`assets/${f}`), 0);
const kib = (n) => `${(n / 1024).toFixed(1)} KiB`;
console.log(
	`JavaScript at the first load of the fleet page: ${kib(total)} gzipped in ${seen.size} files (limit ${kib(limit)}); in all ${kib(all)}`,
);
if (total > limit) {
	console.error("too much at first load: load what only some pages need with their routes");
	process.exit(1);
}

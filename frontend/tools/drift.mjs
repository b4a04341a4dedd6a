// Fails when src/api/schema.d.ts is not what openapi.json says. openapi.json itself is held equal to the server's code
// by a test of the server.
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const folder = mkdtempSync(join(tmpdir(), "schema-"));
try {
	const fresh = join(folder, "schema.d.ts");
	execFileSync("npx", ["openapi-typescript", "openapi.json", "-o", fresh, "--alphabetize"], { stdio: "pipe" });
	if (readFileSync(fresh, "utf8") !== readFileSync("src/api/schema.d.ts", "utf8")) {
		console.error("src/api/schema.d.ts is not what openapi.json says: run `npm run generate` in frontend");
		process.exit(1);
	}
} finally {
	rmSync(folder, { recursive: true });
}

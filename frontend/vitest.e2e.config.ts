import { defineConfig } from "vitest/config";

// Browser tests: the real programs, one file at a time (make browser).
export default defineConfig({
	test: {
		environment: "node",
		include: ["e2e/**/*.test.ts"],
		fileParallelism: false,
		testTimeout: 180_000,
		hookTimeout: 120_000,
		bail: 1,
		reporters: ["verbose"],
	},
});

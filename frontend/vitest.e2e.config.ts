import { defineConfig } from "vitest/config";

// Browser tests: the real programs (make browser). They mostly wait, so all files go at once.
export default defineConfig({
	test: {
		environment: "node",
		include: ["e2e/**/*.test.ts"],
		maxWorkers: 4,
		testTimeout: 180_000,
		hookTimeout: 120_000,
		reporters: ["verbose"],
	},
});

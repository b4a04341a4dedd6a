import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

export default defineConfig({
	plugins: [react()],
	build: {
		outDir: "dist",
		emptyOutDir: true,
		target: "es2022",
		// The policy of the server allows files of its own alone.
		assetsInlineLimit: 0,
		modulePreload: { polyfill: false },
	},
	server: {
		// The unit that the page of adding a machine shows is the one that is packaged.
		fs: { allow: [".", "../packaging"] },
		proxy: { "/api": process.env.RESTIC_MANAGER_URL ?? "http://127.0.0.1:8080" },
	},
	test: {
		environment: "jsdom",
		include: ["src/**/*.test.{ts,tsx}"],
		setupFiles: ["src/test-setup.ts"],
		css: false,
		restoreMocks: true,
	},
});

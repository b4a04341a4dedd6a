import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

const ofForms =
	/@mantine\/core\/esm\/components\/(Combobox|Select|MultiSelect|TagsInput|Pill|PillsInput|Checkbox|Radio|Switch|Textarea|NativeSelect|SegmentedControl|Tabs)\/|\/src\/(ui\/(When|Hosts|Due|BackupFields)|lib\/(place|cron|backupForm))\./;

export default defineConfig({
	plugins: [react()],
	build: {
		outDir: "dist",
		emptyOutDir: true,
		target: "es2022",
		manifest: true,
		// The policy of the server allows files of its own alone.
		assetsInlineLimit: 0,
		modulePreload: { polyfill: false },
		rolldownOptions: {
			output: {
				// What several pages share, in a few files in place of fifty: each costs a round trip on a long line.
				codeSplitting: {
					groups: [
						{
							name: "frame",
							test: /node_modules\/(react|react-dom|scheduler|@tanstack|use-sync-external-store)\//,
							priority: 4,
						},
						{ name: "icons", test: /node_modules\/@tabler\//, priority: 3 },
						// What only pages with forms need is apart: the first page that people open does without.
						{
							name: "kit",
							test: (id) => /node_modules\/(@mantine|@floating-ui|clsx)\//.test(id) && !ofForms.test(id),
							minShareCount: 4,
							priority: 2,
						},
						{
							name: "pieces",
							test: (id) => /\/src\/(api|lib|ui)\//.test(id) && !ofForms.test(id),
							minShareCount: 3,
							priority: 1,
						},
						{ name: "forms", test: ofForms, minShareCount: 2, priority: 0 },
					],
				},
			},
		},
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
		// Whole forms are filled in by single key presses.
		testTimeout: 20_000,
	},
});

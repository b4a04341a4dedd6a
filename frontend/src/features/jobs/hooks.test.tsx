import { MantineProvider } from "@mantine/core";
import { render, screen } from "@testing-library/react";
import { describe, expect, it } from "vitest";
import type { Job } from "../../api/types";
import { HookRuns } from "./Hooks";
import { asked, figures, issuesOf, orderedPhrase, outcome } from "./words";

const failed = {
	name: "thaw",
	stage: "after" as const,
	elapsed_seconds: 2,
	failure: "ended with exit code 1: no such disk",
};
const done = { name: "pg_dump", stage: "stdin" as const, elapsed_seconds: 65, bytes: 2048 };

describe("the scripts of a job", () => {
	it("are shown with what became of them", () => {
		render(
			<MantineProvider>
				<HookRuns job={{ summary: { hooks: [done, failed] } }} />
			</MantineProvider>,
		);
		expect(screen.getByText("pg_dump").closest("div")).toHaveTextContent(
			"Done wrote what is backed up, 1 min 5 s, 2 KiB",
		);
		expect(screen.getByText("thaw").closest("div")).toHaveTextContent("Failed after the backup");
		expect(screen.getByText(/no such disk/)).toBeInTheDocument();
	});

	it("are not shown where there are none", () => {
		const { container } = render(
			<MantineProvider>
				<HookRuns job={{ summary: { data_added: 1 } }} />
			</MantineProvider>,
		);
		expect(container.querySelector("dl")).toBeNull();
	});

	it("are told from paths that could not be read", () => {
		const path = { path: "/x", message: "permission denied" };
		expect(issuesOf({ summary: { hooks: [failed] }, issues: [] })).toBe("1 script of the machine failed");
		expect(issuesOf({ summary: { hooks: [failed] } })).toBe("1 script of the machine failed");
		expect(issuesOf({ summary: { hooks: [failed, done] }, issues: [path] })).toBe(
			"1 path could not be read, 1 script of the machine failed",
		);
		expect(issuesOf({ summary: { hooks: [done] }, issues: [path] })).toBe("1 path could not be read");
	});

	it("are what was asked, and in few words", () => {
		const job = {
			kind: "backup",
			state: "queued",
			spec: { stdin_hook: "pg_dump", stdin_name: "all.sql", hooks_after: ["thaw"], hook_failure: "continue" },
		} as unknown as Job;
		expect(asked(job).map((f) => [f.label, f.value ?? f.texts?.join()])).toEqual([
			["What the script writes", "pg_dump"],
			["File in the snapshot", "all.sql"],
			["Scripts after", "thaw"],
			["When one before fails", "The backup is made all the same"],
		]);
		expect(orderedPhrase(job)).toBe("what pg_dump writes");
		expect(outcome(job)).toBe("what pg_dump writes");
	});

	it("are no figures of restic's", () => {
		expect(figures({ kind: "backup", elapsed_seconds: 1, summary: { hooks: [failed] } } as Job)).toEqual([]);
	});
});

import { render, screen } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { describe, expect, it, vi } from "vitest";
import { Row } from "./Row";

function row(text: string, over: Partial<React.ComponentProps<typeof Row>> = {}) {
	const pick = vi.fn();
	const grown = vi.fn();
	const view = render(
		<Row
			row={11}
			n={12}
			line={{ n: 12, s: "out", t: "2026-11-27T03:00:00Z", text }}
			times={false}
			chosen={false}
			current={false}
			query=""
			exact={false}
			pick={pick}
			grown={grown}
			{...over}
		/>,
	);
	return { pick, grown, view };
}

describe("a line of the log", () => {
	it("has the text alone as its content: number and time are not copied with it", () => {
		const { view } = row("saved /srv/a", { times: true });
		expect(view.container.textContent).toBe("saved /srv/a");
		expect(screen.getByRole("link", { name: "Line 12" })).toHaveAttribute("href", "#L12");
	});
	it("lets nothing in it act", () => {
		const { view } = row("\u001b[31mred \u202egpj.exe <img src=x onerror=alert(1)>");
		expect(view.container.textContent).toBe("\\e[31mred \\u202egpj.exe <img src=x onerror=alert(1)>");
		expect(view.container.querySelector("img")).toBeNull();
	});
	it("chooses the line, and with shift a range", async () => {
		const { pick } = row("x");
		const user = userEvent.setup();
		await user.click(screen.getByRole("link"));
		await user.keyboard("{Shift>}");
		await user.click(screen.getByRole("link"));
		expect(pick.mock.calls).toEqual([
			[12, false],
			[12, true],
		]);
	});
	it("marks what is looked for", () => {
		const { view } = row("Error and error", { query: "error" });
		expect([...view.container.querySelectorAll("mark")].map((m) => m.textContent)).toEqual(["Error", "error"]);
	});
	it("shows the rest of a long line when asked", async () => {
		const { view, grown } = row("y".repeat(60_000));
		expect(view.container.textContent?.length).toBe(2000);
		await userEvent.click(screen.getByRole("button", { name: "Show 58,000 more characters of line 12" }));
		expect(view.container.textContent?.length).toBe(60_000);
		expect(grown).toHaveBeenCalled();
	});
	it("tells a line that is gone from one that is to come", () => {
		const gone = row("", { line: null });
		expect(gone.view.container.textContent).toBe("not kept");
		gone.view.unmount();
		expect(row("", { line: undefined }).view.container.textContent).toBe("");
	});
});

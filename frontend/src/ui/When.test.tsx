import { screen } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { useState } from "react";
import { expect, it, vi } from "vitest";
import { problem, serve, show } from "../test-rig";
import { SchedulePreview, When } from "./When";

const set = vi.fn();

function Held({ begin }: { begin: string }) {
	const [cron, setCron] = useState(begin);
	return (
		<>
			<When
				label="When"
				cron={cron}
				set={(c) => {
					set(c);
					setCron(c);
				}}
			/>
			<output>{cron}</output>
		</>
	);
}
const cron = () => screen.getByRole("status").textContent;

it("makes a cron expression from days and a time", async () => {
	serve(() => ({}));
	show(<Held begin="0 2 * * *" />);
	await userEvent.selectOptions(await screen.findByLabelText("When: every"), "week");
	expect(cron()).toBe("0 2 * * 0");
	await userEvent.click(screen.getByRole("button", { name: "Mon" }));
	await userEvent.click(screen.getByRole("button", { name: "Sun" }));
	expect(cron()).toBe("0 2 * * 1");
	// The last day stays: a week without a day would be every day.
	await userEvent.click(screen.getByRole("button", { name: "Mon" }));
	expect(cron()).toBe("0 2 * * 1");
	expect(screen.getByRole("button", { name: "Mon" })).toHaveAttribute("aria-pressed", "true");
});

it("leaves an expression that is being written as it is", async () => {
	serve(() => ({}));
	show(<Held begin="0 2 1-7 * 1" />);
	const field = await screen.findByLabelText("When: cron expression");
	expect(field).toHaveValue("0 2 1-7 * 1");
	await userEvent.clear(field);
	// On its way it reads as a day's schedule; the field must not go away under the fingers.
	await userEvent.type(field, "0 2 * * *");
	expect(field).toHaveValue("0 2 * * *");
	await userEvent.selectOptions(screen.getByLabelText("When: every"), "day");
	expect(cron()).toBe("0 2 * * *");
	expect(screen.queryByLabelText("When: cron expression")).toBeNull();
});

it("says what a schedule means, and what is wrong with it", async () => {
	serve((call) =>
		(call.body as { cron: string }).cron === "0 2 * * *"
			? { body: { text: "at 02:00 every day", next: ["2026-11-28T01:00:00Z"] } }
			: problem(422, "invalid", "cron: 61 is no minute; give 0 to 59"),
	);
	show(
		<>
			<SchedulePreview cron="0 2 * * *" zone="Europe/Vienna" />
			<SchedulePreview cron="61 2 * * *" zone="Europe/Vienna" />
		</>,
	);
	expect(await screen.findByText("At 02:00 every day.")).toBeVisible();
	// In the schedule's own zone, wherever the reader is.
	expect(screen.getByText(/Sat,? 28 Nov,? 02:00/)).toBeVisible();
	expect(await screen.findByRole("alert")).toHaveTextContent("Cron: 61 is no minute; give 0 to 59.");
});

import { screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { expect, it, vi } from "vitest";
import { type Call, problem, serve, show } from "../../test-rig";
import { RepositoryEditor } from "./Form";
import { KitDialog, RevealDialog } from "./Secrets";
import { testRepository } from "./testRepository";

function world(save: (call: Call) => { status?: number; body?: unknown } | undefined = () => undefined) {
	return serve((call) => {
		const own = save(call);
		if (own) return own;
		if (call.path === "/api/hosts") return { body: { hosts: [], total: 0 } };
		if (call.path === "/api/schedules/preview") return { body: { text: "x", next: [] } };
		return { body: testRepository() };
	});
}
const writes = (calls: Call[]) => calls.filter((c) => c.method !== "GET" && c.path.startsWith("/api/repositories"));

it("makes the location and the environment from fields", async () => {
	const calls = world();
	const saved = vi.fn();
	show(<RepositoryEditor saved={saved} leave={null} />);
	await userEvent.type(await screen.findByLabelText(/^Name/), "store");
	await userEvent.click(screen.getByRole("radio", { name: "S3" }));
	await userEvent.type(screen.getByLabelText(/^Endpoint/), "https://s3.example");
	await userEvent.type(screen.getByLabelText(/^Bucket/), "b");
	await userEvent.click(screen.getByRole("switch", { name: /^A repository of its own for each machine/ }));
	expect(screen.getByText("s3:https://s3.example/b/{host}")).toBeVisible();
	await userEvent.type(screen.getByLabelText("Credentials of the storage: Access key"), "AK");
	await userEvent.type(screen.getByLabelText("Credentials of the storage: Secret key"), "SK");
	await userEvent.click(screen.getByRole("button", { name: "Set it up" }));
	await waitFor(() => expect(saved).toHaveBeenCalled());
	expect(writes(calls).map((c) => c.body)).toMatchObject([
		{
			name: "store",
			url: "s3:https://s3.example/b/{host}",
			env: { AWS_ACCESS_KEY_ID: "AK", AWS_SECRET_ACCESS_KEY: "SK" },
		},
	]);
	// No password is sent: the server makes one.
	expect(writes(calls)[0]?.body).not.toHaveProperty("password");
});

it("walks the kinds of storage by the arrows", async () => {
	world();
	show(<RepositoryEditor saved={() => {}} leave={null} />);
	const rest = await screen.findByRole("radio", { name: "REST server" });
	rest.focus();
	await userEvent.keyboard("{ArrowRight}");
	expect(screen.getByRole("radio", { name: "S3" })).toHaveFocus();
	expect(screen.getByRole("radio", { name: "S3" })).toHaveAttribute("aria-checked", "true");
	await userEvent.keyboard("{ArrowLeft}{ArrowLeft}");
	expect(screen.getByRole("radio", { name: "rclone" })).toHaveFocus();
});

it("sends nothing of a form that is wrong, and shows the first field that is", async () => {
	const calls = world();
	show(<RepositoryEditor saved={() => {}} leave={null} />);
	await userEvent.click(await screen.findByRole("button", { name: "Set it up" }));
	expect(await screen.findByText("Give it a name")).toBeVisible();
	expect(screen.getByText("Give an address")).toBeVisible();
	await waitFor(() => expect(screen.getByLabelText(/^Name/)).toHaveFocus());
	expect(writes(calls)).toEqual([]);
});

it("puts the server's words at their field", async () => {
	world((c) => (c.method === "PATCH" ? problem(409, "name_taken", "another repository has this name") : undefined));
	show(<RepositoryEditor repository={testRepository()} saved={() => {}} leave={null} />);
	const name = await screen.findByLabelText(/^Name/);
	await userEvent.type(name, "2");
	await userEvent.click(screen.getByRole("button", { name: "Save" }));
	await waitFor(() => expect(name).toHaveAccessibleDescription(/another repository has this name/));
});

it("asks nothing of the server when nothing changed", async () => {
	const calls = world();
	const saved = vi.fn();
	show(<RepositoryEditor repository={testRepository()} saved={saved} leave={null} />);
	await userEvent.click(await screen.findByRole("button", { name: "Save" }));
	expect(saved).toHaveBeenCalled();
	expect(writes(calls)).toEqual([]);
});

it("shows the secrets to who gives their password, and to nobody else", async () => {
	world((c) =>
		c.path.endsWith("/reveal")
			? (c.body as { current_password: string }).current_password === "right"
				? { body: { password: "the-secret", env: { AWS_SECRET_ACCESS_KEY: "sk" }, maintenance_env: {} } }
				: problem(422, "wrong_password", "The current password is wrong.")
			: undefined,
	);
	show(<RevealDialog repository={testRepository()} opened close={() => {}} />);
	const field = await screen.findByLabelText(/^Your own password/);
	await userEvent.type(field, "wrong{Enter}");
	await waitFor(() => expect(field).toHaveAccessibleDescription(/is wrong/));
	expect(screen.queryByText("the-secret")).toBeNull();
	// What was typed does not stay.
	expect(field).toHaveValue("");
	await userEvent.type(field, "right{Enter}");
	expect(await screen.findByText("the-secret")).toBeVisible();
	expect(screen.getByText("AWS_SECRET_ACCESS_KEY")).toBeVisible();
});

it("makes a recovery kit only under a passphrase of twelve characters", async () => {
	const calls = world((c) => (c.path.endsWith("/kit") ? { body: "age-encryption.org/v1" } : undefined));
	const url = vi.fn(() => "blob:kit");
	vi.stubGlobal("URL", Object.assign(URL, { createObjectURL: url, revokeObjectURL: () => {} }));
	show(<KitDialog repository={testRepository()} opened close={() => {}} />);
	const dialog = await screen.findByRole("dialog");
	await userEvent.type(within(dialog).getByLabelText(/^Your own password/), "mine");
	await userEvent.type(within(dialog).getByLabelText(/^Passphrase of the kit/), "elevenchars");
	expect(within(dialog).getByRole("button", { name: "Make and download it" })).toBeDisabled();
	await userEvent.type(within(dialog).getByLabelText(/^Passphrase of the kit/), "!");
	await userEvent.click(within(dialog).getByRole("button", { name: "Make and download it" }));
	expect(await screen.findByText(/is in your downloads/)).toBeVisible();
	expect(url).toHaveBeenCalledTimes(1);
	expect(writes(calls).map((c) => c.body)).toEqual([{ passphrase: "elevenchars!", current_password: "mine" }]);
});

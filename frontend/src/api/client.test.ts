import { beforeEach, describe, expect, it, vi } from "vitest";
import { client, forgetAnswers, got } from "./client";
import { awaySince, serverVersion, session } from "./link";
import { Problem, Unreachable } from "./problem";

function answers(...replies: (Response | Error)[]) {
	const asked: Request[] = [];
	vi.spyOn(globalThis, "fetch").mockImplementation(async (input) => {
		asked.push(input as Request);
		const next = replies.shift();
		if (!next) throw new Error("asked once too often");
		if (next instanceof Error) throw next;
		return next;
	});
	return asked;
}

const json = (body: unknown, init: ResponseInit = {}) =>
	new Response(JSON.stringify(body), { ...init, headers: { "Content-Type": "application/json", ...init.headers } });

beforeEach(() => {
	forgetAnswers();
	session.set("signed_in");
	awaySince.set(undefined);
	serverVersion.set(undefined);
});

describe("ETags", () => {
	it("asks whether a known answer has changed, and takes the known one when not", async () => {
		const asked = answers(
			json({ username: "ada" }, { headers: { ETag: '"1"' } }),
			new Response(null, { status: 304 }),
			json({ username: "eve" }, { headers: { ETag: '"2"' } }),
		);
		expect(await got(client.GET("/api/auth/me"))).toMatchObject({ username: "ada" });
		expect(await got(client.GET("/api/auth/me"))).toMatchObject({ username: "ada" });
		expect(await got(client.GET("/api/auth/me"))).toMatchObject({ username: "eve" });
		expect(asked.map((r) => r.headers.get("If-None-Match"))).toEqual([null, '"1"', '"1"']);
	});
	it("keeps nothing of the person before", async () => {
		const asked = answers(json({}, { headers: { ETag: '"1"' } }), json({}));
		await got(client.GET("/api/auth/me"));
		forgetAnswers();
		await got(client.GET("/api/auth/me"));
		expect(asked[1]?.headers.get("If-None-Match")).toBeNull();
	});
	it("keeps none of an order's answers", async () => {
		const asked = answers(json({}, { headers: { ETag: '"1"' } }), json({}));
		await got(client.POST("/api/jobs/{id}/cancel", { params: { path: { id: "x" } } }));
		await got(client.POST("/api/jobs/{id}/cancel", { params: { path: { id: "x" } } }));
		expect(asked[1]?.headers.get("If-None-Match")).toBeNull();
	});
});

describe("what goes wrong", () => {
	it("is told in the server's own words, with its fields", async () => {
		answers(
			json(
				{
					title: "Unprocessable",
					status: 422,
					code: "invalid",
					detail: "x",
					errors: [{ location: "body.spec.paths", message: "give one" }],
				},
				{ status: 422 },
			),
		);
		const error = await got(client.GET("/api/auth/me")).catch((e: unknown) => e);
		expect(error).toBeInstanceOf(Problem);
		expect(error).toMatchObject({ status: 422, code: "invalid", fields: { "spec.paths": "give one" } });
	});
	it("is a server that is away where nothing or a proxy answers, until something does", async () => {
		answers(new TypeError("Failed to fetch"), new Response("<html>Bad gateway", { status: 502 }), json({}));
		await expect(got(client.GET("/api/auth/me"))).rejects.toBeInstanceOf(Unreachable);
		const since = awaySince.get();
		expect(since).toBeTypeOf("number");
		await expect(got(client.GET("/api/auth/me"))).rejects.toBeInstanceOf(Unreachable);
		expect(awaySince.get()).toBe(since);
		await got(client.GET("/api/auth/me"));
		expect(awaySince.get()).toBeUndefined();
	});
	it("ends the session on 401, and keeps the page of one that was there", async () => {
		const refused = () => json({ title: "no", status: 401, code: "unauthorized" }, { status: 401 });
		answers(refused(), refused(), refused());
		await expect(got(client.GET("/api/auth/me"))).rejects.toBeInstanceOf(Problem);
		expect(session.get()).toBe("expired");
		session.set("unknown");
		await expect(got(client.GET("/api/auth/me"))).rejects.toBeInstanceOf(Problem);
		expect(session.get()).toBe("signed_out");
	});
	it("is a server that waits for its set-up", async () => {
		answers(json({ title: "no", status: 503, code: "setup_required" }, { status: 503 }));
		await expect(got(client.GET("/api/auth/me"))).rejects.toBeInstanceOf(Problem);
		expect(session.get()).toBe("setup");
	});
});

it("notices that the server was updated", async () => {
	answers(
		json({}, { headers: { "Restic-Manager-Version": "1" } }),
		json({}, { headers: { "Restic-Manager-Version": "1" } }),
		json({}, { headers: { "Restic-Manager-Version": "2" } }),
	);
	await got(client.GET("/api/auth/me"));
	await got(client.GET("/api/auth/me"));
	expect(serverVersion.get()).toEqual({ loaded: "1", now: "1" });
	await got(client.GET("/api/auth/me"));
	expect(serverVersion.get()).toEqual({ loaded: "1", now: "2" });
});

import { describe, expect, it } from "vitest";
import { type Backend, type Parts, partsOf, placeURL, withPerHost } from "./place";

const places: [Backend, Parts, string][] = [
	["rest", { address: "https://b.example:8000", path: "fleet/{host}" }, "rest:https://b.example:8000/fleet/{host}/"],
	["rest", { address: "https://b.example", path: "" }, "rest:https://b.example/"],
	["s3", { endpoint: "s3.amazonaws.com", bucket: "b", path: "x/{host}" }, "s3:s3.amazonaws.com/b/x/{host}"],
	["s3", { endpoint: "https://minio.example:9000", bucket: "b", path: "" }, "s3:https://minio.example:9000/b"],
	["sftp", { user: "backup", host: "s.example", port: "", path: "/srv/x" }, "sftp:backup@s.example:/srv/x"],
	["sftp", { user: "u", host: "s.example", port: "2222", path: "/srv/x" }, "sftp://u@s.example:2222//srv/x"],
	["local", { path: "/mnt/backup/{host}" }, "/mnt/backup/{host}"],
	["b2", { bucket: "b", path: "x" }, "b2:b:/x"],
	["azure", { bucket: "b", path: "" }, "azure:b:/"],
];

describe("a place by its parts", () => {
	it.each(places)("%s %j", (backend, parts, url) => {
		expect(placeURL(backend, parts)).toEqual({ url });
		expect(partsOf(url, backend)).toEqual(parts);
	});

	it("takes an address without its scheme as https", () =>
		expect(placeURL("rest", { address: "b.example", path: "/a/" })).toEqual({ url: "rest:https://b.example/a/" }));

	it("says which part is missing or wrong", () => {
		expect(placeURL("s3", {})).toEqual({ errors: { endpoint: "Give an endpoint", bucket: "Give a bucket" } });
		expect(placeURL("local", { path: "mnt" })).toEqual({ errors: { path: "Begin it with /" } });
		expect(placeURL("local", { path: "/" })).toEqual({ errors: { path: "Not the root itself" } });
		expect(placeURL("rest", { address: "https://me:secret@b.example" })).toEqual({
			errors: { address: "No user or password in it: they have fields of their own" },
		});
		expect(placeURL("sftp", { host: "h", path: "/x", port: "99999" })).toEqual({
			errors: { port: "A port is a number up to 65535" },
		});
	});

	it("does not show by parts what they would change", () => {
		// Relative to the user's home: the fields would make an absolute path of it.
		expect(partsOf("sftp:u@h:srv/x", "sftp")).toBeUndefined();
		expect(partsOf("rest:https://b.example//x", "rest")).toBeUndefined();
	});
});

it("puts a folder of its own for each machine at the end, and takes it away", () => {
	expect(withPerHost("/srv/backups/", true)).toBe("/srv/backups/{host}");
	expect(withPerHost("", true)).toBe("{host}");
	expect(withPerHost("/", true)).toBe("/{host}");
	expect(withPerHost("/srv/{host}/a", true)).toBe("/srv/{host}/a");
	expect(withPerHost("/srv/backups/{host}", false)).toBe("/srv/backups");
});

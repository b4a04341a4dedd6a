// Where a repository is, by parts that people know, and the location that restic reads.

export type Backend = "local" | "rest" | "sftp" | "s3" | "b2" | "azure" | "gs" | "swift" | "rclone";

/** One part of a place, as a field of a form. */
export interface Part {
	name: string;
	label: string;
	about?: string;
	example: string;
	/** Nothing is taken in its place. */
	optional?: boolean;
}

export type Parts = Readonly<Record<string, string>>;

interface Kind {
	name: string;
	about: string;
	parts: readonly Part[];
	/** The location; given that all that is needed is there. */
	url: (p: Parts) => string;
	/** The parts of a location; undefined: it cannot be shown by them. */
	parse: (url: string) => Parts | undefined;
}

/** What stands for the machine in a location that is one repository a machine. */
export const perHost = "{host}";

const folder: Part = {
	name: "path",
	label: "Folder",
	about: "Within it; empty: its root",
	example: "backups/{host}",
	optional: true,
};

function bucket(scheme: string, label: string): Pick<Kind, "parts" | "url" | "parse"> {
	return {
		parts: [{ name: "bucket", label, example: "company-backups" }, folder],
		url: (p) => `${scheme}:${part(p, "bucket")}:/${bare(part(p, "path"))}`,
		parse(url) {
			const m = new RegExp(`^${scheme}:([^:/]+):/?(.*)$`).exec(url);
			return m ? { bucket: m[1] ?? "", path: m[2] ?? "" } : undefined;
		},
	};
}

const part = (p: Parts, name: string) => (p[name] ?? "").trim();
/** Without the slashes around it. */
const bare = (path: string) => path.replace(/^\/+|\/+$/g, "");
const rooted = (path: string) => `/${bare(path)}`;

export const backends: Record<Backend, Kind> = {
	rest: {
		name: "REST server",
		about: "restic's own server. With --append-only a machine that is broken into cannot delete what it backed up.",
		parts: [
			{ name: "address", label: "Address", example: "https://backup.example.com:8000" },
			{
				name: "path",
				label: "Path",
				about: "On the server; empty: its root",
				example: "fleet/{host}/",
				optional: true,
			},
		],
		url: (p) => `rest:${withScheme(part(p, "address"))}${bare(part(p, "path")) && `/${bare(part(p, "path"))}`}/`,
		parse(url) {
			const m = /^rest:(https?:\/\/[^/]+)(?:\/(.*))?$/.exec(url);
			return m ? { address: m[1] ?? "", path: bare(m[2] ?? "") } : undefined;
		},
	},
	s3: {
		name: "S3",
		about: "Amazon S3 and what speaks like it: MinIO, Ceph, Wasabi, Hetzner, Cloudflare R2.",
		parts: [
			{
				name: "endpoint",
				label: "Endpoint",
				about: "With https:// where it is not Amazon's",
				example: "s3.eu-central-1.amazonaws.com",
			},
			{ name: "bucket", label: "Bucket", example: "company-backups" },
			folder,
		],
		url: (p) =>
			`s3:${part(p, "endpoint").replace(/\/+$/, "")}/${bare(part(p, "bucket"))}${bare(part(p, "path")) && `/${bare(part(p, "path"))}`}`,
		parse(url) {
			const m = /^s3:((?:https?:\/\/)?[^/]+)\/([^/]+)(?:\/(.*))?$/.exec(url);
			return m ? { endpoint: m[1] ?? "", bucket: m[2] ?? "", path: bare(m[3] ?? "") } : undefined;
		},
	},
	sftp: {
		name: "SFTP",
		about: "Any machine with SSH. Each machine that backs up needs a key of its own that signs in without a password.",
		parts: [
			{ name: "user", label: "User", example: "backup", optional: true },
			{ name: "host", label: "Server", example: "storage.example.com" },
			{ name: "port", label: "Port", example: "22", optional: true },
			{ name: "path", label: "Folder", about: "Absolute on the server", example: "/srv/backups/{host}" },
		],
		url(p) {
			const login = `${part(p, "user") && `${part(p, "user")}@`}${part(p, "host")}`;
			const port = part(p, "port");
			return port !== "" && port !== "22"
				? `sftp://${login}:${port}/${rooted(part(p, "path"))}`
				: `sftp:${login}:${rooted(part(p, "path"))}`;
		},
		parse(url) {
			const long = /^sftp:\/\/(?:([^@/]+)@)?([^:/]+)(?::(\d+))?\/(\/.*)$/.exec(url);
			const short = long ? null : /^sftp:(?:([^@/]+)@)?([^:/@]+):(\/.*)$/.exec(url);
			if (long) return { user: long[1] ?? "", host: long[2] ?? "", port: long[3] ?? "", path: long[4] ?? "" };
			return short ? { user: short[1] ?? "", host: short[2] ?? "", port: "", path: short[3] ?? "" } : undefined;
		},
	},
	local: {
		name: "A folder",
		about: "On the machine's own disk or a share mounted there. A disk in the same machine is lost with the machine.",
		parts: [{ name: "path", label: "Folder", about: "Absolute on the machine", example: "/mnt/backup/{host}" }],
		url: (p) => rooted(part(p, "path")),
		parse(url) {
			const path = url.replace(/^local:/, "");
			return path.startsWith("/") ? { path } : undefined;
		},
	},
	b2: {
		name: "Backblaze B2",
		about: "By B2's own interface; its S3 interface is the better choice.",
		...bucket("b2", "Bucket"),
	},
	azure: { name: "Azure", about: "Microsoft Azure Blob Storage.", ...bucket("azure", "Container") },
	gs: { name: "Google Cloud", about: "Google Cloud Storage, by an access token.", ...bucket("gs", "Bucket") },
	rclone: {
		name: "rclone",
		about:
			"A remote that each machine's owner has set up in rclone.conf and allows in guard.yaml; its secrets are not kept here.",
		parts: [
			{ name: "remote", label: "Remote", about: "Its name in rclone.conf", example: "drive" },
			{ name: "path", label: "Folder", example: "backups/{host}" },
		],
		url: (p) => `rclone:${part(p, "remote").replace(/:$/, "")}:${part(p, "path").replace(/\/+$/, "")}`,
		parse(url) {
			const m = /^rclone:([A-Za-z0-9_][A-Za-z0-9_-]*):(.+)$/.exec(url);
			return m ? { remote: m[1] ?? "", path: m[2] ?? "" } : undefined;
		},
	},
	swift: { name: "Swift", about: "OpenStack Swift.", ...bucket("swift", "Container") },
};

export const backendOrder = [
	"rest",
	"s3",
	"sftp",
	"local",
	"b2",
	"azure",
	"gs",
	"swift",
	"rclone",
] as const satisfies Backend[];

function withScheme(address: string): string {
	const a = address.replace(/\/+$/, "");
	return a === "" || /^https?:\/\//.test(a) ? a : `https://${a}`;
}

/** The location, or which parts are missing or wrong. */
export function placeURL(backend: Backend, parts: Parts): { url: string } | { errors: Record<string, string> } {
	const kind = backends[backend];
	const errors: Record<string, string> = {};
	for (const p of kind.parts) {
		const value = part(parts, p.name);
		if (value === "" && !p.optional)
			errors[p.name] = `Give ${/^[aeiou]/i.test(p.label) ? "an" : "a"} ${p.label.toLowerCase()}`;
		else if (/\s/.test(value)) errors[p.name] = "It has no blanks in it";
		else if (/^[a-z]+:\/\/[^/]*@/.test(value))
			errors[p.name] = "No user or password in it: they have fields of their own";
	}
	const path = part(parts, "path");
	if (!errors.path && (backend === "local" || backend === "sftp") && path !== "" && !path.startsWith("/"))
		errors.path = "Begin it with /";
	if (!errors.path && (backend === "local" || backend === "sftp") && bare(path) === "")
		errors.path ??= "Not the root itself";
	const port = part(parts, "port");
	if (port !== "" && !(/^\d{1,5}$/.test(port) && Number(port) >= 1 && Number(port) <= 65535))
		errors.port = "A port is a number up to 65535";
	return Object.keys(errors).length > 0 ? { errors } : { url: kind.url(parts) };
}

/** The backend of a location and its parts; undefined where the parts would make another location of it. */
export function partsOf(url: string, backend: Backend): Parts | undefined {
	const parts = backends[backend].parse(url);
	if (!parts) return undefined;
	const again = placeURL(backend, parts);
	return "url" in again && again.url.replace(/\/+$/, "") === url.replace(/^local:/, "").replace(/\/+$/, "")
		? parts
		: undefined;
}

/** The path with a folder of its own for each machine at its end, or without. */
export function withPerHost(path: string, on: boolean): string {
	if (path.includes(perHost) === on) return path;
	if (on)
		return `${path.replace(/\/+$/, "")}${path.replace(/\/+$/, "") === "" && !path.startsWith("/") ? "" : "/"}${perHost}`;
	return path.replace(/\/?\{host\}/g, "");
}

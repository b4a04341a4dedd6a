// What the server takes as a key or a value.
const name = /^[A-Za-z0-9._@:+][A-Za-z0-9._@:+-]{0,127}$/;

/** Labels as people type them: "env=prod, db" → {env: "prod", db: ""}. The error says which part is wrong. */
export function parseLabels(text: string): { labels: Record<string, string> } | { error: string } {
	const labels: Record<string, string> = {};
	for (const part of text.split(/[,\n]/)) {
		const entry = part.trim();
		if (entry === "") continue;
		const at = entry.indexOf("=");
		const key = (at < 0 ? entry : entry.slice(0, at)).trim();
		const value = at < 0 ? "" : entry.slice(at + 1).trim();
		if (!name.test(key) || (value !== "" && !name.test(value)))
			return { error: `"${entry}": keys and values have letters, digits and . _ @ : + - alone, and begin with no -` };
		if (key in labels) return { error: `"${key}" is given twice` };
		labels[key] = value;
	}
	return { labels };
}

/** Labels as text, by key: env=prod, db. */
export function labelsText(labels: Record<string, string>): string {
	return Object.entries(labels)
		.sort(([a], [b]) => (a < b ? -1 : 1))
		.map(([k, v]) => (v === "" ? k : `${k}=${v}`))
		.join(", ");
}

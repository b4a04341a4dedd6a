// What would act on a screen instead of standing on it: C0 and C1 controls, marks of direction (Trojan Source), zero-width
// and other invisible ones, line separators, lone surrogates, the replacement of undecodable bytes stays as it is.
const acting =
	// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
	/[\u0000-\u0008\u000a-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202f\u2060-\u206f\ufeff\ufff9-\ufffb]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;

const short: Record<string, string> = { "\n": "\\n", "\r": "\\r", "\u001b": "\\e", "\u0000": "\\0" };

/** The text with every character that would act (and not show) written as an escape: \e[31m, \u202e. A tab stays. */
export function visible(text: string): string {
	return text.replace(acting, (c) => short[c] ?? `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** Whether visible would change anything. */
export function acts(text: string): boolean {
	acting.lastIndex = 0;
	return acting.test(text);
}

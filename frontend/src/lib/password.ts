// Without 0 O, 1 l I: a password is sometimes read out.
const letters = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";

/** A password of random letters and digits, in groups: 24 of them are 139 bits. */
export function makePassword(length = 24, group = 6): string {
	let text = "";
	let n = 0;
	while (n < length) {
		for (const b of crypto.getRandomValues(new Uint8Array(64))) {
			// Numbers beyond the last whole round would favour the first letters.
			if (b >= 256 - (256 % letters.length) || n >= length) continue;
			if (n > 0 && n % group === 0) text += "-";
			text += letters[b % letters.length];
			n++;
		}
	}
	return text;
}

/** What stands below the field of a new password: what it takes, or how much of it is missing. */
export function passwordHint(password: string, least = 12): string {
	const missing = least - [...password].length;
	return password !== "" && missing > 0
		? `${missing} more ${missing === 1 ? "character" : "characters"}`
		: `${least} characters or more; four unusual words are easy to keep`;
}

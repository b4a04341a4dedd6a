import type { LogLine } from "../../api/types";
import { acts, visible } from "../../lib/escape";

/** The line as it is shown and copied: nothing in it acts. */
export function textOf(line: Pick<LogLine, "text">): string {
	return acts(line.text) ? visible(line.text) : line.text;
}

/** Puts a text into the clipboard; where the page came over plain HTTP the old way is the only one. */
export async function copyText(text: string): Promise<void> {
	if (navigator.clipboard) return navigator.clipboard.writeText(text);
	const area = document.createElement("textarea");
	area.value = text;
	area.style.position = "fixed";
	area.style.opacity = "0";
	document.body.append(area);
	area.select();
	const worked = document.execCommand("copy");
	area.remove();
	if (!worked) throw new Error("The browser did not let the page copy. Select the lines and copy them by key.");
}

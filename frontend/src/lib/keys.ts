// Inputs that one presses, and writes nothing into.
const pressed = new Set(["checkbox", "radio", "button", "submit"]);

/** Whether a key press belongs to what is being typed. */
export function isTyping(e: KeyboardEvent): boolean {
	const t = e.target;
	return (
		t instanceof HTMLElement &&
		(t.isContentEditable ||
			t instanceof HTMLTextAreaElement ||
			t instanceof HTMLSelectElement ||
			(t instanceof HTMLInputElement && !pressed.has(t.type)))
	);
}

/** Puts the focus into the page's filter: the element with data-filter. */
export function focusFilter(): boolean {
	const filter = document.querySelector<HTMLElement>("[data-filter]");
	filter?.focus();
	if (filter instanceof HTMLInputElement) filter.select();
	return filter !== null;
}

export const isMac = typeof navigator !== "undefined" && /Mac|iPhone|iPad/.test(navigator.platform);
export const modKey = isMac ? "⌘" : "Ctrl";

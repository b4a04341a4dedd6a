import "@testing-library/jest-dom/vitest";
import { cleanup, configure } from "@testing-library/react";
import { afterEach } from "vitest";

afterEach(cleanup);
// A busy machine is slow, not wrong.
configure({ asyncUtilTimeout: 5000 });

// jsdom has neither; Mantine asks for both.
window.matchMedia ??= (query: string) =>
	({
		matches: false,
		media: query,
		onchange: null,
		addEventListener() {},
		removeEventListener() {},
		addListener() {},
		removeListener() {},
		dispatchEvent: () => false,
	}) as MediaQueryList;

class NoResize {
	observe() {}
	unobserve() {}
	disconnect() {}
}
window.ResizeObserver ??= NoResize;

// Nor fonts that load; a textarea that grows asks for them.
if (!document.fonts) Object.defineProperty(document, "fonts", { value: new EventTarget() });

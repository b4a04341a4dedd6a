import { useEffect } from "react";
import { signal } from "../lib/signal";

/** Something a page can do, offered in the command palette while the page is open. */
export interface Action {
	id: string;
	label: string;
	description?: string;
	/** A key that does it while nothing is typed. */
	hotkey?: string;
	/** Its key alone does it: the palette does not offer it. */
	quiet?: boolean;
	run: () => void;
}

export const pageActions = signal<readonly Action[]>([]);
export const paletteOpen = signal(false);
/** What was typed after the palette was asked for and before it was there. */
export const typedEarly = signal("");
export const helpOpen = signal(false);

/** Offers the actions while the component is mounted. Memoize the list. */
export function useActions(actions: readonly Action[]) {
	useEffect(() => {
		pageActions.set([...pageActions.get(), ...actions]);
		return () => pageActions.set(pageActions.get().filter((a) => !actions.includes(a)));
	}, [actions]);
}

import { useCallback, useState } from "react";
import { columns, usual } from "./columns";

const key = "restic-manager-columns";

/** The columns that this person chose on this device, and what chooses others. */
export function useColumns(): [readonly string[], (chosen: readonly string[]) => void] {
	const [chosen, set] = useState<readonly string[]>(() => read(localStorage.getItem(key)));
	const choose = useCallback((next: readonly string[]) => {
		set(next);
		try {
			localStorage.setItem(key, JSON.stringify(next));
		} catch {
			// A full or forbidden storage: the choice lasts as long as the page.
		}
	}, []);
	return [chosen, choose];
}

/** What is stored, whatever it is: unknown columns are left out, and nothing readable is the usual ones. */
export function read(stored: string | null): readonly string[] {
	try {
		const list: unknown = JSON.parse(stored ?? "null");
		if (Array.isArray(list)) return columns.map((c) => c.id).filter((id) => list.includes(id));
	} catch {
		// Not ours.
	}
	return usual;
}

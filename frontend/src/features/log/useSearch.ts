import { useCallback, useEffect, useReducer, useRef, useState } from "react";
import { mostLines, readLog } from "../../api/log";
import { Search } from "./search";

/** The search within a log: what is looked for, how far it is, and which match is shown. */
export function useSearch(jobID: string, total: number) {
	const [query, setQuery] = useState("");
	const [exact, setExact] = useState(false);
	const [search, setSearch] = useState<Search>();
	const [index, setIndex] = useState<number>();
	const [busy, setBusy] = useState(false);
	const [error, setError] = useState<unknown>();
	const [, tell] = useReducer((n: number) => n + 1, 0);
	const running = useRef<AbortController>(undefined);
	const halted = useRef(false);

	// A text of a line number is not looked for, and one that is still typed neither.
	useEffect(() => {
		const wanted = query !== "" && !/^:\d*$/.test(query);
		setIndex(undefined);
		setError(undefined);
		halted.current = false;
		running.current?.abort();
		if (!wanted) {
			setSearch(undefined);
			return;
		}
		const timer = setTimeout(() => setSearch(new Search(query, exact)), 250);
		return () => clearTimeout(timer);
	}, [query, exact]);

	useEffect(() => {
		if (!search || halted.current || search.searched >= total || search.full) return;
		const abort = new AbortController();
		running.current = abort;
		setBusy(true);
		search
			.run(
				total,
				(after, signal) => readLog(jobID, { after, limit: mostLines }, signal),
				abort.signal,
				() => {
					tell();
					setIndex((i) => (i === undefined && search.matches.length > 0 ? 0 : i));
				},
			)
			.catch((e) => !abort.signal.aborted && setError(e))
			.finally(() => running.current === abort && setBusy(false));
		return () => abort.abort();
	}, [search, total, jobID]);

	const cancel = useCallback(() => {
		halted.current = true;
		running.current?.abort();
		setBusy(false);
	}, []);

	const step = useCallback(
		(by: 1 | -1) => {
			const n = search?.matches.length ?? 0;
			if (n > 0) setIndex((i) => (i === undefined ? 0 : (i + by + n) % n));
		},
		[search],
	);

	return {
		query,
		setQuery,
		exact,
		setExact,
		active: search !== undefined,
		busy: busy && search !== undefined,
		error,
		progress: search && total > 0 ? Math.min(1, search.searched / total) : 0,
		count: search?.matches.length ?? 0,
		full: search?.full ?? false,
		index,
		/** The line of the match that is shown. */
		current: index === undefined ? undefined : search?.matches[index],
		step,
		cancel,
	};
}

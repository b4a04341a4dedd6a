import { type InfiniteData, keepPreviousData, useInfiniteQuery, useQuery, useQueryClient } from "@tanstack/react-query";
import { useCallback, useMemo, useRef } from "react";
import { type HostListing, type HostPage, readHosts } from "./fleet";
import { keys } from "./keys";
import type { Host } from "./types";

const pageSize = 200;
// What is on the screen is read again when it is older than this; GET /api/changes makes it sooner.
const old = 15_000;

/** A page of the list, and when it was read (ms). */
export interface ReadPage extends HostPage {
	at: number;
}

type Cursor = string | undefined;
type Pages = InfiniteData<ReadPage, Cursor>;

/**
 * The pages with those from `from` on read anew. The pages after them stay where the last new one ends with the same
 * host as before; else they would overlap it or leave a gap, and are read again when somebody scrolls there.
 */
export function splice(data: Pages, from: number, fresh: readonly { page: ReadPage; cursor: Cursor }[]): Pages {
	const last = fresh.at(-1)?.page;
	const was = data.pages[from + fresh.length - 1];
	const same = last?.next_cursor !== undefined && last.hosts.at(-1)?.id === was?.hosts.at(-1)?.id;
	const rest = same ? from + fresh.length : data.pages.length;
	const params = data.pageParams.slice(rest);
	if (same && params.length > 0) params[0] = last?.next_cursor;
	return {
		pages: [...data.pages.slice(0, from), ...fresh.map((f) => f.page), ...data.pages.slice(rest)],
		pageParams: [...data.pageParams.slice(0, from), ...fresh.map((f) => f.cursor), ...params],
	};
}

export interface Rows {
	hosts: readonly Host[];
	/** The page that each host is from. */
	pageOf: readonly number[];
}

/** The hosts of all pages in order. One that moved from page to page while they were read stands where it was read last. */
export function rowsOf(pages: readonly ReadPage[]): Rows {
	const newest = new Map<string, number>();
	pages.forEach((page, i) => {
		for (const { id } of page.hosts) {
			const other = newest.get(id);
			if (other === undefined || (pages[other]?.at ?? 0) < page.at) newest.set(id, i);
		}
	});
	const hosts: Host[] = [];
	const pageOf: number[] = [];
	pages.forEach((page, i) => {
		for (const host of page.hosts) {
			if (newest.get(host.id) !== i) continue;
			hosts.push(host);
			pageOf.push(i);
		}
	});
	return { hosts, pageOf };
}

export interface HostList extends Rows {
	/** Hosts that match, as the server counted last. */
	total: number;
	/** What the shared states of lists ask for. */
	query: {
		data: Rows | undefined;
		error: Error | null;
		isPending: boolean;
		dataUpdatedAt: number;
		refetch: () => unknown;
	};
	/** The rows are those of the listing before, until the new ones are there. */
	changing: boolean;
	/** More could not be read. */
	moreError: Error | null;
	readMore: () => void;
	/** Tells which rows are on the screen: what is near is read, what is old is read again. */
	see: (first: number, last: number) => void;
}

/**
 * A list of hosts that is read in pages while one scrolls. Only the pages on the screen follow what changes: with ten
 * thousand hosts all of them would be fifty calls for each backup that ends.
 */
export function useHostList(listing: HostListing): HostList {
	const queries = useQueryClient();
	const listKey = useMemo(() => ["host-pages", listing] as const, [listing]);
	const seen = useRef({ first: 0, last: 0 });

	const list = useInfiniteQuery({
		queryKey: listKey,
		queryFn: async ({ pageParam, signal }): Promise<ReadPage> => ({
			...(await readHosts(listing, pageParam, pageSize, signal)),
			at: Date.now(),
		}),
		initialPageParam: undefined as Cursor,
		getNextPageParam: (page) => page.next_cursor,
		placeholderData: keepPreviousData,
		// It is never stale as a whole: `live` renews what is on the screen.
		staleTime: "static",
		refetchInterval: false,
	});
	const rows = useMemo(() => rowsOf(list.data?.pages ?? []), [list.data]);
	const working = rows.hosts
		.slice(seen.current.first, seen.current.last + 1)
		.some((h) => h.active_jobs.some((j) => j.state !== "queued"));

	const live = useQuery({
		queryKey: [...keys.hosts, "live", listing] as const,
		queryFn: async ({ signal }) => {
			const data = queries.getQueryData<Pages>(listKey);
			if (!data) return Date.now();
			const now = rowsOf(data.pages);
			const from = now.pageOf[Math.min(seen.current.first, now.pageOf.length - 1)] ?? 0;
			const to = now.pageOf[Math.min(seen.current.last, now.pageOf.length - 1)] ?? 0;
			const fresh: { page: ReadPage; cursor: Cursor }[] = [];
			let cursor = data.pageParams[from];
			for (let i = from; i <= to; i++) {
				const page = { ...(await readHosts(listing, cursor, pageSize, signal)), at: Date.now() };
				fresh.push({ page, cursor });
				cursor = page.next_cursor;
				if (!cursor) break;
			}
			queries.setQueryData<Pages>(listKey, (was) => was && splice(was, from, fresh));
			return Date.now();
		},
		enabled: list.data !== undefined && !list.isPlaceholderData,
		initialData: 0,
		// Progress is not told by GET /api/changes but to those who follow the job.
		refetchInterval: working ? 3000 : 60_000,
	});

	const { hasNextPage, isFetchingNextPage, isFetchNextPageError, fetchNextPage, isPlaceholderData } = list;
	const { refetch: renew, isFetching: renewing } = live;
	const pages = list.data?.pages;
	const see = useCallback(
		(first: number, last: number) => {
			seen.current = { first, last };
			if (isPlaceholderData || !pages) return;
			if (hasNextPage && !isFetchingNextPage && !isFetchNextPageError && last >= rows.hosts.length - 60)
				void fetchNextPage();
			if (renewing) return;
			for (let i = rows.pageOf[first] ?? 0; i <= (rows.pageOf[last] ?? -1); i++)
				if (Date.now() - (pages[i]?.at ?? 0) > old) {
					void renew();
					break;
				}
		},
		[
			rows,
			pages,
			hasNextPage,
			isFetchingNextPage,
			isFetchNextPageError,
			isPlaceholderData,
			renewing,
			fetchNextPage,
			renew,
		],
	);

	const newest = pages?.reduce((a, b) => (b.at >= a.at ? b : a));
	return {
		...rows,
		total: Math.max(newest?.total ?? 0, rows.hosts.length),
		query: {
			data: list.data && rows,
			error: list.isFetchNextPageError ? live.error : (list.error ?? live.error),
			isPending: list.isPending,
			dataUpdatedAt: newest?.at ?? 0,
			refetch: list.data ? renew : list.refetch,
		},
		changing: list.isPlaceholderData,
		moreError: list.isFetchNextPageError ? list.error : null,
		readMore: () => void fetchNextPage(),
		see,
	};
}

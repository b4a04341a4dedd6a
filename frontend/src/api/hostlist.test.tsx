import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { act, renderHook, waitFor } from "@testing-library/react";
import type { ReactNode } from "react";
import { describe, expect, it, vi } from "vitest";
import { host } from "./host.fixture";
import { type ReadPage, rowsOf, splice, useHostList } from "./hostlist";
import { keys } from "./keys";

function page(names: string, next?: string, at = 1): ReadPage {
	return { hosts: names.split("").map((n) => host(n)), total: 9, at, ...(next && { next_cursor: next }) };
}

const names = (pages: readonly ReadPage[]) =>
	rowsOf(pages)
		.hosts.map((h) => h.name)
		.join("");

describe("rows", () => {
	it("stand where they were read last when they moved between two pages", () => {
		expect(names([page("abc", "c", 1), page("cde", "e", 2)])).toBe("abcde");
		expect(rowsOf([page("abc", "c", 1), page("cde", "e", 2)]).pageOf).toEqual([0, 0, 1, 1, 1]);
		expect(names([page("abd", "d", 3), page("cde", "e", 2)])).toBe("abdce");
	});
});

describe("pages read anew", () => {
	const data = {
		pages: [page("abc", "c"), page("def", "f"), page("ghi")],
		pageParams: [undefined, "c", "f"],
	};

	it("keep those after them where they end as before", () => {
		const next = splice(data, 1, [{ page: page("dxf", "f2"), cursor: "c" }]);
		expect(names(next.pages)).toBe("abcdxfghi");
		expect(next.pageParams).toEqual([undefined, "c", "f2"]);
	});

	it("drop those after them where they end otherwise: a host that came pushed another out", () => {
		const next = splice(data, 0, [{ page: page("aab", "b"), cursor: undefined }]);
		expect(next.pages).toHaveLength(1);
		expect(next.pageParams).toEqual([undefined]);
	});

	it("drop those after them where the list ends now", () => {
		expect(splice(data, 1, [{ page: page("de"), cursor: "c" }]).pages).toHaveLength(2);
	});
});

describe("the list", () => {
	// 1,000 hosts in pages of 200, by a server that counts its calls.
	function serve() {
		const calls: string[] = [];
		vi.stubGlobal(
			"fetch",
			vi.fn(async (request: Request) => {
				const q = new URL(request.url).searchParams;
				const from = Number(q.get("cursor") ?? 0);
				calls.push(String(from));
				const hosts = Array.from({ length: 200 }, (_, i) => host(`h${from + i}`));
				const next = from + 200 < 1000 ? { next_cursor: String(from + 200) } : {};
				return Response.json({ hosts, total: 1000, ...next });
			}),
		);
		return calls;
	}
	const queries = () => new QueryClient({ defaultOptions: { queries: { retry: false, staleTime: 15_000 } } });
	const listing = { sort: "name" as const };

	it("reads a page more when the screen comes near its end", async () => {
		const calls = serve();
		const client = queries();
		const wrapper = ({ children }: { children: ReactNode }) => (
			<QueryClientProvider client={client}>{children}</QueryClientProvider>
		);
		const { result } = renderHook(() => useHostList(listing), { wrapper });
		await waitFor(() => expect(result.current.hosts).toHaveLength(200));
		expect(result.current.total).toBe(1000);
		act(() => result.current.see(0, 30));
		expect(calls).toEqual(["0"]);
		act(() => result.current.see(120, 160));
		await waitFor(() => expect(result.current.hosts).toHaveLength(400));
		expect(calls).toEqual(["0", "200"]);
	});

	it("reads again what is on the screen, and nothing else, when something changed", async () => {
		const calls = serve();
		const client = queries();
		const wrapper = ({ children }: { children: ReactNode }) => (
			<QueryClientProvider client={client}>{children}</QueryClientProvider>
		);
		const { result } = renderHook(() => useHostList(listing), { wrapper });
		for (const [n, first] of [
			[200, 0],
			[400, 150],
			[600, 350],
		] as const) {
			act(() => result.current.see(first, first + 40));
			await waitFor(() => expect(result.current.hosts).toHaveLength(n));
		}
		act(() => result.current.see(450, 490));
		calls.length = 0;
		await act(() => client.invalidateQueries({ queryKey: keys.hosts }));
		expect(calls).toEqual(["400"]);
		// Also what makes everything stale: the feed came back after a silence.
		calls.length = 0;
		await act(() => client.invalidateQueries());
		expect(calls).toEqual(["400"]);
		expect(result.current.hosts).toHaveLength(600);
	});
});

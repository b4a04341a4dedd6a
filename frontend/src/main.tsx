import "@mantine/core/styles.css";
import "@mantine/notifications/styles.css";
import "./ui/styles.css";
import { localStorageColorSchemeManager, MantineProvider } from "@mantine/core";
import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { RouterProvider } from "@tanstack/react-router";
import { lazy, StrictMode, Suspense } from "react";
import { createRoot } from "react-dom/client";
import { followChanges } from "./api/changes";
import { Problem } from "./api/problem";
import { makeRouter } from "./router";
import { theme, variables } from "./ui/theme";

// Nothing is told before somebody did something: they come after the page.
const Toasts = lazy(() => import("./ui/Toasts"));

const queries = new QueryClient({
	defaultOptions: {
		queries: {
			// GET /api/changes says what is stale; this is for a server behind a proxy that swallows it.
			staleTime: 15_000,
			refetchInterval: 60_000,
			refetchOnWindowFocus: true,
			retry: (failures, error) => !(error instanceof Problem && error.status < 500) && failures < 3,
			retryDelay: (failures) => Math.min(8000, 700 * 2 ** failures),
		},
	},
});
const router = makeRouter(queries);
followChanges(queries);

const root = document.getElementById("root");
if (!root) throw new Error("the page has no #root");
createRoot(root).render(
	<StrictMode>
		<MantineProvider
			theme={theme}
			cssVariablesResolver={variables}
			defaultColorScheme="auto"
			colorSchemeManager={localStorageColorSchemeManager({ key: "restic-manager-scheme" })}
		>
			<QueryClientProvider client={queries}>
				<Suspense>
					<Toasts />
				</Suspense>
				<RouterProvider router={router} />
			</QueryClientProvider>
		</MantineProvider>
	</StrictMode>,
);

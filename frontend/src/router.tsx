import type { QueryClient } from "@tanstack/react-query";
import {
	createRootRouteWithContext,
	createRoute,
	createRouter,
	Link,
	parseSearchWith,
	redirect,
	stringifySearchWith,
} from "@tanstack/react-router";
import { Gate } from "./features/session/Gate";
import { Shell } from "./features/shell/Shell";
import { fleetSearch } from "./routes/fleet.search";
import { hostSearch } from "./routes/host.search";
import { jobSearch } from "./routes/job.search";
import { jobsSearch } from "./routes/jobs.search";
import { newPolicySearch, policySearch } from "./routes/policy.search";
import { settingsSearch } from "./routes/settings.search";
import { Page } from "./ui/Page";
import { Empty, Failure, Loading } from "./ui/States";

const root = createRootRouteWithContext<{ queries: QueryClient }>()({
	component: () => (
		<Gate>
			<Shell />
		</Gate>
	),
	notFoundComponent: NotFound,
});

const fleet = createRoute({ getParentRoute: () => root, path: "/", validateSearch: fleetSearch }).lazy(() =>
	import("./routes/fleet").then((m) => m.route),
);
const add = createRoute({ getParentRoute: () => root, path: "/add" }).lazy(() =>
	import("./routes/add").then((m) => m.route),
);
const host = createRoute({
	getParentRoute: () => root,
	path: "/hosts/$hostId",
	validateSearch: hostSearch,
}).lazy(() => import("./routes/host").then((m) => m.route));
const snapshot = createRoute({ getParentRoute: () => root, path: "/hosts/$hostId/snapshots/$snapshotId" }).lazy(() =>
	import("./routes/snapshot").then((m) => m.route),
);
const jobs = createRoute({ getParentRoute: () => root, path: "/jobs", validateSearch: jobsSearch }).lazy(() =>
	import("./routes/jobs").then((m) => m.route),
);
const job = createRoute({ getParentRoute: () => root, path: "/jobs/$jobId", validateSearch: jobSearch }).lazy(() =>
	import("./routes/job").then((m) => m.route),
);
const repositories = createRoute({ getParentRoute: () => root, path: "/repositories" }).lazy(() =>
	import("./routes/repositories").then((m) => m.route),
);
const newRepository = createRoute({ getParentRoute: () => root, path: "/repositories/new" }).lazy(() =>
	import("./routes/repository.edit").then((m) => m.fresh),
);
const repository = createRoute({ getParentRoute: () => root, path: "/repositories/$repositoryId" }).lazy(() =>
	import("./routes/repository").then((m) => m.route),
);
const editRepository = createRoute({ getParentRoute: () => root, path: "/repositories/$repositoryId/edit" }).lazy(() =>
	import("./routes/repository.edit").then((m) => m.route),
);
const policies = createRoute({ getParentRoute: () => root, path: "/policies" }).lazy(() =>
	import("./routes/policies").then((m) => m.route),
);
const importPolicies = createRoute({ getParentRoute: () => root, path: "/policies/import" }).lazy(() =>
	import("./routes/policies.import").then((m) => m.route),
);
const newPolicy = createRoute({
	getParentRoute: () => root,
	path: "/policies/new",
	validateSearch: newPolicySearch,
}).lazy(() => import("./routes/policy.edit").then((m) => m.fresh));
const policy = createRoute({
	getParentRoute: () => root,
	path: "/policies/$policyId",
	validateSearch: policySearch,
}).lazy(() => import("./routes/policy").then((m) => m.route));
const editPolicy = createRoute({ getParentRoute: () => root, path: "/policies/$policyId/edit" }).lazy(() =>
	import("./routes/policy.edit").then((m) => m.route),
);
const calendar = createRoute({ getParentRoute: () => root, path: "/calendar" }).lazy(() =>
	import("./routes/calendar").then((m) => m.route),
);
const settings = createRoute({
	getParentRoute: () => root,
	path: "/settings",
	beforeLoad: () => {
		throw redirect({ to: "/settings/$section", params: { section: "account" } });
	},
});
const section = createRoute({
	getParentRoute: () => root,
	path: "/settings/$section",
	validateSearch: settingsSearch,
}).lazy(() => import("./routes/settings").then((m) => m.route));

const tree = root.addChildren([
	fleet,
	add,
	host,
	snapshot,
	jobs,
	job,
	policies,
	importPolicies,
	newPolicy,
	policy,
	editPolicy,
	calendar,
	repositories,
	newRepository,
	repository,
	editRepository,
	settings,
	section,
]);

export function makeRouter(queries: QueryClient) {
	return createRouter({
		routeTree: tree,
		context: { queries },
		defaultPreload: "intent",
		// A job's log keeps its own place: what the router remembers of it is older than the line that a new URL names.
		scrollRestoration: ({ location }) => !location.pathname.startsWith("/jobs/"),
		defaultPendingComponent: () => <Loading rows={8} />,
		defaultErrorComponent: ({ error, reset }) => <Failure error={error} retry={reset} />,
		// Plain texts in the URL, as people type them: ?q=web&label=env=prod; no quotes around them.
		parseSearch: parseSearchWith((text) => text),
		stringifySearch: stringifySearchWith((value) => (Array.isArray(value) ? value.join(",") : String(value))),
	});
}

declare module "@tanstack/react-router" {
	interface Register {
		router: ReturnType<typeof makeRouter>;
	}
}

function NotFound() {
	return (
		<Page title="Not found">
			<Empty title="There is no such page">
				<Link to="/">To the fleet</Link>
			</Empty>
		</Page>
	);
}

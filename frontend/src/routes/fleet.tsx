import { createLazyRoute } from "@tanstack/react-router";
import { useCallback } from "react";
import { Fleet } from "../features/fleet/Fleet";
import type { SetView } from "../features/fleet/view";

export const route = createLazyRoute("/")({ component: View });

function View() {
	const view = route.useSearch();
	const navigate = route.useNavigate();
	const setView = useCallback<SetView>(
		(change, replace) =>
			void navigate({ to: "/", search: (was) => ({ ...was, ...change }), replace, resetScroll: false }),
		[navigate],
	);
	return <Fleet view={view} setView={setView} />;
}

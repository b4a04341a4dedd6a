import { createLazyRoute } from "@tanstack/react-router";
import { useCallback } from "react";
import { Settings } from "../features/settings/Settings";
import type { SettingsSearch } from "./settings.search";

export const route = createLazyRoute("/settings/$section")({ component: View });

function View() {
	const { section } = route.useParams();
	const search = route.useSearch();
	const navigate = route.useNavigate();
	const set = useCallback(
		(next: SettingsSearch) => void navigate({ search: (was) => ({ ...was, ...next }), replace: true }),
		[navigate],
	);
	return (
		<Settings
			section={section}
			search={search}
			set={set}
			go={(id) => void navigate({ to: "/settings/$section", params: { section: id }, search: {} })}
		/>
	);
}

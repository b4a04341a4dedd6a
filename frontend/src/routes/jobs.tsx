import { createLazyRoute } from "@tanstack/react-router";
import { Jobs } from "../features/jobs/Jobs";

export const route = createLazyRoute("/jobs")({ component: View });

function View() {
	const filter = route.useSearch();
	const navigate = route.useNavigate();
	return <Jobs filter={filter} change={(search) => void navigate({ to: "/jobs", search, replace: true })} />;
}

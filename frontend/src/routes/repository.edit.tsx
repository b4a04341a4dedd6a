import { createLazyRoute } from "@tanstack/react-router";
import { EditorPage } from "../features/repositories/EditorPage";

export const fresh = createLazyRoute("/repositories/new")({ component: New });
export const route = createLazyRoute("/repositories/$repositoryId/edit")({ component: Edit });

function New() {
	const navigate = fresh.useNavigate();
	return (
		<EditorPage
			saved={(r) => void navigate({ to: "/repositories/$repositoryId", params: { repositoryId: r.id }, replace: true })}
		/>
	);
}

function Edit() {
	const { repositoryId } = route.useParams();
	const navigate = route.useNavigate();
	return (
		<EditorPage
			key={repositoryId}
			id={repositoryId}
			saved={(r) => void navigate({ to: "/repositories/$repositoryId", params: { repositoryId: r.id } })}
		/>
	);
}

import { createLazyRoute } from "@tanstack/react-router";
import { useCallback } from "react";
import { RepositoryPage } from "../features/repositories/RepositoryPage";

export const route = createLazyRoute("/repositories/$repositoryId")({ component: View });

function View() {
	const { repositoryId } = route.useParams();
	const navigate = route.useNavigate();
	const edit = useCallback(
		() => void navigate({ to: "/repositories/$repositoryId/edit", params: { repositoryId } }),
		[navigate, repositoryId],
	);
	return (
		<RepositoryPage
			key={repositoryId}
			id={repositoryId}
			edit={edit}
			gone={() => void navigate({ to: "/repositories" })}
		/>
	);
}

import { createLazyRoute } from "@tanstack/react-router";
import { EditorPage } from "../features/policies/EditorPage";

export const fresh = createLazyRoute("/policies/new")({ component: New });
export const route = createLazyRoute("/policies/$policyId/edit")({ component: Edit });

function New() {
	const { imported } = fresh.useSearch();
	const navigate = fresh.useNavigate();
	return (
		<EditorPage
			key={imported}
			imported={imported}
			saved={(p) => void navigate({ to: "/policies/$policyId", params: { policyId: p.id }, replace: true })}
		/>
	);
}

function Edit() {
	const { policyId } = route.useParams();
	const navigate = route.useNavigate();
	return (
		<EditorPage
			key={policyId}
			id={policyId}
			saved={(p) => void navigate({ to: "/policies/$policyId", params: { policyId: p.id } })}
		/>
	);
}

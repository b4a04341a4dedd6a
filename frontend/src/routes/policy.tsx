import { createLazyRoute } from "@tanstack/react-router";
import { useCallback } from "react";
import { PolicyPage } from "../features/policies/PolicyPage";

export const route = createLazyRoute("/policies/$policyId")({ component: View });

function View() {
	const { policyId } = route.useParams();
	const { tab, outcome } = route.useSearch();
	const navigate = route.useNavigate();
	const edit = useCallback(
		() => void navigate({ to: "/policies/$policyId/edit", params: { policyId } }),
		[navigate, policyId],
	);
	return (
		<PolicyPage
			key={policyId}
			id={policyId}
			tab={tab ?? "machines"}
			outcome={outcome}
			choose={(to) =>
				void navigate({
					search: (now) => ({ ...now, ...to, ...(to.tab === "machines" && { tab: undefined }) }),
					replace: true,
					resetScroll: false,
				})
			}
			edit={edit}
			gone={() => void navigate({ to: "/policies" })}
		/>
	);
}

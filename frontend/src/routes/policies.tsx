import { createLazyRoute, useNavigate } from "@tanstack/react-router";
import { useCallback } from "react";
import { Policies } from "../features/policies/Policies";

export const route = createLazyRoute("/policies")({ component: View });

function View() {
	const navigate = useNavigate();
	const make = useCallback(() => void navigate({ to: "/policies/new" }), [navigate]);
	return <Policies make={make} />;
}

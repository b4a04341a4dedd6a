import { createLazyRoute, useNavigate } from "@tanstack/react-router";
import { useCallback } from "react";
import { Repositories } from "../features/repositories/Repositories";

export const route = createLazyRoute("/repositories")({ component: View });

function View() {
	const navigate = useNavigate();
	const make = useCallback(() => void navigate({ to: "/repositories/new" }), [navigate]);
	return <Repositories make={make} />;
}

import { createLazyRoute } from "@tanstack/react-router";
import { Page } from "../ui/Page";

export const route = createLazyRoute("/jobs")({ component: View });

function View() {
	return <Page title="jobs">{null}</Page>;
}

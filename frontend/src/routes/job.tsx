import { createLazyRoute } from "@tanstack/react-router";
import { Page } from "../ui/Page";

export const route = createLazyRoute("/jobs/$jobId")({ component: View });

function View() {
	return <Page title="job">{null}</Page>;
}

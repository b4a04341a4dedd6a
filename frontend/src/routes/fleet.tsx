import { createLazyRoute } from "@tanstack/react-router";
import { Page } from "../ui/Page";

export const route = createLazyRoute("/")({ component: View });

function View() {
	return <Page title="fleet">{null}</Page>;
}

import { createLazyRoute } from "@tanstack/react-router";
import { Page } from "../ui/Page";

export const route = createLazyRoute("/add")({ component: View });

function View() {
	return <Page title="add">{null}</Page>;
}

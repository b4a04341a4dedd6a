import { createLazyRoute } from "@tanstack/react-router";
import { Page } from "../ui/Page";

export const route = createLazyRoute("/settings/$section")({ component: View });

function View() {
	return <Page title="settings">{null}</Page>;
}

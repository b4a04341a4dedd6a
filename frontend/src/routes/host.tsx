import { createLazyRoute } from "@tanstack/react-router";
import { Page } from "../ui/Page";

export const route = createLazyRoute("/hosts/$hostId")({ component: View });

function View() {
	return <Page title="host">{null}</Page>;
}

import { createLazyRoute } from "@tanstack/react-router";
import { Page } from "../ui/Page";

export const route = createLazyRoute("/hosts/$hostId/snapshots/$snapshotId")({ component: View });

function View() {
	return <Page title="snapshot">{null}</Page>;
}

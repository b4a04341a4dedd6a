import { useQuery } from "@tanstack/react-query";
import { createLazyRoute } from "@tanstack/react-router";
import { mayAs, meQuery } from "../api/auth";
import { AddMachine } from "../features/add/AddMachine";
import { Page } from "../ui/Page";
import { Empty, Loading } from "../ui/States";

export const route = createLazyRoute("/add")({ component: View });

function View() {
	const { data: me } = useQuery(meQuery);
	if (mayAs(me?.role, "operator")) return <AddMachine />;
	return (
		<Page title="Add a machine" narrow>
			{me ? (
				<Empty title="Operators add machines">
					You can look at everything, but not change it. An administrator can give you the role of an operator.
				</Empty>
			) : (
				<Loading />
			)}
		</Page>
	);
}

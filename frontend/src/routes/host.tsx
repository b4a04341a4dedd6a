import { createLazyRoute } from "@tanstack/react-router";
import { HostPage } from "../features/hosts/HostPage";
import { Snapshots } from "../features/snapshots/Snapshots";
import type { HostSearch } from "./host.search";

export const route = createLazyRoute("/hosts/$hostId")({ component: View });

function View() {
	const { hostId } = route.useParams();
	const search = route.useSearch();
	const navigate = route.useNavigate();
	const choose = (to: Partial<HostSearch>) =>
		void navigate({ search: (now) => ({ ...now, ...to }), replace: true, resetScroll: false });
	return (
		<HostPage
			key={hostId}
			hostID={hostId}
			tab={search.tab ?? "snapshots"}
			setTab={(tab) => choose({ tab: tab === "snapshots" ? undefined : tab })}
			jobs={{ state: search.state, kind: search.kind, day: search.day }}
			chooseJobs={choose}
			snapshots={(host, action) => (
				<Snapshots
					host={host}
					choice={{ path: search.path, tag: search.tag, all: search.all }}
					choose={choose}
					action={action}
				/>
			)}
			gone={() => void navigate({ to: "/" })}
		/>
	);
}

import { createLazyRoute } from "@tanstack/react-router";
import { SnapshotPage } from "../features/snapshots/SnapshotPage";

export const route = createLazyRoute("/hosts/$hostId/snapshots/$snapshotId")({ component: View });

function View() {
	const { hostId, snapshotId } = route.useParams();
	const navigate = route.useNavigate();
	return (
		<SnapshotPage
			key={snapshotId}
			hostID={hostId}
			snapshotID={snapshotId}
			follow={(jobId) => void navigate({ to: "/jobs/$jobId", params: { jobId } })}
		/>
	);
}

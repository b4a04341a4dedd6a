import { createLazyRoute, useLocation } from "@tanstack/react-router";
import { useMemo } from "react";
import { isOpen } from "../api/types";
import { Job } from "../features/jobs/Job";
import { Log } from "../features/log/Log";
import { formatHash, parseHash } from "../features/log/window";
import { kindWords } from "../lib/words";

export const route = createLazyRoute("/jobs/$jobId")({ component: View });

function View() {
	const { jobId } = route.useParams();
	const { log } = route.useSearch();
	const hash = useLocation({ select: (l) => l.hash });
	const navigate = route.useNavigate();
	const chosen = useMemo(() => parseHash(hash), [hash]);
	const full = log === "full";
	const stay = {
		to: "/jobs/$jobId",
		params: { jobId },
		replace: true,
		resetScroll: false,
		hashScrollIntoView: false,
	} as const;
	return (
		<Job
			key={jobId}
			id={jobId}
			full={full}
			log={(job) => (
				<Log
					jobID={job.id}
					received={job.log_received}
					written={job.log_lines}
					live={
						job.state === "running" ||
						job.state === "accepted" ||
						(!isOpen(job.state) && Boolean(job.started_at) && !job.log_complete && !job.log_problem)
					}
					problem={job.log_problem || (job.state === "queued" ? "The log begins when restic starts." : undefined)}
					label={`Log of the ${kindWords[job.kind].name.toLowerCase()} of ${job.host_name}`}
					chosen={chosen}
					choose={(lines) => void navigate({ ...stay, search: { log }, hash: lines ? formatHash(lines) : "" })}
					full={full}
					setFull={(on) => void navigate({ ...stay, search: { log: on ? "full" : undefined }, hash })}
				/>
			)}
		/>
	);
}

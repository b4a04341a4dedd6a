import { SegmentedControl } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import { newestJobsQuery } from "../../api/jobs";
import type { Repository } from "../../api/repositories";
import type { Job } from "../../api/types";
import { duration } from "../../lib/time";
import { kindWords, reasonOf } from "../../lib/words";
import { Ago } from "../../ui/Ago";
import { StateBadge } from "../../ui/Badge";
import { Foreign } from "../../ui/Foreign";
import { Card } from "../../ui/Page";
import rows from "../../ui/Rows.module.css";
import { Empty, Shown } from "../../ui/States";

const kinds = ["prune", "check", "forget"] as const;
type Kind = (typeof kinds)[number];

/** The prunes, checks and forgets of one repository, the newest first. */
export function History({ repository: r }: { repository: Repository }) {
	const [kind, setKind] = useState<Kind>("prune");
	const query = useQuery(newestJobsQuery({ repository: r.id, kind }));
	return (
		<Card
			flush
			title="What was done to it"
			actions={
				<SegmentedControl
					size="xs"
					aria-label="Which kind of work"
					value={kind}
					onChange={(v) => setKind(v as Kind)}
					data={kinds.map((k) => ({ value: k, label: `${kindWords[k].name}s` }))}
				/>
			}
		>
			<Shown
				query={query}
				rows={3}
				isEmpty={(d) => d.jobs.length === 0}
				empty={<Empty title={`No ${kindWords[kind].name.toLowerCase()} yet`}>{kindWords[kind].about}</Empty>}
			>
				{(d) => (
					<div className={rows.scroll}>
						<table className={rows.rows}>
							<thead>
								<tr>
									<th scope="col">When</th>
									<th scope="col">State</th>
									<th scope="col">By</th>
									<th scope="col" className={rows.number}>
										Took
									</th>
									<th scope="col">Why</th>
								</tr>
							</thead>
							<tbody>
								{d.jobs.slice(0, 20).map((j) => (
									<Row key={j.id} job={j} />
								))}
							</tbody>
						</table>
					</div>
				)}
			</Shown>
		</Card>
	);
}

function Row({ job: j }: { job: Job }) {
	return (
		<tr>
			<td data-line style={{ whiteSpace: "nowrap" }}>
				<Link to="/jobs/$jobId" params={{ jobId: j.id }} data-row>
					<Ago at={j.ended_at ?? j.started_at ?? j.queued_at} />
				</Link>
			</td>
			<td>
				<StateBadge state={j.state} />
			</td>
			<td>
				<Foreign>{j.host_name}</Foreign>
			</td>
			<td className={rows.number} data-name="took">
				{j.elapsed_seconds === undefined ? "–" : duration(j.elapsed_seconds)}
			</td>
			<td>{j.error && <Foreign>{reasonOf(j)}</Foreign>}</td>
		</tr>
	);
}

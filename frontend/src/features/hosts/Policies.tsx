import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { type HostPolicies, hostPoliciesQuery, ticksQuery } from "../../api/policies";
import type { Host } from "../../api/types";
import type { Tone } from "../../lib/words";
import { Badge } from "../../ui/Badge";
import { AssignmentCells, DueTimes } from "../../ui/Due";
import { Foreign } from "../../ui/Foreign";
import { Note } from "../../ui/Note";
import { Older } from "../../ui/Older";
import { Card } from "../../ui/Page";
import rows from "../../ui/Rows.module.css";
import { Empty, Shown } from "../../ui/States";

/** Which policies apply to the machine, and what became of their due times. */
export function Policies({ host }: { host: Host }) {
	const query = useQuery(hostPoliciesQuery(host.id));
	const ticks = useInfiniteQuery(ticksQuery({ host_id: host.id }));
	return (
		<>
			<Card flush title="Policies">
				<Shown
					query={query}
					rows={3}
					isEmpty={(d) => d.policies.length === 0}
					empty={
						<Empty title="No policy applies to this machine" action={<Link to="/policies">To the policies</Link>}>
							It is backed up only when somebody orders it. A policy names machines by their labels, or by name.
						</Empty>
					}
				>
					{(d) => <Applies data={d} host={host} />}
				</Shown>
			</Card>
			<Card flush title="Due times">
				<Shown
					query={ticks}
					rows={4}
					isEmpty={(d) => d.pages[0]?.ticks.length === 0}
					empty={<Empty title="Nothing was due here yet" />}
				>
					{(d) => (
						<>
							<DueTimes ticks={d.pages.flatMap((page) => page.ticks)} policies />
							{ticks.hasNextPage && (
								<div className={rows.foot}>
									<Older query={ticks} />
								</div>
							)}
						</>
					)}
				</Shown>
			</Card>
		</>
	);
}

/** Whether the machine goes by what is set here, in a sentence. */
export function keptBy(
	d: Pick<HostPolicies, "keeps_schedule" | "schedule_version" | "schedule_known">,
	host: Pick<Host, "status">,
): { tone: Exclude<Tone, "idle">; text: string } {
	const away = host.status !== "online";
	if (!d.keeps_schedule)
		return {
			tone: "info",
			text: "The server keeps its schedule: its agent does not do so itself. While the server is away, nothing begins. A newer agent would.",
		};
	if (d.schedule_known >= d.schedule_version)
		return {
			tone: "ok",
			text: "Its agent keeps the schedule itself, also while the server is away, and has the newest one.",
		};
	if (d.schedule_known === 0)
		return {
			tone: away ? "warn" : "info",
			text: away
				? "Its agent does not have the schedule yet: it is not online, and begins nothing by itself until it was."
				: "Its agent gets the schedule with its next call.",
		};
	return {
		tone: away ? "warn" : "info",
		text: away
			? "Its agent goes by an older schedule: it has not been heard of since it was changed, and follows it once it is back."
			: "Its agent goes by an older schedule, and gets the new one with its next call.",
	};
}

function Applies({ data, host }: { data: HostPolicies; host: Host }) {
	const kept = keptBy(data, host);
	return (
		<>
			<div style={{ padding: "10px 16px 2px" }}>
				<Note tone={kept.tone}>{kept.text}</Note>
			</div>
			<div className={rows.scroll}>
				<table className={rows.rows}>
					<thead>
						<tr>
							<th scope="col">Policy</th>
							<th scope="col">Why it applies</th>
							<th scope="col">Problem</th>
							<th scope="col">Next</th>
							<th scope="col">Last due time</th>
						</tr>
					</thead>
					<tbody>
						{data.policies.map((p) => (
							<tr key={p.policy.id}>
								<td data-line>
									<Link to="/policies/$policyId" params={{ policyId: p.policy.id }} data-row>
										<Foreign>{p.policy.name}</Foreign>
									</Link>{" "}
									{!p.policy.enabled && <Badge tone="idle">Off</Badge>}
								</td>
								<AssignmentCells of={p} />
							</tr>
						))}
					</tbody>
				</table>
			</div>
		</>
	);
}

import { Link } from "@tanstack/react-router";
import type { Tick } from "../api/policies";
import { exact } from "../lib/time";
import { outcomeWords, sentence } from "../lib/words";
import { Ago } from "./Ago";
import { Badge } from "./Badge";
import { Foreign } from "./Foreign";
import rows from "./Rows.module.css";

export function OutcomeBadge({ outcome }: { outcome: Tick["outcome"] }) {
	const w = outcomeWords[outcome];
	return (
		<Badge tone={w.tone} title={w.about}>
			{w.name}
		</Badge>
	);
}

/** The outcome of one due time and when that was; a link to its job where there is one. */
function LastDue({ tick }: { tick: Tick | undefined }) {
	if (!tick) return <span className={rows.muted}>none yet</span>;
	return (
		<span title={tick.why ? sentence(tick.why) : undefined}>
			<OutcomeBadge outcome={tick.outcome} />{" "}
			{tick.job_id ? (
				<Link to="/jobs/$jobId" params={{ jobId: tick.job_id }} className={rows.above}>
					<Ago at={tick.due_at} />
				</Link>
			) : (
				<Ago at={tick.due_at} />
			)}
		</span>
	);
}

interface Assignment {
	why: string;
	problem: string;
	next_due_at?: string;
	last_tick?: Tick;
}

/** The cells of a policy at a machine: why it applies, what is wrong, what is next, what was last. */
export function AssignmentCells({ of: a }: { of: Assignment }) {
	return (
		<>
			<td>
				<Foreign>{a.why}</Foreign>
			</td>
			<td data-line>
				{a.problem && (
					<>
						<Badge tone="bad">Cannot run</Badge> <Foreign>{sentence(a.problem)}</Foreign>
					</>
				)}
			</td>
			<td data-name="next">
				<Ago at={a.next_due_at} never="–" />
			</td>
			<td>
				<LastDue tick={a.last_tick} />
			</td>
		</>
	);
}

/** Due times in rows: what became of each, and why. */
export function DueTimes({ ticks, policies, hosts }: { ticks: readonly Tick[]; policies?: boolean; hosts?: boolean }) {
	return (
		<div className={rows.scroll}>
			<table className={rows.rows}>
				<thead>
					<tr>
						<th scope="col">Due</th>
						<th scope="col">Outcome</th>
						{policies && <th scope="col">Policy</th>}
						{hosts && <th scope="col">Machine</th>}
						<th scope="col">Why</th>
						<th scope="col">Job</th>
					</tr>
				</thead>
				<tbody>
					{ticks.map((t) => (
						<tr key={`${t.policy_id} ${t.host_id} ${t.due_at}`}>
							<td style={{ whiteSpace: "nowrap" }} data-line>
								<time dateTime={t.due_at}>{exact(t.due_at)}</time>{" "}
								<span className={rows.small}>
									<Ago at={t.due_at} />
								</span>
							</td>
							<td>
								<OutcomeBadge outcome={t.outcome} />
							</td>
							{policies && (
								<td>
									<Link to="/policies/$policyId" params={{ policyId: t.policy_id }}>
										<Foreign>{t.policy_name}</Foreign>
									</Link>
								</td>
							)}
							{hosts && (
								<td>
									<Link to="/hosts/$hostId" params={{ hostId: t.host_id }}>
										<Foreign>{t.host_name}</Foreign>
									</Link>
								</td>
							)}
							<td data-line>{t.why ? <Foreign>{sentence(t.why)}</Foreign> : ""}</td>
							<td>
								{t.job_id ? (
									<Link to="/jobs/$jobId" params={{ jobId: t.job_id }}>
										{t.outcome === "coalesced" ? "the one that stood for it" : "its job"}
									</Link>
								) : (
									""
								)}
							</td>
						</tr>
					))}
				</tbody>
			</table>
		</div>
	);
}

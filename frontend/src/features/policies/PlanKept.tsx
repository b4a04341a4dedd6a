import type { Plan } from "../../api/policies";
import { count } from "../../lib/bytes";
import { sentence } from "../../lib/words";
import { Foreign } from "../../ui/Foreign";
import { Note } from "../../ui/Note";
import rows from "../../ui/Rows.module.css";
import classes from "./Policies.module.css";

type Retention = NonNullable<Plan["retention"]>;

/** How many more, or fewer, would go than by the rule as it is. */
function against(removed: number, before: number): string {
	if (removed === before) return removed === 0 ? "none goes" : "as many go as by the rule as it is";
	const n = count(Math.abs(removed - before));
	return removed > before
		? `${n} more than by the rule as it is would go`
		: `${n} fewer than by the rule as it is would go`;
}

/** What a changed rule would keep of the snapshots that there are. */
export function PlanKept({ kept: k }: { kept: Retention }) {
	const told = k.hosts.filter((h) => h.removed !== h.removed_before || h.removed > 0);
	return (
		<>
			<p className={classes.about}>
				It keeps <b>{count(k.kept)}</b> of {count(k.snapshots)} snapshots at{" "}
				{k.host_count === 1 ? "one machine" : `${count(k.host_count)} machines`}; {against(k.removed, k.removed_before)}
				.
			</p>
			{k.removed > 0 && k.unmaintained_count > 0 && (
				<Note tone="info">
					{k.unmaintained_count === k.host_count
						? "The server does not maintain these machines' repositories: it removes nothing there."
						: `At ${count(k.unmaintained_count)} of them the server does not maintain the repository, and removes nothing.`}
				</Note>
			)}
			{told.length > 0 && (
				<div className={rows.scroll}>
					<table className={rows.rows}>
						<thead>
							<tr>
								<th scope="col">Machine</th>
								<th scope="col">Now</th>
								<th scope="col">Kept</th>
								<th scope="col">Goes</th>
								<th scope="col">Goes today</th>
							</tr>
						</thead>
						<tbody>
							{told.map((h) => (
								<tr key={h.host.id}>
									<th scope="row">
										<Foreign>{h.host.name}</Foreign>
										{h.frozen && <span className={classes.muted}> Nothing goes yet: {sentence(h.frozen)}</span>}
									</th>
									<td className={rows.number}>{count(h.snapshots)}</td>
									<td className={rows.number}>{count(h.kept)}</td>
									<td className={rows.number}>{count(h.removed)}</td>
									<td className={rows.number}>{count(h.removed_before)}</td>
								</tr>
							))}
						</tbody>
					</table>
				</div>
			)}
			{k.host_count > k.hosts.length && (
				<p className={classes.about}>
					The {count(k.hosts.length)} machines for which most changes, of {count(k.host_count)}.
				</p>
			)}
		</>
	);
}

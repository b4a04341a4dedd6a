import { Link } from "@tanstack/react-router";
import type { Repository, RepositoryContent } from "../../api/repositories";
import { count } from "../../lib/bytes";
import { Ago } from "../../ui/Ago";
import { Badge } from "../../ui/Badge";
import { Foreign } from "../../ui/Foreign";
import { Card } from "../../ui/Page";
import rows from "../../ui/Rows.module.css";
import { Empty } from "../../ui/States";

/** What restic has made at the repository's place, or places: how full, how old what is known of it, when what is due. */
export function Contents({ repository: r }: { repository: Repository; operator: boolean }) {
	const contents = r.contents ?? [];
	return (
		<Card flush title={r.per_host ? "What it holds, machine by machine" : "What it holds"}>
			{contents.length === 0 ? (
				<Empty title="Nothing is known of it yet">
					What it holds is read after each backup, and by Test from a machine.
				</Empty>
			) : (
				<div className={rows.scroll}>
					<table className={rows.rows}>
						<thead>
							<tr>
								<th scope="col">{r.per_host ? "Machine" : "Repository"}</th>
								<th scope="col" className={rows.number}>
									Snapshots
								</th>
								<th scope="col">Listed</th>
								<th scope="col">Removed</th>
								<th scope="col">Pruned</th>
								<th scope="col">Verified in full</th>
								<th scope="col">Due next</th>
							</tr>
						</thead>
						<tbody>
							{contents.map((c) => (
								<Row key={c.repository_id} content={c} maintained={r.maintenance.enabled === true} />
							))}
						</tbody>
					</table>
					{contents.length === 100 && <div className={rows.foot}>These are the first hundred.</div>}
				</div>
			)}
		</Card>
	);
}

/** The work that is due first. */
export function dueNext(c: RepositoryContent): { name: string; at: string } | undefined {
	return [
		{ name: "Remove", at: c.next_forget_at },
		{ name: "Prune", at: c.next_prune_at },
		{ name: "Verify", at: c.next_check_at },
	]
		.filter((d): d is { name: string; at: string } => d.at !== undefined)
		.sort((a, b) => Date.parse(a.at) - Date.parse(b.at))[0];
}

function Row({ content: c, maintained }: { content: RepositoryContent; maintained: boolean }) {
	const next = dueNext(c);
	return (
		<tr>
			<td data-line>
				{c.host ? (
					<Link to="/hosts/$hostId" params={{ hostId: c.host.id }}>
						<Foreign>{c.host.name}</Foreign>
					</Link>
				) : (
					<code className="rm-mono">{c.repository_id.slice(0, 12)}</code>
				)}
				{c.frozen && (
					<>
						{" "}
						<Badge tone="bad" title={c.frozen}>
							Frozen
						</Badge>
					</>
				)}
			</td>
			<td className={rows.number} data-name="snapshots">
				{count(c.snapshot_count)}
			</td>
			<td data-name="listed">
				<Ago at={c.refreshed_at} />
			</td>
			<td data-name="removed">
				<Ago at={c.last_forget_at} />
			</td>
			<td data-name="pruned">
				<Ago at={c.last_prune_at} />
			</td>
			<td data-name="verified">
				{c.fully_checked_at ? (
					<Ago at={c.fully_checked_at} />
				) : c.checked_parts > 0 ? (
					<span className="rm-numbers">
						{c.checked_parts} of {c.parts} parts
					</span>
				) : (
					<Ago at={undefined} />
				)}
			</td>
			<td data-name="due">
				{next && maintained ? (
					<>
						{next.name} <Ago at={next.at} />
					</>
				) : (
					<span className={rows.muted}>–</span>
				)}
			</td>
		</tr>
	);
}

import { Button } from "@mantine/core";
import { IconDatabase, IconPlus } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useMemo } from "react";
import { mayAs, meQuery } from "../../api/auth";
import { type Repository, repositoriesQuery } from "../../api/repositories";
import { bytes, count } from "../../lib/bytes";
import { backends } from "../../lib/place";
import { Ago, useNow } from "../../ui/Ago";
import { useActions } from "../../ui/actions";
import { Badge } from "../../ui/Badge";
import { Foreign } from "../../ui/Foreign";
import { Card, Page } from "../../ui/Page";
import rows from "../../ui/Rows.module.css";
import { Empty, Shown } from "../../ui/States";
import { Growth } from "./Growth";
import { needsOf } from "./words";

/** The repositories that the server holds. */
export function Repositories({ make }: { make: () => void }) {
	const { data: me } = useQuery(meQuery);
	const operator = mayAs(me?.role, "operator");
	const query = useQuery(repositoriesQuery);
	useActions(
		useMemo(() => (operator ? [{ id: "new", label: "New repository", hotkey: "n", run: make }] : []), [operator, make]),
	);
	const fresh = operator && (
		<Button leftSection={<IconPlus size={16} />} renderRoot={(props) => <Link to="/repositories/new" {...props} />}>
			New repository
		</Button>
	);
	return (
		<Page
			title="Repositories"
			subtitle="Where backups go: set up once, used by policies and machines"
			actions={query.data && query.data.repositories.length > 0 && fresh}
		>
			<Card flush label="Repositories">
				<Shown
					query={query}
					isEmpty={(d) => d.repositories.length === 0}
					empty={
						<Empty icon={<IconDatabase size={30} stroke={1.4} />} title="No repository is set up here" action={fresh}>
							A machine may bring one in its own agent.yaml, or be given one by hand. One that stands here is set up
							once for many machines, with its credentials, its recovery kit and its maintenance.
						</Empty>
					}
				>
					{(d) => <List repositories={d.repositories} />}
				</Shown>
			</Card>
			{(query.data?.repositories.length ?? 0) > 0 && <Growth title="All together" />}
		</Page>
	);
}

function List({ repositories }: { repositories: readonly Repository[] }) {
	const now = useNow();
	return (
		<div className={rows.scroll}>
			<table className={rows.rows}>
				<thead>
					<tr>
						<th scope="col">Name</th>
						<th scope="col">Kind</th>
						<th scope="col" className={rows.number}>
							Machines
						</th>
						<th scope="col" className={rows.number}>
							Policies
						</th>
						<th scope="col" className={rows.number}>
							Snapshots
						</th>
						<th scope="col" className={rows.number}>
							Size
						</th>
						<th scope="col">Verified</th>
						<th scope="col">State</th>
					</tr>
				</thead>
				<tbody>
					{repositories.map((r) => (
						<tr key={r.id}>
							<td data-line style={{ maxWidth: 420 }}>
								<Link to="/repositories/$repositoryId" params={{ repositoryId: r.id }} data-row>
									<Foreign>{r.name}</Foreign>
								</Link>
								<span className={`${rows.small} rm-cut`} style={{ display: "block" }}>
									<Foreign mono>{r.url}</Foreign>
								</span>
							</td>
							<td style={{ whiteSpace: "nowrap" }}>
								{backends[r.backend]?.name ?? r.backend}
								{r.per_host && <span className={rows.small}> · one a machine</span>}
							</td>
							<td className={rows.number} data-name="machines">
								{count(r.host_count)}
							</td>
							<td className={rows.number} data-name="policies">
								{count(r.policy_count)}
							</td>
							<td className={rows.number} data-name="snapshots">
								{count(r.snapshot_count)}
							</td>
							<td className={rows.number} data-name="size">
								{r.size_bytes > 0 ? bytes(r.size_bytes) : "–"}
							</td>
							<State repository={r} now={now} />
						</tr>
					))}
				</tbody>
			</table>
		</div>
	);
}

/** What it needs, and when all of it was last verified. */
function State({ repository: r, now }: { repository: Repository; now: number }) {
	return (
		<>
			<td data-name="verified" style={{ whiteSpace: "nowrap" }}>
				<Ago at={r.oldest_verified_at} never={r.snapshot_count > 0 ? "not in full" : "–"} />
			</td>
			<td>
				<span className={rows.chips}>
					{needsOf(r, now).map((n) => (
						<Badge key={n.id} tone={n.tone} title={n.title}>
							{n.short}
						</Badge>
					))}
					{r.append_only && (
						<Badge tone="ok" title="The machines may add to it, but not delete from it">
							Append-only
						</Badge>
					)}
				</span>
			</td>
		</>
	);
}

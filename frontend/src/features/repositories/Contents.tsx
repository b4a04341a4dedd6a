import { ActionIcon, Button, Menu } from "@mantine/core";
import { IconDots } from "@tabler/icons-react";
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import type { Repository, RepositoryContent } from "../../api/repositories";
import { useAdopt, useMaintain, useUnfreeze, type Work } from "../../api/retention";
import { count, counted } from "../../lib/bytes";
import { sentence } from "../../lib/words";
import { Ago } from "../../ui/Ago";
import { Badge } from "../../ui/Badge";
import { BarredItem } from "../../ui/Barred";
import { Confirm } from "../../ui/Confirm";
import { Foreign } from "../../ui/Foreign";
import { done, failed } from "../../ui/notify";
import { Card } from "../../ui/Page";
import rows from "../../ui/Rows.module.css";
import { Empty } from "../../ui/States";
import classes from "./Repositories.module.css";

interface Asked {
	what: "adopt" | "unfreeze" | "prune";
	content: RepositoryContent;
}

/** What restic has made at the repository's place, or places: how full, how old what is known of it, when what is due. */
export function Contents({ repository: r, operator }: { repository: Repository; operator: boolean }) {
	const contents = r.contents ?? [];
	const [asked, setAsked] = useState<Asked>();
	const adopt = useAdopt(r.id);
	const unfreeze = useUnfreeze(r.id);
	const maintain = useMaintain(r.id);
	const close = () => setAsked(undefined);
	const id = asked?.content.repository_id ?? "";
	function begin(repository_id: string, kind: Work) {
		return maintain.mutateAsync({ repository_id, kind }).then((d) => {
			if (d.nothing) done(sentence(d.nothing));
			else if (d.removal) done(`${counted(d.removal.id_count, "snapshot")} to remove: see Removals.`);
			else done(kind === "prune" ? "The prune is ordered." : "The check is ordered.");
		});
	}
	return (
		<>
			{contents
				.filter((c) => c.frozen)
				.map((c) => (
					<div key={c.repository_id} className={classes.need} data-tone="bad">
						<div>
							<h2>
								Frozen: <Foreign>{c.host?.name ?? c.repository_id.slice(0, 12)}</Foreign>{" "}
								<span className={rows.small}>
									<Ago at={c.frozen_at} />
								</span>
							</h2>
							<p>
								<Foreign>{sentence(c.frozen ?? "")}</Foreign> Until somebody has looked, nothing is removed. Is it right
								that they are there? Adopt them, and they count by their own time. Are they not to count? Go on without
								them.
							</p>
						</div>
						{operator && (
							<div className={classes.removalAsk}>
								<Button size="xs" variant="default" onClick={() => setAsked({ what: "adopt", content: c })}>
									Adopt…
								</Button>
								<Button size="xs" variant="default" onClick={() => setAsked({ what: "unfreeze", content: c })}>
									Go on without them…
								</Button>
							</div>
						)}
					</div>
				))}
			<Card flush title={r.per_host ? "What it holds, machine by machine" : "What it holds"}>
				{contents.length === 0 ? (
					<Empty title="Nothing is known of it yet">
						What it holds is read after each backup, and by Test from a machine.
					</Empty>
				) : (
					<>
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
										<th scope="col">
											<span className="rm-hidden">Actions</span>
										</th>
									</tr>
								</thead>
								<tbody>
									{contents.map((c) => (
										<Row
											key={c.repository_id}
											repository={r}
											content={c}
											operator={operator}
											ask={(what) => setAsked({ what, content: c })}
											begin={(kind) => void begin(c.repository_id, kind).catch((e) => failed("Nothing was begun", e))}
										/>
									))}
								</tbody>
							</table>
						</div>
						{contents.length === 100 && <div className={rows.foot}>These are the first hundred.</div>}
					</>
				)}
			</Card>
			<Confirm
				opened={asked?.what === "adopt"}
				close={close}
				title="Adopt unknown snapshots"
				action="Adopt them"
				run={async () => {
					const { adopted } = await adopt.mutateAsync(id);
					done(
						adopted > 0
							? `${counted(adopted, "snapshot counts", "snapshots count")} from now on.`
							: "There was none to adopt.",
					);
				}}
			>
				Snapshots that no backup ordered here made do not count: they are never removed by themselves, and keep no other
				one from being kept. Adopted, they count from now on by the time they carry themselves, and retention may remove
				them. Adopt those alone that you know.
			</Confirm>
			<Confirm
				opened={asked?.what === "unfreeze"}
				close={close}
				title="Go on without them"
				action="I have looked: go on"
				danger
				run={async () => {
					await unfreeze.mutateAsync(id);
					done("Retention goes on.");
				}}
			>
				<Foreign>{sentence(asked?.content.frozen ?? "")}</Foreign> What does not count now is left out and stays where
				it is; retention removes what the policies do not keep of the others. If a stranger may have written here, look
				first.
			</Confirm>
			<Confirm
				opened={asked?.what === "prune"}
				close={close}
				title="Prune now"
				action="Prune it"
				danger
				run={() => begin(id, "prune")}
			>
				The space of what no snapshot needs is freed, by the machine that maintains the repository. While it works
				nothing else writes there. Snapshots that were removed cannot be brought back after it.
			</Confirm>
		</>
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

interface RowProps {
	repository: Repository;
	content: RepositoryContent;
	operator: boolean;
	ask: (what: Asked["what"]) => void;
	begin: (kind: Work) => void;
}

function Row({ repository: r, content: c, operator, ask, begin }: RowProps) {
	const next = dueNext(c);
	const name = c.host?.name ?? c.repository_id.slice(0, 12);
	const barred = !operator
		? "Your account only reads."
		: r.runner
			? undefined
			: "No machine maintains it: choose one first.";
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
				{next && r.maintenance.enabled ? (
					<>
						{next.name} <Ago at={next.at} />
					</>
				) : (
					<span className={rows.muted}>–</span>
				)}
			</td>
			<td>
				<Menu width={270} withinPortal={false} withInitialFocusPlaceholder={false}>
					<Menu.Target>
						<ActionIcon size={24} aria-label={`More to do with the repository of ${name}`}>
							<IconDots size={16} />
						</ActionIcon>
					</Menu.Target>
					<Menu.Dropdown>
						<BarredItem reason={barred} about="What no policy keeps" onClick={() => begin("forget")}>
							Remove now
						</BarredItem>
						<BarredItem reason={barred} about="Frees its space" onClick={() => ask("prune")}>
							Prune now…
						</BarredItem>
						<BarredItem reason={barred} about="Reads the next part of the data" onClick={() => begin("check")}>
							Verify now
						</BarredItem>
						<Menu.Divider />
						<BarredItem
							reason={operator ? undefined : "Your account only reads."}
							about="Those that no backup ordered here made"
							onClick={() => ask("adopt")}
						>
							Adopt snapshots…
						</BarredItem>
					</Menu.Dropdown>
				</Menu>
			</td>
		</tr>
	);
}

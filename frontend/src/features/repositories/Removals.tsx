import { Button } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import type { Repository } from "../../api/repositories";
import { type Removal, removalsQuery, useDecide } from "../../api/retention";
import { count, counted } from "../../lib/bytes";
import { sentence, type Tone } from "../../lib/words";
import { Ago } from "../../ui/Ago";
import { Badge } from "../../ui/Badge";
import { Confirm } from "../../ui/Confirm";
import { Foreign } from "../../ui/Foreign";
import { done } from "../../ui/notify";
import { Card } from "../../ui/Page";
import rows from "../../ui/Rows.module.css";
import { Empty, Shown } from "../../ui/States";
import classes from "./Repositories.module.css";

const stateWords: Record<Removal["state"], { name: string; tone: Tone; about: string }> = {
	waiting: { name: "Waits for you", tone: "warn", about: "Nothing is removed before somebody says yes." },
	ordered: { name: "Ordered", tone: "info", about: "A job removes them." },
	done: { name: "Removed", tone: "ok", about: "The list of after it holds none of them." },
	failed: { name: "Failed", tone: "bad", about: "They are there as before." },
	refused: { name: "Refused", tone: "idle", about: "Somebody said no: they stay." },
};

/** What retention removed, and what waits for a person's yes. */
export function Removals({ repository, operator }: { repository: Repository; operator: boolean }) {
	const query = useQuery(removalsQuery(repository.id));
	const hosts = new Map((repository.contents ?? []).map((c) => [c.repository_id, c.host?.name]));
	return (
		<Card flush title="Removals">
			<Shown
				query={query}
				rows={3}
				isEmpty={(d) => d.removals.length === 0}
				empty={
					<Empty title="Nothing was removed yet">
						What the policies do not keep is removed when maintenance says so; each time stands here.
					</Empty>
				}
			>
				{(d) => (
					<ul className={classes.removals}>
						{d.removals.map((r) => (
							<Item key={r.id} removal={r} of={hosts.get(r.repository_id)} operator={operator} />
						))}
					</ul>
				)}
			</Shown>
		</Card>
	);
}

function Item({ removal: r, of, operator }: { removal: Removal; of: string | undefined; operator: boolean }) {
	const [asked, setAsked] = useState<"yes" | "no">();
	const decide = useDecide();
	const words = stateWords[r.state];
	const close = () => setAsked(undefined);
	return (
		<li className={classes.removal}>
			<div className={classes.removalHead}>
				<Badge tone={words.tone} title={words.about}>
					{words.name}
				</Badge>
				<span>
					<b className="rm-numbers">
						{count(r.id_count)} of {counted(r.total, "snapshot")}
					</b>
					{of && (
						<>
							{" of "}
							<Foreign>{of}</Foreign>
						</>
					)}
				</span>
				<span className={rows.muted}>
					<Ago at={r.made_at} />
				</span>
				{r.decided_by && (
					<span className={rows.muted}>
						{r.state === "refused" ? "no" : "yes"} of <Foreign>{r.decided_by}</Foreign> <Ago at={r.decided_at} />
					</span>
				)}
				{r.job_id && (
					<Link to="/jobs/$jobId" params={{ jobId: r.job_id }}>
						its job
					</Link>
				)}
				{r.state === "waiting" && operator && (
					<span className={classes.removalAsk}>
						<Button size="compact-sm" variant="default" onClick={() => setAsked("no")}>
							Keep them…
						</Button>
						<Button size="compact-sm" color="red" onClick={() => setAsked("yes")}>
							Remove them…
						</Button>
					</span>
				)}
			</div>
			{r.why && (
				<p className={classes.about}>
					<Foreign>{sentence(r.why)}</Foreign>
				</p>
			)}
			{r.snapshot_ids.length > 0 && (
				<details className={classes.about}>
					<summary>Which</summary>
					<Ids removal={r} />
				</details>
			)}
			<Confirm
				opened={asked === "yes"}
				close={close}
				title={`Remove ${counted(r.id_count, "snapshot")}`}
				action="Remove them"
				typed={String(r.id_count)}
				danger
				run={async () => {
					await decide.mutateAsync({ id: r.id, yes: true });
					done("The removal is ordered.");
				}}
			>
				{r.why && (
					<p style={{ margin: "0 0 8px" }}>
						<Foreign>{sentence(r.why)}</Foreign>
					</p>
				)}
				{counted(r.id_count, "snapshot")} of {count(r.total)} are removed, the oldest first. It cannot be undone once
				the repository is pruned.
				<Ids removal={r} />
			</Confirm>
			<Confirm
				opened={asked === "no"}
				close={close}
				title="Keep these snapshots"
				action="Keep them"
				run={async () => {
					await decide.mutateAsync({ id: r.id, yes: false });
					done("They stay.");
				}}
			>
				This removal ends. The next one asks again, unless what the policies keep is changed.
			</Confirm>
		</li>
	);
}

function Ids({ removal: r }: { removal: Removal }) {
	return (
		<ul className={classes.ids}>
			{r.snapshot_ids.map((id) => (
				<li key={id} className="rm-mono">
					{id.slice(0, 8)}
				</li>
			))}
			{r.id_count > r.snapshot_ids.length && <li>and {count(r.id_count - r.snapshot_ids.length)} more</li>}
		</ul>
	);
}

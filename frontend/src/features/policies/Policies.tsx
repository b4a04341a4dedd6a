import { Button, Switch } from "@mantine/core";
import { IconCalendar, IconCalendarTime, IconFileImport, IconPlus } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useMemo } from "react";
import { mayAs, meQuery } from "../../api/auth";
import { type LastDay, type Policy, policiesQuery, useWritePolicy } from "../../api/policies";
import { count, counted } from "../../lib/bytes";
import { shortWords } from "../../lib/cron";
import { Ago } from "../../ui/Ago";
import { useActions } from "../../ui/actions";
import { Badge } from "../../ui/Badge";
import { Foreign } from "../../ui/Foreign";
import { done, failed } from "../../ui/notify";
import { Card, Page } from "../../ui/Page";
import rows from "../../ui/Rows.module.css";
import { Empty, Shown } from "../../ui/States";
import { whoWords } from "./form";
import classes from "./Policies.module.css";

/** What is backed up, of whom, where and when. */
export function Policies({ make }: { make: () => void }) {
	const { data: me } = useQuery(meQuery);
	const operator = mayAs(me?.role, "operator");
	const query = useQuery(policiesQuery);
	useActions(
		useMemo(() => (operator ? [{ id: "new", label: "New policy", hotkey: "n", run: make }] : []), [operator, make]),
	);
	const fresh = operator && (
		<Button leftSection={<IconPlus size={16} />} renderRoot={(props) => <Link to="/policies/new" {...props} />}>
			New policy
		</Button>
	);
	return (
		<Page
			title="Policies"
			subtitle="What is backed up, of which machines, where to, when, and what is kept"
			actions={
				<>
					<Button
						variant="default"
						leftSection={<IconCalendar size={16} />}
						renderRoot={(props) => <Link to="/calendar" {...props} />}
					>
						Calendar
					</Button>
					{operator && (
						<Button
							variant="default"
							leftSection={<IconFileImport size={16} />}
							renderRoot={(props) => <Link to="/policies/import" {...props} />}
						>
							Import
						</Button>
					)}
					{query.data && query.data.policies.length > 0 && fresh}
				</>
			}
		>
			<Card flush label="Policies">
				<Shown
					query={query}
					isEmpty={(d) => d.policies.length === 0}
					empty={
						<Empty
							icon={<IconCalendarTime size={30} stroke={1.4} />}
							title="Nothing is backed up by itself yet"
							action={fresh}
						>
							A policy says what to back up, on which machines, where to and when. The machines keep its schedule by
							themselves, also while this server is away.
						</Empty>
					}
				>
					{(d) => <List policies={d.policies} operator={operator} />}
				</Shown>
			</Card>
		</Page>
	);
}

function List({ policies, operator }: { policies: readonly Policy[]; operator: boolean }) {
	return (
		<div className={rows.scroll}>
			<table className={rows.rows}>
				<thead>
					<tr>
						<th scope="col">Name</th>
						<th scope="col">Machines</th>
						<th scope="col">Where</th>
						<th scope="col">When</th>
						<th scope="col">Next</th>
						<th scope="col">Last 24 hours</th>
						<th scope="col">Problems</th>
						<th scope="col">On</th>
					</tr>
				</thead>
				<tbody>
					{policies.map((p) => (
						<tr key={p.id}>
							<td data-line>
								<Link to="/policies/$policyId" params={{ policyId: p.id }} data-row>
									<Foreign>{p.name}</Foreign>
								</Link>
							</td>
							<td>
								<span className="rm-numbers">{count(p.host_count)}</span>{" "}
								<span className={rows.small}>
									<Foreign>{whoWords(p.spec.hosts).replace(/^\d+ by name$/, "by name")}</Foreign>
								</span>
							</td>
							<td>
								{p.spec.repository_id ? (
									<Link
										to="/repositories/$repositoryId"
										params={{ repositoryId: p.spec.repository_id }}
										className={rows.above}
									>
										<Foreign>{p.repository_name || "a repository"}</Foreign>
									</Link>
								) : (
									<span className={rows.muted}>each machine’s own</span>
								)}
							</td>
							<td title={`${p.spec.schedule.cron} ${p.spec.schedule.zone}`}>
								{shortWords(p.spec.schedule.cron)} <span className={rows.small}>{p.spec.schedule.zone}</span>
							</td>
							<td data-name="next">
								{p.enabled ? <Ago at={p.next_due_at} never="–" /> : <span className={rows.muted}>off</span>}
							</td>
							<td data-line>
								<Day last={p.last} />
							</td>
							<td data-name="problems">
								{p.problem_count > 0 ? (
									<Badge tone="bad" title="Machines that it applies to and cannot run on">
										{counted(p.problem_count, "machine")}
									</Badge>
								) : (
									<span className={rows.muted}>none</span>
								)}
							</td>
							<td className={rows.above}>
								<OnOff policy={p} operator={operator} />
							</td>
						</tr>
					))}
				</tbody>
			</table>
		</div>
	);
}

/** What became of the due times of the last 24 hours. */
export function Day({ last }: { last: LastDay }) {
	const none = last.run + last.missed + last.skipped + last.coalesced === 0;
	if (none) return <span className={rows.muted}>nothing was due</span>;
	return (
		<span className={classes.day}>
			<span>{count(last.run + last.coalesced)} ran</span>
			{last.issues > 0 && <span data-tone="warn">{count(last.issues)} with issues</span>}
			{last.failed > 0 && <span data-tone="bad">{count(last.failed)} failed</span>}
			{last.missed > 0 && <span data-tone="bad">{count(last.missed)} missed</span>}
			{last.skipped > 0 && <span data-tone="warn">{count(last.skipped)} skipped</span>}
		</span>
	);
}

function OnOff({ policy: p, operator }: { policy: Policy; operator: boolean }) {
	const write = useWritePolicy();
	return (
		<Switch
			aria-label={`${p.name} is switched on`}
			size="sm"
			checked={write.isPending ? Boolean(write.variables?.enabled) : p.enabled}
			disabled={!operator || write.isPending}
			onChange={(e) =>
				write.mutate(
					{ id: p.id, version: p.version, name: p.name, enabled: e.currentTarget.checked, spec: p.spec },
					{
						onSuccess: (now) =>
							done(now.enabled ? `${now.name} is on.` : `${now.name} is off: nothing is due any more.`),
						onError: (error) => failed(`${p.name} was not changed`, error),
					},
				)
			}
		/>
	);
}

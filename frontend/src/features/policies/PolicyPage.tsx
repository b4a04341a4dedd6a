import { ActionIcon, Button, Checkbox, Group, Menu, Modal, Stack, Tabs, Text } from "@mantine/core";
import { IconDots, IconPencil, IconPlayerPlay, IconTrash } from "@tabler/icons-react";
import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useMemo, useState } from "react";
import { mayAs, meQuery } from "../../api/auth";
import {
	type Policy,
	policyHostsQuery,
	policyQuery,
	policyVersionsQuery,
	type Ran,
	scheduleQuery,
	ticksQuery,
	useDeletePolicy,
	useRunPolicy,
} from "../../api/policies";
import { messageOf } from "../../api/problem";
import { bytes, count, counted } from "../../lib/bytes";
import { shortWords } from "../../lib/cron";
import { duration } from "../../lib/time";
import { type Outcome, outcomeWords, sentence } from "../../lib/words";
import { Ago } from "../../ui/Ago";
import { useActions } from "../../ui/actions";
import { Badge } from "../../ui/Badge";
import { BarredButton, BarredItem } from "../../ui/Barred";
import { Confirm } from "../../ui/Confirm";
import { AssignmentCells, DueTimes } from "../../ui/Due";
import { Facts } from "../../ui/Facts";
import { Foreign } from "../../ui/Foreign";
import { FormEnd } from "../../ui/FormEnd";
import { Note } from "../../ui/Note";
import { done } from "../../ui/notify";
import { Older } from "../../ui/Older";
import { Card, Page } from "../../ui/Page";
import rows from "../../ui/Rows.module.css";
import { Empty, Shown } from "../../ui/States";
import { Changes } from "./Changes";
import { keepWords, whoWords } from "./form";
import { Day } from "./Policies";
import classes from "./Policies.module.css";
import { conditionWords, windowWords } from "./windowForm";

export type Tab = "machines" | "due" | "versions";

interface Props {
	id: string;
	tab: Tab;
	outcome: Outcome | undefined;
	choose: (to: { tab?: Tab; outcome?: Outcome }) => void;
	edit: () => void;
	gone: () => void;
}

/** One policy. */
export function PolicyPage({ id, ...props }: Props) {
	const query = useQuery(policyQuery(id));
	if (!query.data)
		return (
			<Page title="Policy" crumbs={<Crumb />}>
				<Shown query={query} rows={10}>
					{() => null}
				</Shown>
			</Page>
		);
	return <View policy={query.data} query={query} {...props} />;
}

export function Crumb() {
	return (
		<Link to="/policies" className="rm-link">
			Policies
		</Link>
	);
}

const readsOnly = "Your account only reads. Ask an operator.";

function View({
	policy: p,
	query,
	tab,
	outcome,
	choose,
	edit,
	gone,
}: Omit<Props, "id"> & { policy: Policy; query: Parameters<typeof Shown<Policy>>[0]["query"] }) {
	const { data: me } = useQuery(meQuery);
	const operator = mayAs(me?.role, "operator");
	const [dialog, setDialog] = useState<"run" | "delete">();
	const close = () => setDialog(undefined);
	const barred = operator ? undefined : readsOnly;
	const noRun = barred ?? (p.host_count === 0 ? "It applies to no machine." : undefined);
	useActions(
		useMemo(
			() =>
				operator
					? [
							{ id: "edit", label: `Edit ${p.name}`, hotkey: "e", run: edit },
							{ id: "run", label: `Run ${p.name} now`, hotkey: "b", run: () => setDialog("run") },
						]
					: [],
			[operator, p.name, edit],
		),
	);
	return (
		<Page
			title={p.name}
			heading={<Foreign>{p.name}</Foreign>}
			crumbs={<Crumb />}
			aside={
				<>
					<Badge tone={p.enabled ? "ok" : "idle"}>{p.enabled ? "On" : "Off"}</Badge>
					{p.problem_count > 0 && <Badge tone="bad">{counted(p.problem_count, "problem")}</Badge>}
				</>
			}
			subtitle={
				<>
					{counted(p.host_count, "machine")}, {shortWords(p.spec.schedule.cron)}{" "}
					<Foreign>{p.spec.schedule.zone}</Foreign>
					{p.enabled && p.next_due_at && (
						<>
							, next <Ago at={p.next_due_at} />
						</>
					)}
				</>
			}
			actions={
				<>
					<BarredButton
						variant="default"
						reason={noRun}
						leftSection={<IconPlayerPlay size={16} aria-hidden />}
						onClick={() => setDialog("run")}
					>
						Run now…
					</BarredButton>
					<BarredButton reason={barred} leftSection={<IconPencil size={16} aria-hidden />} onClick={edit}>
						Edit
					</BarredButton>
					<Menu width={280} withinPortal={false} withInitialFocusPlaceholder={false}>
						<Menu.Target>
							<ActionIcon variant="default" size={34} aria-label="More to do with this policy">
								<IconDots size={18} />
							</ActionIcon>
						</Menu.Target>
						<Menu.Dropdown>
							<BarredItem
								icon={<IconTrash size={16} />}
								danger
								reason={barred}
								about="Nothing is due any more; jobs and snapshots stay."
								onClick={() => setDialog("delete")}
							>
								Delete…
							</BarredItem>
						</Menu.Dropdown>
					</Menu>
				</>
			}
		>
			<Shown query={query}>{() => null}</Shown>
			<What policy={p} />
			<Tabs value={tab} onChange={(t) => choose({ tab: (t ?? "machines") as Tab })}>
				<Tabs.List>
					<Tabs.Tab value="machines">Machines</Tabs.Tab>
					<Tabs.Tab value="due">Due times</Tabs.Tab>
					<Tabs.Tab value="versions">Versions</Tabs.Tab>
				</Tabs.List>
				<Tabs.Panel value="machines" className={classes.panel}>
					<Machines id={p.id} />
				</Tabs.Panel>
				<Tabs.Panel value="due" className={classes.panel}>
					<Due id={p.id} outcome={outcome} choose={(o) => choose({ outcome: o })} />
				</Tabs.Panel>
				<Tabs.Panel value="versions" className={classes.panel}>
					<Versions id={p.id} />
				</Tabs.Panel>
			</Tabs>
			<RunDialog policy={p} opened={dialog === "run"} close={close} />
			<DeleteDialog policy={p} opened={dialog === "delete"} close={close} gone={gone} />
		</Page>
	);
}

function Texts({ all, most = 6 }: { all: readonly string[]; most?: number }) {
	return (
		<>
			{all.slice(0, most).map((t, i) => (
				<span key={t}>
					{i > 0 && ", "}
					<Foreign mono>{t}</Foreign>
				</span>
			))}
			{all.length > most && <span title={all.slice(most).join("\n")}> and {all.length - most} more</span>}
		</>
	);
}

/** A schedule in the server's words; in few of our own until they are there. */
function InWords({ cron, zone }: { cron: string; zone: string }) {
	const { data } = useQuery(scheduleQuery(cron, zone, 0));
	return data?.text ?? shortWords(cron);
}

/** What the policy says, in words. */
function What({ policy: p }: { policy: Policy }) {
	const { backup: b, schedule: s } = p.spec;
	return (
		<div className={classes.cards}>
			<Card title="Who and what">
				<Facts
					facts={[
						["Machines", <Foreign key="w">{whoWords(p.spec.hosts)}</Foreign>],
						["Paths", !b.stdin_hook && <Texts key="p" all={b.paths ?? []} />],
						["What the script writes", b.stdin_hook && <Texts key="d" all={[b.stdin_hook]} />],
						["File in the snapshot", b.stdin_name && <Texts key="n" all={[b.stdin_name]} />],
						["Scripts before", (b.hooks_before?.length ?? 0) > 0 && <Texts key="hb" all={b.hooks_before ?? []} />],
						["Scripts after", (b.hooks_after?.length ?? 0) > 0 && <Texts key="ha" all={b.hooks_after ?? []} />],
						["When one before fails", b.hook_failure === "continue" && "the backup is made all the same"],
						["Limit of each script", b.hook_time_limit_seconds ? duration(b.hook_time_limit_seconds) : undefined],
						["Left out", (b.excludes?.length ?? 0) > 0 && <Texts key="e" all={b.excludes ?? []} />],
						["Caches", b.exclude_caches && "left out"],
						["File systems", b.one_file_system && "stays on each path's"],
						["Large files", b.exclude_larger_than ? `above ${bytes(b.exclude_larger_than)} left out` : undefined],
						["Tags", (b.tags?.length ?? 0) > 0 && <Texts key="t" all={b.tags ?? []} />],
						["Download", b.download_limit_kib ? `at most ${bytes(b.download_limit_kib * 1024)}/s` : undefined],
						["Nice", b.cpu_nice ? String(b.cpu_nice) : undefined],
						["Disks", b.io_class],
						["Upload", b.upload_limit_kib ? `at most ${bytes(b.upload_limit_kib * 1024)}/s` : undefined],
						[
							"Where",
							p.spec.repository_id ? (
								<Link key="r" to="/repositories/$repositoryId" params={{ repositoryId: p.spec.repository_id }}>
									<Foreign>{p.repository_name || "a repository"}</Foreign>
								</Link>
							) : (
								"each machine's own repository"
							),
						],
					]}
				/>
			</Card>
			<Card title="When">
				<Facts
					facts={[
						["Schedule", <InWords key="w" cron={s.cron} zone={s.zone} />],
						[
							"Cron",
							<code key="c" className="rm-mono">
								{s.cron}
							</code>,
						],
						["Zone", <Foreign key="z">{s.zone}</Foreign>],
						["Spread", s.spread_seconds ? `over ${duration(s.spread_seconds)}` : "none: all at once"],
						["May be late", s.late_seconds ? `by ${duration(s.late_seconds)}` : "until the next one is due"],
						["Windows", (s.windows?.length ?? 0) > 0 && (s.windows ?? []).map(windowWords).join("; ")],
						["Begins not", conditionWords(s)],
						["After an absence", s.no_catch_up ? "nothing is caught up" : "one backup is caught up"],
						["Time limit", p.spec.time_limit_seconds ? duration(p.spec.time_limit_seconds) : undefined],
						["Next", p.enabled ? <Ago key="n" at={p.next_due_at} never="none" /> : "switched off"],
						["Last 24 hours", <Day key="d" last={p.last} />],
					]}
				/>
			</Card>
			<Card title="What is kept">
				<Facts
					facts={[
						["Kept", keepWords(p.spec.keep)],
						["Version", count(p.version)],
						["Saved", <Ago key="u" at={p.updated_at} />],
						["Made", <Ago key="c" at={p.created_at} />],
					]}
				/>
				{!p.spec.keep && (
					<p className={classes.about} style={{ marginTop: 8 }}>
						Without a number nothing is ever removed.
					</p>
				)}
			</Card>
		</div>
	);
}

function Machines({ id }: { id: string }) {
	const query = useInfiniteQuery(policyHostsQuery(id));
	const total = query.data?.pages[0]?.total ?? 0;
	return (
		<Card flush label="Machines that it applies to">
			<Shown
				query={query}
				isEmpty={(d) => d.pages[0]?.hosts.length === 0}
				empty={
					<Empty title="It applies to no machine">
						No machine has its labels, or none is named in it. Machines join by themselves when they get the labels.
					</Empty>
				}
			>
				{(d) => (
					<>
						<div className={rows.scroll}>
							<table className={rows.rows}>
								<thead>
									<tr>
										<th scope="col">Machine</th>
										<th scope="col">Why it applies</th>
										<th scope="col">Problem</th>
										<th scope="col">Next</th>
										<th scope="col">Last due time</th>
									</tr>
								</thead>
								<tbody>
									{d.pages
										.flatMap((page) => page.hosts)
										.map((h) => (
											<tr key={h.id}>
												<td data-line>
													<Link to="/hosts/$hostId" params={{ hostId: h.id }} search={{ tab: "policies" }} data-row>
														<Foreign>{h.name}</Foreign>
													</Link>
												</td>
												<AssignmentCells of={h} />
											</tr>
										))}
								</tbody>
							</table>
						</div>
						{query.hasNextPage && (
							<div className={rows.foot}>
								<span>
									{count(d.pages.reduce((n, page) => n + page.hosts.length, 0))} of {count(total)}
								</span>
								<Older query={query} label="Show more" />
							</div>
						)}
					</>
				)}
			</Shown>
		</Card>
	);
}

const outcomes = Object.keys(outcomeWords) as Outcome[];

function Due({
	id,
	outcome,
	choose,
}: {
	id: string;
	outcome: Outcome | undefined;
	choose: (o: Outcome | undefined) => void;
}) {
	const query = useInfiniteQuery(ticksQuery({ policy_id: id, outcome }));
	return (
		<Card
			flush
			title="Due times"
			actions={
				// biome-ignore lint/a11y/useSemanticElements: a fieldset brings a look of its own
				<div role="group" aria-label="Outcome" className={classes.quick}>
					<button type="button" aria-pressed={outcome === undefined} onClick={() => choose(undefined)}>
						All
					</button>
					{outcomes.map((o) => (
						<button
							key={o}
							type="button"
							aria-pressed={outcome === o}
							title={outcomeWords[o].about}
							onClick={() => choose(o)}
						>
							{outcomeWords[o].name}
						</button>
					))}
				</div>
			}
		>
			<Shown
				query={query}
				isEmpty={(d) => d.pages[0]?.ticks.length === 0}
				empty={
					<Empty title={outcome ? `None was ${outcomeWords[outcome].name.toLowerCase()}` : "Nothing was due yet"}>
						Each due time of a machine stands here with what became of it.
					</Empty>
				}
			>
				{(d) => (
					<>
						<DueTimes ticks={d.pages.flatMap((page) => page.ticks)} hosts />
						{query.hasNextPage && (
							<div className={rows.foot}>
								<Older query={query} />
							</div>
						)}
					</>
				)}
			</Shown>
		</Card>
	);
}

function Versions({ id }: { id: string }) {
	const query = useQuery(policyVersionsQuery(id));
	return (
		<Card flush label="Versions">
			<Shown query={query} isEmpty={(d) => d.versions.length === 0} empty={<Empty title="No version is kept" />}>
				{(d) => (
					<ol className={classes.versions}>
						{d.versions.map((v) => (
							<li key={v.version} className={classes.versionRow}>
								<div className={classes.version}>
									<strong>Version {v.version}</strong>
									<span>
										by <Foreign>{v.by}</Foreign>
									</span>
									<span>
										<Ago at={v.at} />
									</span>
									{!v.enabled && <Badge tone="idle">Off</Badge>}
								</div>
								{v.changes.length > 0 ? (
									<Changes changes={v.changes} />
								) : (
									<span className={classes.about}>
										{v.version === 1 ? "As it was set up." : "No field was changed."}
									</span>
								)}
							</li>
						))}
					</ol>
				)}
			</Shown>
		</Card>
	);
}

/** Orders the policy's backup now: of all its machines, or of chosen ones. */
export function RunDialog({ policy, opened, close }: { policy: Policy; opened: boolean; close: () => void }) {
	return (
		<Modal opened={opened} onClose={close} title={`Run ${policy.name} now`} size={560}>
			<Run policy={policy} close={close} />
		</Modal>
	);
}

function Run({ policy, close }: { policy: Policy; close: () => void }) {
	const run = useRunPolicy(policy.id);
	const query = useInfiniteQuery(policyHostsQuery(policy.id));
	const [some, setSome] = useState(false);
	const [chosen, setChosen] = useState<readonly string[]>([]);
	const hosts = query.data?.pages.flatMap((p) => p.hosts) ?? [];
	if (run.data) return <RanJobs jobs={run.data.jobs} close={close} />;
	return (
		<form
			onSubmit={(e) => {
				e.preventDefault();
				if (!run.isPending && (!some || chosen.length > 0)) run.mutate(some ? [...chosen] : []);
			}}
		>
			<Stack gap="md">
				<Text size="sm">
					The backup of the policy, at once: its own due times stay as they are. A machine where one of it waits already
					gets no second one.
				</Text>
				<Checkbox
					label={`All ${counted(policy.host_count, "machine")}`}
					checked={!some}
					onChange={(e) => setSome(!e.currentTarget.checked)}
				/>
				{some && (
					<Stack gap={6} role="group" aria-label="Machines" mah={280} style={{ overflow: "auto" }}>
						{hosts.map((h) => (
							<Checkbox
								key={h.id}
								label={<Foreign>{h.name}</Foreign>}
								description={h.problem ? sentence(h.problem) : undefined}
								disabled={h.problem !== ""}
								checked={chosen.includes(h.id)}
								onChange={(e) => {
									const on = e.currentTarget.checked;
									setChosen((now) => (on ? [...now, h.id] : now.filter((x) => x !== h.id)));
								}}
							/>
						))}
						<Older query={query} label="Show more" />
					</Stack>
				)}
				<FormEnd
					wrong={run.error ? messageOf(run.error) : undefined}
					close={close}
					action={some ? `Back up ${counted(chosen.length, "machine")}` : "Back up now"}
					busy={run.isPending}
					disabled={some && chosen.length === 0}
				/>
			</Stack>
		</form>
	);
}

function RanJobs({ jobs, close }: { jobs: readonly Ran[]; close: () => void }) {
	const made = jobs.filter((j) => j.created).length;
	const only = jobs.length === 1 ? jobs[0] : undefined;
	return (
		<Stack gap="md">
			<Note tone={made > 0 ? "ok" : "info"} role="status">
				<span>
					{made > 0 ? `${counted(made, "backup is", "backups are")} ordered.` : "Nothing new was ordered."}
					{jobs.length > made &&
						` ${counted(jobs.length - made, "machine has", "machines have")} one that waits already.`}
				</span>
			</Note>
			<Group justify="flex-end">
				<Button variant="default" onClick={close}>
					Close
				</Button>
				{only ? (
					<Button renderRoot={(props) => <Link to="/jobs/$jobId" params={{ jobId: only.job_id }} {...props} />}>
						Follow the job
					</Button>
				) : (
					<Button
						renderRoot={(props) => <Link to="/jobs" search={{ state: ["queued", "accepted", "running"] }} {...props} />}
					>
						Follow the jobs
					</Button>
				)}
			</Group>
		</Stack>
	);
}

function DeleteDialog({
	policy,
	opened,
	close,
	gone,
}: {
	policy: Policy;
	opened: boolean;
	close: () => void;
	gone: () => void;
}) {
	const remove = useDeletePolicy(policy.id);
	return (
		<Confirm
			opened={opened}
			close={close}
			title={`Delete ${policy.name}`}
			action="Delete it"
			typed={policy.name}
			danger
			run={async () => {
				await remove.mutateAsync();
				done(`${policy.name} is deleted.`);
				gone();
			}}
		>
			{policy.host_count > 0 ? (
				<>
					{counted(policy.host_count, "machine is", "machines are")} not backed up by it any more. Jobs that run go on,
					and what was stored stays, with no policy that removes it.
				</>
			) : (
				"It applies to no machine. What was stored by it stays."
			)}
		</Confirm>
	);
}

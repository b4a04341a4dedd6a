import { Alert, Button, Group, Modal } from "@mantine/core";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { type ReactNode, useEffect, useState } from "react";
import {
	type HostRef,
	type Plan,
	type Policy,
	type PolicyDraft,
	planQuery,
	policyQuery,
	policyVersionsQuery,
	useWritePolicy,
} from "../../api/policies";
import { messageOf, Problem } from "../../api/problem";
import { count } from "../../lib/bytes";
import { zoned } from "../../lib/time";
import { sentence } from "../../lib/words";
import { Ago } from "../../ui/Ago";
import { Foreign } from "../../ui/Foreign";
import { Note } from "../../ui/Note";
import { done } from "../../ui/notify";
import { Failure, Loading } from "../../ui/States";
import { Changes } from "./Changes";
import { PlanKept } from "./PlanKept";
import classes from "./Policies.module.css";
import { RetentionTry } from "./Timeline";

interface Props {
	draft: PolicyDraft;
	/** The policy that is changed, and the version that the draft is based on; none: a new one. */
	id?: string;
	version?: number;
	close: () => void;
	saved: (policy: Policy) => void;
	/** Lets go of the draft, for what another person saved meanwhile. */
	take: (theirs: Policy) => void;
	/** The server does not take the draft: whether it is about one of the form's fields. */
	refused: (error: Problem) => void;
}

/** What a save would do, before it does: one says yes to it. */
export function PlanDialog(props: Props) {
	return (
		<Modal
			opened
			onClose={props.close}
			title={props.id ? `What saving ${props.draft.name} does` : `What ${props.draft.name} will do`}
			size={720}
		>
			<Inside {...props} />
		</Modal>
	);
}

function Inside({ draft, id, version, close, saved, take, refused }: Props) {
	const queries = useQueryClient();
	const [base, setBase] = useState(version);
	const [theirs, setTheirs] = useState<Policy>();
	const plan = useQuery(planQuery(draft, id, base));
	const write = useWritePolicy();
	const p = plan.data;
	// What is wrong belongs to its field, where it can be mended.
	const fault = write.error ?? plan.error;
	useEffect(() => {
		if (fault instanceof Problem && fault.status < 500 && fault.code !== "policy_changed") refused(fault);
	}, [fault, refused]);
	const nothing = id !== undefined && p !== undefined && p.changes.length === 0;

	function save() {
		write.mutate(
			{ ...draft, id, version: base },
			{
				onSuccess: (policy) => {
					done(id ? `${policy.name} is saved.` : `${policy.name} is set up.`);
					saved(policy);
				},
				onError: async (e) => {
					if (!(e instanceof Problem) || e.code !== "policy_changed" || id === undefined) return;
					try {
						const now = await queries.fetchQuery({ ...policyQuery(id), staleTime: 0 });
						setTheirs(now);
						// What is typed stays; the plan is read anew, against what is there now.
						setBase(now.version);
						write.reset();
					} catch {
						// The refusal stays where it is, and says why.
					}
				},
			},
		);
	}
	return (
		<form
			className={classes.plan}
			onSubmit={(e) => {
				e.preventDefault();
				if (p && !nothing && !write.isPending) save();
			}}
		>
			{theirs && id && <Theirs id={id} policy={theirs} since={version ?? 0} take={() => take(theirs)} />}
			{p ? (
				<Shown plan={p} draft={draft} id={id} />
			) : plan.error ? (
				<Failure error={plan.error} retry={() => void plan.refetch()} />
			) : (
				<Loading rows={6} label="Working out the plan" />
			)}
			{nothing && <Note tone="info">Nothing is other than what is saved already.</Note>}
			{write.error && (
				<Alert color="red" role="alert">
					{sentence(messageOf(write.error))}
				</Alert>
			)}
			<Group justify="flex-end">
				<Button variant="default" onClick={close}>
					Go on editing
				</Button>
				<Button type="submit" data-autofocus loading={write.isPending} disabled={!p || nothing}>
					{theirs ? "Save over it" : id ? "Save" : "Set it up"}
				</Button>
			</Group>
		</form>
	);
}

/** Another person saved the policy while it was edited here. */
function Theirs({ id, policy, since, take }: { id: string; policy: Policy; since: number; take: () => void }) {
	const { data } = useQuery({ ...policyVersionsQuery(id), staleTime: 0 });
	const news = (data?.versions ?? []).filter((v) => v.version > since);
	const last = news[0];
	return (
		<section>
			<Note tone="warn" role="alert">
				<span>
					<b>
						{last ? <Foreign>{last.by}</Foreign> : "Somebody"} saved version {policy.version} while you edited
					</b>{" "}
					{last && (
						<>
							(<Ago at={last.at} />)
						</>
					)}
					. Nothing of yours is lost: below is what yours would change in it now.
				</span>
				<Button size="compact-xs" variant="default" onClick={take}>
					Take theirs
				</Button>
			</Note>
			{news.some((v) => v.changes.length > 0) && (
				<details style={{ marginTop: 8 }} open>
					<summary>What they changed</summary>
					<div style={{ marginTop: 6 }}>
						{news.map((v) => (
							<Changes key={v.version} changes={v.changes} />
						))}
					</div>
				</details>
			)}
		</section>
	);
}

function Shown({ plan: p, draft, id }: { plan: Plan; draft: PolicyDraft; id: string | undefined }) {
	const fresh = id === undefined;
	const { hosts } = p;
	const total = hosts.kept + hosts.added_count;
	return (
		<>
			{p.warnings.length > 0 && (
				<Note tone="warn">
					<span>
						{p.warnings.map((w) => (
							<span key={w} style={{ display: "block" }}>
								{sentence(w)}
							</span>
						))}
					</span>
				</Note>
			)}
			<section aria-label="Machines">
				<div className={classes.figures}>
					<span>
						<b>{count(total)}</b>
						{total === 1 ? "machine" : "machines"} in all
					</span>
					{hosts.added_count > 0 && !fresh && (
						<span data-tone="ok">
							<b>{count(hosts.added_count)}</b>new
						</span>
					)}
					{hosts.removed_count > 0 && (
						<span data-tone="bad">
							<b>{count(hosts.removed_count)}</b>no longer
						</span>
					)}
					{hosts.problem_count > 0 && (
						<span data-tone="bad">
							<b>{count(hosts.problem_count)}</b>where it cannot run
						</span>
					)}
				</div>
			</section>
			{hosts.added.length > 0 && (
				<Names
					title={fresh ? "It is for" : "Added"}
					tone={fresh ? undefined : "ok"}
					hosts={hosts.added}
					all={hosts.added_count}
				/>
			)}
			{hosts.removed.length > 0 && (
				<Names
					title="No longer backed up by it; what they stored stays"
					tone="bad"
					hosts={hosts.removed}
					all={hosts.removed_count}
				/>
			)}
			{hosts.problems.length > 0 && (
				<Part title="Where it cannot run, and why">
					<ul className={classes.lines}>
						{hosts.problems.slice(0, 100).map((x) => (
							<li key={x.host.id}>
								<Foreign>{x.host.name}</Foreign>
								<span className={classes.muted}>{sentence(x.problem)}</span>
							</li>
						))}
						{hosts.problem_count > Math.min(100, hosts.problems.length) && (
							<li>and {count(hosts.problem_count - Math.min(100, hosts.problems.length))} more</li>
						)}
					</ul>
				</Part>
			)}
			{!fresh && p.changes.length > 0 && (
				<Part title="What changes">
					<Changes changes={p.changes} />
				</Part>
			)}
			{p.next_runs.length > 0 && (
				<Part title={draft.enabled ? "It runs next" : "It would run next; it is switched off"}>
					<ul className={classes.lines}>
						{p.next_runs.map((r) => (
							<li key={`${r.host.id} ${r.at}`}>
								<time dateTime={r.at}>{zoned(r.at, draft.spec.schedule.zone)}</time>
								<Foreign>{r.host.name}</Foreign>
							</li>
						))}
					</ul>
				</Part>
			)}
			{p.retention &&
				p.retention.snapshots > 0 &&
				p.changes.some((c) => c.field.startsWith("keep.") || c.field === "schedule.zone") && (
					<Part title="What retention would keep">
						<PlanKept kept={p.retention} />
					</Part>
				)}
			{id && draft.spec.keep && p.changes.some((c) => c.field.startsWith("keep.")) && (
				<Part title="Snapshot by snapshot, at one machine">
					<RetentionTry keep={draft.spec.keep} policy={{ id }} />
				</Part>
			)}
		</>
	);
}

function Part({ title, children }: { title: string; children: ReactNode }) {
	return (
		<section>
			<h3>{title}</h3>
			{children}
		</section>
	);
}

const shownNames = 60;

function Names({
	title,
	tone,
	hosts,
	all,
}: {
	title: string;
	tone?: "ok" | "bad";
	hosts: readonly HostRef[];
	/** How many there are, named here or not. */
	all: number;
}) {
	const named = hosts.slice(0, shownNames);
	return (
		<Part title={title}>
			<ul className={classes.names} data-tone={tone}>
				{named.map((h) => (
					<li key={h.id} className={classes.name}>
						<Foreign>{h.name}</Foreign>
					</li>
				))}
				{all > named.length && <li className={classes.name}>and {count(all - named.length)} more</li>}
			</ul>
		</Part>
	);
}

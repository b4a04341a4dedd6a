import { useDebouncedValue } from "@mantine/hooks";
import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { useMemo, useState } from "react";
import type { Keep, Policy } from "../../api/policies";
import { policyHostsQuery } from "../../api/policies";
import { messageOf } from "../../api/problem";
import { type Judged, retentionQuery } from "../../api/retention";
import { count } from "../../lib/bytes";
import { exact, short } from "../../lib/time";
import { sentence } from "../../lib/words";
import { useNow } from "../../ui/Ago";
import { Foreign } from "../../ui/Foreign";
import { HostSelect } from "../../ui/Hosts";
import { Note } from "../../ui/Note";
import rows from "../../ui/Rows.module.css";
import classes from "./Policies.module.css";

/** What the rule would keep of the snapshots of one machine, as they are now. */
export function RetentionTry({ keep, policy }: { keep: Keep; policy: Pick<Policy, "id"> | undefined }) {
	const hosts = useInfiniteQuery({ ...policyHostsQuery(policy?.id ?? ""), enabled: policy !== undefined });
	const first = hosts.data?.pages[0]?.hosts[0]?.id ?? "";
	const [chosen, setChosen] = useState("");
	const host = chosen || first;
	const text = JSON.stringify(keep);
	const [asked] = useDebouncedValue(text, 400);
	const rule = useMemo(() => JSON.parse(asked) as Keep, [asked]);
	const query = useQuery({ ...retentionQuery(host, policy?.id, rule), enabled: host !== "" });
	const d = query.data;
	const old = query.isPlaceholderData || asked !== text;
	return (
		<div className={classes.fields}>
			<HostSelect
				label="Try it on a machine"
				description="Nothing is removed: it shows what would stay of the snapshots that its policies made."
				placeholder="Search machines"
				value={host}
				set={setChosen}
			/>
			{query.error && <Note tone="bad">{sentence(messageOf(query.error))}</Note>}
			{d && (
				<div data-old={old || undefined} style={{ opacity: old ? 0.6 : 1 }}>
					{d.snapshots.length === 0 ? (
						<p className={classes.about}>Nothing is known of snapshots of this machine.</p>
					) : (
						<>
							<div className={classes.figures} role="status">
								<span data-tone="ok">
									<b>{count(d.keep)}</b>stay
								</span>
								<span data-tone={d.remove > 0 ? "bad" : undefined}>
									<b>{count(d.remove)}</b>go
								</span>
								{d.anomalous > 0 && (
									<span>
										<b>{count(d.anomalous)}</b>do not count, and stay
									</span>
								)}
							</div>
							{(d.frozen || d.waits) && (
								<Note tone="warn">
									<Foreign>{sentence(d.frozen || d.waits || "")}</Foreign>
								</Note>
							)}
							<Line snapshots={d.snapshots} />
							<details className={classes.about}>
								<summary>One by one</summary>
								<List snapshots={d.snapshots} />
							</details>
						</>
					)}
				</div>
			)}
		</div>
	);
}

/** Where a time stands on the line, in percent: the young ones have more room, as they are kept more densely. */
export function placeOf(at: number, oldest: number, now: number): number {
	const span = Math.max(1, now - oldest);
	const age = Math.min(span, Math.max(0, now - at));
	// The root spreads the last days without losing the years.
	return 100 * (1 - Math.sqrt(age / span));
}

/** The snapshots on a line of time: what stays is tall and full, what goes is short and hollow. */
export function Line({ snapshots }: { snapshots: readonly Judged[] }) {
	const now = useNow();
	const oldest = Math.min(...snapshots.map((s) => Date.parse(s.time)));
	const span = now - oldest;
	const kept = snapshots.filter((s) => s.keep).length;
	return (
		<div
			className={classes.line}
			role="img"
			aria-label={`${kept} of ${snapshots.length} snapshots stay; the oldest is of ${exact(oldest)}`}
		>
			{[...snapshots]
				.sort((a, b) => Number(a.keep) - Number(b.keep))
				.map((s) => (
					<span
						key={s.id}
						data-gone={!s.keep || undefined}
						data-odd={s.anomaly ? true : undefined}
						style={{ left: `${placeOf(Date.parse(s.time), oldest, now)}%` }}
						title={`${exact(s.time)}: ${s.keep ? s.reasons.join(", ") || "stays" : "goes"}`}
					/>
				))}
			<small style={{ left: 0 }}>{short(span)} ago</small>
			<small style={{ left: `${placeOf(now - span / 4, oldest, now)}%`, transform: "translateX(-50%)" }}>
				{short(span / 4)}
			</small>
			<small style={{ right: 0 }}>now</small>
		</div>
	);
}

/** More rows than anybody reads; the line has all of them. */
const listed = 200;

function List({ snapshots }: { snapshots: readonly Judged[] }) {
	return (
		<div className={rows.scroll}>
			<table className={rows.rows}>
				<thead>
					<tr>
						<th scope="col">Taken</th>
						<th scope="col">Id</th>
						<th scope="col">Why</th>
					</tr>
				</thead>
				<tbody>
					{snapshots.slice(0, listed).map((s) => (
						<tr key={s.id}>
							<td>{exact(s.time)}</td>
							<td className="rm-mono">{s.short_id}</td>
							<td>
								{s.keep ? s.reasons.join(", ") || "stays" : "goes"}
								{s.anomaly && (
									<>
										{" · "}
										<Foreign>{s.anomaly}</Foreign>
									</>
								)}
							</td>
						</tr>
					))}
				</tbody>
			</table>
			{snapshots.length > listed && <p>and {count(snapshots.length - listed)} more</p>}
		</div>
	);
}

import { IconCheck, IconLock } from "@tabler/icons-react";
import type { Host, JobKind } from "../../api/types";
import { guardAllows, kindsShown, refusal } from "../../lib/allowed";
import { bytes, counted } from "../../lib/bytes";
import { duration } from "../../lib/time";
import { kindWords, sentence } from "../../lib/words";
import { Ago } from "../../ui/Ago";
import { Copy } from "../../ui/Copy";
import { Facts } from "../../ui/Facts";
import { Foreign } from "../../ui/Foreign";
import { Card } from "../../ui/Page";
import classes from "./Host.module.css";

/** What it says of the conditions of policies. */
const powerWords: Record<string, string> = {
	mains: "mains, when its agent last said hello",
	battery: "battery, when its agent last said hello",
	unknown: "cannot be known here: counts as mains",
};
const meteredWords: Record<string, string> = {
	yes: "yes, when its agent last said hello",
	no: "no, when its agent last said hello",
	unknown: "cannot be known here, without NetworkManager: counts as not metered",
};

/** What the machine is. */
export function Machine({ host }: { host: Host }) {
	const f = host.facts;
	const skew = host.clock_skew_seconds;
	return (
		<Card title="Machine">
			<Facts
				facts={[
					["Hostname", f.hostname && f.hostname !== host.name && <Foreign>{f.hostname}</Foreign>],
					[
						"System",
						f.os_version ? (
							<>
								<Foreign>{f.os_version}</Foreign>, {f.arch}
							</>
						) : (
							"not known yet"
						),
					],
					[
						"Hardware",
						f.cpus > 0 && `${counted(f.cpus, "CPU")}${f.memory_bytes > 0 ? `, ${bytes(f.memory_bytes)} memory` : ""}`,
					],
					["restic", host.restic_version ? <Foreign key="r">{host.restic_version}</Foreign> : f.os && "not installed"],
					["Agent", host.agent_version && <Foreign>{host.agent_version}</Foreign>],
					["Time zone", f.time_zone && <Foreign>{f.time_zone}</Foreign>],
					[
						"Clock",
						Math.abs(skew) > 1.5 && `${duration(Math.abs(skew))} ${skew > 0 ? "ahead of" : "behind"} the server's`,
					],
					["Power", f.power && powerWords[f.power]],
					["Metered", f.metered && meteredWords[f.metered]],
					["Added", <Ago key="a" at={host.created_at} />],
					[
						"Id",
						<span key="id" style={{ display: "flex", alignItems: "center", gap: 4, minWidth: 0 }}>
							<span className="rm-mono rm-cut">{host.id}</span>
							<Copy value={host.id} what="the host's id" size={20} />
						</span>,
					],
				]}
			/>
		</Card>
	);
}

/** What the machine's owner lets the server order. */
export function Allowed({ host }: { host: Host }) {
	const barred = kindsShown.filter((k) => guardAllows(host, k) === false);
	const known = host.guard.summary !== "" || host.guard.broken;
	return (
		<Card title="What its owner allows">
			{known ? (
				<>
					<ul className={classes.kinds} aria-label="Kinds of jobs">
						{kindsShown.map((k) => {
							const no = barred.includes(k);
							return (
								<li key={k} data-barred={no || undefined}>
									{no ? <IconLock size={12} aria-hidden /> : <IconCheck size={12} aria-hidden />}
									{kindWords[k].name}
									{no && <span className="rm-hidden"> is not allowed</span>}
								</li>
							);
						})}
					</ul>
					<dl className={classes.barred}>
						{host.guard.broken ? (
							<div>
								<dt>guard.yaml is broken: </dt>
								<dd>
									<Foreign>{host.guard.broken}</Foreign>
								</dd>
							</div>
						) : (
							reasons(barred).map(([names, reason]) => (
								<div key={reason}>
									<dt>{names}: </dt>
									<dd>{reason}</dd>
								</div>
							))
						)}
					</dl>
					{!host.guard.broken && (
						<div className={classes.note} style={{ marginTop: 8 }}>
							<Foreign>{beyondKinds(host.guard.summary)}</Foreign> It can be changed on the machine alone.
						</div>
					)}
					{host.hooks.length > 0 && (
						<div className={classes.note} style={{ marginTop: 4 }}>
							Scripts that a policy may name:{" "}
							{host.hooks.map((h, i) => (
								<span key={h}>
									{i > 0 && ", "}
									<Foreign mono>{h}</Foreign>
								</span>
							))}
						</div>
					)}
					{host.facts.restore_root && (
						<div className={classes.note} style={{ marginTop: 4 }}>
							Restores go below <Foreign mono>{host.facts.restore_root}</Foreign>
						</div>
					)}
				</>
			) : (
				<div className={classes.note}>Known with the agent's first call.</div>
			)}
		</Card>
	);
}

/** Why kinds are barred; those with one reason together. */
function reasons(barred: readonly JobKind[]): [string, string][] {
	const by = new Map<string, string[]>();
	for (const k of barred) {
		const reason = refusal(k);
		by.set(reason, [...(by.get(reason) ?? []), kindWords[k].name]);
	}
	return [...by].map(([reason, names]) => [names.join(", "), reason]);
}

/** What the guard's summary says beyond the kinds, which stand above it. */
export function beyondKinds(summary: string): string {
	const rest = summary
		.replace(/^allows [a-z, ]*/, "")
		// Those that are offered stand below it.
		.replace(/; the hooks [^;]*/, "")
		.replace(/^; /, "")
		.replace(/[()]/g, "")
		.trim();
	return sentence(rest === "" ? "As guard.yaml says" : rest);
}

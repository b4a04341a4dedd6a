import { Modal } from "@mantine/core";
import type { ReactNode } from "react";
import { modKey } from "../../lib/keys";
import { useSignal } from "../../lib/signal";
import { type Outcome, outcomeWords, type Protection, protectionWords, stateWords, statusWords } from "../../lib/words";
import { helpOpen, pageActions } from "../../ui/actions";
import { Badge, ProtectionBadge, StateBadge } from "../../ui/Badge";
import classes from "./Help.module.css";

const keys: readonly (readonly [string, string])[] = [
	[`${modKey} K`, "Go to a machine, a job, a page or an action"],
	["/", "Search in the list"],
	["g f", "Fleet"],
	["g p", "Policies"],
	["g r", "Repositories"],
	["g c", "Calendar"],
	["g j", "Jobs"],
	["g a", "Add a machine"],
	["g s", "Settings"],
	["?", "This sheet"],
	["Esc", "Close, or choose none"],
];

const connections = {
	online: "Its agent asked for work within the last minutes.",
	offline: "Its agent has not asked for a while. What it works on goes on without the server.",
	never_seen: "It is enrolled, and its agent has not been heard of yet.",
} as const;

/** The keys, what the states mean, and where there is more. */
export default function Help() {
	const actions = useSignal(pageActions).filter((a) => a.hotkey);
	return (
		<Modal opened onClose={() => helpOpen.set(false)} title="Keyboard and help" size={780}>
			<div className={classes.columns}>
				<section aria-labelledby="help-keys">
					<h3 id="help-keys">Keys</h3>
					<List>
						{keys.map(([key, what]) => (
							<Row key={key} name={<Keys keys={key} />}>
								{what}
							</Row>
						))}
					</List>
					{actions.length > 0 && (
						<>
							<h3>On this page</h3>
							<List>
								{actions.map((a) => (
									<Row key={a.id} name={<Keys keys={a.hotkey ?? ""} />}>
										{a.label}
									</Row>
								))}
							</List>
						</>
					)}
					<h3>More</h3>
					<ul className={classes.more}>
						<li>
							The folder <code>docs</code> of the source and of each package: install, enroll, guard, firewall, restore,
							upgrade, configuration
						</li>
						<li>
							<code>restic-manager --help</code> on the server, <code>restic-manager-agent --help</code> on a machine
						</li>
						<li>
							<a href="/api/openapi.json" target="_blank" rel="noreferrer">
								The API's description
							</a>{" "}
							(OpenAPI), for scripts
						</li>
					</ul>
				</section>
				<div>
					<section aria-labelledby="help-machines">
						<h3 id="help-machines">States of a machine</h3>
						<List>
							{(Object.keys(protectionWords) as Protection[]).map((p) => (
								<Row key={p} name={<ProtectionBadge protection={p} />}>
									{protectionWords[p].about}
								</Row>
							))}
							{(["online", "offline", "never_seen"] as const).map((s) => (
								<Row key={s} name={<Badge tone={statusWords[s].tone}>{statusWords[s].name}</Badge>}>
									{connections[s]}
								</Row>
							))}
						</List>
					</section>
					<section aria-labelledby="help-due">
						<h3 id="help-due">Outcomes of due times</h3>
						<List>
							{(Object.keys(outcomeWords) as Outcome[]).map((o) => (
								<Row key={o} name={<Badge tone={outcomeWords[o].tone}>{outcomeWords[o].name}</Badge>}>
									{outcomeWords[o].about}
								</Row>
							))}
						</List>
					</section>
					<section aria-labelledby="help-jobs">
						<h3 id="help-jobs">States of a job</h3>
						<List>
							{(Object.keys(stateWords) as (keyof typeof stateWords)[]).map((s) => (
								<Row key={s} name={<StateBadge state={s} />}>
									{stateWords[s].about}
								</Row>
							))}
						</List>
					</section>
				</div>
			</div>
		</Modal>
	);
}

function List({ children }: { children: ReactNode }) {
	return <dl className={classes.list}>{children}</dl>;
}

function Row({ name, children }: { name: ReactNode; children: ReactNode }) {
	return (
		<div>
			<dt>{name}</dt>
			<dd>{children}</dd>
		</div>
	);
}

function Keys({ keys }: { keys: string }) {
	return keys.split(" ").map((key, i) => (
		<span key={key}>
			{i > 0 && " "}
			<kbd className={classes.key}>{key}</kbd>
		</span>
	));
}

import { Link } from "@tanstack/react-router";
import type { Overview } from "../../api/fleet";
import { count, counted } from "../../lib/bytes";
import { protectionWords, statusWords } from "../../lib/words";
import classes from "./Answer.module.css";
import { type SetView, toggled, type View } from "./view";

const protections = ["failing", "at_risk", "never_backed_up", "protected"] as const;
const statuses = ["online", "offline", "never_seen"] as const;

interface Props {
	overview: Overview;
	view: View;
	setView: SetView;
}

/** How many are in which state: a bar, and counts that filter the table. */
export function Counts({ overview, view, setView }: Props) {
	const { hosts, jobs } = overview;
	const live = hosts.total - hosts.revoked;
	return (
		<div className={classes.counts}>
			<div
				className={classes.bar}
				role="img"
				aria-label={`Of ${counted(live, "machine")}: ${protections
					.filter((p) => hosts[p] > 0)
					.map((p) => `${hosts[p]} ${protectionWords[p].name.toLowerCase()}`)
					.join(", ")}`}
			>
				{protections.map(
					(p) => hosts[p] > 0 && <span key={p} data-tone={protectionWords[p].tone} style={{ flexGrow: hosts[p] }} />,
				)}
			</div>
			<div className={classes.facts}>
				{/* biome-ignore lint/a11y/useSemanticElements: a fieldset is for what a form sends */}
				<div role="group" aria-label="Filter by state" className={classes.group}>
					{[...protections].reverse().map((p) => (
						<Fact
							key={p}
							tone={protectionWords[p].tone}
							n={hosts[p]}
							label={protectionWords[p].name}
							title={protectionWords[p].about}
							pressed={view.protection?.includes(p) ?? false}
							press={() => setView({ protection: toggled(view.protection, p) })}
						/>
					))}
					{hosts.revoked > 0 && (
						<Fact
							tone="gone"
							n={hosts.revoked}
							label={protectionWords.revoked.name}
							title={protectionWords.revoked.about}
							pressed={view.protection?.includes("revoked") ?? false}
							press={() => setView({ protection: toggled(view.protection, "revoked") })}
						/>
					)}
				</div>
				{/* biome-ignore lint/a11y/useSemanticElements: a fieldset is for what a form sends */}
				<div role="group" aria-label="Filter by connection" className={classes.group}>
					{statuses.map(
						(s) =>
							(s !== "never_seen" || hosts[s] > 0 || view.status?.includes(s)) && (
								<Fact
									key={s}
									n={hosts[s]}
									label={statusWords[s].name}
									pressed={view.status?.includes(s) ?? false}
									press={() => setView({ status: toggled(view.status, s) })}
								/>
							),
					)}
				</div>
				{(overview.unprotected_count > 0 || view.policy === "none") && (
					<div className={classes.group}>
						<Fact
							tone="warn"
							n={overview.unprotected_count}
							label={overview.unprotected_count === 1 ? "machine no policy protects" : "machines no policy protects"}
							title="No policy that is switched on runs there: they are backed up only when somebody orders it"
							pressed={view.policy === "none"}
							press={() => setView({ policy: view.policy === "none" ? undefined : "none" })}
						/>
					</div>
				)}
				<div className={classes.jobs}>
					{jobs.running > 0 && (
						<Link to="/jobs" search={{ state: ["accepted", "running"] }}>
							{count(jobs.running)} at work
						</Link>
					)}
					{jobs.queued > 0 && (
						<Link to="/jobs" search={{ state: ["queued"] }}>
							{count(jobs.queued)} waiting
						</Link>
					)}
					{jobs.running + jobs.queued === 0 && <span>No job at work</span>}
				</div>
			</div>
		</div>
	);
}

interface FactProps {
	tone?: string;
	n: number;
	label: string;
	title?: string;
	pressed: boolean;
	press: () => void;
}

function Fact({ tone, n, label, title, pressed, press }: FactProps) {
	return (
		<button
			type="button"
			className={classes.fact}
			data-none={n === 0 || undefined}
			aria-pressed={pressed}
			title={title}
			onClick={press}
		>
			{tone && <span className={classes.mark} data-tone={tone} aria-hidden />}
			<b className="rm-numbers">{count(n)}</b>
			{label}
		</button>
	);
}

/** As high as the counts are, so that nothing moves when they come. */
export function CountsToCome() {
	return (
		<div className={classes.counts} role="status" aria-label="Loading">
			<div className={classes.bar} />
			<div className={classes.facts} style={{ minHeight: 32 }} />
		</div>
	);
}

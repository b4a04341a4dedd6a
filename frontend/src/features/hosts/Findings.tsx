import { Button } from "@mantine/core";
import {
	IconAlertTriangle,
	IconCircleX,
	IconClock,
	IconCopyCheck,
	IconInfoCircle,
	IconPlugConnectedX,
} from "@tabler/icons-react";
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import { mayAs } from "../../api/auth";
import { useClearCloneAlarm } from "../../api/hosts";
import type { Host, Role } from "../../api/types";
import { Ago, useNow } from "../../ui/Ago";
import { BarredButton } from "../../ui/Barred";
import { Confirm } from "../../ui/Confirm";
import { Command } from "../../ui/Copy";
import { Foreign } from "../../ui/Foreign";
import { done } from "../../ui/notify";
import { type Finding, findings } from "./findings";
import classes from "./Host.module.css";

const icons: Partial<Record<Finding["id"], typeof IconClock>> = {
	clock_skew: IconClock,
	overdue: IconClock,
	offline: IconPlugConnectedX,
	never_seen: IconInfoCircle,
	never_backed_up: IconInfoCircle,
	guard_broken: IconCircleX,
	failing: IconCircleX,
	restic_missing: IconCircleX,
};

/** What is not as it should be with the machine, and what to do about each. */
export function Findings({ host, role, revoke }: { host: Host; role: Role | undefined; revoke: () => void }) {
	const now = useNow();
	const all = findings(host, now);
	if (all.length === 0 && !host.clone_alarm && host.status !== "revoked") return null;
	return (
		<section aria-label="What needs attention" className={classes.findings}>
			{host.status === "revoked" && (
				<div className={classes.finding} data-tone="warn">
					<IconCircleX size={18} aria-hidden />
					<div>
						<h2>
							Revoked <Ago at={host.revoked_at} />
						</h2>
						<p>
							The machine may not speak to the server any more. What it backed up stays in its repository; its jobs and
							logs stay here until it is deleted. To manage it again, enroll it with a new token.
						</p>
					</div>
				</div>
			)}
			{host.clone_alarm && <CloneAlarm host={host} role={role} revoke={revoke} />}
			{all.map((f) => {
				const Icon = icons[f.id] ?? IconAlertTriangle;
				return (
					<div key={f.id} className={classes.finding} data-tone={f.tone}>
						<Icon size={18} aria-hidden />
						<div>
							<h2>{f.title}</h2>
							<p>{f.text}</p>
							{f.foreign && (
								<div className={classes.words}>
									<Foreign mono>{f.foreign}</Foreign>
								</div>
							)}
							{f.command && (
								<div className={classes.command}>
									<Command>{f.command}</Command>
								</div>
							)}
						</div>
						{f.jobID && (
							<Button
								size="xs"
								variant="default"
								renderRoot={(props) => <Link to="/jobs/$jobId" params={{ jobId: f.jobID ?? "" }} {...props} />}
							>
								Open the job
							</Button>
						)}
					</div>
				);
			})}
		</section>
	);
}

function CloneAlarm({ host, role, revoke }: { host: Host; role: Role | undefined; revoke: () => void }) {
	const clear = useClearCloneAlarm(host.id);
	const [asks, setAsks] = useState(false);
	const barred = mayAs(role, "operator") ? undefined : "Your account only reads. Ask an operator.";
	return (
		<div className={classes.finding} data-tone="bad" role="alert">
			<IconCopyCheck size={18} aria-hidden />
			<div>
				<h2>Two machines speak with this identity</h2>
				<p>
					Since <Ago at={host.clone_alarm?.at} />. Most often a machine was cloned, or restored from an image, with the
					agent's state in it. No new jobs are handed out until you choose:
				</p>
				<div className={classes.choices}>
					<div className={classes.choice}>
						<h3>One copy is switched off</h3>
						<p>
							Stop the agent on the copy, or enroll the copy anew with a token of its own. Then clear the alarm: the one
							that is left goes on.
						</p>
						<BarredButton size="xs" reason={barred} onClick={() => setAsks(true)}>
							Clear the alarm
						</BarredButton>
					</div>
					<div className={classes.choice}>
						<h3>Neither can be trusted with it</h3>
						<p>
							Revoke this identity: both are cut off at once, and jobs that are open are lost. Enroll each machine anew
							with a token of its own.
						</p>
						<BarredButton size="xs" color="red" variant="outline" reason={barred} onClick={revoke}>
							Revoke this identity…
						</BarredButton>
					</div>
				</div>
			</div>
			<Confirm
				opened={asks}
				close={() => setAsks(false)}
				title="Clear the clone alarm"
				action="One copy is switched off"
				run={async () => {
					await clear.mutateAsync();
					done("The alarm is cleared. Jobs are handed out again.");
				}}
			>
				If both copies still run, the alarm comes back with the next call of the second one.
			</Confirm>
		</div>
	);
}

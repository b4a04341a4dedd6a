import type { Job } from "../../api/types";
import { bytes } from "../../lib/bytes";
import { duration } from "../../lib/time";
import { Badge } from "../../ui/Badge";
import { Foreign } from "../../ui/Foreign";
import { Card } from "../../ui/Page";
import classes from "./Job.module.css";

const stages = { before: "before the backup", after: "after the backup", stdin: "wrote what is backed up" };

/** The scripts of the machine that a job ran, in their order. */
export function HookRuns({ job }: { job: Pick<Job, "summary"> }) {
	const hooks = job.summary?.hooks ?? [];
	if (hooks.length === 0) return null;
	return (
		<Card title="Scripts of the machine">
			<dl className={classes.facts}>
				{hooks.map((h) => (
					<div key={`${h.stage} ${h.name}`}>
						<dt>
							<Foreign mono>{h.name}</Foreign>
						</dt>
						<dd>
							{h.failure ? <Badge tone="bad">Failed</Badge> : <Badge tone="ok">Done</Badge>} {stages[h.stage]}
							{h.elapsed_seconds > 0 &&
								`, ${h.elapsed_seconds < 1 ? "less than a second" : duration(h.elapsed_seconds)}`}
							{h.bytes ? `, ${bytes(h.bytes)}` : ""}
							{h.failure && (
								<div>
									It <Foreign>{h.failure}</Foreign>
								</div>
							)}
						</dd>
					</div>
				))}
			</dl>
		</Card>
	);
}

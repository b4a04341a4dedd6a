import type { Change } from "../../api/policies";
import { Foreign } from "../../ui/Foreign";
import classes from "./Policies.module.css";

const names: Record<string, string> = {
	name: "Name",
	enabled: "Switched on",
	hosts: "Machines",
	"hosts.all": "All machines",
	"hosts.ids": "Machines by name",
	"hosts.labels": "Machines by label",
	repository_id: "Repository",
	repository: "Repository",
	backup: "What",
	"backup.paths": "Paths",
	"backup.excludes": "Left out",
	"backup.tags": "Tags",
	"backup.exclude_caches": "Caches are left out",
	"backup.one_file_system": "Stays on one file system",
	"backup.exclude_larger_than": "Left out above, bytes",
	"backup.upload_limit_kib": "Upload limit, KiB a second",
	"backup.hooks_before": "Scripts before it",
	"backup.hooks_after": "Scripts after it",
	"backup.hook_failure": "When a script before it fails",
	"backup.hook_time_limit_seconds": "Time limit of each script, seconds",
	"backup.stdin_hook": "Script that writes what is backed up",
	"backup.stdin_name": "File in the snapshot",
	schedule: "When",
	"schedule.cron": "When",
	"schedule.zone": "Time zone",
	"schedule.spread_seconds": "Spread, seconds",
	"schedule.late_seconds": "May begin late, seconds",
	"schedule.no_catch_up": "Nothing is caught up",
	"backup.download_limit_kib": "Download limit, KiB a second",
	"backup.cpu_nice": "Nice",
	"backup.io_class": "Turn at the disks",
	"schedule.windows": "Windows",
	"schedule.skip_on_battery": "Not on battery",
	"schedule.skip_on_metered": "Not on a metered connection",
	time_limit_seconds: "Time limit, seconds",
	keep: "What is kept",
};

/** What a field of a policy is to people. */
export function fieldName(field: string): string {
	const f = field.replace(/^spec\./, "");
	if (names[f]) return names[f];
	const keep = /^keep\.(.+)$/.exec(f);
	return keep?.[1] ? `Kept: ${keep[1].replace(/_/g, " ")}` : f;
}

/** What is other than before, field by field. */
export function Changes({ changes }: { changes: readonly Change[] }) {
	return (
		<dl className={classes.changes}>
			{changes.map((c) => {
				return (
					<div key={c.field}>
						<dt>{fieldName(c.field)}</dt>
						<dd>
							<del>
								<span className="rm-hidden">before: </span>
								{c.before ? <Foreign>{c.before}</Foreign> : "nothing"}
							</del>
							<ins>
								<span className="rm-hidden">after: </span>
								{c.after ? <Foreign>{c.after}</Foreign> : "nothing"}
							</ins>
						</dd>
					</div>
				);
			})}
		</dl>
	);
}

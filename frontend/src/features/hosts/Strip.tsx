import type { Host } from "../../api/types";
import { bytes, count } from "../../lib/bytes";
import { Ago } from "../../ui/Ago";
import classes from "./Host.module.css";
import { Now } from "./Now";

/** What the machine does, and its figures. */
export function Strip({ host, operator }: { host: Host; operator: boolean }) {
	return (
		<div className={classes.strip}>
			<Now host={host} operator={operator} />
			<div className={classes.tile}>
				<h2>Last good backup</h2>
				<div className={classes.figure}>
					<Ago at={host.last_success_at} never="Never" />
				</div>
				<div className={classes.note}>{host.last_backup?.state === "succeeded_with_issues" ? "it had issues" : ""}</div>
			</div>
			<div className={classes.tile}>
				<h2>Snapshots</h2>
				<div className={classes.figure}>{count(host.snapshot_count)}</div>
				<div className={classes.note}>
					{host.snapshots_refreshed_at ? (
						<>
							as of <Ago at={host.snapshots_refreshed_at} />
						</>
					) : (
						"not listed yet"
					)}
				</div>
			</div>
			<div className={classes.tile}>
				<h2>Newest backup holds</h2>
				<div className={classes.figure}>{host.latest_size_bytes > 0 ? bytes(host.latest_size_bytes) : "–"}</div>
				<div className={classes.note}>{host.latest_size_bytes > 0 ? "before deduplication" : "not known yet"}</div>
			</div>
		</div>
	);
}

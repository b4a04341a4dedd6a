import { Button } from "@mantine/core";
import { IconBan, IconPlayerPlay, IconPlayerStop, IconTag, IconX } from "@tabler/icons-react";
import { count } from "../../lib/bytes";
import classes from "./BulkBar.module.css";
import { chosen, type Selection } from "./selection";

export type BulkAction = "backup" | "cancel" | "label" | "revoke";

interface Props {
	selection: Selection;
	total: number;
	begin: (action: BulkAction) => void;
	all: () => void;
	clear: () => void;
}

/** What can be done to the chosen machines; it stands above the page's lower border. */
export function BulkBar({ selection, total, begin, all, clear }: Props) {
	const n = chosen(selection, total);
	if (n === 0) return null;
	return (
		<section className={classes.bar} aria-label="Chosen machines">
			<span className={classes.words} role="status">
				<b className="rm-numbers">{count(n)}</b> chosen
			</span>
			{!selection.all && n < total && (
				<button type="button" className={classes.all} onClick={all}>
					Choose all {count(total)}
				</button>
			)}
			<div className={classes.actions}>
				<Button size="compact-sm" leftSection={<IconPlayerPlay size={14} />} onClick={() => begin("backup")}>
					Back up now
				</Button>
				<Button
					size="compact-sm"
					variant="default"
					leftSection={<IconPlayerStop size={14} />}
					onClick={() => begin("cancel")}
				>
					Cancel jobs
				</Button>
				<Button size="compact-sm" variant="default" leftSection={<IconTag size={14} />} onClick={() => begin("label")}>
					Label
				</Button>
				<Button size="compact-sm" variant="default" leftSection={<IconBan size={14} />} onClick={() => begin("revoke")}>
					Revoke
				</Button>
			</div>
			<button type="button" className={classes.clear} aria-label="Choose none" title="Choose none" onClick={clear}>
				<IconX size={16} aria-hidden />
			</button>
		</section>
	);
}

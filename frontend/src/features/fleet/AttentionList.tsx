import { Button } from "@mantine/core";
import { useMediaQuery } from "@mantine/hooks";
import { IconAlertTriangle, IconCircleX, IconInfoCircle } from "@tabler/icons-react";
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import type { Attention, Overview } from "../../api/fleet";
import { count } from "../../lib/bytes";
import { exact } from "../../lib/time";
import { useNow } from "../../ui/Ago";
import { Foreign } from "../../ui/Foreign";
import { Card } from "../../ui/Page";
import classes from "./AttentionList.module.css";
import { noticeOf, varied } from "./attention";

// Shown at once: on a phone the machines below are not to be pushed out of sight.
const few = { wide: 4, narrow: 2 };

interface Props {
	overview: Overview;
	operator: boolean;
	again: (hostID: string) => Promise<unknown>;
}

/** What needs somebody, the worst first, each with its next step. */
export function AttentionList({ overview, operator, again }: Props) {
	const [all, setAll] = useState(false);
	const narrow = useMediaQuery("(max-width: 48em)", undefined, { getInitialValueInEffect: false });
	const least = narrow ? few.narrow : few.wide;
	const { attention, attention_total: total } = overview;
	if (attention.length === 0) return null;
	const shown = all || attention.length === least + 1 ? attention : varied(attention, least);
	return (
		<Card flush label="What needs attention">
			<h2 className="rm-hidden">What needs attention</h2>
			<ul className={classes.list}>
				{shown.map((a) => (
					<Item key={a.host_id} attention={a} operator={operator} again={again} />
				))}
			</ul>
			{attention.length > least + 1 && (
				<button type="button" className={classes.more} aria-expanded={all} onClick={() => setAll(!all)}>
					{all
						? "Show the worst alone"
						: `Show ${total > attention.length ? "the worst" : "all"} ${count(attention.length)}`}
					{total > attention.length && ` of ${count(total)}`}
				</button>
			)}
		</Card>
	);
}

const icons = {
	bad: IconCircleX,
	warn: IconAlertTriangle,
	info: IconInfoCircle,
	ok: IconInfoCircle,
	idle: IconInfoCircle,
};

function Item({ attention: a, operator, again }: Omit<Props, "overview"> & { attention: Attention }) {
	const notice = noticeOf(a, useNow());
	const [busy, setBusy] = useState(false);
	const Icon = icons[notice.tone];
	return (
		<li className={classes.item}>
			<Icon size={17} aria-hidden className={classes.icon} data-tone={notice.tone} />
			<div className={classes.text} title={a.since ? `Since ${exact(a.since)}` : undefined}>
				<Link to="/hosts/$hostId" params={{ hostId: a.host_id }} className={classes.host}>
					<Foreign>{short(a.host_name)}</Foreign>
				</Link>{" "}
				{notice.text}
				{notice.said && (
					<span className={classes.said}>
						{" "}
						<Foreign>{short(notice.said, 280)}</Foreign>
					</span>
				)}
			</div>
			<div className={classes.next}>
				{notice.next.do === "job" && a.job_id ? (
					<Link to="/jobs/$jobId" params={{ jobId: a.job_id }} className={classes.step}>
						{notice.next.label}
					</Link>
				) : notice.next.do === "again" && operator ? (
					<Button
						size="compact-sm"
						variant="default"
						loading={busy}
						onClick={() => {
							setBusy(true);
							void again(a.host_id).finally(() => setBusy(false));
						}}
					>
						{notice.next.label}
					</Button>
				) : (
					<Link to="/hosts/$hostId" params={{ hostId: a.host_id }} className={classes.step}>
						{notice.next.do === "host" && operator ? notice.next.label : "Open the machine"}
					</Link>
				)}
			</div>
		</li>
	);
}

function short(text: string, most = 80): string {
	return text.length > most ? `${text.slice(0, most)}…` : text;
}

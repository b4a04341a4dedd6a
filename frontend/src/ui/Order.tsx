import { Button, Group } from "@mantine/core";
import { IconCircleCheck } from "@tabler/icons-react";
import { Link } from "@tanstack/react-router";
import { useRef } from "react";
import { orderKey, useOrderJob } from "../api/orders";
import { Problem } from "../api/problem";
import type { Job, OrderJob } from "../api/types";
import { kindWords } from "../lib/words";
import classes from "./Order.module.css";

/** An order of a dialog: under one key, so that what is sent twice is ordered once. */
export function useOrdering(hostID: string) {
	const order = useOrderJob(hostID);
	const key = useRef<string>(undefined);
	key.current ??= orderKey();
	return {
		...order,
		send(body: OrderJob, then?: (job: Job) => void) {
			if (order.isPending) return;
			order.mutate(
				{ key: key.current ?? "", body },
				{
					onSuccess: ({ job }) => then?.(job),
					// Changed after an order whose answer was lost: the next press is another order, and says so.
					onError: (e) => {
						if (e instanceof Problem && e.code === "idempotency_key_reused") key.current = orderKey();
					},
				},
			);
		},
	};
}

/** What stands in the dialog when the job is ordered. */
export function Ordered({ job, waited, close }: { job: Job; waited: boolean; close: () => void }) {
	const kind = kindWords[job.kind].name;
	return (
		<div className={classes.ordered}>
			<IconCircleCheck size={34} color="var(--rm-ok)" stroke={1.6} aria-hidden />
			<p role="status">
				<b>{waited ? `${kind} is ordered already` : `${kind} is ordered`}</b>
				<span>
					{waited
						? "The same order waits in the queue: it was not made a second time."
						: "The machine fetches it with its next call, at once where it is online."}
				</span>
			</p>
			<Group justify="center">
				<Button variant="default" onClick={close}>
					Close
				</Button>
				<Button data-autofocus renderRoot={(props) => <Link to="/jobs/$jobId" params={{ jobId: job.id }} {...props} />}>
					Follow the job
				</Button>
			</Group>
		</div>
	);
}

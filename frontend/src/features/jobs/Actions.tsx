import { ActionIcon, Button, Tooltip } from "@mantine/core";
import { IconPlayerStop, IconRefresh } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useRef, useState } from "react";
import { mayAs, meQuery } from "../../api/auth";
import { orderKey, useCancelJob, useRetryJob } from "../../api/orders";
import { isOpen, type Job } from "../../api/types";
import { kindWords } from "../../lib/words";
import { Confirm } from "../../ui/Confirm";
import { done, failed } from "../../ui/notify";

/** Whether an ended job may be worth another run. */
export function mayRetry(job: Job): boolean {
	return !isOpen(job.state) && job.state !== "succeeded";
}

/** Canceling and retrying one job, for who may order. */
export function useJobActions(job: Job) {
	const { data: me } = useQuery(meQuery);
	const navigate = useNavigate();
	const cancel = useCancelJob();
	const retry = useRetryJob();
	const [asking, setAsking] = useState(false);
	// One key as long as the job is shown: a second click is the same order.
	const key = useRef<string>(undefined);
	key.current ??= orderKey();
	const operator = mayAs(me?.role, "operator");
	const name = kindWords[job.kind].name.toLowerCase();
	return {
		mayCancel: operator && isOpen(job.state) && !job.cancel_requested_at,
		mayRetry: operator && !isOpen(job.state),
		retrying: retry.isPending,
		ask: () => setAsking(true),
		again: () =>
			retry.mutate(
				{ jobID: job.id, key: key.current ?? orderKey() },
				{
					onSuccess: (next) => {
						done(`The ${name} of ${job.host_name} is ordered again`);
						void navigate({ to: "/jobs/$jobId", params: { jobId: next.id } });
					},
					onError: (e) => failed(`The ${name} was not ordered again`, e),
				},
			),
		// A list has many rows: none of them holds a dialog that is not open.
		dialog: asking && (
			<Confirm
				opened={asking}
				close={() => setAsking(false)}
				title={`Cancel this ${name}?`}
				action={`Cancel the ${name}`}
				danger
				run={() => cancel.mutateAsync(job.id)}
			>
				{job.state === "queued" ? (
					<>It has not begun on {<bdi>{job.host_name}</bdi>}, and will not.</>
				) : (
					<>
						restic on {<bdi>{job.host_name}</bdi>} is asked to end in order, which takes up to 90 s.
						{job.kind === "backup" &&
							" No snapshot is made; what is stored already is not stored again by the next backup."}
						{job.kind === "prune" && " The repository stays whole; the next prune goes on."}
					</>
				)}
			</Confirm>
		),
	};
}

/** The same as small buttons of a row. */
export function RowActions({ job }: { job: Job }) {
	const a = useJobActions(job);
	const what = `${kindWords[job.kind].name} of ${job.host_name}`;
	return (
		<>
			{a.mayCancel && (
				<Tooltip label="Cancel">
					<ActionIcon aria-label={`Cancel: ${what}`} onClick={a.ask}>
						<IconPlayerStop size={16} />
					</ActionIcon>
				</Tooltip>
			)}
			{a.mayRetry && mayRetry(job) && (
				<Tooltip label="Order again">
					<ActionIcon aria-label={`Order again: ${what}`} loading={a.retrying} onClick={a.again}>
						<IconRefresh size={16} />
					</ActionIcon>
				</Tooltip>
			)}
			{a.dialog}
		</>
	);
}

export function JobButtons({ job }: { job: Job }) {
	const a = useJobActions(job);
	return (
		<>
			{a.mayCancel && (
				<Button variant="default" leftSection={<IconPlayerStop size={15} />} onClick={a.ask}>
					Cancel
				</Button>
			)}
			{a.mayRetry && (
				<Button
					variant={job.state === "succeeded" ? "default" : "filled"}
					leftSection={<IconRefresh size={15} />}
					loading={a.retrying}
					onClick={a.again}
				>
					{job.state === "succeeded" ? "Order again" : "Retry"}
				</Button>
			)}
			{a.dialog}
		</>
	);
}

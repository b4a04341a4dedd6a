import { Button } from "@mantine/core";
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import { type Repository, type Rotation, useGiveUpRotation, useRotate } from "../../api/repositories";
import { sentence } from "../../lib/words";
import { Confirm } from "../../ui/Confirm";
import { Foreign } from "../../ui/Foreign";
import { HostSelect } from "../../ui/Hosts";
import { done } from "../../ui/notify";
import classes from "./Repositories.module.css";

const isOpen = (r: Rotation | undefined) => r?.state === "adding" || r?.state === "switched";

/** How far a change of the password is; nothing when none is under way. */
export function RotationNote({
	repository: r,
	operator,
	goOn,
}: {
	repository: Repository;
	operator: boolean;
	goOn: () => void;
}) {
	const [asked, setAsked] = useState(false);
	const giveUp = useGiveUpRotation(r.id);
	const rotation = r.rotation;
	if (!rotation || !isOpen(rotation)) return null;
	return (
		<div className={classes.need} data-tone={rotation.why ? "warn" : "info"} role="status">
			<div>
				<h2>The password is being changed</h2>
				<p>
					{rotation.state === "adding"
						? "The new password is being added; the old one is in force."
						: "The new password is in force. The old one still opens the repository, until nothing uses it any more."}{" "}
					{rotation.why && <Foreign>{sentence(rotation.why)}</Foreign>}{" "}
					{rotation.job_id && (
						<Link to="/jobs/$jobId" params={{ jobId: rotation.job_id }} className="rm-link">
							Its job
						</Link>
					)}
				</p>
			</div>
			{operator && !rotation.job_id && (
				<div className={classes.removalAsk}>
					<Button size="xs" variant="default" onClick={goOn}>
						Go on now…
					</Button>
					<Button size="xs" variant="default" onClick={() => setAsked(true)}>
						Give up…
					</Button>
				</div>
			)}
			<Confirm
				opened={asked}
				close={() => setAsked(false)}
				title="Give the change of the password up"
				action="Give it up"
				danger
				run={async () => {
					await giveUp.mutateAsync();
					done("The password stays as it is.");
				}}
			>
				{rotation.state === "adding"
					? "The old password stays in force. The new one may be a key of the repository already: nobody has it, and it is not kept."
					: "The new password stays in force. The old one still opens the repository: remove its key by restic key remove."}
			</Confirm>
		</div>
	);
}

/** Begins a change of the password, or has one go on, on a machine to choose. */
export function RotateDialog({
	repository: r,
	opened,
	close,
}: {
	repository: Repository;
	opened: boolean;
	close: () => void;
}) {
	const rotate = useRotate(r.id);
	const [host, setHost] = useState("");
	const open = isOpen(r.rotation);
	return (
		<Confirm
			opened={opened}
			close={close}
			title={`Change the password of ${r.name}`}
			action={open ? "Go on" : "Change it"}
			run={async () => {
				await rotate.mutateAsync(host);
				done(open ? "The change of the password goes on." : "The change of the password has begun.");
			}}
		>
			<p style={{ marginTop: 0 }}>
				A new password is made and added, and opens the repository, before the old one is removed: at no moment is there
				none. The machines get it by themselves. The recovery kit is outdated afterwards: make a new one.
			</p>
			<HostSelect
				label="Done by"
				description="Its guard must allow it (maintenance: keys: true). None chosen: the one that maintains the repository, else one that uses it."
				value={host || (r.rotation && open ? (r.rotation.host?.id ?? "") : "")}
				set={setHost}
			/>
		</Confirm>
	);
}

import { Checkbox, Modal, Radio, Stack, Text, TextInput } from "@mantine/core";
import { type ReactNode, useState } from "react";
import type { Host, OrderJob } from "../../api/types";
import { fieldErrors } from "../../lib/fields";
import { FormEnd, WaitsNote } from "../../ui/FormEnd";
import { Ordered, useOrdering } from "../../ui/Order";

/** Kinds that have a small dialog; backups and restores have one of their own. */
export type SmallKind = "check" | "snapshots" | "unlock" | "prune" | "init";

interface Props {
	host: Host;
	kind: SmallKind | undefined;
	close: () => void;
}

const titles: Record<SmallKind, string> = {
	check: "Check the repository",
	snapshots: "List the snapshots anew",
	unlock: "Remove stale locks",
	prune: "Prune the repository",
	init: "Initialize the repository",
};

const buttons: Record<SmallKind, string> = {
	check: "Check",
	snapshots: "List",
	unlock: "Unlock",
	prune: "Prune",
	init: "Initialize",
};

/** Orders a job that has few choices or none. */
export function OrderDialog({ host, kind, close }: Props) {
	// The title stays while the dialog goes.
	const [shown, setShown] = useState<SmallKind>();
	if (kind && kind !== shown) setShown(kind);
	return (
		<Modal opened={kind !== undefined} onClose={close} title={shown && titles[shown]}>
			{shown && <Inside key={shown} host={host} kind={shown} close={close} />}
		</Modal>
	);
}

function Inside({ host, kind, close }: { host: Host; kind: SmallKind; close: () => void }) {
	const order = useOrdering(host.id);
	const [read, setRead] = useState("structure");
	const [unused, setUnused] = useState("");
	const [dryRun, setDryRun] = useState(false);
	const [wrong, setWrong] = useState<string>();
	if (order.data) return <Ordered job={order.data.job} waited={order.data.waited} close={close} />;
	const refused = fieldErrors(order.error, { max_unused_percent: "unused" });

	function submit() {
		if (kind === "prune" && unused.trim() !== "" && !/^(\d{1,2}|100)$/.test(unused.trim())) {
			setWrong("Give 0 to 100");
			return;
		}
		setWrong(undefined);
		order.send(orderOf(kind, { read, unused: unused.trim(), dryRun }));
	}
	return (
		<form
			onSubmit={(e) => {
				e.preventDefault();
				submit();
			}}
		>
			<Stack gap="md">
				<Text size="sm">{about[kind]}</Text>
				{kind === "check" && (
					<Radio.Group label="How much is read" value={read} onChange={setRead}>
						<Stack gap="xs" mt={6}>
							<Radio
								value="structure"
								label="The structure"
								description="Every snapshot's tree and the index. Minutes; finds what is missing."
							/>
							<Radio
								value="5%"
								label="The structure and 5 % of the data"
								description="Other data each time: finds storage that rots, bit by bit."
							/>
							<Radio
								value="all"
								label="All"
								description="Downloads the whole repository: may take long and cost money."
							/>
						</Stack>
					</Radio.Group>
				)}
				{kind === "prune" && (
					<>
						<TextInput
							label="Unused space that may stay, in percent"
							description="Empty: restic's 5. Less frees more and takes longer."
							inputMode="numeric"
							value={unused}
							error={wrong ?? refused.fields.unused}
							onChange={(e) => setUnused(e.currentTarget.value)}
						/>
						<Checkbox
							label="Dry run"
							description="Only says how much would be freed."
							checked={dryRun}
							onChange={(e) => setDryRun(e.currentTarget.checked)}
						/>
					</>
				)}
				<WaitsNote status={host.status} />
				<FormEnd wrong={refused.rest} close={close} action={buttons[kind]} busy={order.isPending} />
			</Stack>
		</form>
	);
}

const about: Record<SmallKind, ReactNode> = {
	check: "Verifies that the repository is whole. Nobody else can write to it meanwhile: backups into it wait.",
	snapshots: "Asks the repository which snapshots it holds. It also tells whether it can be reached and opened.",
	unlock:
		"Removes locks that restic left behind when it died: those of processes of this machine that are gone, and those older than 30 minutes. Locks of a restic that runs stay.",
	prune:
		"Frees the space of what no snapshot needs any more; snapshots are not touched. Nobody else can write to the repository meanwhile. It can take hours.",
	init: "Makes a new, empty repository at the place that is set, with the password that is set. One that is there already is not touched.",
};

/** The order of what was chosen. */
export function orderOf(kind: SmallKind, chosen: { read: string; unused: string; dryRun: boolean }): OrderJob {
	switch (kind) {
		case "check":
			if (chosen.read === "all") return { kind, spec: { read_data: true } };
			return chosen.read === "structure" ? { kind } : { kind, spec: { read_data_subset: chosen.read } };
		case "prune":
			return {
				kind,
				spec: {
					...(chosen.unused !== "" && { max_unused_percent: Number(chosen.unused) }),
					...(chosen.dryRun && { dry_run: true }),
				},
			};
		default:
			return { kind };
	}
}

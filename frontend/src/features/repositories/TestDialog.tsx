import { Button, Group, Modal, Stack, Text } from "@mantine/core";
import { IconCircleCheck, IconCircleX, IconHourglass } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import { jobQuery } from "../../api/jobs";
import { messageOf } from "../../api/problem";
import { type Repository, useTestRepository } from "../../api/repositories";
import { isOpen } from "../../api/types";
import { adviceFor } from "../../lib/advice";
import { reasonOf, sentence } from "../../lib/words";
import { StateBadge } from "../../ui/Badge";
import { Foreign } from "../../ui/Foreign";
import { FormEnd } from "../../ui/FormEnd";
import { HostSelect } from "../../ui/Hosts";
import { Note } from "../../ui/Note";

interface Props {
	repository: Repository;
	opened: boolean;
	close: () => void;
}

/** Has a machine open the repository and say what is in it. */
export function TestDialog({ repository, opened, close }: Props) {
	return (
		<Modal opened={opened} onClose={close} title={`Test ${repository.name}`} size={540}>
			<Test repository={repository} close={close} />
		</Modal>
	);
}

function Test({ repository, close }: Omit<Props, "opened">) {
	const test = useTestRepository(repository.id);
	const [host, setHost] = useState(repository.runner?.id ?? "");
	const ordered = test.data;
	const { data } = useQuery({ ...jobQuery(ordered?.id ?? ""), enabled: ordered !== undefined });
	const job = data ?? ordered;
	if (job) {
		const open = isOpen(job.state);
		const good = job.state === "succeeded";
		const missing = job.error?.code === "repository_missing";
		return (
			<Stack gap="md">
				<Note tone={open ? "info" : good ? "ok" : missing ? "warn" : "bad"} role="status">
					<span style={{ display: "flex", gap: 8, alignItems: "center" }}>
						{open ? <IconHourglass size={18} /> : good ? <IconCircleCheck size={18} /> : <IconCircleX size={18} />}
						<span>
							{good ? (
								<>
									<Foreign>{job.host_name}</Foreign> reached it, and its password opened it.
								</>
							) : missing ? (
								repository.auto_init ? (
									"The place answers, but there is no repository yet. It is made by itself once a machine uses it."
								) : (
									"The place answers, but there is no repository yet: initialize it from the page of a machine that uses it."
								)
							) : (
								<Foreign>{reasonOf(job)}</Foreign>
							)}
							{!open && !good && !missing && job.error && <> {sentence(adviceFor(job.error.code) ?? "")}</>}
						</span>
					</span>
				</Note>
				<Group justify="space-between">
					<StateBadge state={job.state} />
					<Group gap={8}>
						<Button
							variant="default"
							renderRoot={(props) => <Link to="/jobs/$jobId" params={{ jobId: job.id }} {...props} />}
						>
							See the job
						</Button>
						<Button onClick={close}>Close</Button>
					</Group>
				</Group>
			</Stack>
		);
	}
	return (
		<form
			onSubmit={(e) => {
				e.preventDefault();
				if (host !== "" && !test.isPending) test.mutate(host);
			}}
		>
			<Stack gap="md">
				<Text size="sm">
					A machine opens the repository with what is set here and lists its snapshots. Nothing is written, and which
					repository the machine itself uses does not change.
				</Text>
				<HostSelect label="From which machine" placeholder="Search machines" value={host} set={setHost} />
				<FormEnd
					wrong={test.error ? messageOf(test.error) : undefined}
					close={close}
					action="Test it"
					busy={test.isPending}
					disabled={host === ""}
				/>
			</Stack>
		</form>
	);
}

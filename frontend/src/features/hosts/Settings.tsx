import { Text } from "@mantine/core";
import { mayAs } from "../../api/auth";
import type { Host, Role } from "../../api/types";
import { labelsText } from "../../lib/labels";
import { BarredButton } from "../../ui/Barred";
import { Facts } from "../../ui/Facts";
import { Foreign } from "../../ui/Foreign";
import { Card } from "../../ui/Page";
import { EditForm } from "./Edit";
import classes from "./Host.module.css";
import { Repository } from "./Repository";

interface Props {
	host: Host;
	role: Role | undefined;
	revoke: () => void;
	remove: () => void;
}

/** What of the machine can be changed here. */
export function Settings({ host, role, revoke, remove }: Props) {
	const barred = mayAs(role, "operator") ? undefined : "Your account only reads. Ask an operator.";
	return (
		<div className={classes.settings}>
			<Card title="Name and labels">
				{barred ? (
					<Facts
						facts={[
							["Name", <Foreign key="n">{host.name}</Foreign>],
							["Labels", labelsText(host.labels) || "none"],
						]}
					/>
				) : (
					<EditForm key={`${host.name} ${labelsText(host.labels)}`} host={host} />
				)}
			</Card>
			<Repository host={host} role={role} />
			<Card title="Part with the machine">
				<div className={classes.danger}>
					<div>
						<h3>Revoke</h3>
						<p>Voids its credential: lost, stolen or replaced machines. Jobs and logs stay.</p>
					</div>
					<BarredButton
						variant="outline"
						color="red"
						reason={barred ?? (host.status === "revoked" ? "It is revoked already." : undefined)}
						onClick={revoke}
					>
						Revoke…
					</BarredButton>
				</div>
				<div className={classes.danger}>
					<div>
						<h3>Delete</h3>
						<p>Revokes it and deletes it here with its jobs and logs. The repository is not touched.</p>
					</div>
					<BarredButton variant="outline" color="red" reason={barred} onClick={remove}>
						Delete…
					</BarredButton>
				</div>
			</Card>
			<Text size="xs" c="dimmed">
				What the machine allows is set on the machine, in guard.yaml.
			</Text>
		</div>
	);
}

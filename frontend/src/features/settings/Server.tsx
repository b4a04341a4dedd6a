import { Button } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import type { ReactNode } from "react";
import { serverVersion } from "../../api/link";
import { serverQuery } from "../../api/settings";
import { bytes, count } from "../../lib/bytes";
import { useSignal } from "../../lib/signal";
import { duration } from "../../lib/time";
import { Ago } from "../../ui/Ago";
import { Copy } from "../../ui/Copy";
import { Foreign } from "../../ui/Foreign";
import { Note } from "../../ui/Note";
import { Card } from "../../ui/Page";
import { Shown } from "../../ui/States";
import classes from "./Settings.module.css";

type Answer = Awaited<ReturnType<NonNullable<(typeof serverQuery)["queryFn"]>>> & object;

const late = 10 * 60;

/** The server itself. */
export function Server() {
	const server = useQuery(serverQuery);
	const version = useSignal(serverVersion);
	return (
		<Shown query={server} rows={8}>
			{(s) => (
				<>
					{version && version.loaded !== version.now && (
						<Note tone="info" role="status">
							<span>
								The server was updated to <b>{version.now}</b>; this page is still of {version.loaded}.
							</span>
							<Button size="compact-xs" variant="default" onClick={() => location.reload()}>
								Load the new one
							</Button>
						</Note>
					)}
					<Health s={s} />
					<Card title="What it holds">
						<dl className={classes.figures}>
							<Figure name="Machines">{count(s.hosts)}</Figure>
							<Figure name="Jobs">
								{s.jobs_estimated && "≈ "}
								{count(s.jobs)}
							</Figure>
							<Figure name="Snapshots">{count(s.snapshots)}</Figure>
							<Figure name="Logs">≈ {bytes(s.log_bytes)}</Figure>
							<Figure name="Database">{bytes(s.database.size_bytes)}</Figure>
							<Figure name="Polls held">{count(s.long_polls_held)}</Figure>
						</dl>
					</Card>
					<Card title="Program">
						<dl className={classes.facts}>
							<Fact name="Version">
								<Foreign>{s.version}</Foreign>
								{s.commit && (
									<small>
										<Foreign mono>{s.commit.slice(0, 12)}</Foreign>{" "}
										<Copy value={s.commit} what="the commit" size={18} />
									</small>
								)}
							</Fact>
							<Fact name="Started">
								<Ago at={s.started_at} />
								<small>up {duration(s.uptime_seconds)}</small>
							</Fact>
							<Fact name="Database">
								{s.database.engine === "postgres" ? "PostgreSQL" : "SQLite"} <Foreign>{s.database.version}</Foreign>
								<small>schema {s.schema_version}</small>
							</Fact>
							<Fact name="Go">
								<Foreign>{s.go_version}</Foreign>
							</Fact>
						</dl>
					</Card>
					<Card title="Settings in force">
						<dl className={classes.facts}>
							<Fact name="Public URL">
								{s.public_url ? (
									<>
										<Foreign mono>{s.public_url}</Foreign> <Copy value={s.public_url} what="the public URL" size={18} />
									</>
								) : (
									<>
										not set
										<small>
											Machines get the address that this page is open at. Set <code>--public-url</code>.
										</small>
									</>
								)}
							</Fact>
							<Fact name="A machine is offline after">
								{duration(s.offline_after_seconds)}
								<small>
									<code>--offline-after</code>
								</small>
							</Fact>
							<Fact name="A backup is overdue after">
								{duration(s.overdue_after_seconds)}
								<small>
									<code>--overdue-after</code>
								</small>
							</Fact>
						</dl>
						<p className={classes.hint}>
							All settings and where each comes from: <code>restic-manager config print</code>, on the server.
						</p>
					</Card>
				</>
			)}
		</Shown>
	);
}

function Health({ s }: { s: Answer }) {
	const swept = s.last_sweep_at ? (new Date(s.now).getTime() - new Date(s.last_sweep_at).getTime()) / 1000 : undefined;
	const slow = swept === undefined ? s.uptime_seconds > late : swept > late;
	return (
		<Card title="Health">
			<div className={classes.health}>
				{s.invariant_violations === 0 ? (
					<Note tone="ok">
						<b className={classes.big}>0</b> violations of the server's own rules
					</Note>
				) : (
					<Note tone="bad" role="alert">
						<span>
							<b className={classes.big}>{count(s.invariant_violations)}</b> violations of the server's own rules. This
							is a defect of the program, not of your backups: check that the last ones are there, keep the server's log
							(it names each violation), and report it.
						</span>
					</Note>
				)}
				<Note tone={slow ? "warn" : "ok"}>
					{s.last_sweep_at ? (
						<span>
							Last sweep <Ago at={s.last_sweep_at} />
							{slow &&
								": lost jobs and offline machines are noticed late. The server's log says why it does not sweep."}
						</span>
					) : (
						"No sweep yet: one comes soon after the start."
					)}
				</Note>
			</div>
		</Card>
	);
}

function Figure({ name, children }: { name: string; children: ReactNode }) {
	return (
		<div>
			<dt>{name}</dt>
			<dd className="rm-numbers">{children}</dd>
		</div>
	);
}

function Fact({ name, children }: { name: string; children: ReactNode }) {
	return (
		<div>
			<dt>{name}</dt>
			<dd>{children}</dd>
		</div>
	);
}

import { Button, FileInput, NativeSelect } from "@mantine/core";
import { IconFileImport } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import { mayAs, meQuery } from "../../api/auth";
import {
	type Imported,
	type ImportKind,
	importedQuery,
	largestImport,
	useForgetImport,
	useImport,
} from "../../api/imports";
import { policiesQuery } from "../../api/policies";
import { messageOf } from "../../api/problem";
import { counted } from "../../lib/bytes";
import { shortWords } from "../../lib/cron";
import { Badge } from "../../ui/Badge";
import { Foreign } from "../../ui/Foreign";
import { Note } from "../../ui/Note";
import { Card, Page } from "../../ui/Page";
import rows from "../../ui/Rows.module.css";
import { Empty, Loading } from "../../ui/States";
import { ownZone, ZonePicker } from "../../ui/When";
import { keepWords } from "./form";
import classes from "./Policies.module.css";
import { Crumb } from "./PolicyPage";

const kinds: { value: ImportKind; label: string; file: string }[] = [
	{ value: "resticprofile", label: "resticprofile", file: "profiles.yaml, .toml or .json" },
	{ value: "backrest", label: "Backrest", file: "config.json" },
];

/** Reads another program's configuration, and offers what it says as drafts of policies. */
export function ImportPage() {
	const { data: me } = useQuery(meQuery);
	const { data: imported } = useQuery(importedQuery);
	return (
		<Page
			narrow
			title="Import policies"
			subtitle="From a configuration of another program that runs restic. Nothing is saved before you say so"
			crumbs={<Crumb />}
		>
			{!me ? (
				<Loading />
			) : !mayAs(me.role, "operator") ? (
				<Empty title="Operators set policies up">You can look at everything, but not change it.</Empty>
			) : imported ? (
				<Result imported={imported} />
			) : (
				<Choose />
			)}
		</Page>
	);
}

function Choose() {
	const read = useImport();
	const [kind, setKind] = useState<ImportKind>("resticprofile");
	const [file, setFile] = useState<File | null>(null);
	const [zone, setZone] = useState(ownZone);
	const large = file !== null && file.size > largestImport;
	return (
		<Card label="The file">
			<form
				className={classes.fields}
				onSubmit={(e) => {
					e.preventDefault();
					if (file && !large && !read.isPending) read.mutate({ kind, file, zone });
				}}
			>
				<NativeSelect
					label="Program"
					data={kinds.map(({ value, label }) => ({ value, label }))}
					value={kind}
					onChange={(e) => setKind(e.currentTarget.value as ImportKind)}
				/>
				<FileInput
					label="File"
					description={`Its ${kinds.find((k) => k.value === kind)?.file}. Secrets in it are not taken over, and the file is not kept`}
					placeholder="Choose a file"
					required
					clearable
					clearButtonProps={{ "aria-label": "Choose no file" }}
					value={file}
					error={large ? "It is larger than 512 KiB" : undefined}
					onChange={(f) => {
						read.reset();
						setFile(f);
					}}
				/>
				<ZonePicker label="Time zone of the machine that it is of" value={zone} set={setZone} />
				{read.error && (
					<Note tone="bad" role="alert">
						{messageOf(read.error)}
					</Note>
				)}
				<div>
					<Button
						type="submit"
						leftSection={<IconFileImport size={16} />}
						loading={read.isPending}
						disabled={!file || large}
					>
						Read it
					</Button>
				</div>
			</form>
		</Card>
	);
}

function Result({ imported }: { imported: Imported }) {
	const forget = useForgetImport();
	const { data: known } = useQuery(policiesQuery);
	const names = new Set(known?.policies.map((p) => p.name.toLowerCase()));
	const missing = imported.repositories.filter((r) => !r.id);
	return (
		<div className={classes.form}>
			{missing.length > 0 && (
				<Note tone="info">
					<span>
						Set the repositories up first, with the passwords that they have: a draft takes the one with its address,
						once you read the file again.
					</span>
				</Note>
			)}
			{imported.repositories.length > 0 && (
				<Card flush title="Repositories">
					<ul className={classes.drafts}>
						{imported.repositories.map((r) => (
							<li key={r.name}>
								<div>
									<b>
										<Foreign>{r.name}</Foreign>
									</b>{" "}
									<span className={rows.small}>
										<Foreign>{r.url}</Foreign>
										{r.env_keys.length > 0 && ` · needs ${r.env_keys.join(", ")}`}
									</span>
								</div>
								{r.id ? (
									<Badge tone="ok">Is here already</Badge>
								) : (
									<Button
										size="compact-sm"
										variant="default"
										aria-label={`Set up the repository ${r.name}`}
										renderRoot={(props) => <Link to="/repositories/new" {...props} />}
									>
										Set it up
									</Button>
								)}
							</li>
						))}
					</ul>
				</Card>
			)}
			<Card flush title={counted(imported.policies.length, "draft")}>
				{imported.policies.length === 0 ? (
					<Empty title="No backup could be taken over">What was left out, and why, is named below.</Empty>
				) : (
					<ul className={classes.drafts}>
						{imported.policies.map((p) => (
							<li key={p.name}>
								<div>
									<b>
										<Foreign>{p.name}</Foreign>
									</b>{" "}
									{!p.enabled && <Badge tone="warn">Switched off</Badge>}{" "}
									<span className={rows.small}>
										<Foreign>{(p.spec.backup.paths ?? []).join(", ")}</Foreign> · {shortWords(p.spec.schedule.cron)}{" "}
										{p.spec.schedule.zone} · keeps {keepWords(p.spec.keep)}
									</span>
								</div>
								{names.has(p.name.toLowerCase()) ? (
									<Badge tone="ok">A policy of this name is here</Badge>
								) : (
									<Button
										size="compact-sm"
										aria-label={`Open the draft ${p.name}`}
										renderRoot={(props) => <Link to="/policies/new" search={{ imported: p.name }} {...props} />}
									>
										Open
									</Button>
								)}
							</li>
						))}
					</ul>
				)}
			</Card>
			<Card flush title="Not taken over">
				{imported.left_out.length === 0 ? (
					<p className={classes.allIn}>All that the file says is in the drafts.</p>
				) : (
					<dl className={classes.leftOut}>
						{imported.left_out.map((l) => (
							<div key={`${l.where}\n${l.why}`}>
								<dt>
									<Foreign>{l.where}</Foreign>
								</dt>
								<dd>
									<Foreign>{l.why}</Foreign>
								</dd>
							</div>
						))}
					</dl>
				)}
			</Card>
			<div>
				<Button variant="default" onClick={forget}>
					Read another file
				</Button>
			</div>
		</div>
	);
}

import { Autocomplete, Checkbox, NativeSelect, Radio, Stack, TagsInput, TextInput } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useMemo } from "react";
import { findHostsQuery } from "../../api/fleet";
import { counted } from "../../lib/bytes";
import { duration } from "../../lib/time";
import { Foreign } from "../../ui/Foreign";
import { Note } from "../../ui/Note";
import type { PolicyForm } from "./form";
import { type HooksForm, offeredBy } from "./hooks";
import classes from "./Policies.module.css";

/** How many machines are asked for the scripts that they offer: these are suggestions, any name can be typed. */
const askedHosts = 500;

interface Props {
	form: PolicyForm;
	set: <F extends keyof PolicyForm>(f: F, value: PolicyForm[F]) => void;
	error: (f: string) => string | undefined;
}

/** Scripts of the machines around a backup, and one whose output is the backup. */
export function HookFields({ form, set, error }: Props) {
	const hooks = form.hooks;
	const put = <F extends keyof HooksForm>(f: F, value: HooksForm[F]) => set("hooks", { ...hooks, [f]: value });
	const { data } = useQuery({ ...findHostsQuery("", askedHosts), refetchInterval: false });
	const offered = useMemo(
		() => offeredBy(data ?? [], { all: form.all, labels: form.labels, ids: form.ids }),
		[data, form.all, form.labels, form.ids],
	);
	const names = [...offered.keys()];
	const limits = [60, 300, 600, 1800, 3600, 4 * 3600];
	if (hooks.limit > 0 && !limits.includes(hooks.limit)) limits.push(hooks.limit);
	return (
		<div className={classes.fields}>
			<Radio.Group
				label="What is backed up"
				value={hooks.dump ? "dump" : "folders"}
				onChange={(v) => put("dump", v === "dump")}
			>
				<Stack gap={6} mt={6}>
					<Radio size="md" value="folders" label="Folders, as above" />
					<Radio size="md" value="dump" label="What a script writes, as a dump of a database" />
				</Stack>
			</Radio.Group>
			{hooks.dump && (
				<>
					<div className={classes.pair}>
						<Autocomplete
							label="Script that writes it"
							description="Its output becomes one file. When it fails, no snapshot is made."
							required
							placeholder="pg_dump"
							data={names}
							spellCheck={false}
							autoCapitalize="none"
							value={hooks.stdinHook}
							error={error("stdinHook")}
							onChange={(v) => put("stdinHook", v)}
						/>
						<TextInput
							label="File in the snapshot"
							description="Its name there: the same each time"
							required
							placeholder="database.sql"
							spellCheck={false}
							autoCapitalize="none"
							value={hooks.stdinName}
							error={error("stdinName")}
							onChange={(e) => put("stdinName", e.currentTarget.value)}
						/>
					</div>
					<div className={classes.pair}>
						<TextInput
							label="Tags"
							description="Words on the snapshot to find it by"
							spellCheck={false}
							value={form.backup.tags}
							error={error("tags")}
							onChange={(e) => set("backup", { ...form.backup, tags: e.currentTarget.value })}
						/>
						<TextInput
							label="Upload limit"
							description="KiB a second; empty: as fast as it goes"
							inputMode="numeric"
							value={form.backup.uploadLimit}
							error={error("uploadLimit")}
							onChange={(e) => set("backup", { ...form.backup, uploadLimit: e.currentTarget.value })}
						/>
					</div>
				</>
			)}
			<Names
				label="Scripts before it"
				description="In this order. They stop a service, or make a snapshot of a disk."
				names={names}
				value={hooks.before}
				set={(v) => put("before", v)}
				error={error("before")}
			/>
			{hooks.before.length > 0 && (
				<Checkbox
					label="Back up all the same when one of them fails"
					description="Off: the backup is not made, and the job has failed. On: it is made, and ends with issues."
					checked={hooks.goOn}
					onChange={(e) => put("goOn", e.currentTarget.checked)}
				/>
			)}
			<Names
				label="Scripts after it"
				description="Run in every case, also when the backup failed or was canceled."
				names={names}
				value={hooks.after}
				set={(v) => put("after", v)}
				error={error("after")}
			/>
			{(hooks.dump || hooks.before.length > 0 || hooks.after.length > 0) && (
				<NativeSelect
					label="Time limit of each script"
					description="One that takes longer is stopped, and has failed"
					data={[
						{ value: "0", label: hooks.dump ? "10 minutes; of the dump the policy's own" : "10 minutes" },
						...limits.sort((a, b) => a - b).map((s) => ({ value: String(s), label: duration(s) })),
					]}
					value={String(hooks.limit)}
					error={error("hookLimit")}
					onChange={(e) => put("limit", Number(e.currentTarget.value))}
				/>
			)}
			<Note tone="info">
				<span>
					{names.length === 0 ? (
						"None of these machines offers a script yet. "
					) : (
						<>
							Offered:{" "}
							{[...offered].slice(0, 12).map(([name, n], i) => (
								<span key={name}>
									{i > 0 && ", "}
									<Foreign mono>{name}</Foreign> ({counted(n, "machine")})
								</span>
							))}
							{names.length > 12 && ` and ${names.length - 12} more`}.{" "}
						</>
					)}
					Scripts lie on the machine, and its guard.yaml says which may be named here. A machine without one of them
					does not run the policy.
				</span>
			</Note>
		</div>
	);
}

function Names(props: {
	label: string;
	description: string;
	names: string[];
	value: string[];
	set: (v: string[]) => void;
	error?: string;
}) {
	return (
		<TagsInput
			label={props.label}
			description={props.description}
			data={props.names}
			maxTags={8}
			splitChars={[",", " "]}
			acceptValueOnBlur
			clearable
			clearButtonProps={{ "aria-label": `None of the ${props.label.toLowerCase()}` }}
			spellCheck={false}
			autoCapitalize="none"
			value={props.value}
			error={props.error}
			onChange={props.set}
		/>
	);
}

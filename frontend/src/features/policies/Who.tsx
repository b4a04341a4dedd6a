import { Radio, Stack, TagsInput } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { useQuery } from "@tanstack/react-query";
import { useMemo } from "react";
import { fleetQuery } from "../../api/fleet";
import { countQuery } from "../../api/policies";
import { messageOf } from "../../api/problem";
import { count } from "../../lib/bytes";
import { parseLabels } from "../../lib/labels";
import { sentence } from "../../lib/words";
import { Foreign } from "../../ui/Foreign";
import { HostsSelect } from "../../ui/Hosts";
import type { PolicyForm } from "./form";
import classes from "./Policies.module.css";

interface Props {
	form: PolicyForm;
	set: <F extends keyof PolicyForm>(f: F, value: PolicyForm[F]) => void;
	error: (f: string) => string | undefined;
}

/** Which machines: all of them, those with labels, those that are named. */
export function Who({ form, set, error }: Props) {
	const { data: fleet } = useQuery(fleetQuery());
	const known = useMemo(
		() =>
			(fleet?.labels ?? [])
				.flatMap((l) => l.values.map((v) => (v.value === "" ? l.key : `${l.key}=${v.value}`)))
				.sort(),
		[fleet],
	);
	return (
		<div className={classes.fields}>
			<Radio.Group
				label="Which machines"
				value={form.all ? "all" : "some"}
				onChange={(v) => set("all", v === "all")}
				error={error("hosts")}
			>
				<Stack gap={6} mt={6} mb={error("hosts") ? 6 : 0}>
					<Radio size="md" value="all" label="All machines, also those that are added later" />
					<Radio size="md" value="some" label="Those with labels, or by name" />
				</Stack>
			</Radio.Group>
			{!form.all && (
				<>
					<TagsInput
						label="Labels"
						description="key=value, or a key alone. A machine has to have all of them; who gets them later joins by itself."
						placeholder={form.labels.length === 0 ? "env=prod" : undefined}
						data={known}
						splitChars={[",", " "]}
						acceptValueOnBlur
						clearable
						clearButtonProps={{ "aria-label": "No labels" }}
						spellCheck={false}
						autoCapitalize="none"
						value={form.labels}
						error={error("labels")}
						onChange={(labels) => set("labels", labels)}
					/>
					<HostsSelect
						label="Machines by name"
						description="Beside those with the labels"
						placeholder={form.ids.length === 0 ? "Search machines" : undefined}
						value={form.ids}
						set={(ids) => set("ids", ids)}
						error={error("ids")}
					/>
				</>
			)}
			<Count form={form} />
		</div>
	);
}

/** How many machines that is now. */
function Count({ form }: { form: PolicyForm }) {
	const asked = useMemo(() => {
		if (form.all) return { all: true };
		const labels = parseLabels(form.labels.join(","));
		if ("error" in labels || (form.labels.length === 0 && form.ids.length === 0)) return undefined;
		return {
			...(form.ids.length > 0 && { ids: [...form.ids].sort() }),
			...(form.labels.length > 0 && { labels: labels.labels }),
		};
	}, [form.all, form.labels, form.ids]);
	const [hosts] = useDebouncedValue(asked, 250);
	const query = useQuery({ ...countQuery(hosts ?? {}), enabled: hosts !== undefined });
	if (!asked) return <div className={classes.count}>No machine is chosen yet.</div>;
	if (query.error)
		return (
			<div className={classes.count} role="status">
				{sentence(messageOf(query.error))}
			</div>
		);
	const d = query.data;
	return (
		<div className={classes.count} role="status" data-old={query.isPlaceholderData || hosts !== asked || undefined}>
			{d === undefined ? (
				"Counting…"
			) : d.hosts === 0 ? (
				"No machine is like that now. Those that come later join by themselves."
			) : (
				<>
					<b className="rm-numbers">{d.hosts === 1 ? "1 machine" : `${count(d.hosts)} machines`}</b>
					<span className={classes.about}>
						{d.first.map((h, i) => (
							<span key={h.id}>
								{i > 0 && ", "}
								<Foreign>{h.name}</Foreign>
							</span>
						))}
						{d.hosts > d.first.length && d.first.length > 0 && `, and ${count(d.hosts - d.first.length)} more`}
					</span>
				</>
			)}
		</div>
	);
}

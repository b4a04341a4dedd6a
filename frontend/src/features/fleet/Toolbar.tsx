import { IconArrowsSort, IconColumns3, IconLayersSubtract, IconSearch, IconTag, IconX } from "@tabler/icons-react";
import { useEffect, useRef, useState } from "react";
import type { Overview } from "../../api/fleet";
import { count } from "../../lib/bytes";
import { protectionWords, statusWords } from "../../lib/words";
import { Foreign } from "../../ui/Foreign";
import { type Choice, Picker } from "../../ui/Picker";
import { columns } from "./columns";
import classes from "./Toolbar.module.css";
import { chipsOf, hours, noFilter, type SetView, type Sort, toggled, type View } from "./view";

interface Props {
	view: View;
	setView: SetView;
	overview: Overview | undefined;
	total: number | undefined;
	phone: boolean;
	shown: readonly string[];
	setShown: (columns: readonly string[]) => void;
}

const ages = [24, 48, 168, 720];
const sorts: readonly { value: Sort; text: string }[] = [
	{ value: "name", text: "Name" },
	{ value: "protection", text: "Worst first" },
	{ value: "last_success", text: "Longest without a backup" },
	{ value: "last_seen", text: "Longest unheard of" },
	{ value: "size", text: "Size" },
	{ value: "snapshots", text: "Snapshots" },
	{ value: "version", text: "Agent's version" },
	{ value: "status", text: "Connection" },
];

/** Search, filters, grouping and columns of the table. */
export function Toolbar({ view, setView, overview, total, phone, shown, setShown }: Props) {
	const labels: Choice[] = (overview?.labels ?? []).flatMap((l) => [
		{ value: l.key, text: l.key, count: l.values.reduce((sum, v) => sum + v.hosts, 0) },
		...l.values
			.filter((v) => v.value !== "")
			.map((v) => ({ value: `${l.key}=${v.value}`, text: `${l.key}=${v.value}`, count: v.hosts })),
	]);
	const versions: Choice[] = (overview?.versions ?? [])
		.filter((v) => v.version !== "")
		.map((v) => ({ value: v.version, text: v.version, count: v.hosts }));
	const chips = chipsOf(view);
	return (
		<>
			<div className={classes.bar}>
				<Search value={view.q ?? ""} set={(q) => setView({ q: q || undefined }, true)} />
				<div className={classes.tools}>
					<div className={classes.pickers}>
						<Picker
							label="State"
							multiple
							choices={(["failing", "at_risk", "never_backed_up", "protected", "revoked"] as const).map((p) => ({
								value: p,
								text: protectionWords[p].name,
								count: overview?.hosts[p],
							}))}
							chosen={view.protection ?? []}
							onPick={(p) => setView({ protection: toggled(view.protection, p as keyof typeof protectionWords) })}
						/>
						<Picker
							label="Connection"
							multiple
							choices={(["online", "offline", "never_seen"] as const).map((s) => ({
								value: s,
								text: statusWords[s].name,
								count: overview?.hosts[s],
							}))}
							chosen={view.status ?? []}
							onPick={(s) => setView({ status: toggled(view.status, s as keyof typeof statusWords) })}
						/>
						<Picker
							label="Label"
							icon={<IconTag size={14} aria-hidden />}
							choices={labels}
							chosen={view.label ? [view.label] : []}
							none="No machine has a label"
							onPick={(label) => setView({ label: label === view.label ? undefined : label })}
						/>
						<Picker
							label="Agent"
							choices={versions}
							chosen={view.version ? [view.version] : []}
							none="No agent has been heard of"
							onPick={(version) => setView({ version: version === view.version ? undefined : version })}
						/>
						<Picker
							label="Age"
							choices={ages.map((h) => ({ value: String(h), text: `No success for ${hours(h)}` }))}
							chosen={view.older ? [String(view.older)] : []}
							onPick={(h) => setView({ older: Number(h) === view.older ? undefined : Number(h) })}
						/>
					</div>
					<div className={classes.end}>
						{phone && (
							<Picker
								label="Sort"
								quiet
								icon={<IconArrowsSort size={14} aria-hidden />}
								choices={sorts}
								chosen={[view.sort ?? "name"]}
								onPick={(sort) =>
									setView({
										sort: sort === "name" ? undefined : (sort as Sort),
										order: sort === "size" || sort === "snapshots" ? "desc" : undefined,
									})
								}
							/>
						)}
						<Picker
							label="Group"
							icon={<IconLayersSubtract size={14} aria-hidden />}
							choices={(overview?.labels ?? []).map((l) => ({ value: l.key, text: l.key }))}
							chosen={view.group ? [view.group] : []}
							none="No machine has a label to group by"
							onPick={(key) => setView({ group: key === view.group ? undefined : key })}
						/>
						{!phone && (
							<Picker
								label="Columns"
								quiet
								icon={<IconColumns3 size={14} aria-hidden />}
								multiple
								choices={columns.map((c) => ({ value: c.id, text: c.title }))}
								chosen={shown}
								onPick={(id) => setShown(toggled([...shown], id) ?? [])}
							/>
						)}
					</div>
				</div>
			</div>
			{(chips.length > 0 || view.q) && (
				<div className={classes.chips}>
					<span role="status" className="rm-numbers">
						{total === undefined ? "…" : total === 1 ? "1 machine" : `${count(total)} machines`}
					</span>
					{chips.map((chip) => (
						<span key={chip.id} className={classes.chip}>
							{chip.text}
							{chip.foreign !== undefined && (
								<>
									{chip.text && " "}
									<Foreign>{chip.foreign.length > 60 ? `${chip.foreign.slice(0, 60)}…` : chip.foreign}</Foreign>
								</>
							)}
							<button
								type="button"
								aria-label={`Without ${[chip.text, chip.foreign].filter(Boolean).join(" ")}`}
								onClick={() => setView(chip.without)}
							>
								<IconX size={12} aria-hidden />
							</button>
						</span>
					))}
					<button type="button" className={classes.clear} onClick={() => setView(noFilter)}>
						Clear all
					</button>
				</div>
			)}
		</>
	);
}

/** The text that names are searched for; it reaches the URL when no key came for a moment. */
function Search({ value, set }: { value: string; set: (text: string) => void }) {
	const [text, setText] = useState(value);
	const sent = useRef(value);
	const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
	useEffect(() => {
		// The URL changed by other means: a chip, the history.
		if (value !== sent.current) {
			sent.current = value;
			setText(value);
		}
	}, [value]);
	useEffect(() => () => clearTimeout(timer.current), []);

	function send(next: string, wait: number) {
		setText(next);
		clearTimeout(timer.current);
		timer.current = setTimeout(() => {
			sent.current = next;
			set(next);
		}, wait);
	}
	return (
		<div className={classes.search}>
			<IconSearch size={15} aria-hidden />
			<input
				data-filter
				type="search"
				aria-label="Search machines by name"
				placeholder="Search machines"
				autoComplete="off"
				spellCheck={false}
				maxLength={256}
				value={text}
				onChange={(e) => send(e.currentTarget.value, 220)}
				onKeyDown={(e) => {
					if (e.key === "Enter") send(text, 0);
					if (e.key !== "Escape") return;
					if (text) send("", 0);
					else e.currentTarget.blur();
				}}
			/>
			{text ? (
				<button type="button" aria-label="Clear the search" onClick={() => send("", 0)}>
					<IconX size={14} aria-hidden />
				</button>
			) : (
				<kbd aria-hidden>/</kbd>
			)}
		</div>
	);
}

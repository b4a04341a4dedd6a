import { ActionIcon, Autocomplete, Button, CloseButton, TextInput } from "@mantine/core";
import { IconChevronRight, IconFilter, IconListSearch } from "@tabler/icons-react";
import { useInfiniteQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useWindowVirtualizer } from "@tanstack/react-virtual";
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "react";
import { auditQuery } from "../../api/settings";
import type { AuditEntry } from "../../api/types";
import { counted } from "../../lib/bytes";
import { exact } from "../../lib/time";
import { Ago } from "../../ui/Ago";
import { Copy } from "../../ui/Copy";
import { Foreign } from "../../ui/Foreign";
import { Card } from "../../ui/Page";
import { Empty, Shown } from "../../ui/States";
import classes from "./Audit.module.css";
import { actions, actionWords, bounds, particulars, subject, targetOf } from "./detail";

export interface AuditSearch {
	action?: string;
	actor?: string;
	target?: string;
	from?: string;
	to?: string;
}

interface Props {
	search: AuditSearch;
	/** Puts these into the URL; undefined takes one out. */
	set: (search: AuditSearch) => void;
}

const suggestions = [...new Set(actions.map((a) => a.slice(0, a.indexOf("."))))].sort().concat([...actions].sort());

/** Who changed what, newest first. */
export function Audit({ search, set }: Props) {
	const { action, actor, target, from, to } = search;
	const audit = useInfiniteQuery(auditQuery({ action, actor, target, ...bounds(from, to) }));
	const filtered = Boolean(action || actor || target || from || to);
	const entries = useMemo(() => audit.data?.pages.flatMap((p) => p.entries) ?? [], [audit.data]);
	return (
		<Card flush label="Audit log">
			<search className={classes.filters}>
				<Filter label="Action" value={action} set={(v) => set({ action: v })} data={suggestions} first />
				<Filter label="Who" value={actor} set={(v) => set({ actor: v })} />
				<Filter label="What" placeholder="host, or host:id" value={target} set={(v) => set({ target: v })} />
				<Day label="From" value={from} set={(v) => set({ from: v })} />
				<Day label="To" value={to} set={(v) => set({ to: v })} />
				{filtered && (
					<Button
						size="xs"
						variant="subtle"
						onClick={() =>
							set({ action: undefined, actor: undefined, target: undefined, from: undefined, to: undefined })
						}
					>
						Clear
					</Button>
				)}
			</search>
			<Shown
				query={audit}
				rows={10}
				isEmpty={() => entries.length === 0}
				empty={
					<Empty
						icon={<IconListSearch size={28} />}
						title={filtered ? "Nothing of that kind happened" : "Nothing has happened yet"}
					>
						Each change through this page, the API or the server's console writes one entry. Entries cannot be changed.
					</Empty>
				}
			>
				{() => (
					<Rows
						entries={entries}
						set={set}
						more={audit.hasNextPage}
						fetching={audit.isFetchingNextPage}
						fetchMore={() => void audit.fetchNextPage()}
					/>
				)}
			</Shown>
		</Card>
	);
}

/** A text that goes into the URL once it stands still. */
function Filter({
	label,
	value,
	set,
	data,
	placeholder,
	first,
}: {
	label: string;
	value: string | undefined;
	set: (v: string | undefined) => void;
	data?: string[];
	placeholder?: string;
	first?: boolean;
}) {
	const [text, setText] = useState(value ?? "");
	const sent = useRef(value ?? "");
	useEffect(() => {
		// The URL changed by other means: back, a click in the list.
		if ((value ?? "") !== sent.current) {
			sent.current = value ?? "";
			setText(value ?? "");
		}
	}, [value]);
	useEffect(() => {
		if (text.trim() === sent.current) return;
		const timer = setTimeout(() => {
			sent.current = text.trim();
			set(text.trim() || undefined);
		}, 300);
		return () => clearTimeout(timer);
	}, [text, set]);
	const shared = {
		size: "xs" as const,
		label,
		placeholder: placeholder ?? "any",
		spellCheck: false,
		autoComplete: "off",
		maxLength: 128,
		"data-filter": first || undefined,
		value: text,
		rightSection: text ? (
			<CloseButton size="xs" aria-label={`Clear ${label.toLowerCase()}`} onClick={() => setText("")} />
		) : null,
	};
	return data ? (
		<Autocomplete {...shared} data={data} limit={12} onChange={setText} maxDropdownHeight={320} />
	) : (
		<TextInput {...shared} onChange={(e) => setText(e.currentTarget.value)} />
	);
}

function Day({ label, value, set }: { label: string; value?: string; set: (v: string | undefined) => void }) {
	return (
		<TextInput
			size="xs"
			type="date"
			label={label}
			value={value ?? ""}
			onChange={(e) => set(e.currentTarget.value || undefined)}
		/>
	);
}

function Rows({
	entries,
	set,
	more,
	fetching,
	fetchMore,
}: {
	entries: readonly AuditEntry[];
	set: (s: AuditSearch) => void;
	more: boolean;
	fetching: boolean;
	fetchMore: () => void;
}) {
	const list = useRef<HTMLUListElement>(null);
	const [top, setTop] = useState(0);
	const [open, setOpen] = useState<ReadonlySet<string>>(new Set());
	useLayoutEffect(() => {
		if (list.current) setTop(list.current.getBoundingClientRect().top + window.scrollY);
	}, []);
	const rows = useWindowVirtualizer({
		count: entries.length,
		estimateSize: () => 45,
		overscan: 12,
		scrollMargin: top,
		getItemKey: (i) => entries[i]?.id ?? i,
	});
	const items = rows.getVirtualItems();
	const last = items.at(-1)?.index ?? 0;
	useEffect(() => {
		if (more && !fetching && last >= entries.length - 20) fetchMore();
	}, [more, fetching, last, entries.length, fetchMore]);
	const toggle = (id: string) =>
		setOpen((was) => {
			const next = new Set(was);
			if (!next.delete(id)) next.add(id);
			return next;
		});
	return (
		<>
			<ul ref={list} className={classes.rows} style={{ height: rows.getTotalSize() }}>
				{items.map((item) => {
					const entry = entries[item.index];
					if (!entry) return null;
					return (
						<li
							key={item.key}
							ref={rows.measureElement}
							data-index={item.index}
							aria-setsize={more ? -1 : entries.length}
							aria-posinset={item.index + 1}
							className={classes.entry}
							style={{ transform: `translateY(${item.start - rows.options.scrollMargin}px)` }}
						>
							<Entry entry={entry} open={open.has(entry.id)} toggle={() => toggle(entry.id)} set={set} />
						</li>
					);
				})}
			</ul>
			<p className={classes.foot} role="status">
				{fetching
					? "Loading older entries…"
					: more
						? ""
						: `${counted(entries.length, "entry", "entries")}, none older.`}
			</p>
		</>
	);
}

function Entry({
	entry: e,
	open,
	toggle,
	set,
}: {
	entry: AuditEntry;
	open: boolean;
	toggle: () => void;
	set: (s: AuditSearch) => void;
}) {
	const about = subject(e);
	return (
		<>
			<button type="button" className={classes.line} aria-expanded={open} onClick={toggle}>
				<IconChevronRight size={14} className={classes.chevron} aria-hidden />
				<span className={classes.time}>
					<Ago at={e.at} />
				</span>
				<span className={classes.actor}>
					<Foreign cut>{e.actor.name}</Foreign>
				</span>
				<span className={classes.what}>{actionWords(e.action)}</span>
				<span className={classes.target}>{about && <Foreign cut>{about}</Foreign>}</span>
			</button>
			{open && <Detail entry={e} set={set} />}
		</>
	);
}

/** An entry's particulars, and the ways from it to others like it. */
export function Detail({ entry: e, set }: { entry: AuditEntry; set: (s: AuditSearch) => void }) {
	const target = targetOf(e.target);
	return (
		<dl className={classes.detail}>
			<dt>At</dt>
			<dd>{exact(e.at)}</dd>
			<dt>Action</dt>
			<dd>
				<Foreign mono>{e.action}</Foreign>
				<Only what={e.action} run={() => set({ action: e.action })} />
			</dd>
			<dt>By</dt>
			<dd>
				<Foreign>{e.actor.name}</Foreign>
				<span className={classes.muted}>
					{e.actor.kind}
					{e.actor.address && (
						<>
							, from <Foreign mono>{e.actor.address}</Foreign>
						</>
					)}
				</span>
				<Only what={e.actor.name} run={() => set({ actor: e.actor.id ?? e.actor.name })} />
			</dd>
			{e.target && (
				<>
					<dt>To</dt>
					<dd>
						{target?.noun === "host" ? (
							<Link to="/hosts/$hostId" params={{ hostId: target.id }}>
								<Foreign mono>{e.target}</Foreign>
							</Link>
						) : target?.noun === "job" ? (
							<Link to="/jobs/$jobId" params={{ jobId: target.id }}>
								<Foreign mono>{e.target}</Foreign>
							</Link>
						) : (
							<Foreign mono>{e.target}</Foreign>
						)}
						<Copy value={e.target} what="the target" />
						<Only what={e.target} run={() => set({ target: e.target })} />
					</dd>
				</>
			)}
			{particulars(e.detail).map((p) => (
				<div key={p.name} className={classes.particular}>
					<dt>
						<Foreign>{p.name}</Foreign>
					</dt>
					<dd>
						{p.from !== undefined && (
							<>
								<del>
									<Foreign>{p.from}</Foreign>
								</del>
								<span aria-hidden>→</span>
								<span className="rm-hidden">is now</span>
							</>
						)}
						<Foreign>{p.value}</Foreign>
					</dd>
				</div>
			))}
		</dl>
	);
}

function Only({ what, run }: { what: string; run: () => void }) {
	return (
		<ActionIcon size={22} aria-label={`Only entries of ${what}`} title={`Only entries of ${what}`} onClick={run}>
			<IconFilter size={13} />
		</ActionIcon>
	);
}

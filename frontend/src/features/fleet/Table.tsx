// biome-ignore-all lint/a11y/useSemanticElements: rows that are placed by a transform are no table to a browser; the roles say that they are
// biome-ignore-all lint/a11y/useFocusableInteractive: the rows of a table, unlike those of a grid, take no focus
import { ActionIcon } from "@mantine/core";
import { IconArrowDown, IconArrowUp, IconPlayerPlay } from "@tabler/icons-react";
import { useRouter } from "@tanstack/react-router";
import { useWindowVirtualizer } from "@tanstack/react-virtual";
import {
	type CSSProperties,
	type MouseEvent,
	memo,
	type RefObject,
	useEffect,
	useLayoutEffect,
	useMemo,
	useRef,
	useState,
} from "react";
import type { HostGroup } from "../../api/fleet";
import type { HostList } from "../../api/hostlist";
import type { Host } from "../../api/types";
import { count } from "../../lib/bytes";
import { exact } from "../../lib/time";
import { protectionWords, statusWords } from "../../lib/words";
import { Ago } from "../../ui/Ago";
import { type Action, useActions } from "../../ui/actions";
import { ProtectionBadge } from "../../ui/Badge";
import { Foreign } from "../../ui/Foreign";
import { Activity, type Column, foremost, nameWidth } from "./columns";
import { grouped, type Row } from "./rows";
import { isChosen, type Selection } from "./selection";
import classes from "./Table.module.css";
import { type SetView, type Sort, sortedBy, type View } from "./view";

const rowHeight = 44;
const cardHeight = 66;
const headHeight = 38;

interface Props {
	list: HostList;
	view: View;
	setView: SetView;
	columns: readonly Column[];
	groups: readonly HostGroup[] | undefined;
	/** Cards instead of rows. */
	phone: boolean;
	/** Whether the person may do something to hosts. */
	operator: boolean;
	selection: Selection;
	click: (index: number, shift: boolean) => void;
	chooseAll: (on: boolean) => void;
	again: (host: Host) => void;
}

/** The hosts, as many rows as fit on the screen at a time, however many there are. */
export function Table(props: Props) {
	const { list, view, setView, columns, groups, phone, operator, selection, click, again } = props;
	const body = useRef<HTMLDivElement>(null);
	const { follow, ahead } = useLinks();
	const margin = useTop(body);
	const height = phone ? cardHeight : rowHeight;

	const heads = useMemo(
		() => (view.group && !list.changing ? grouped(list.hosts, view.group, groups) : undefined),
		[list.hosts, list.changing, view.group, groups],
	);
	const loaded = heads?.length ?? list.hosts.length;
	const length = list.total - list.hosts.length + loaded;
	const rowAt = (i: number): Row | undefined => (heads ? heads[i] : i < list.hosts.length ? { host: i } : undefined);

	const virtual = useWindowVirtualizer({
		count: length,
		estimateSize: (i) => {
			const row = rowAt(i);
			return row && "group" in row ? headHeight : height;
		},
		scrollMargin: margin,
		scrollPaddingStart: phone ? 8 : 100,
		scrollPaddingEnd: 80,
		overscan: 10,
		// Rows come in time with the overscan; forced to come at once they would hold up the scrolling itself.
		useFlushSync: false,
	});
	// biome-ignore lint/correctness/useExhaustiveDependencies: sizes are kept by index, and these say what stands there
	useLayoutEffect(() => virtual.measure(), [heads, height]);

	const items = virtual.getVirtualItems();
	const range = virtual.range;
	const hostAt = (i: number) => {
		for (let j = Math.min(i, loaded - 1); j >= 0; j--) {
			const row = rowAt(j);
			if (row && "host" in row) return row.host;
		}
		return 0;
	};
	const first = range ? hostAt(range.startIndex) : 0;
	const last =
		range && length > 0
			? range.endIndex >= loaded
				? list.hosts.length + range.endIndex - loaded
				: hostAt(range.endIndex)
			: 0;
	const { see } = list;
	useEffect(() => see(first, last), [see, first, last]);

	useRowKeys({ virtual, list, heads, operator, click });

	const template: CSSProperties & Record<"--columns", string> = {
		"--columns": [
			...(operator ? ["36px"] : []),
			`minmax(${nameWidth}px, 2.4fr)`,
			...columns.map((c) => (c.grow ? `minmax(${c.width}px, ${c.grow}fr)` : `${c.width}px`)),
			...(operator ? ["34px"] : []),
		].join(" "),
	};
	return (
		<div
			role="table"
			aria-label="Machines"
			aria-rowcount={length + 1}
			aria-busy={list.changing}
			className={classes.table}
			data-phone={phone || undefined}
			data-operator={operator || undefined}
			style={template}
		>
			{!phone && (
				<Head
					view={view}
					setView={setView}
					columns={columns}
					operator={operator}
					selection={selection}
					total={list.total}
					chooseAll={props.chooseAll}
				/>
			)}
			{/* biome-ignore lint/a11y/useKeyWithClickEvents: it is the links' own click, which their keys make too */}
			<div
				ref={body}
				role="rowgroup"
				className={classes.body}
				style={{ height: virtual.getTotalSize() }}
				onClick={follow}
				onPointerEnter={ahead}
			>
				{items.map((item) => {
					const row = rowAt(item.index);
					const at: At = { top: item.start - margin, height: item.size, index: item.index + 2 };
					if (!row) return <Blank key={`blank ${item.index}`} at={at} cells={columns.length} />;
					if ("group" in row) {
						return (
							<GroupHead
								key={`group ${row.group}`}
								top={at.top}
								height={at.height}
								index={at.index}
								label={view.group ?? ""}
								row={row}
								only={() => setView({ group: undefined, label: `${view.group}=${row.group}` })}
							/>
						);
					}
					const host = list.hosts[row.host];
					if (!host) return null;
					const Shown = phone ? CardRow : TableRow;
					return (
						<Shown
							key={host.id}
							top={at.top}
							height={at.height}
							index={at.index}
							place={row.host}
							host={host}
							columns={columns}
							operator={operator}
							chosen={isChosen(selection, host.id)}
							click={click}
							again={again}
						/>
					);
				})}
			</div>
		</div>
	);
}

interface At {
	top: number;
	height: number;
	index: number;
}

function place({ top, height }: { top: number; height: number }): CSSProperties {
	return { transform: `translateY(${top}px)`, height };
}

type HeadProps = Pick<Props, "view" | "setView" | "columns" | "operator" | "selection" | "chooseAll"> & {
	total: number;
};

const Head = memo(function Head({ view, setView, columns, operator, selection, total, chooseAll }: HeadProps) {
	const all = selection.all && selection.except.size === 0;
	const some = !all && (selection.all || selection.hosts.size > 0);
	return (
		<div role="rowgroup" className={classes.head}>
			<div role="row" aria-rowindex={1} className={`${classes.row} ${classes.titles}`}>
				{operator && (
					<div role="columnheader" className={classes.choice}>
						<label>
							<input
								type="checkbox"
								aria-label={`Choose all ${count(total)} that match`}
								checked={all}
								ref={(box) => {
									if (box) box.indeterminate = some;
								}}
								onChange={() => chooseAll(!all)}
							/>
						</label>
					</div>
				)}
				<HeadCell title="Name" sort="name" view={view} setView={setView} />
				{columns.map((c) => (
					<HeadCell key={c.id} title={c.title} sort={c.sort} end={c.end} view={view} setView={setView} />
				))}
				{operator && (
					<div role="columnheader">
						<span className="rm-hidden">Actions</span>
					</div>
				)}
			</div>
		</div>
	);
});

interface HeadCellProps {
	title: string;
	sort: Sort | undefined;
	end?: boolean;
	view: View;
	setView: SetView;
}

function HeadCell({ title, sort, end, view, setView }: HeadCellProps) {
	const mine = sort !== undefined && (view.sort ?? "name") === sort;
	const down = view.order === "desc";
	return (
		<div
			role="columnheader"
			aria-sort={mine ? (down ? "descending" : "ascending") : undefined}
			data-end={end || undefined}
			className={classes.cell}
		>
			{sort ? (
				<button
					type="button"
					className={classes.sort}
					data-mine={mine || undefined}
					onClick={() => setView(sortedBy(view, sort))}
				>
					{title}
					{mine && (down ? <IconArrowDown size={13} aria-hidden /> : <IconArrowUp size={13} aria-hidden />)}
				</button>
			) : (
				title
			)}
		</div>
	);
}

interface RowProps {
	top: number;
	height: number;
	index: number;
	/** Among the hosts that are read. */
	place: number;
	host: Host;
	columns: readonly Column[];
	operator: boolean;
	chosen: boolean;
	click: (index: number, shift: boolean) => void;
	again: (host: Host) => void;
}

function Choice({ host, chosen, place, click }: Pick<RowProps, "host" | "chosen" | "place" | "click">) {
	return (
		<label>
			<input
				type="checkbox"
				aria-label={`Choose ${host.name}`}
				checked={chosen}
				onChange={(e) => click(place, "shiftKey" in e.nativeEvent && e.nativeEvent.shiftKey === true)}
			/>
		</label>
	);
}

function Name({ host }: { host: Host }) {
	const words = statusWords[host.status];
	return (
		<>
			<span
				className={classes.dot}
				data-status={host.status}
				title={host.last_seen_at ? `${words.name}, last seen ${exact(host.last_seen_at)}` : words.name}
			>
				<span className="rm-hidden">{words.name}</span>
			</span>
			<a href={`/hosts/${host.id}`} className={classes.name} data-host={host.id}>
				<Foreign cut>{host.name}</Foreign>
			</a>
		</>
	);
}

const TableRow = memo(function TableRow(props: RowProps) {
	const { host, index, columns, operator, chosen, again } = props;
	const mayRun = operator && host.status !== "revoked";
	return (
		<div
			role="row"
			aria-rowindex={index}
			aria-selected={operator ? chosen : undefined}
			className={`${classes.row} ${classes.placed}`}
			style={place(props)}
		>
			{operator && (
				<div role="cell" className={classes.choice}>
					<Choice {...props} />
				</div>
			)}
			<div role="cell" className={classes.cell}>
				<Name host={host} />
			</div>
			{columns.map((c) => (
				<div key={c.id} role="cell" data-end={c.end || undefined} className={classes.cell}>
					{c.cell(host)}
				</div>
			))}
			{operator && (
				<div role="cell" className={classes.act}>
					{mayRun && (
						<ActionIcon
							size={26}
							aria-label={`Back up ${host.name} now`}
							title="Back up now, the same as last time"
							onClick={() => again(host)}
						>
							<IconPlayerPlay size={15} />
						</ActionIcon>
					)}
				</div>
			)}
		</div>
	);
});

const CardRow = memo(function CardRow(props: RowProps) {
	const { host, index, operator, chosen } = props;
	const busy = foremost(host.active_jobs) !== undefined;
	return (
		<div
			role="row"
			aria-rowindex={index}
			aria-selected={operator ? chosen : undefined}
			className={classes.card}
			style={place(props)}
		>
			{operator && (
				<div role="cell" className={classes.choice}>
					<Choice {...props} />
				</div>
			)}
			<div role="cell" className={classes.words}>
				<div className={classes.line}>
					<Name host={host} />
					<ProtectionBadge protection={host.protection} />
				</div>
				<div className={classes.second}>
					{busy ? (
						<Activity jobs={host.active_jobs} />
					) : (
						<span className={classes.muted}>
							{host.last_success_at ? "Last backup " : "No backup yet"}
							{host.last_success_at && <Ago at={host.last_success_at} light />}
						</span>
					)}
				</div>
			</div>
		</div>
	);
});

function Blank({ at, cells }: { at: At; cells: number }) {
	return (
		<div role="row" aria-rowindex={at.index} className={classes.blank} style={place(at)}>
			<div role="cell" aria-colspan={cells + 1}>
				<span className="rm-hidden">Loading</span>
			</div>
		</div>
	);
}

interface GroupProps extends At {
	label: string;
	row: { group: string; counts: HostGroup | undefined };
	only: () => void;
}

const states = ["failing", "at_risk", "never_backed_up", "protected"] as const;

function GroupHead({ top, height, index, label, row, only }: GroupProps) {
	const c = row.counts;
	return (
		<div role="row" aria-rowindex={index} className={classes.group} style={place({ top, height })}>
			<div role="cell">
				{row.group === "" ? (
					<span className={classes.groupName}>
						Without <Foreign>{label}</Foreign>
					</span>
				) : (
					<button type="button" className={classes.groupName} title="Show these alone" onClick={only}>
						<span className={classes.muted}>
							<Foreign>{label}</Foreign>{" "}
						</span>
						<Foreign cut>{row.group}</Foreign>
					</button>
				)}
				{c && (
					<span className={classes.counts}>
						<span>{count(c.total)}</span>
						{states.map(
							(s) =>
								c[s] > 0 && (
									<span key={s} data-tone={protectionWords[s].tone} title={protectionWords[s].about}>
										{count(c[s])} {protectionWords[s].name.toLowerCase()}
									</span>
								),
						)}
						{c.offline > 0 && <span>{count(c.offline)} offline</span>}
					</span>
				)}
			</div>
		</div>
	);
}

/**
 * The links of the rows are plain ones: a router's link in each row costs more than all the rest of it while one scrolls.
 * follow goes where one leads without loading the page anew; ahead loads the script of where most lead.
 */
function useLinks() {
	const router = useRouter();
	return useMemo(() => {
		let loaded = false;
		return {
			follow(e: MouseEvent) {
				const link = e.target instanceof Element ? e.target.closest("a") : null;
				const href = link?.getAttribute("href");
				if (!href || e.defaultPrevented || e.metaKey || e.ctrlKey || e.shiftKey || e.altKey) return;
				e.preventDefault();
				router.history.push(href);
			},
			ahead() {
				if (loaded) return;
				loaded = true;
				const route = router.routesByPath["/hosts/$hostId"];
				void Promise.resolve(router.loadRouteChunk(route)).catch(() => {});
			},
		};
	}, [router]);
}

/** How far below the page's top the element begins, also after what is above it has grown. */
function useTop(ref: RefObject<HTMLElement | null>): number {
	const [top, setTop] = useState(0);
	useLayoutEffect(() => {
		const look = () => ref.current && setTop(Math.round(ref.current.getBoundingClientRect().top + window.scrollY));
		look();
		const observer = new ResizeObserver(look);
		observer.observe(document.body);
		return () => observer.disconnect();
	}, [ref]);
	return top;
}

interface RowKeys {
	virtual: ReturnType<typeof useWindowVirtualizer>;
	list: HostList;
	heads: readonly Row[] | undefined;
	operator: boolean;
	click: (index: number, shift: boolean) => void;
}

/** j and k go from row to row, x chooses the one in focus. */
function useRowKeys(keys: RowKeys) {
	const now = useRef(keys);
	useEffect(() => {
		now.current = keys;
	});
	const actions = useMemo<readonly Action[]>(() => {
		const here = () => {
			const row = document.activeElement?.closest("[role=row]");
			const id = row?.querySelector<HTMLElement>("[data-host]")?.dataset.host;
			return id === undefined ? -1 : now.current.list.hosts.findIndex((h) => h.id === id);
		};
		const go = (step: number) => {
			const { virtual, list, heads } = now.current;
			const from = here();
			const top = virtual.range?.startIndex ?? 0;
			const row = (i: number) => (heads ? heads.findIndex((r) => "host" in r && r.host === i) : i);
			// With no row in focus it begins with the first one on the screen.
			const begin = heads?.find((r, i): r is { host: number } => i >= top && "host" in r)?.host ?? top;
			const to = from >= 0 ? from + step : begin;
			const host = list.hosts[to];
			if (!host) return;
			virtual.scrollToIndex(row(to));
			// The row may only come with the next frame.
			let tries = 10;
			const focus = () => {
				const link = document.querySelector<HTMLElement>(`[data-host="${CSS.escape(host.id)}"]`);
				if (link) link.focus({ preventScroll: true });
				else if (tries-- > 0) requestAnimationFrame(focus);
			};
			focus();
		};
		return [
			{ id: "next", label: "Next machine", hotkey: "j", quiet: true, run: () => go(1) },
			{ id: "previous", label: "Previous machine", hotkey: "k", quiet: true, run: () => go(-1) },
			...(keys.operator
				? [
						{
							id: "choose",
							label: "Choose the machine",
							hotkey: "x",
							quiet: true,
							run: () => {
								const at = here();
								if (at >= 0) now.current.click(at, false);
							},
						},
					]
				: []),
		];
	}, [keys.operator]);
	useActions(actions);
}

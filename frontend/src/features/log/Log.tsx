import { ActionIcon, Button, TextInput, Tooltip } from "@mantine/core";
import {
	IconArrowDown,
	IconArrowsMaximize,
	IconArrowsMinimize,
	IconChevronDown,
	IconChevronUp,
	IconClock,
	IconDownload,
	IconLetterCase,
	IconSearch,
	IconTextWrap,
	IconX,
} from "@tabler/icons-react";
import {
	type CSSProperties,
	useCallback,
	useEffect,
	useLayoutEffect,
	useMemo,
	useRef,
	useState,
	useSyncExternalStore,
} from "react";
import { logFile, mostLines, readLog } from "../../api/log";
import { messageOf } from "../../api/problem";
import { count, counted } from "../../lib/bytes";
import { useActions } from "../../ui/actions";
import { done, failed } from "../../ui/notify";
import classes from "./Log.module.css";
import { GapRow, Row } from "./Row";
import { LogReader } from "./reader";
import { copyText, textOf } from "./text";
import { useSearch } from "./useSearch";
import {
	Heights,
	isGap,
	lineOf,
	physical,
	rowCount,
	rowOf,
	type Stretch,
	scrolled,
	scrollTo,
	type View,
} from "./window";

const unit = 20;
// Rows are made ten at a time, with some to spare above and below.
const step = 10;
const spare = 12;

interface Props {
	jobID: string;
	/** How many lines the server has, and how many the job wrote, where that is known. */
	received: number;
	written?: number;
	/** Lines may still come. */
	live: boolean;
	problem?: string;
	/** What it is the log of. */
	label: string;
	chosen: Stretch | undefined;
	choose: (lines: Stretch | undefined) => void;
	/** The log is all that the page shows. */
	full: boolean;
	setFull: (on: boolean) => void;
}

/** A job's log. Only the lines that are seen are in memory and on the page, however many there are. */
export function Log({ jobID, received, written, live, problem, label, chosen, choose, full, setFull }: Props) {
	const reader = useMemo(() => new LogReader((s, signal) => readLog(jobID, s, signal)), [jobID]);
	useSyncExternalStore(reader.subscribe, reader.version);
	useEffect(() => reader.received(received), [reader, received]);
	useEffect(() => () => reader.stop(), [reader]);

	const [wrap, setWrap] = useState(false);
	const [times, setTimes] = useState(false);
	const [following, setFollowing] = useState(chosen === undefined);
	const [leftAt, setLeftAt] = useState(0);
	const [widest, setWidest] = useState(80);
	const search = useSearch(jobID, reader.total);

	const scroller = useRef<HTMLDivElement>(null);
	const spacer = useRef<HTMLDivElement>(null);
	const rowsBox = useRef<HTMLDivElement>(null);
	const searchBox = useRef<HTMLInputElement>(null);
	const [range, setRange] = useState({ first: 0, last: 40 });
	// Where the view stands; the browser's scrolling is faster than React's state.
	const place = useRef({
		heights: new Heights(unit),
		view: { top: 0, shift: 0 } as View,
		height: 0,
		width: 0,
		offset: 0,
		// What must stay where it is when heights above it turn out to be others: a line and what the view's top is below its own.
		line: 1,
		below: 0,
	});

	const { total, gap } = reader;
	const rows = rowCount(total, gap);
	place.current.heights.resize(rows);

	const show = useCallback(() => {
		const p = place.current;
		const first = p.heights.at(p.view.top) - spare;
		const last = p.heights.at(p.view.top + p.height) + spare;
		const next = {
			first: Math.max(0, Math.floor(first / step) * step),
			last: Math.min(Math.max(0, p.heights.count - 1), Math.ceil(last / step) * step),
		};
		setRange((r) => (r.first === next.first && r.last === next.last ? r : next));
		if (p.heights.count > 0) reader.want(lineOf(next.first, reader.gap), lineOf(next.last, reader.gap));
	}, [reader]);

	const go = useCallback((top: number) => {
		const p = place.current;
		const el = scroller.current;
		const content = p.heights.total;
		if (spacer.current) spacer.current.style.height = `${physical(content)}px`;
		const { view, offset } = scrollTo(top, { content, view: p.height });
		p.view = view;
		p.offset = offset;
		if (el && Math.abs(el.scrollTop - offset) >= 1) {
			el.scrollTop = offset;
			p.offset = el.scrollTop;
		}
	}, []);

	const put = useCallback(() => {
		const p = place.current;
		const box = rowsBox.current;
		if (box) box.style.transform = `translateY(${p.heights.top(Number(box.dataset.first)) - p.view.shift}px)`;
	}, []);

	const jump = useCallback(
		(line: number) => {
			const p = place.current;
			// The first jump may come before the size was told.
			p.height = scroller.current?.clientHeight ?? p.height;
			setFollowing(false);
			setLeftAt(reader.total);
			p.line = Math.min(Math.max(1, line), Math.max(1, reader.total));
			p.below = -Math.round(p.height / 3);
			go(p.heights.top(rowOf(p.line, reader.gap)) + p.below);
			show();
			put();
		},
		[reader, go, show, put],
	);

	// After every change of what is shown: measure, and keep in place what is looked at.
	useLayoutEffect(() => {
		const p = place.current;
		const el = scroller.current;
		if (el && p.height === 0) {
			p.height = el.clientHeight;
			p.width = el.clientWidth;
		}
		if (wrap && rowsBox.current) {
			for (const el of rowsBox.current.children) {
				if (el instanceof HTMLElement) p.heights.measure(Number(el.dataset.row), el.offsetHeight);
			}
		}
		// Where the browser has scrolled on already its event is about to come, and the reader's hand comes first.
		const handed = el !== null && Math.abs(el.scrollTop - p.offset) > 1;
		if (!handed) {
			const top = following
				? Math.max(0, p.heights.total - p.height)
				: p.heights.top(rowOf(p.line, reader.gap)) + p.below;
			if (following || Math.abs(top - p.view.top) >= 0.5) go(top);
		}
		if (spacer.current) spacer.current.style.height = `${physical(p.heights.total)}px`;
		show();
		put();
	});

	function onScroll() {
		const el = scroller.current;
		if (!el) return;
		const p = place.current;
		const sizes = { content: p.heights.total, view: p.height };
		const moved = Math.abs(el.scrollTop - p.offset) > 1;
		p.view = scrolled(p.view, el.scrollTop, sizes);
		p.offset = el.scrollTop;
		if (moved) {
			const row = p.heights.at(p.view.top);
			p.line = lineOf(row, reader.gap);
			p.below = p.view.top - p.heights.top(row);
			const atEnd = p.view.top >= sizes.content - sizes.view - 4;
			if (following && !atEnd) {
				setFollowing(false);
				setLeftAt(reader.total);
			} else if (!following && atEnd) setFollowing(true);
		}
		show();
		put();
	}

	// When a scroll has come to rest, the bar is put where it belongs.
	useEffect(() => {
		const el = scroller.current;
		if (!el) return;
		const rest = () => {
			go(place.current.view.top);
			put();
		};
		el.addEventListener("scrollend", rest);
		const resized = new ResizeObserver(() => {
			const p = place.current;
			if (p.width !== el.clientWidth) p.heights.reset();
			p.width = el.clientWidth;
			p.height = el.clientHeight;
			setRange((r) => ({ ...r }));
		});
		resized.observe(el);
		return () => {
			el.removeEventListener("scrollend", rest);
			resized.disconnect();
		};
	}, [go, put]);

	useEffect(() => {
		reader.follow(live && following);
	}, [reader, live, following]);

	// What the URL names is shown, unless it was chosen here, where it is seen already.
	const chosenHere = useRef<Stretch | undefined>(undefined);
	const [from, to] = [chosen?.from, chosen?.to];
	const there = total > 0;
	// biome-ignore lint/correctness/useExhaustiveDependencies: the first lines come later than the URL
	useEffect(() => {
		if (from === undefined || to === undefined) return;
		if (chosenHere.current?.from === from && chosenHere.current.to === to) return;
		scroller.current?.scrollIntoView({ block: "nearest" });
		jump(from);
	}, [from, to, there, jump]);

	const current = search.current;
	useEffect(() => {
		if (current !== undefined) jump(current);
	}, [current, jump]);

	const pickFrom = useRef<number>(undefined);
	const chooseNow = useRef(choose);
	useEffect(() => {
		chooseNow.current = choose;
		pickFrom.current = from;
	});
	const pick = useCallback((line: number, extend: boolean) => {
		const start = (extend && pickFrom.current) || line;
		const next = { from: Math.min(start, line), to: Math.max(start, line) };
		chosenHere.current = next;
		setFollowing(false);
		chooseNow.current(next);
	}, []);
	const grown = useCallback(() => setRange((r) => ({ ...r })), []);

	function followAgain() {
		setFollowing(true);
		scroller.current?.focus({ preventScroll: true });
	}

	async function copyChosen() {
		if (!chosen) return;
		try {
			const n = await copyLines(jobID, chosen);
			done(`${counted(n, "line")} copied`);
		} catch (e) {
			failed("The lines were not copied", e);
		}
	}

	function onKey(e: React.KeyboardEvent) {
		if ((e.ctrlKey || e.metaKey) && e.key.toLowerCase() === "f") {
			e.preventDefault();
			searchBox.current?.focus();
			searchBox.current?.select();
			return;
		}
		if (e.ctrlKey || e.metaKey || e.altKey || e.target !== scroller.current) return;
		if (e.key === "Home") jump(1);
		else if (e.key === "End") setFollowing(true);
		else if (e.key === "Escape" && chosen) choose(undefined);
		else return;
		e.preventDefault();
	}

	const toggleWrap = useCallback(() => {
		place.current.heights.reset();
		setWrap((w) => !w);
	}, []);
	const { step: stepMatch, active } = search;
	useActions(
		useMemo(
			() => [
				{ id: "log-follow", label: "Follow the log", hotkey: "f", run: () => setFollowing(true) },
				{ id: "log-wrap", label: "Wrap long lines of the log", hotkey: "w", run: toggleWrap },
				{ id: "log-times", label: "Show the times of the log", hotkey: "t", run: () => setTimes((t) => !t) },
				{
					id: "log-full",
					label: full ? "Show the whole job" : "Show the log alone",
					hotkey: "l",
					run: () => setFull(!full),
				},
				...(active
					? [
							{ id: "log-next", label: "Next match in the log", hotkey: "n", run: () => stepMatch(1) },
							{ id: "log-previous", label: "Previous match in the log", hotkey: "N", run: () => stepMatch(-1) },
						]
					: []),
			],
			[toggleWrap, full, setFull, active, stepMatch],
		),
	);

	const shown: React.ReactNode[] = [];
	let longest = widest;
	for (let row = range.first; row <= range.last && row < rows; row++) {
		if (isGap(row, gap) && gap) {
			shown.push(<GapRow key="gap" row={row} gap={gap} />);
			continue;
		}
		const n = lineOf(row, gap);
		const line = reader.pages.line(n);
		if (line && !wrap) longest = Math.max(longest, Math.min(line.text.length, 2100));
		shown.push(
			<Row
				key={n}
				row={row}
				n={n}
				line={line}
				times={times}
				chosen={chosen !== undefined && n >= chosen.from && n <= chosen.to}
				current={n === current}
				query={search.active ? search.query : ""}
				exact={search.exact}
				pick={pick}
				grown={grown}
			/>,
		);
	}
	useEffect(() => {
		if (longest > widest) setWidest(Math.ceil(longest / 40) * 40);
	}, [longest, widest]);

	const digits = String(Math.max(total, 999)).length;
	const news = total - leftAt;
	return (
		<section
			className={classes.log}
			data-full={full || undefined}
			data-empty={total === 0 || undefined}
			aria-label={label}
			// A short log takes the room of its lines, its bar and its foot.
			style={{ "--lines": `${Math.min(rows, 100) * unit + 104}px` } as CSSProperties}
		>
			<div className={classes.bar}>
				<form
					className={classes.search}
					onSubmit={(e) => {
						e.preventDefault();
						const go = /^:(\d+)$/.exec(search.query);
						if (go) {
							const n = Math.min(Math.max(1, Number(go[1])), Math.max(1, total));
							choose({ from: n, to: n });
						} else stepMatch(1);
					}}
				>
					<TextInput
						ref={searchBox}
						data-filter
						size="xs"
						aria-label="Search the log, or :123 to go to a line"
						placeholder="Search the log, or :line"
						leftSection={<IconSearch size={14} />}
						value={search.query}
						spellCheck={false}
						autoComplete="off"
						onChange={(e) => search.setQuery(e.currentTarget.value)}
						onKeyDown={(e) => {
							if (e.key === "Enter" && e.shiftKey) {
								e.preventDefault();
								stepMatch(-1);
							} else if (e.key === "Escape") {
								search.setQuery("");
								scroller.current?.focus({ preventScroll: true });
							}
						}}
						rightSectionWidth={56}
						rightSection={
							<span className={classes.inField}>
								<Toggle
									on={search.exact}
									set={search.setExact}
									label="Distinguish A from a"
									icon={<IconLetterCase size={14} />}
									size={22}
								/>
								{search.query !== "" && (
									<ActionIcon size={22} aria-label="Clear the search" onClick={() => search.setQuery("")}>
										<IconX size={13} />
									</ActionIcon>
								)}
							</span>
						}
					/>
					{search.active && (
						<>
							<Tooltip label="Previous match (N)">
								<ActionIcon aria-label="Previous match" disabled={search.count === 0} onClick={() => stepMatch(-1)}>
									<IconChevronUp size={16} />
								</ActionIcon>
							</Tooltip>
							<Tooltip label="Next match (n)">
								<ActionIcon aria-label="Next match" disabled={search.count === 0} onClick={() => stepMatch(1)}>
									<IconChevronDown size={16} />
								</ActionIcon>
							</Tooltip>
							<span className={`${classes.found} rm-numbers`} role="status">
								{search.index !== undefined
									? `${count(search.index + 1)} of ${count(search.count)}${search.full ? "+" : ""} lines`
									: counted(search.count, "line")}
								{search.busy && ` · ${Math.floor(search.progress * 100)} % searched`}
								{search.error !== undefined && ` · stopped: ${messageOf(search.error)}`}
							</span>
							{search.busy && (
								<Button size="compact-xs" variant="subtle" onClick={search.cancel}>
									Stop
								</Button>
							)}
						</>
					)}
				</form>
				<div className={classes.tools}>
					{chosen && (
						<span className={classes.chosen}>
							{chosen.from === chosen.to
								? `Line ${count(chosen.from)}`
								: `Lines ${count(chosen.from)}–${count(chosen.to)}`}
							<Button size="compact-xs" variant="subtle" onClick={() => void copyChosen()}>
								Copy
							</Button>
							<ActionIcon size={22} aria-label="Choose no line" onClick={() => choose(undefined)}>
								<IconX size={13} />
							</ActionIcon>
						</span>
					)}
					<Toggle on={times} set={setTimes} label="Times (t)" icon={<IconClock size={16} />} />
					<Toggle on={wrap} set={toggleWrap} label="Wrap long lines (w)" icon={<IconTextWrap size={16} />} />
					<Tooltip label="Download as text">
						<ActionIcon component="a" href={logFile(jobID)} download aria-label="Download the log as text">
							<IconDownload size={16} />
						</ActionIcon>
					</Tooltip>
					<Tooltip label={full ? "Show the whole job (l)" : "Show the log alone (l)"}>
						<ActionIcon
							aria-label={full ? "Show the whole job" : "Show the log alone"}
							aria-pressed={full}
							onClick={() => setFull(!full)}
						>
							{full ? <IconArrowsMinimize size={16} /> : <IconArrowsMaximize size={16} />}
						</ActionIcon>
					</Tooltip>
				</div>
			</div>
			{search.busy && (
				<div className={classes.searching} aria-hidden>
					<div style={{ width: `${search.progress * 100}%` }} />
				</div>
			)}
			<div className={classes.body}>
				<div
					ref={scroller}
					className={classes.scroller}
					data-wrap={wrap || undefined}
					role="log"
					aria-live="off"
					aria-label={`${label}, ${counted(total, "line")}`}
					// biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reached by keyboard
					tabIndex={0}
					onScroll={onScroll}
					onKeyDown={onKey}
					onCopy={(e) => {
						const text = copied(reader, chosen);
						if (text === undefined) return;
						e.preventDefault();
						e.clipboardData.setData("text/plain", text);
					}}
					style={{ "--digits": digits, "--widest": `${widest}ch` } as React.CSSProperties}
				>
					<div ref={spacer} className={classes.spacer} />
					<div ref={rowsBox} className={classes.rows} data-first={range.first}>
						{shown}
					</div>
				</div>
				{total === 0 && (
					<div className={classes.nothing}>
						{reader.error !== undefined
							? messageOf(reader.error)
							: live
								? "No line has come yet."
								: problem || "This job wrote no log."}
					</div>
				)}
				{!following && live && (
					<div className={classes.follow}>
						<Button size="compact-sm" radius="xl" leftSection={<IconArrowDown size={14} />} onClick={followAgain}>
							Follow{news > 0 ? ` · ${counted(news, "new line")}` : ""}
						</Button>
					</div>
				)}
			</div>
			<div className={`${classes.foot} rm-numbers`}>
				<span>
					{written !== undefined && written > total
						? `${count(total)} of ${counted(written, "line")} received`
						: counted(total, "line")}
					{gap && `, ${count(gap.to - gap.from + 1)} of them no longer kept`}
				</span>
				{(reader.problem || problem) && <span className={classes.problem}>{reader.problem || problem}</span>}
				{reader.error !== undefined && total > 0 && (
					<span className={classes.problem} role="status">
						{messageOf(reader.error)}
					</span>
				)}
				{live && following && <span className={classes.live}>Following</span>}
			</div>
		</section>
	);
}

interface ToggleProps {
	on: boolean;
	set: (on: boolean) => void;
	label: string;
	icon: React.ReactNode;
	size?: number;
}

function Toggle({ on, set, label, icon, size }: ToggleProps) {
	return (
		<Tooltip label={label}>
			<ActionIcon
				size={size}
				variant={on ? "light" : "subtle"}
				color={on ? "indigo" : "gray"}
				aria-label={label.replace(/ \(.\)$/, "")}
				aria-pressed={on}
				onClick={() => set(!on)}
			>
				{icon}
			</ActionIcon>
		</Tooltip>
	);
}

/** What a copy takes where no text is selected: the chosen lines, if all are here. */
function copied(reader: LogReader, chosen: Stretch | undefined): string | undefined {
	if (!chosen || !window.getSelection()?.isCollapsed) return undefined;
	const lines: string[] = [];
	for (let n = chosen.from; n <= chosen.to; n++) {
		const line = reader.pages.line(n);
		if (!line) return undefined;
		lines.push(textOf(line));
	}
	return lines.join("\n");
}

const mostCopied = 50_000;

async function copyLines(jobID: string, { from, to }: Stretch): Promise<number> {
	if (to - from >= mostCopied)
		throw new Error(`At most ${count(mostCopied)} lines are copied; download the log instead.`);
	const lines: string[] = [];
	for (let after = from - 1; after < to; ) {
		const page = await readLog(jobID, { after, limit: Math.min(mostLines, to - after) });
		if (page.next <= after) break;
		for (const line of page.lines) if (line.n <= to) lines.push(textOf(line));
		after = page.next;
	}
	await copyText(lines.join("\n"));
	return lines.length;
}

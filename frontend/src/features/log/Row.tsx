import { memo, type ReactNode, useState } from "react";
import type { LogLine } from "../../api/types";
import { count } from "../../lib/bytes";
import { exact as exactTime } from "../../lib/time";
import classes from "./Log.module.css";
import { placesOf } from "./search";
import { textOf } from "./text";
import { levelOf, type Stretch } from "./window";

// What a line shows until one asks for the rest: a screen full of lines of 64 KiB would stutter.
const cut = 2000;

interface Props {
	row: number;
	n: number;
	/** null: the server has none; undefined: not here yet. */
	line: LogLine | null | undefined;
	times: boolean;
	chosen: boolean;
	current: boolean;
	query: string;
	exact: boolean;
	pick: (n: number, extend: boolean) => void;
	/** Its height may be another now. */
	grown: () => void;
}

function same(a: Props, b: Props) {
	return (
		a.row === b.row &&
		a.n === b.n &&
		a.line === b.line &&
		a.times === b.times &&
		a.chosen === b.chosen &&
		a.current === b.current &&
		a.query === b.query &&
		a.exact === b.exact
	);
}

/** One line. Its number and time are made by the style sheet, so that a copy has the text alone. */
export const Row = memo(function Row({ row, n, line, times, chosen, current, query, exact, pick, grown }: Props) {
	const [all, setAll] = useState(false);
	let text: ReactNode;
	let more = 0;
	if (line) {
		let t = textOf(line);
		if (!all && t.length > cut) {
			more = t.length - cut;
			t = t.slice(0, cut);
		}
		text = query === "" ? t : marked(t, query, exact);
	}
	return (
		<div
			className={classes.row}
			data-row={row}
			data-level={line ? levelOf(line) : undefined}
			data-chosen={chosen || undefined}
			data-current={current || undefined}
		>
			{/* biome-ignore lint/a11y/useAnchorContent: the label names it; a content would be copied with the line */}
			<a
				className={classes.number}
				href={`#L${n}`}
				tabIndex={-1}
				aria-label={`Line ${n}`}
				data-n={n}
				title={line?.t ? exactTime(line.t) : undefined}
				onClick={(e) => {
					if (e.ctrlKey || e.metaKey) return;
					e.preventDefault();
					pick(n, e.shiftKey);
				}}
			/>
			{times && <span className={classes.time} data-t={line ? stamp(line.t) : ""} />}
			<span className={classes.text}>
				{text}
				{more > 0 && (
					<button
						type="button"
						tabIndex={-1}
						className={classes.more}
						aria-label={`Show ${count(more)} more characters of line ${n}`}
						data-more={`… ${count(more)} more characters`}
						onClick={() => {
							setAll(true);
							grown();
						}}
					/>
				)}
				{line === undefined && <span className={classes.waiting} style={{ width: `${20 + ((n * 37) % 50)}ch` }} />}
				{line === null && <i className={classes.gone}>not kept</i>}
			</span>
		</div>
	);
}, same);

/** What stands for all lines that are no longer kept. */
export function GapRow({ row, gap }: { row: number; gap: Stretch }) {
	return (
		<div className={classes.gap} data-row={row}>
			<span>
				Lines {count(gap.from)}–{count(gap.to)} were dropped: the server keeps the beginning and the end of a long log.
			</span>
		</div>
	);
}

function marked(text: string, query: string, exact: boolean): ReactNode {
	const places = placesOf(text, query, exact);
	if (places.length === 0) return text;
	const parts: ReactNode[] = [];
	let at = 0;
	for (const [from, to] of places) {
		parts.push(text.slice(at, from), <mark key={from}>{text.slice(from, to)}</mark>);
		at = to;
	}
	parts.push(text.slice(at));
	return parts;
}

/** 03:12:45.123 in the reader's zone; nothing for a record that does not say. */
function stamp(t: string): string {
	const d = new Date(t);
	if (Number.isNaN(d.getTime()) || d.getUTCFullYear() < 1971) return "";
	const two = (x: number) => String(x).padStart(2, "0");
	return `${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}.${String(d.getMilliseconds()).padStart(3, "0")}`;
}

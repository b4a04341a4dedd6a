import { TextInput } from "@mantine/core";
import { IconSearch } from "@tabler/icons-react";
import { useVirtualizer } from "@tanstack/react-virtual";
import { useMemo, useRef, useState } from "react";
import type { Job } from "../../api/types";
import { count, counted } from "../../lib/bytes";
import { Foreign } from "../../ui/Foreign";
import { Card } from "../../ui/Page";
import classes from "./Issues.module.css";

type Issue = NonNullable<Job["issues"]>[number];

/** The issues that hold a text in path or message, whatever the case of its letters. */
export function fitting(issues: readonly Issue[], text: string): readonly Issue[] {
	const t = text.trim().toLowerCase();
	return t === ""
		? issues
		: issues.filter((i) => i.path.toLowerCase().includes(t) || i.message.toLowerCase().includes(t));
}

/** What a job could not read. */
export function Issues({ issues, dropped }: { issues: readonly Issue[]; dropped: number }) {
	const [text, setText] = useState("");
	const shown = useMemo(() => fitting(issues, text), [issues, text]);
	const scroller = useRef<HTMLDivElement>(null);
	const rows = useVirtualizer({
		count: shown.length,
		getScrollElement: () => scroller.current,
		estimateSize: () => 46,
		overscan: 10,
	});
	const total = issues.length + dropped;
	return (
		<Card
			flush
			title={`${counted(total, "path")} could not be read`}
			actions={
				issues.length > 10 && (
					<TextInput
						size="xs"
						aria-label="Part of a path or message"
						placeholder="Path or message"
						leftSection={<IconSearch size={14} />}
						value={text}
						spellCheck={false}
						onChange={(e) => setText(e.currentTarget.value)}
					/>
				)
			}
		>
			<section
				ref={scroller}
				className={classes.scroller}
				// biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reached by keyboard
				tabIndex={0}
				aria-label="Paths that could not be read"
			>
				<ul className={classes.list} style={{ height: rows.getTotalSize() }}>
					{rows.getVirtualItems().map((item) => {
						const issue = shown[item.index];
						return (
							issue && (
								<li
									key={item.key}
									ref={rows.measureElement}
									data-index={item.index}
									style={{ transform: `translateY(${item.start}px)` }}
								>
									<Foreign mono>{issue.path}</Foreign>
									<span className={classes.message}>
										<Foreign>{issue.message}</Foreign>
									</span>
								</li>
							)
						);
					})}
				</ul>
			</section>
			{(dropped > 0 || shown.length < issues.length) && (
				<div className={classes.foot} role="status">
					{shown.length < issues.length && `${count(shown.length)} of ${count(issues.length)} fit. `}
					{dropped > 0 &&
						`${counted(dropped, "further path")} ${dropped === 1 ? "is" : "are"} not listed: a result holds the first ${count(issues.length)}. The log has them all.`}
				</div>
			)}
		</Card>
	);
}

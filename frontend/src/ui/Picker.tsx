import { Popover } from "@mantine/core";
import { IconCheck, IconChevronDown } from "@tabler/icons-react";
import { type ReactNode, useId, useState } from "react";
import { count } from "../lib/bytes";
import { Foreign } from "./Foreign";
import classes from "./Picker.module.css";

export interface Choice {
	value: string;
	text: string;
	/** How many there are of it. */
	count?: number;
	mark?: ReactNode;
}

interface Props {
	/** What is chosen here: the button's words. */
	label: string;
	icon?: ReactNode;
	choices: readonly Choice[];
	chosen: readonly string[];
	onPick: (value: string) => void;
	/** Stays open for more than one. */
	multiple?: boolean;
	/** Something is always chosen: the button does not make much of it. */
	quiet?: boolean;
	/** Where there is nothing to choose from. */
	none?: string;
}

// More are found by typing.
const shown = 200;

/** A button that opens a list to choose from, with a field that narrows it. */
export function Picker({
	label,
	icon,
	choices,
	chosen,
	onPick,
	multiple,
	quiet,
	none = "Nothing to choose from",
}: Props) {
	const [opened, setOpened] = useState(false);
	return (
		<Popover
			opened={opened}
			onChange={setOpened}
			position="bottom-start"
			shadow="md"
			offset={4}
			trapFocus
			returnFocus
			withinPortal
		>
			<Popover.Target>
				<button
					type="button"
					className={classes.button}
					data-set={(!quiet && chosen.length > 0) || undefined}
					onClick={() => setOpened(!opened)}
				>
					{icon}
					<span>{label}</span>
					{multiple && !quiet && chosen.length > 0 && <span className={classes.number}>{chosen.length}</span>}
					<IconChevronDown size={13} aria-hidden />
				</button>
			</Popover.Target>
			<Popover.Dropdown p={4} className={classes.dropdown} aria-label={label}>
				<List
					label={label}
					choices={choices}
					chosen={chosen}
					multiple={multiple}
					none={none}
					pick={(value) => {
						onPick(value);
						if (!multiple) setOpened(false);
					}}
				/>
			</Popover.Dropdown>
		</Popover>
	);
}

interface ListProps extends Pick<Props, "label" | "choices" | "chosen" | "multiple" | "none"> {
	pick: (value: string) => void;
}

function List({ label, choices, chosen, multiple, none, pick }: ListProps) {
	const id = useId();
	const [text, setText] = useState("");
	const [at, setAt] = useState(0);
	const found = choices.filter((c) => c.text.toLowerCase().includes(text.trim().toLowerCase()));
	const some = found.slice(0, shown);
	const here = Math.min(at, some.length - 1);

	function move(to: number) {
		setAt(to);
		document.getElementById(`${id}-${to}`)?.scrollIntoView({ block: "nearest" });
	}
	return (
		<>
			<input
				data-autofocus
				className={classes.field}
				role="combobox"
				aria-expanded
				aria-controls={`${id}-list`}
				aria-activedescendant={some.length > 0 ? `${id}-${here}` : undefined}
				aria-label={label}
				placeholder={`${label}…`}
				autoComplete="off"
				spellCheck={false}
				value={text}
				onChange={(e) => {
					setText(e.currentTarget.value);
					setAt(0);
				}}
				onKeyDown={(e) => {
					const choice = some[here];
					if (e.key === "ArrowDown") move(Math.min(some.length - 1, here + 1));
					else if (e.key === "ArrowUp") move(Math.max(0, here - 1));
					else if (e.key === "Home") move(0);
					else if (e.key === "End") move(some.length - 1);
					else if (e.key === "Enter" && choice) pick(choice.value);
					else return;
					e.preventDefault();
				}}
			/>
			<div
				id={`${id}-list`}
				role="listbox"
				aria-label={label}
				aria-multiselectable={multiple || undefined}
				className={classes.list}
				tabIndex={-1}
			>
				{some.map((choice, i) => (
					// biome-ignore lint/a11y/useKeyWithClickEvents: the keys are those of the combobox above
					// biome-ignore lint/a11y/useFocusableInteractive: it is the combobox's active descendant
					<div
						key={choice.value}
						id={`${id}-${i}`}
						role="option"
						aria-selected={chosen.includes(choice.value)}
						data-here={i === here || undefined}
						className={classes.choice}
						onPointerMove={() => at !== i && setAt(i)}
						onClick={() => pick(choice.value)}
					>
						<IconCheck size={14} aria-hidden className={classes.check} />
						{choice.mark}
						<span className="rm-cut">
							<Foreign>{choice.text}</Foreign>
						</span>
						{choice.count !== undefined && <span className={classes.count}>{count(choice.count)}</span>}
					</div>
				))}
			</div>
			{some.length === 0 && <div className={classes.none}>{choices.length === 0 ? none : "None is like that"}</div>}
			{found.length > shown && (
				<div className={classes.none}>{count(found.length - shown)} more: type to find them</div>
			)}
		</>
	);
}

import { Button, type ButtonProps, Menu, Tooltip } from "@mantine/core";
import { type ReactNode, useId } from "react";
import classes from "./Barred.module.css";

interface ButtonLike extends Omit<ButtonProps, "children"> {
	/** Why it cannot be done; undefined: it can. */
	reason: string | undefined;
	onClick: () => void;
	children: ReactNode;
}

/** A button that, where it does nothing, can still be reached and says why. */
export function BarredButton({ reason, onClick, children, ...props }: ButtonLike) {
	const id = useId();
	if (reason === undefined)
		return (
			<Button {...props} onClick={onClick}>
				{children}
			</Button>
		);
	return (
		<>
			<Tooltip label={reason} multiline maw={320} withinPortal={false}>
				<Button
					{...props}
					variant="default"
					aria-disabled
					aria-describedby={id}
					className={classes.barred}
					onClick={(e) => e.preventDefault()}
				>
					{children}
				</Button>
			</Tooltip>
			<span id={id} className="rm-hidden">
				{reason}
			</span>
		</>
	);
}

interface ItemLike {
	reason: string | undefined;
	onClick: () => void;
	children: ReactNode;
	/** What it does, in a line below its name. */
	about?: string;
	icon?: ReactNode;
	danger?: boolean;
}

/** An entry of a menu that, where it does nothing, can still be reached and says why. */
export function BarredItem({ reason, onClick, children, about, icon, danger }: ItemLike) {
	const below = reason ?? about;
	return (
		<Menu.Item
			leftSection={icon}
			aria-disabled={reason !== undefined || undefined}
			closeMenuOnClick={reason === undefined}
			className={classes.item}
			data-barred={reason !== undefined || undefined}
			data-danger={(danger && reason === undefined) || undefined}
			onClick={(e) => (reason === undefined ? onClick() : e.preventDefault())}
		>
			<span className={classes.name}>{children}</span>
			{below && <span className={classes.below}>{below}</span>}
		</Menu.Item>
	);
}

import type { ReactNode } from "react";
import classes from "./Facts.module.css";

/** Names and what they are, in two columns. What is undefined, null or false is left out. */
export function Facts({ facts, wide }: { facts: readonly (readonly [string, ReactNode])[]; wide?: boolean }) {
	return (
		<dl className={classes.facts} data-wide={wide || undefined}>
			{facts
				.filter(([, value]) => value !== undefined && value !== null && value !== false && value !== "")
				.map(([name, value]) => (
					<div key={name}>
						<dt>{name}</dt>
						<dd>{value}</dd>
					</div>
				))}
		</dl>
	);
}

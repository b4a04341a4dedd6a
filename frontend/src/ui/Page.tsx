import { type ReactNode, useEffect } from "react";
import { signal, useSignal } from "../lib/signal";
import classes from "./Page.module.css";

/** How many machines need somebody: it stands in every page's title. */
export const problems = signal(0);

/** The title of the tab: (3) Fleet · restic-manager. */
export function useTitle(title: string) {
	const n = useSignal(problems);
	useEffect(() => {
		document.title = `${n > 0 ? `(${n}) ` : ""}${title} · restic-manager`;
	}, [n, title]);
}

interface Props {
	/** Of the tab, and the heading where none is given. */
	title: string;
	heading?: ReactNode;
	/** Above the heading: where this page hangs. */
	crumbs?: ReactNode;
	/** Beside the heading: states. */
	aside?: ReactNode;
	subtitle?: ReactNode;
	actions?: ReactNode;
	children: ReactNode;
	/** A page of forms and words keeps its lines short. */
	narrow?: boolean;
}

export function Page({ title, heading, crumbs, aside, subtitle, actions, children, narrow }: Props) {
	useTitle(title);
	return (
		<div className={classes.page} data-narrow={narrow || undefined}>
			{crumbs && (
				<nav aria-label="Breadcrumb" className={classes.crumbs}>
					{crumbs}
				</nav>
			)}
			<header className={classes.head}>
				<div className={classes.words}>
					<div className={classes.line}>
						<h1 className={classes.title}>{heading ?? title}</h1>
						{aside}
					</div>
					{subtitle && <div className={classes.subtitle}>{subtitle}</div>}
				</div>
				{actions && <div className={classes.actions}>{actions}</div>}
			</header>
			{children}
		</div>
	);
}

interface CardProps {
	title?: ReactNode;
	actions?: ReactNode;
	children: ReactNode;
	/** Without room around: lists and tables reach the border. */
	flush?: boolean;
	label?: string;
}

/** A part of a page with a border of its own. */
export function Card({ title, actions, children, flush, label }: CardProps) {
	return (
		<section className={classes.card} aria-label={label}>
			{(title || actions) && (
				<div className={classes.cardHead}>
					{title && <h2 className={classes.cardTitle}>{title}</h2>}
					{actions && <div className={classes.actions}>{actions}</div>}
				</div>
			)}
			<div className={flush ? undefined : classes.cardBody}>{children}</div>
		</section>
	);
}

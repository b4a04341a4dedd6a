import { Alert, Button, Skeleton } from "@mantine/core";
import { IconAlertTriangle, IconRefresh } from "@tabler/icons-react";
import type { UseQueryResult } from "@tanstack/react-query";
import type { ReactNode } from "react";
import { awaySince } from "../api/link";
import { messageOf } from "../api/problem";
import { useSignal } from "../lib/signal";
import { Ago } from "./Ago";

/** What stands where a list has nothing: what it is for, and what to do. */
export function Empty({
	icon,
	title,
	children,
	action,
}: {
	icon?: ReactNode;
	title: string;
	children?: ReactNode;
	action?: ReactNode;
}) {
	return (
		<div style={{ textAlign: "center", padding: "44px 20px", display: "grid", gap: 6, justifyItems: "center" }}>
			{icon && <div style={{ color: "var(--rm-muted)", marginBottom: 4 }}>{icon}</div>}
			<div style={{ fontWeight: 600 }}>{title}</div>
			{children && <div style={{ color: "var(--rm-muted)", maxWidth: 460 }}>{children}</div>}
			{action && <div style={{ marginTop: 8 }}>{action}</div>}
		</div>
	);
}

export function Failure({ error, retry }: { error: unknown; retry?: () => void }) {
	return (
		<Alert
			color="red"
			variant="light"
			icon={<IconAlertTriangle size={18} />}
			title="This could not be loaded"
			role="alert"
			m="md"
		>
			{messageOf(error)}
			{retry && (
				<div style={{ marginTop: 8 }}>
					<Button size="xs" variant="default" leftSection={<IconRefresh size={14} />} onClick={retry}>
						Try again
					</Button>
				</div>
			)}
		</Alert>
	);
}

/** Rows to come. */
export function Loading({ rows = 6, label = "Loading" }: { rows?: number; label?: string }) {
	return (
		<div role="status" aria-label={label} style={{ padding: 16, display: "grid", gap: 12 }}>
			{Array.from({ length: rows }, (_, i) => (
				// biome-ignore lint/suspicious/noArrayIndexKey: rows without content have no other name
				<Skeleton key={i} height={14} width={`${[92, 78, 86, 70, 82, 64][i % 6]}%`} radius="sm" />
			))}
		</div>
	);
}

interface Props<T> {
	query: Pick<UseQueryResult<T>, "data" | "error" | "isPending" | "dataUpdatedAt"> & { refetch: () => unknown };
	/** Whether there is nothing in it. */
	isEmpty?: (data: T) => boolean;
	empty?: ReactNode;
	rows?: number;
	children: (data: T) => ReactNode;
}

/**
 * The four states of every list: loading, failed, empty, there. What is there stays when a later call fails or the server
 * is away, and says how old it is.
 */
export function Shown<T>({ query, isEmpty, empty, rows, children }: Props<T>) {
	const away = useSignal(awaySince);
	if (query.data === undefined) {
		if (query.error) return <Failure error={query.error} retry={() => void query.refetch()} />;
		return <Loading rows={rows} />;
	}
	return (
		<>
			{(query.error || away !== undefined) && (
				<div
					role="status"
					style={{
						padding: "6px 16px",
						fontSize: "0.8125rem",
						color: "var(--rm-warn)",
						background: "var(--rm-warn-ground)",
					}}
				>
					As of <Ago at={new Date(query.dataUpdatedAt).toISOString()} />
					{query.error ? `: ${messageOf(query.error)}` : ": the server does not answer."}
				</div>
			)}
			{isEmpty?.(query.data) ? empty : children(query.data)}
		</>
	);
}

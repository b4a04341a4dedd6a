import type { ReactNode } from "react";

interface Props {
	/** 0 to 1; undefined while the whole is not known yet. */
	value: number | undefined;
	label: string;
	height?: number;
	tone?: "info" | "ok" | "warn" | "bad";
	children?: ReactNode;
}

/** How far something is. Without a value it moves to and fro. */
export function Progress({ value, label, height = 6, tone = "info" }: Props) {
	const percent = value === undefined ? undefined : Math.min(100, Math.max(0, value * 100));
	return (
		<div
			role="progressbar"
			aria-label={label}
			aria-valuemin={0}
			aria-valuemax={100}
			aria-valuenow={percent === undefined ? undefined : Math.round(percent)}
			style={{
				height,
				borderRadius: height,
				background: "var(--rm-idle-ground)",
				overflow: "hidden",
				position: "relative",
			}}
		>
			<div
				className={percent === undefined ? "rm-sweep" : undefined}
				style={{
					height: "100%",
					width: percent === undefined ? "30%" : `${percent}%`,
					borderRadius: height,
					background: `var(--rm-${tone}-area)`,
					transition: "width 400ms linear",
				}}
			/>
		</div>
	);
}

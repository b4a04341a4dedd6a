import { ActionIcon, CopyButton, Tooltip } from "@mantine/core";
import { IconCheck, IconCopy } from "@tabler/icons-react";

/** Puts a value into the clipboard and says so. `what` names it: "the job's id". */
export function Copy({ value, what, size = 22 }: { value: string; what: string; size?: number }) {
	return (
		<CopyButton value={value} timeout={1500}>
			{({ copied, copy }) => (
				<Tooltip label={copied ? "Copied" : `Copy ${what}`}>
					<ActionIcon
						size={size}
						aria-label={copied ? "Copied" : `Copy ${what}`}
						onClick={(e) => {
							e.preventDefault();
							e.stopPropagation();
							copy();
						}}
					>
						{copied ? <IconCheck size={14} color="var(--rm-ok)" /> : <IconCopy size={14} />}
					</ActionIcon>
				</Tooltip>
			)}
		</CopyButton>
	);
}

/** A command as it is pasted, with its copy button. */
export function Command({ children, what = "the command" }: { children: string; what?: string }) {
	return (
		<div
			style={{
				display: "flex",
				gap: 8,
				alignItems: "flex-start",
				background: "var(--rm-sunken)",
				border: "1px solid var(--rm-border)",
				borderRadius: 8,
				padding: "8px 8px 8px 12px",
			}}
		>
			<code
				className="rm-mono rm-foreign"
				style={{ flex: 1, whiteSpace: "pre-wrap", wordBreak: "break-word", lineHeight: 1.6, fontSize: "0.8125rem" }}
			>
				{children}
			</code>
			<Copy value={children} what={what} size={26} />
		</div>
	);
}

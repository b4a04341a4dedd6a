import { Button, SegmentedControl } from "@mantine/core";
import { IconPlus, IconTicket } from "@tabler/icons-react";
import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import { mayAs, meQuery } from "../../api/auth";
import { tokensQuery, useVoidToken } from "../../api/tokens";
import type { EnrollmentToken } from "../../api/types";
import { labelsText } from "../../lib/labels";
import { type TokenState, tokenState, tokenStates, tokenWords } from "../../lib/tokens";
import { Ago, useNow } from "../../ui/Ago";
import { Badge } from "../../ui/Badge";
import { Confirm } from "../../ui/Confirm";
import { Foreign } from "../../ui/Foreign";
import { done } from "../../ui/notify";
import { Older } from "../../ui/Older";
import { Card } from "../../ui/Page";
import { Empty, Shown } from "../../ui/States";
import classes from "./Settings.module.css";

interface Props {
	state: TokenState | undefined;
	filter: (state: TokenState | undefined) => void;
}

/** The enrollment tokens: which are still good, and what became of the others. */
export function Tokens({ state, filter }: Props) {
	const { data: me } = useQuery(meQuery);
	const tokens = useInfiniteQuery(tokensQuery);
	const remove = useVoidToken();
	const [asked, setAsked] = useState<EnrollmentToken>();
	const now = useNow();
	return (
		<Card
			flush
			title="Enrollment tokens"
			actions={
				mayAs(me?.role, "operator") && (
					<Button
						size="compact-sm"
						leftSection={<IconPlus size={14} />}
						renderRoot={(props) => <Link to="/add" {...props} />}
					>
						Add a machine
					</Button>
				)
			}
		>
			<div className={classes.bar}>
				<SegmentedControl
					size="xs"
					aria-label="Which tokens"
					value={state ?? "all"}
					onChange={(v) => filter(tokenStates.find((s) => s === v))}
					data={[
						{ value: "all", label: "All" },
						...tokenStates.map((value) => ({ value, label: tokenWords[value].name })),
					]}
				/>
			</div>
			<Shown
				query={tokens}
				rows={4}
				isEmpty={({ pages }) => pages.every((p) => p.tokens.length === 0)}
				empty={
					<Empty icon={<IconTicket size={28} />} title="No token was made yet">
						A token lets one machine enroll. “Add a machine” makes one with its command.
					</Empty>
				}
			>
				{({ pages }) => {
					const all = pages.flatMap((p) => p.tokens);
					const some = state ? all.filter((t) => tokenState(t, now) === state) : all;
					return (
						<ul className={classes.list}>
							{some.map((t) => (
								<Token key={t.id} token={t} state={tokenState(t, now)} ask={() => setAsked(t)} />
							))}
							{some.length === 0 && (
								<li className={classes.more}>
									<span className={classes.sub}>
										{tokens.hasNextPage ? "None among the newest." : `None is ${state}.`}
									</span>
								</li>
							)}
							{tokens.hasNextPage && (
								<li className={classes.more}>
									<Older query={tokens} />
								</li>
							)}
						</ul>
					);
				}}
			</Shown>
			<Confirm
				opened={asked !== undefined}
				close={() => setAsked(undefined)}
				title="Make this token void?"
				action="Make it void"
				danger
				run={async () => {
					if (!asked) return;
					await remove.mutateAsync(asked.id);
					done("The token is void.");
				}}
			>
				{asked && tokenState(asked, now) === "waiting"
					? "The command that carries it enrolls no machine any more."
					: "It leaves this list. The machine that it made stays."}
			</Confirm>
		</Card>
	);
}

function Token({ token: t, state, ask }: { token: EnrollmentToken; state: TokenState; ask: () => void }) {
	const w = tokenWords[state];
	const labels = labelsText(t.labels);
	return (
		<li className={classes.row} data-off={state === "expired" || undefined}>
			<div className={classes.grow}>
				<div className={classes.name}>
					{t.name ? <Foreign>{t.name}</Foreign> : <span className={classes.unnamed}>the machine's own name</span>}
					<Badge tone={w.tone} title={w.about} busy={state === "waiting"}>
						{w.name}
					</Badge>
				</div>
				<div className={classes.sub}>
					{labels && (
						<>
							<Foreign mono>{labels}</Foreign> ·{" "}
						</>
					)}
					made <Ago at={t.created_at} /> by <Foreign>{t.created_by}</Foreign> ·{" "}
					{state === "used" ? (
						<>
							used <Ago at={t.used_at} />
						</>
					) : (
						<>
							{state === "waiting" ? "expires" : "expired"} <Ago at={t.expires_at} />
						</>
					)}
				</div>
			</div>
			{t.host_id && (
				<Link to="/hosts/$hostId" params={{ hostId: t.host_id }} className={classes.link}>
					Its machine
				</Link>
			)}
			<Button
				size="compact-sm"
				variant="subtle"
				color={state === "waiting" ? "red" : "gray"}
				onClick={ask}
				aria-label={`${state === "waiting" ? "Void" : "Remove"} the token ${t.name || t.id.slice(0, 8)}`}
			>
				{state === "waiting" ? "Void" : "Remove"}
			</Button>
		</li>
	);
}

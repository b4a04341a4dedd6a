import { Button } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { meQuery } from "../../api/auth";
import { sessionsQuery, useEndSessions } from "../../api/settings";
import { Ago } from "../../ui/Ago";
import { Badge } from "../../ui/Badge";
import { Confirm } from "../../ui/Confirm";
import { Foreign } from "../../ui/Foreign";
import { done, failed } from "../../ui/notify";
import { Card } from "../../ui/Page";
import { Shown } from "../../ui/States";
import { programOf } from "./detail";
import classes from "./Settings.module.css";

/** One's own sign-ins. */
export function Sessions() {
	const { data: me } = useQuery(meQuery);
	const sessions = useQuery(sessionsQuery);
	const end = useEndSessions();
	const [ending, setEnding] = useState(false);
	const others = (sessions.data?.sessions ?? []).filter((s) => s.id !== me?.session_id);
	return (
		<Card
			flush
			title="Where you are signed in"
			actions={
				others.length > 0 && (
					<Button size="compact-sm" variant="default" onClick={() => setEnding(true)}>
						End all others
					</Button>
				)
			}
		>
			<Shown query={sessions} rows={3}>
				{({ sessions }) => (
					<ul className={classes.list}>
						{[...sessions]
							.sort((a, b) => Number(b.id === me?.session_id) - Number(a.id === me?.session_id))
							.map((s) => {
								const here = s.id === me?.session_id;
								return (
									<li key={s.id} className={classes.row}>
										<div className={classes.grow}>
											<div className={classes.name}>
												<span title={s.user_agent}>
													<Foreign>{programOf(s.user_agent)}</Foreign>
												</span>
												{here && <Badge tone="ok">This device</Badge>}
											</div>
											<div className={classes.sub}>
												<Foreign mono>{s.address}</Foreign> · signed in <Ago at={s.created_at} /> · last seen{" "}
												<Ago at={s.last_used_at} /> · ends <Ago at={s.expires_at} /> at the latest
											</div>
										</div>
										{!here && (
											<Button
												size="compact-sm"
												variant="subtle"
												color="red"
												aria-label={`End the session of ${programOf(s.user_agent)}, ${s.address}`}
												loading={end.isPending && end.variables?.includes(s.id)}
												onClick={() =>
													end.mutate([s.id], {
														onSuccess: () => done("The session has ended."),
														onError: (e) => failed("The session was not ended", e),
													})
												}
											>
												End
											</Button>
										)}
									</li>
								);
							})}
					</ul>
				)}
			</Shown>
			<p className={classes.foot}>
				A session ends after an hour without a request, and at the latest at the time told.
			</p>
			<Confirm
				opened={ending}
				close={() => setEnding(false)}
				title="End all other sessions?"
				action={others.length === 1 ? "End the other session" : `End ${others.length} sessions`}
				danger
				run={() => end.mutateAsync(others.map((s) => s.id)).then(() => done("All other sessions have ended."))}
			>
				Whoever uses them has to sign in again. This device stays signed in.
			</Confirm>
		</Card>
	);
}
